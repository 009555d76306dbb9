/// What one check found.
package struct Finding: Hashable, Encodable, Sendable {
    /// What it means for a flash.
    package enum Level: String, Encodable, Sendable {
        /// As it should be.
        case ok
        /// A flash works without it.
        case note
        /// A flash fails.
        case bad
    }

    /// What it means for a flash.
    package let level: Level
    /// What was checked, a word or two.
    package let topic: String
    /// What was found, and how to fix it where it is not right.
    package let text: String

    package init(_ level: Level, _ topic: String, _ text: String) {
        (self.level, self.topic, self.text) = (level, topic, text)
    }
}
