import ArgumentParser
import CommandOutput
import Configuration
import Dispatch
import Glibc
import LinuxHost
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
              0 done; 1 failed or the output could not be written, with one message on standard error; 64 wrong usage; 130 interrupted, nothing left behind.
            """,
        subcommands: [
            LayoutCommand.self, BoardCommand.self, BootScriptCommand.self, RecoveryImageCommand.self,
            CheckImageCommand.self,
        ])

    /// Parses, runs and maps to an exit status. Ctrl-C and SIGTERM cancel, so that clean-up runs.
    static func main() async {
        StandardOutput.prepare()
        var status = await perform()
        do throws(StandardOutputError) {
            try StandardOutput.finish()
        } catch {
            report(error.description)
            if status == 0 { status = 1 }
        }
        Glibc.exit(status)
    }

    /// - Returns: the exit status.
    private static func perform() async -> Int32 {
        do {
            try ArgumentError.check()
        } catch {
            report(error.description)
            return ExitCode.validationFailure.rawValue
        }
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
        let result = await work.result
        signals.forEach { $0.cancel() }
        switch result {
        case .success:
            return 0
        case .failure(is CancellationError):
            report("interrupted; nothing is left of it")
            return 130
        case .failure(let error) where exitCode(for: error) == .failure:
            report("\(error)")
            return 1
        case .failure(let error):
            return tell(error)
        }
    }

    /// Prints help, a version, or what is wrong with the arguments.
    private static func tell(_ error: any Error) -> Int32 {
        let (text, code) = (fullMessage(for: error), exitCode(for: error))
        if code.isSuccess {
            print(text)
        } else {
            _ = try? FileDescriptor.standardError.writeAll((text + "\n").utf8)
        }
        return code.rawValue
    }

    static func report(_ message: String) { log(Palette.standardError.paint(sanitizedLines(message), .error)) }

    /// Names what is made of which files: a working folder has no part in it, and options may name others.
    static func use(_ places: String) { log("using \(places)") }

    /// What is good to know, and is not an error.
    static func note(_ message: String) { log("note: \(sanitizedLines(message))") }

    private static func log(_ text: String) {
        // A closed standard error is no reason for another status.
        _ = try? FileDescriptor.standardError.writeAll("rpiflash-gen: \(text)\n".utf8)
    }
}
