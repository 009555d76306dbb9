extension ByteCount {
    /// What a size may end in, with its bytes. `K`, `M` and `G` alone are refused: half the world means 1000 by them.
    private static let units: [(suffix: String, bytes: UInt64)] = [
        ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("kB", 1000), ("MB", 1_000_000), ("GB", 1_000_000_000),
    ]

    /// Reads a size as card.yaml and the command line give it: `8000000000`, `512 MiB`, `8GB`.
    ///
    /// - Parameters:
    ///   - text: decimal digits, then at most one space and one of KiB, MiB, GiB (binary), kB, MB, GB (decimal).
    ///   - name: what is sized, for messages: `card size`.
    /// - Throws: ``SizeError`` on any other text and past 2^64 - 1 bytes.
    package init(parsing text: String, as name: String) throws(SizeError) {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        var suffix = text[digits.endIndex...]
        if suffix.count > 1, suffix.first == " " { suffix.removeFirst() }
        var unit: UInt64?
        if suffix.isEmpty { unit = 1 }
        for (name, bytes) in Self.units where name == suffix { unit = bytes }
        guard !digits.isEmpty, let unit else { throw .malformed(name: name, text: text) }
        // All digits: nil only means that the number does not fit.
        guard let number = UInt64(digits) else { throw .tooLarge(name: name, text: text) }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: unit)
        guard !overflow else { throw .tooLarge(name: name, text: text) }
        self.init(bytes)
    }
}

/// Why a text is no size.
package enum SizeError: Error, Hashable, Sendable {
    /// It is not a whole number with a known unit.
    case malformed(name: String, text: String)
    /// It is over 2^64 - 1 bytes.
    case tooLarge(name: String, text: String)
}

extension SizeError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .malformed(let name, let text):
            "\(name) is '\(text)'; must be a whole number of bytes, or of KiB, MiB, GiB, kB, MB or GB"
        case .tooLarge(let name, let text):
            "\(name) is \(text); must be at most 18446744073709551615 bytes"
        }
    }
}
