import Glibc
import LinuxHost

/// Colours, where something that shows them reads: a terminal, unless NO_COLOR (https://no-color.org) is set or TERM is
/// missing or dumb. Nothing else ever gets an escape.
package struct Palette: Sendable {
    /// What a colour says.
    package enum Style: String, Sendable {
        /// Red.
        case error = "31"
        /// Yellow.
        case warning = "33"
        /// Proven, or all right: green.
        case success = "32"
    }

    /// Whether anything is coloured.
    package let isOn: Bool

    /// - Parameters:
    ///   - isTerminal: whether a terminal reads.
    ///   - noColor: the value of NO_COLOR; nil where it is not set or empty.
    ///   - terminal: the value of TERM.
    package init(isTerminal: Bool, noColor: String?, terminal: String?) {
        isOn = isTerminal && noColor == nil && terminal != nil && terminal != "dumb"
    }

    /// For one of the process's standard streams.
    private init(_ descriptor: Int32) {
        self.init(
            isTerminal: isatty(descriptor) != 0, noColor: environmentValue("NO_COLOR"),
            terminal: environmentValue("TERM"))
    }

    /// For results.
    package static let standardOutput = Palette(STDOUT_FILENO)
    /// For the log.
    package static let standardError = Palette(STDERR_FILENO)

    /// The text in this colour, or as it is.
    ///
    /// - Parameter text: sanitized: its escapes would work.
    package func paint(_ text: String, _ style: Style?) -> String {
        guard isOn, let style, !text.isEmpty else { return text }
        return "\u{1b}[\(style.rawValue)m\(text)\u{1b}[0m"
    }
}
