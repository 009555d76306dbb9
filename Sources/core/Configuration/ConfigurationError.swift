/// What is wrong in a configuration file, and where.
public struct ConfigurationError: Error, Hashable, Sendable {
    /// The file's name; nil where something else is wrong than the file: an option, an image.
    public let file: String?
    /// Where in it; nil where it is the file as a whole.
    public let position: Position?
    /// What is wrong there.
    public let reason: String

    /// A place in a text file.
    public struct Position: Hashable, Sendable {
        /// 1 for the first line.
        public let line: Int
        /// 1 for the first character.
        public let column: Int

        /// This place.
        package init(line: Int, column: Int) {
            self.line = line
            self.column = column
        }
    }

    package init(file: String?, position: Position?, reason: String) {
        self.file = file
        self.position = position
        self.reason = reason
    }
}

extension ConfigurationError: CustomStringConvertible {
    /// The message: `card.yaml:7:3: …`, lower case, one line.
    public var description: String {
        guard let file else { return reason }
        return "\(file):\(position.map { "\($0.line):\($0.column):" } ?? "") \(reason)"
    }
}
