package import Inventory

/// A way to reset a target.
package enum ResetMethod: Hashable, Sendable, CustomStringConvertible {
    /// Pulls its RESET line low through this GPIO line.
    case line(GPIOLine)
    /// Runs the row's reset_command.
    case command

    /// As messages name it.
    package var description: String {
        switch self {
        case .line(let line): "GPIO line \(line)"
        case .command: "reset_command"
        }
    }
}

extension Target {
    /// The ways to reset it that its row has, the first the one to take: the line, then the command.
    package var resetMethods: [ResetMethod] {
        (gpio.map { [.line($0)] } ?? []) + (resetCommand == nil ? [] : [.command])
    }

    /// The resets of a flash, one after the other for as long as the target does not ask for its image: the first way
    /// twice, since a single reset may be missed, then the other one.
    package var resetAttempts: [ResetMethod] { resetMethods.prefix(1) + resetMethods }
}
