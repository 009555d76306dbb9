/// A text from outside (a target, a server, an image, a file, an environment) as part of one line that does nothing to a
/// terminal (law 7).
///
/// Letters, numbers, marks, symbols, punctuation and plain blanks are kept. Everything else is written as `\x1b` or `\u202e`:
/// control characters, line ends, escapes, marks that turn the direction of writing, characters that show nothing.
///
/// - Parameter limit: the number of characters that are shown at most; `…` stands for those behind them.
package func sanitized(_ text: some StringProtocol, limit: Int = .max) -> String {
    // Nearly always true, and quick to find out.
    if limit == .max, text.utf8.allSatisfy({ (0x20..<0x7f).contains($0) }) { return String(text) }
    var result = ""
    for (index, scalar) in text.unicodeScalars.enumerated() {
        guard index < limit else { return result + "…" }
        if scalar.isPlain {
            result.unicodeScalars.append(scalar)
        } else {
            let digits = String(scalar.value, radix: 16)
            let (prefix, width) = scalar.value < 0x100 ? ("\\x", 2) : ("\\u", 4)
            result += prefix + String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
    }
    return result
}

/// A text of several lines, each of them ``sanitized(_:limit:)``.
package func sanitizedLines(_ text: String) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false).map { sanitized($0) }.joined(separator: "\n")
}

/// A text in quotes for a message, ``sanitized(_:limit:)``, at most 60 characters of it.
package func quoted(_ text: some StringProtocol) -> String { "'\(sanitized(text, limit: 60))'" }

extension Unicode.Scalar {
    /// Whether it shows something, moves nothing, and stays on its line.
    package var isPlain: Bool {
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
        case .spaceSeparator: self == " "
        default: true
        }
    }
}
