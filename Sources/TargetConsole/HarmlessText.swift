/// A text that may come from a target or another server, as one line that does nothing to a terminal (law 7).
///
/// What is no letter, number, mark, symbol, punctuation or plain blank is written as `\x1b` or `\u202e`: control
/// characters, line ends, escapes, marks that turn the direction of writing, characters that nothing shows.
public func harmless(_ text: String) -> String {
    // What is nearly always true is quick to see.
    if text.utf8.allSatisfy({ (0x20..<0x7f).contains($0) }) { return text }
    var result = ""
    for scalar in text.unicodeScalars {
        let isShown =
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
            case .spaceSeparator: scalar == " "
            default: true
            }
        if isShown {
            result.unicodeScalars.append(scalar)
        } else {
            let digits = String(scalar.value, radix: 16)
            let width = scalar.value < 0x100 ? 2 : 4
            result +=
                (width == 2 ? "\\x" : "\\u") + String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
    }
    return result
}
