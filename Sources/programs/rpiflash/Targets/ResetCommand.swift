import FlashEvents
import ArgumentParser
import CommandOptions
import CommandOutput
import Configuration
import Flashing
import GPIO
import Inventory
import Wiring

/// `rpiflash reset`.
struct ResetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset", abstract: "Reset a target: through its GPIO line, else its reset_command.",
        discussion: """
            EXAMPLES
              rpiflash reset pi-left
              rpiflash reset 192.168.1.20 --hold 500ms
              rpiflash reset pi-left --dry-run
            """)

    @OptionGroup var target: TargetOptions

    @Option(help: ArgumentHelp("How long RESET is held, instead of the row's time: 1ms to 60s.", valueName: "time"))
    var hold: TimeOption?

    @OptionGroup var dryRun: DryRunOptions

    @OptionGroup var end: EndOptions

    @OptionGroup var log: LogOptions

    func validate() throws {
        guard let hold else { return }
        guard hold.duration >= .milliseconds(1), hold.duration <= .seconds(60) else {
            throw ValidationError("--hold is \(hold.defaultValueDescription); must be 1ms to 60s")
        }
    }

    func run() async throws {
        log.apply()
        end.apply()
        let row = try target.find()
        if hold != nil, row.gpio == nil {
            throw FlashError.server("--hold: target \(row.displayName) is reset by a command, which has its own time")
        }
        do {
            if dryRun.isOn {
                let line = try checkResetLine(of: row)
                print(
                    "\(row.displayName) (\(row.mac), \(row.ip)): would be reset \(Self.way(row, line, hold?.duration))")
                return
            }
            try checkResetLine(of: row)
            for method in row.resetMethods.prefix(1) {
                try await resetTarget(row, by: method, hold: hold?.duration)
            }
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            throw FlashError.server("cannot reset target \(row.displayName): \(error)")
        }
        print("\(row.displayName) (\(row.mac), \(row.ip)): reset")
    }

    private static func way(_ row: Target, _ line: LineDescription?, _ hold: Duration?) -> String {
        if let line {
            let hold = hold ?? .milliseconds(Int64(row.resetHoldMilliseconds))
            let name = line.name.isEmpty ? "" : " (\(line.name))"
            return "through line \(line.place)\(name), held for \(TimeOption(hold).defaultValueDescription)"
        }
        return "by its command: \(sanitized(row.resetCommand ?? ""))"
    }
}
