import Configuration

/// A word about a run and its value: a CI job, a place, a ticket.
package struct RunLabel: Hashable, Sendable {
    /// A small letter, then at most 31 small letters, digits and `_`.
    package let key: String
    /// At most ``longestValue`` bytes; untrusted, and sanitized before it is kept.
    package let value: String

    /// The most labels of a run.
    package static let most = 8
    /// The longest value, in bytes of UTF-8.
    package static let longestValue = 256

    /// Reads `KEY=VALUE`.
    ///
    /// - Parameter text: as the command line has it.
    /// - Throws: ``RunLabelError``.
    package init(_ text: String) throws(RunLabelError) {
        guard let equals = text.firstIndex(of: "=") else { throw .noValue(sanitized(text)) }
        let (key, value) = (String(text[..<equals]), sanitized(String(text[text.index(after: equals)...])))
        guard key.wholeMatch(of: /[a-z][a-z0-9_]{0,31}/) != nil else { throw .key(sanitized(key)) }
        guard value.utf8.count <= Self.longestValue else { throw .longValue(key, value.utf8.count) }
        (self.key, self.value) = (key, value)
    }

    /// All labels of a run, by key.
    ///
    /// - Returns: nil where there are none.
    /// - Throws: ``RunLabelError``.
    package static func all(_ labels: [RunLabel]) throws(RunLabelError) -> [String: String]? {
        guard labels.count <= most else { throw .many(labels.count) }
        var all: [String: String] = [:]
        for label in labels where all.updateValue(label.value, forKey: label.key) != nil { throw .twice(label.key) }
        return all.isEmpty ? nil : all
    }
}

/// Why labels are not taken.
package enum RunLabelError: Error, Hashable, Sendable {
    /// There is no `=`.
    case noValue(String)
    /// A key of another form.
    case key(String)
    /// The value of this key has so many bytes.
    case longValue(String, Int)
    /// So many labels.
    case many(Int)
    /// A key that is there twice.
    case twice(String)
}

extension RunLabelError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .noValue(let text): "label '\(text)' has no value; must be KEY=VALUE"
        case .key(let key):
            "label key '\(key)' must be a small letter and up to 31 more small letters, digits or '_'"
        case .longValue(let key, let count):
            "label \(key) has a value of \(count) bytes; must be at most \(RunLabel.longestValue)"
        case .many(let count): "\(count) labels; must be at most \(RunLabel.most)"
        case .twice(let key): "label \(key) is there twice"
        }
    }
}
