import FlashEvents
import ArgumentParser
import CommandOptions
import CommandOutput
import Flashing
import Glibc
import LinuxHost
import SystemPackage
import TFTP
import TFTPServer
import TFTPService
import Wiring

/// `rpiflash serve`.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run the TFTP server as a service, for any number of flashes at a time.",
        discussion: """
            rpiflash flash finds the service through its Unix socket and has it serve; without a service it serves by \
            itself, one flash at a time. The service hands out nothing without a job, and writes nothing to disk: what a \
            target uploads goes to its job. Under systemd it takes its sockets from rpiflash-serve.socket and needs no \
            rights of its own.

            SIGTERM and SIGINT end it and its jobs; at SIGHUP it ends as soon as no job is left, so that an updated \
            program takes over.

            EXAMPLES
              rpiflash serve --root /srv/tftp
              rpiflash serve --root /srv/tftp --dry-run
              rpiflash serve --listen 192.168.1.10 --socket /run/rpiflash/serve.sock
            """)

    @Option(help: ArgumentHelp("The folder that TFTP serves.", valueName: "folder"))
    var root = "/srv/tftp"

    @Option(help: ArgumentHelp("Where to serve: an IPv4 address, or address:port.", valueName: "addr"))
    var listen = ListenAddress(host: "0.0.0.0", port: 69)

    @Option(help: ArgumentHelp("The Unix socket through which flashes come.", valueName: "path"))
    var socket = defaultServiceSocket.string

    @OptionGroup var dryRun: DryRunOptions

    @OptionGroup var log: LogOptions

    func run() async throws {
        log.apply()
        guard !dryRun.isOn else { return try await reportDryRun() }
        let root = FilePath(root)
        // Before anything listens: a reload that comes early must not end a job.
        let clients = ClientCount()
        let hangup = Interruption.onHangup {
            Log.shared.line("SIGHUP: ending when no job is left")
            clients.endWhenIdle()
        }
        let server: TFTPServer
        let control: FileDescriptor
        let path: FilePath?
        do {
            let activation = try ActivationSockets(
                process: environmentValue("LISTEN_PID"), count: environmentValue("LISTEN_FDS"))
            if activation.stream != nil { throw FlashError.server("a ListenStream of systemd is for rpiflash web") }
            if let datagram = activation.datagram {
                server = try await TFTPServer.start(root: root.string, socket: datagram.rawValue)
            } else {
                server = try await TFTPServer.start(root: root.string, host: listen.host, port: listen.port)
            }
            path = activation.control == nil ? FilePath(socket) : nil
            control = try activation.control ?? listenForJobs()
        } catch let error as FlashError {
            throw error
        } catch {
            throw FlashError.server("\(error)")
        }
        let service = Service(socket: control, path: path, server: server, root: root) { event in
            if let (text, level) = Self.line(event) { Log.shared.line(text, level) }
            clients.follow(event)
        }
        do throws(Errno) {
            try service.start()
        } catch {
            throw FlashError.server("cannot start a thread for the service: \(error)")
        }
        Log.shared.line(
            "serving \(root) on UDP port \(server.port); jobs come through \(path?.string ?? "systemd's socket")")
        // Cancelled by a signal, or done after SIGHUP.
        await clients.ended()
        hangup.cancel()
        service.stop()
        await server.stop()
        Log.shared.line("ended")
    }

    private func listenForJobs() throws(FlashError) -> FileDescriptor {
        let path = FilePath(socket)
        do throws(Errno) {
            return try Service.listen(at: path, mode: [.ownerReadWrite, .groupReadWrite])
        } catch {
            throw Self.cannotListen(at: path, error)
        }
    }

    private static func cannotListen(at path: FilePath, _ error: Errno) -> FlashError {
        switch error {
        case .addressInUse: .server("an rpiflash service listens on \(path) already")
        case .noSuchFileOrDirectory:
            .server("there is no folder \(path.removingLastComponent()) for the socket; make it or give --socket")
        default: .server("cannot listen on \(path): \(error)")
        }
    }

    /// `--dry-run`: binds the port for a moment, looks at the root and at the socket's place, and makes nothing.
    private func reportDryRun() async throws {
        do throws(TFTPServerError) {
            let server = try await TFTPServer.start(root: root, host: listen.host, port: listen.port)
            await server.stop()
        } catch {
            throw FlashError.server("\(error)")
        }
        let path = FilePath(socket)
        do throws(Errno) {
            try Service.checkPlace(path)
        } catch {
            throw Self.cannotListen(at: path, error)
        }
        print("\(root) would be served on UDP \(listen.host):\(listen.port); jobs would come through \(path)")
    }

    /// What a service's log should have of an event; how far transfers are is the flash's news.
    private static func line(_ event: ServiceEvent) -> (String, Log.Level)? {
        switch event {
        case .began(let folder, let address, let process, let user):
            ("\(folder): job for \(address), from process \(process) of user \(user)", .note)
        case .ended(let folder): ("\(folder): job is over", .note)
        case .dropped(let folder, let reason): ("\(folder): job is dropped: \(reason)", .warning)
        case .trouble(let text): (text, .warning)
        case .connected, .disconnected: nil
        case .refused(let reason, let process, let user):
            ("refused a job from process \(process) of user \(user): \(reason)", .warning)
        case .job(let folder, .uploaded(let name, let content)):
            ("\(folder): took \(name), \(content.count) bytes", .note)
        case .job(let folder, .interrupted(let file, let reason)):
            ("\(folder): stopped reading \(file): \(reason)", .note)
        case .job(let folder, .refused(let path, let address, let reason)):
            path.hasSuffix("/flash.scr")
                ? nil : ("\(folder): refused \(address) the file \(path): \(reason)", .note)
        case .job(let folder, .completed(let file, _, let packets, let repeated, let window)):
            ("\(folder): sent \(file): \(packets) packets, \(repeated) of them again, window \(window)", .detail)
        case .job: nil
        }
    }
}
