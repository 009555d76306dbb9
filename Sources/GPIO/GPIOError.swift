internal import Glibc

/// Why a GPIO line cannot be used.
public enum GPIOError: Error, Hashable, Sendable {
    /// This host has no `/dev/gpiochip*`.
    case noChips
    /// No chip has this name or label; what there is.
    case noSuchChip(String, chips: [String])
    /// None of the chips is the Pi's header, so an offset alone names no line; what there is.
    case noDefaultChip(chips: [String])
    /// The chip has no line with this offset.
    case noSuchOffset(UInt32, chip: String, lines: UInt32)
    /// No line has this name.
    case noSuchLine(String)
    /// More than one line has this name: `chip:offset` of each.
    case ambiguousLine(String, places: [String])
    /// Someone else has the line.
    case busy(line: String, consumer: String)
    /// The system refused; `call` says what was tried, `code` is errno.
    case system(call: String, line: String, code: Int32)
}

extension GPIOError: CustomStringConvertible {
    /// One sentence for a person.
    public var description: String {
        switch self {
        case .noChips: "no GPIO chip on this host; a target here needs a reset_command in its row"
        case .noSuchChip(let name, let chips): "no GPIO chip '\(name)'; this host has \(chips.joined(separator: ", "))"
        case .noDefaultChip(let chips):
            """
            none of the GPIO chips is a Raspberry Pi's header (\(chips.joined(separator: ", "))); \
            name the chip too, as in gpiochip0:17
            """
        case .noSuchOffset(let offset, let chip, let lines):
            "GPIO chip \(chip) has no line \(offset); it has \(lines) lines, 0 to \(max(lines, 1) - 1)"
        case .noSuchLine(let name): "no GPIO line is named '\(name)' on this host"
        case .ambiguousLine(let name, let places):
            "\(places.count) GPIO lines are named '\(name)': \(places.joined(separator: ", ")); use one of these"
        case .busy(let line, let consumer):
            "GPIO line \(line) is in use\(consumer.isEmpty ? "" : " by '\(consumer)'"); free it first"
        case .system(let call, let line, let code):
            "cannot \(call) GPIO \(line): \(unsafe String(cString: strerror(code)))"
        }
    }
}
