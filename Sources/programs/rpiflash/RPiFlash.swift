import FlashEvents
import ArgumentParser
import CommandOptions
import CommandOutput
import Flashing
import Glibc
import LinuxHost
import SystemPackage
import Wiring

/// The server side: flashes targets, resets them, lists them.
@main
struct RPiFlash: AsyncParsableCommand {
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "rpiflash",
        abstract: "Flash Raspberry Pis over the network.",
        discussion: """
            EXAMPLES
              rpiflash doctor
              rpiflash targets
              rpiflash flash raspios.img.xz pi-left
              rpiflash flash raspios.img.xz --tag camera --canary
              rpiflash flash raspios.img 192.168.1.20 --wait-port 80 --tftp-root /srv/tftp
              rpiflash plan raspios.img.xz
              rpiflash images
              rpiflash reset b8:27:eb:3d:60:b9
              rpiflash gpio

            \(exitCodes)
            """,
        version: version,
        subcommands: [
            FlashCommand.self, PlanCommand.self, ImagesCommand.self, ResetCommand.self, TargetsCommand.self,
            GPIOCommand.self, ServeCommand.self, DoctorCommand.self, RunsCommand.self, ConsoleCommand.self,
            UpgradeCommand.self, KeysCommand.self, WebCommand.self,
        ])

    static let exitCodes = """
        EXIT STATUS
          0    done; for flash: proven, the target wrote exactly what it was to
          1    flashed and proven, but the target did not come up in time
          2    the target reported FAILED
          3    the target asked for the image, but no outcome came in time
          4    the target's count differs from what was to be written, or is not proof
          5    the target did not ask for the image after any reset
          6    the inventory is missing or invalid
          7    the image is missing or unfit
          8    the target is unknown, or another server's
          9    trouble on this server: port, disk, lock, GPIO, reset command, or its output could not be written
          64   wrong usage
          130  interrupted; cleaned up, RESET released

        Of several targets the worst counts, which is the highest number.
        """

    /// Parses, runs and maps to an exit status. SIGINT, SIGTERM and SIGHUP cancel, so that clean-up runs.
    static func main() async {
        StandardOutput.prepare()
        var status = await perform()
        do throws(StandardOutputError) {
            try StandardOutput.finish()
        } catch {
            Log.shared.line(error.description, .error)
            // What went wrong before that says more.
            if status == 0 { status = unnamed }
        }
        Glibc.exit(status)
    }

    /// - Returns: the exit status.
    private static func perform() async -> Int32 {
        do {
            try ArgumentError.check()
        } catch {
            Log.shared.line(error.description, .error)
            return ExitCode.validationFailure.rawValue
        }
        do {
            try await Interruption.withCancellation { name in
                Log.shared.line("\(name): cleaning up")
            } _: {
                var command = try parseAsRoot()
                if var asynchronous = command as? any AsyncParsableCommand {
                    try await asynchronous.run()
                } else {
                    try command.run()
                }
            }
            return 0
        } catch is CancellationError {
            Log.shared.line(Verdict.interruptedText, .error)
            return Verdict.interruptedStatus
        } catch let error as FlashError {
            // Only an inventory has several mistakes; elsewhere a line end is not ours.
            if case .inventory(let text) = error {
                for line in text.split(separator: "\n") { Log.shared.line(String(line), .error) }
            } else {
                Log.shared.line(error.description, .error)
            }
            return error.exitCode
        } catch  where isUnnamed(error) {
            Log.shared.line("\(error)", .error)
            return unnamed
        } catch {
            Log.shared.finish()
            return tell(error)
        }
    }

    /// Prints help, a version, or what is wrong with the arguments; an exit status that was chosen has no text.
    private static func tell(_ error: any Error) -> Int32 {
        let (text, code) = (fullMessage(for: error), exitCode(for: error))
        if !text.isEmpty {
            if code.isSuccess {
                print(text)
            } else {
                _ = try? FileDescriptor.standardError.writeAll((text + "\n").utf8)
            }
        }
        return code.rawValue
    }

    /// The exit status for what no other error names. Never ArgumentParser's 1, which says that a target is proven.
    private static let unnamed = FlashError.server("").exitCode

    /// Whether ArgumentParser knows an error neither as wrong usage nor as an exit status that was chosen.
    private static func isUnnamed(_ error: any Error) -> Bool {
        !(error is ExitCode) && exitCode(for: error) == .failure
    }

    /// The exit status for an error, and its sentence.
    static func ending(_ error: any Error) -> (status: Int32, text: String) {
        switch error {
        case is CancellationError: (Verdict.interruptedStatus, Verdict.interruptedText)
        case let error as FlashError: (error.exitCode, error.description)
        case let error where isUnnamed(error): (unnamed, "\(error)")
        default: (exitCode(for: error).rawValue, message(for: error))
        }
    }
}
