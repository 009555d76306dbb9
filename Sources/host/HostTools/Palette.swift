internal import Glibc

/// Colours, where something that shows them reads: a terminal, unless NO_COLOR (https://no-color.org) is set or TERM is
/// missing or dumb. Nothing else ever gets an escape.
public struct Palette: Sendable {
    /// What a colour says.
    public enum Tone: String, Sendable {
        /// An error: red.
        case bad = "31"
        /// A warning: yellow.
        case careful = "33"
        /// Proven, or all right: green.
        case good = "32"
    }

    /// Whether anything is coloured.
    public let isOn: Bool

    /// - Parameters:
    ///   - isTerminal: whether a terminal reads.
    ///   - noColor: the value of NO_COLOR; nil where it is not set or empty.
    ///   - terminal: the value of TERM.
    public init(isTerminal: Bool, noColor: String?, terminal: String?) {
        isOn = isTerminal && noColor == nil && terminal != nil && terminal != "dumb"
    }

    /// For one of the process's standard streams.
    private init(_ descriptor: Int32) {
        self.init(
            isTerminal: isatty(descriptor) != 0, noColor: environmentValue("NO_COLOR"),
            terminal: environmentValue("TERM"))
    }

    /// For results.
    public static let standardOutput = Palette(STDOUT_FILENO)
    /// For the log.
    public static let standardError = Palette(STDERR_FILENO)

    /// The text in this colour, or as it is.
    ///
    /// - Parameter text: sanitized: its escapes would work.
    public func paint(_ text: String, _ tone: Tone?) -> String {
        guard isOn, let tone, !text.isEmpty else { return text }
        return "\u{1b}[\(tone.rawValue)m\(text)\u{1b}[0m"
    }
}
