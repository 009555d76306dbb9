import ArgumentParser
import Dispatch
import Flashing
import Glibc
import SystemPackage

/// The server side: flash a target, reset it, look at the inventory.
@main
struct RPiFlash: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rpiflash",
        abstract: "Flash Raspberry Pis over the network and prove that it worked.",
        discussion: """
            EXAMPLES
              rpiflash targets
              rpiflash flash raspios.img camera-1
              rpiflash flash raspios.img 192.168.1.51 --no-wait
              rpiflash reset camera-1

            EXIT STATUS
            \(ExitStatus.table)
            """,
        version: "0.1.0",
        subcommands: [FlashCommand.self, ResetCommand.self, TargetsCommand.self])

    /// Parses, runs and maps to an exit status. Ctrl-C, SIGTERM and SIGHUP cancel, so that RESET is released and what was
    /// staged is removed.
    static func main() async {
        signal(SIGPIPE, SIG_IGN)
        let work = Task {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        }
        let signals = [SIGINT, SIGTERM, SIGHUP].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { @Sendable in work.cancel() }
            source.resume()
            return source
        }
        let result = await work.result
        signals.forEach { $0.cancel() }
        switch result {
        case .success:
            Glibc.exit(ExitStatus.proven.rawValue)
        case .failure(is CancellationError):
            Log.error("interrupted: cleaned up, RESET released")
            Glibc.exit(ExitStatus.interrupted.rawValue)
        case .failure(let failure as FlashFailure):
            Log.error(failure.reason)
            Glibc.exit(failure.status.rawValue)
        case .failure(let error) where exitCode(for: error) == .failure:
            Log.error("\(error)")
            Glibc.exit(ExitStatus.server.rawValue)
        case .failure(let error):
            exit(withError: error)
        }
    }
}

extension ExitStatus {
    /// The table in `--help`.
    static var table: String {
        allCases.map { status in
            let number = String(status.rawValue)
            return String(repeating: " ", count: 5 - number.count) + "\(number)  \(status.meaning)"
        }.joined(separator: "\n")
    }
}

/// Standard error: the log. Standard output has results only.
enum Log {
    static func note(_ message: String) { write("rpiflash: \(message)\n") }
    static func warning(_ message: String) { write("rpiflash: warning: \(message)\n") }
    /// Messages of several lines (an inventory's errors) keep their lines.
    static func error(_ message: String) { write("rpiflash: error: \(message)\n") }

    static func write(_ text: String) {
        // A closed standard error is no reason for another status.
        _ = try? FileDescriptor.standardError.writeAll(printable(text).utf8)
    }

    /// Control characters of a target's or a file's text would move the terminal's cursor (law 7).
    private static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.map {
                    ($0.value < 0x20 && $0 != "\n" && $0 != "\r") || $0.value == 0x7f
                        || (0x80..<0xa0).contains($0.value)
                        ? "?" : $0
                }))
    }
}
