/// What is wrong in a configuration file, and where.
package struct ConfigurationError: Error, Hashable, Sendable {
    /// The file's name; nil where something else is wrong than the file: an option, an image.
    package let file: String?
    /// Where in it; nil where it is the file as a whole.
    package let position: Position?
    /// What is wrong there.
    package let reason: String

    /// A place in a text file.
    package struct Position: Hashable, Sendable {
        /// 1 for the first line.
        package let line: Int
        /// 1 for the first character.
        package let column: Int

        /// This place.
        package init(line: Int, column: Int) { (self.line, self.column) = (line, column) }
    }

    package init(file: String?, position: Position?, reason: String) {
        (self.file, self.position, self.reason) = (file, position, reason)
    }
}

extension ConfigurationError: CustomStringConvertible {
    /// The message: `card.yaml:7:3: …`, lower case, one line.
    package var description: String {
        guard let file else { return reason }
        return "\(file):\(position.map { "\($0.line):\($0.column):" } ?? "") \(reason)"
    }
}
