import ArgumentParser
import CommandOutput
import Flashing
import GPIO
import HostTools
import Inventory

/// How much of a log there is.
struct LogOptions: ParsableArguments {
    @Flag(name: .shortAndLong, help: "Log nothing but warnings and errors.")
    var quiet = false

    @Flag(
        name: .shortAndLong,
        help: "Log more: what was found out of the target, what is sent from where, each file, and how long steps take."
    )
    var verbose = false

    func validate() throws {
        if quiet, verbose { throw ValidationError("--quiet and --verbose exclude each other") }
    }

    /// From here on the log is like this.
    func apply() { Log.shared.verbosity = quiet ? .quiet : verbose ? .verbose : .normal }
}

/// What was found of a target, for who looks closely.
func logFound(_ target: Target, in inventory: Inventory) {
    let resets = [
        target.gpio.map { "GPIO line \($0) held for \(target.resetHoldMilliseconds) ms" },
        target.resetCommand.map { "reset_command '\($0)'" },
    ].compactMap(\.self)
    Log.shared.line(
        "target \(target.displayName): \(inventory.file):\(target.line), \(target.mac), \(target.ip), server "
            + "\(target.server), \(resets.isEmpty ? "no reset" : resets.joined(separator: ", "))", .detail)
}

/// The same for its line.
func logFound(_ line: LineDescription, of target: Target) {
    let name = line.name.isEmpty ? "" : " (\(line.name))"
    Log.shared.line(
        "target \(target.displayName): RESET is \(line.place)\(name) on \(line.chip.label), free, an "
            + (line.isOutput ? "output that was left driven" : "input"), .detail)
}
