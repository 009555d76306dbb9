import ArgumentParser
import Dispatch
import Glibc
import HostTools
import SystemPackage

/// The build side: layouts, boot scripts and recovery card images.
@main
struct RPiFlashGen: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rpiflash-gen",
        abstract: "Compute card layouts, render boot scripts and make recovery card images.",
        discussion: """
            EXAMPLES
              rpiflash-gen layout
              rpiflash-gen bootscr --board rpi_arm64 --server-ip 192.168.1.10 -o boot.scr
              rpiflash-gen recovery-image --board rpi_arm64 --server-ip 192.168.1.10
              rpiflash-gen check-image raspios.img.xz

            EXIT STATUS
              0 done; 1 failed, with one message on standard error; 64 wrong usage; 130 interrupted, nothing left behind.
            """,
        subcommands: [
            LayoutCommand.self, BootScriptCommand.self, RecoveryImageCommand.self, CheckImageCommand.self,
        ])

    /// Parses, runs and maps to an exit status. Ctrl-C and SIGTERM cancel, so that clean-up runs.
    static func main() async {
        let work = Task {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        }
        let signals = [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { @Sendable in work.cancel() }
            source.resume()
            return source
        }
        signal(SIGPIPE, SIG_IGN)
        let result = await work.result
        signals.forEach { $0.cancel() }
        switch result {
        case .success:
            Glibc.exit(0)
        case .failure(is CancellationError):
            report("interrupted; nothing is left of it")
            Glibc.exit(130)
        case .failure(let error) where exitCode(for: error) == .failure:
            report("\(error)")
            Glibc.exit(1)
        case .failure(let error):
            exit(withError: error)
        }
    }

    static func report(_ message: String) { log(Palette.standardError.paint(message, .bad)) }

    /// Names what is made of which files: a working folder has no part in it, and options may name others.
    static func use(_ places: String) { log("using \(places)") }

    /// What is good to know, and is no error.
    static func note(_ message: String) { log("note: \(message)") }

    private static func log(_ text: String) {
        // A closed standard error is no reason for another status.
        _ = try? FileDescriptor.standardError.writeAll("rpiflash-gen: \(text)\n".utf8)
    }
}
