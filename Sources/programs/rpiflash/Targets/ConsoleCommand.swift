import ArgumentParser
import CommandOptions
import CommandOutput
import Configuration
import Flashing
import LinuxHost
import Inventory
import RunRecords
import Synchronization
import SystemPackage
import TargetConsole
import Wiring

/// `rpiflash console`.
struct ConsoleCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "console",
        abstract: "Watch a target's console.",
        discussion: """
            Prints what the target's console says, a line at a time, until Ctrl-C. While the target is flashed, that is \
            what its run keeps, from the run's beginning on; else it comes from the serial port that its row names, or over \
            the network: U-Boot sends its console here where rpiflash.env on the card's partition 1 has netconsole= with \
            this server's address, and during every flash by plan. Nothing is ever sent to the target. Control characters \
            are shown as \\x1b and the like.

            EXAMPLES
              rpiflash console pi-left
              rpiflash console pi-left --for 2m
              rpiflash runs show pi-left --console
            """)

    @OptionGroup var target: TargetOptions

    @OptionGroup var runs: RunsOptions

    @OptionGroup var end: EndOptions

    @OptionGroup var log: LogOptions

    @Option(name: .customLong("for"), help: ArgumentHelp("End after this time.", valueName: "time"))
    var limit: TimeOption?

    /// How often is looked whether a run begins, or has gone on.
    private static let interval = Duration.milliseconds(200)

    func run() async throws {
        log.apply()
        end.apply()
        let row = try target.find()
        let clock = ContinuousClock()
        let end = limit.map { clock.now + $0.duration }
        var watch = ConsoleWatch(row: row, store: runs.store)
        do {
            // Nobody reads what would come.
            while end.map({ clock.now < $0 }) ?? true, !StandardOutput.hasFailed {
                try watch.check()
                try await clock.sleep(for: Self.interval)
            }
        } catch is CancellationError {
            // Who watches ends it that way.
        }
        watch.finish()
    }
}
