import CommandOutput
package import FlashEvents
package import GPIO
import HostTools
import LinuxHost
package import Inventory

/// How long a reset_command may take.
private let resetCommandLimit = Duration.seconds(60)

/// Checks that a target's line is there and free. Nothing is requested, so nothing changes: a request would make a line
/// that is driven an input. A command is only known when it runs.
///
/// - Returns: the line; nil where the target has none.
@discardableResult
package func checkResetLine(of target: Target) throws -> LineDescription? {
    guard let gpio = target.gpio else { return nil }
    let line = try findLine(gpio.reference)
    guard !line.isUsed else { throw GPIOError.busy(line: line.place, consumer: line.consumer) }
    logFound(line, of: target)
    if line.isForgotten {
        Log.shared.line(
            "warning: \(line.place) is driven, but nobody uses it: \(target.displayName) may be held in reset; "
                + "its next reset ends that", .warning)
    }
    return line
}

/// Resets a target in one of the ways that its row has.
package func resetTarget(_ target: Target, by method: ResetMethod, hold: Duration?) async throws {
    switch method {
    case .line(let gpio):
        try await pulse(
            try findLine(gpio.reference), hold: hold ?? .milliseconds(Int64(target.resetHoldMilliseconds)))
    case .command:
        guard let command = target.resetCommand else { return }
        try await ShellCommand(command).run(within: resetCommandLimit)
    }
}

/// What was found of a target, for who looks closely.
package func logFound(_ target: Target, in inventory: Inventory) {
    let resets = [
        target.gpio.map { "GPIO line \($0) held for \(target.resetHoldMilliseconds) ms" },
        target.resetCommand.map { "reset_command '\($0)'" },
    ].compactMap(\.self)
    Log.shared.line(
        "target \(target.displayName): \(inventory.file):\(target.line), \(target.mac), \(target.ip), server "
            + "\(target.server), \(resets.isEmpty ? "no reset" : resets.joined(separator: ", "))", .detail)
}

/// The same for its line.
package func logFound(_ line: LineDescription, of target: Target) {
    let name = line.name.isEmpty ? "" : " (\(line.name))"
    Log.shared.line(
        "target \(target.displayName): RESET is \(line.place)\(name) on \(line.chip.label), free, an "
            + (line.isOutput ? "output that was left driven" : "input"), .detail)
}
