import Glibc

/// Why a GPIO line cannot be used.
package enum GPIOError: Error, Hashable, Sendable {
    /// This host has no `/dev/gpiochip*`.
    case noChips
    /// No chip has this name or label; what there is.
    case noSuchChip(String, chips: [String])
    /// More than one chip has this label; their names.
    case ambiguousChip(String, chips: [String])
    /// None of the chips is the Pi's header, so an offset alone names no line; what there is.
    case noDefaultChip(chips: [String])
    /// The chip has no line with this offset.
    case noSuchOffset(UInt32, chip: String, lines: UInt32)
    /// No line has this name; what names there are.
    case noSuchLine(String, names: [String])
    /// More than one line has this name: `chip:offset` of each.
    case ambiguousLine(String, places: [String])
    /// Someone else has the line.
    case busy(line: String, consumer: String)
    /// The system refused; `call` says what was tried, `code` is errno.
    case system(call: String, line: String, code: Int32)
}

extension GPIOError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .noChips: "no GPIO chip on this host; a target here needs a reset_command in its row"
        case .noSuchChip(let name, let chips): "no GPIO chip '\(name)'; this host has \(chips.joined(separator: ", "))"
        case .ambiguousChip(let label, let chips):
            "\(chips.count) GPIO chips are labelled '\(label)': \(chips.joined(separator: ", ")); use one of these names"
        case .noDefaultChip(let chips):
            """
            none of the GPIO chips is a Raspberry Pi's header (\(chips.joined(separator: ", "))); \
            name the chip too, as in gpiochip0:17
            """
        case .noSuchOffset(let offset, let chip, let lines):
            "GPIO chip \(chip) has no line \(offset); it has \(lines) lines, 0 to \(max(lines, 1) - 1)"
        case .noSuchLine(let name, let names):
            """
            no GPIO line is named '\(name)' on this host; \
            \(names.isEmpty ? "none has a name, use an offset" : "it has \(ranges(of: names))")
            """
        case .ambiguousLine(let name, let places):
            "\(places.count) GPIO lines are named '\(name)': \(places.joined(separator: ", ")); use one of these"
        case .busy(let line, let consumer):
            "GPIO line \(line) is in use\(consumer.isEmpty ? "" : " by '\(consumer)'"); free it first"
        case .system(let call, let line, let code):
            """
            cannot \(call) GPIO \(line): \(unsafe String(cString: strerror(code)))\
            \(code == EACCES ? "; run as root, or as a member of the group that owns it" : "")
            """
        }
    }
}

/// Names for a message, the first ten of them; neighbours with numbers in a row become one: `GPIO2 to GPIO27`.
func ranges(of names: [String]) -> String {
    var ranges: [(first: String, last: String)] = []
    for name in names {
        if let last = ranges.last?.last, isSuccessor(name, of: last) {
            ranges[ranges.count - 1].last = name
        } else {
            ranges.append((name, name))
        }
    }
    let shown = ranges.prefix(10).map { $0.first == $0.last ? $0.first : "\($0.first) to \($0.last)" }
    return shown.joined(separator: ", ") + (ranges.count > shown.count ? " and \(ranges.count - shown.count) more" : "")
}

/// Whether `name` is `previous` with a number that is one higher.
private func isSuccessor(_ name: String, of previous: String) -> Bool {
    func parts(_ text: String) -> (prefix: Substring, number: Int)? {
        let digits = text.reversed().prefix { $0.isASCII && $0.isNumber }.count
        return Int(text.suffix(digits)).map { (text.dropLast(digits), $0) }
    }
    guard let (prefix, number) = parts(name), let (previousPrefix, previousNumber) = parts(previous) else {
        return false
    }
    return prefix == previousPrefix && number - 1 == previousNumber
}
