import DiskLayout
import Flashing
import GPIO
import HostTools
import Inventory
import OSImage
import Synchronization
import SystemPackage
import TFTPServer

/// How long a reset_command may take.
private let resetCommandLimit = Duration.seconds(60)

extension FlashPorts {
    /// The real world.
    static func real(listen: ListenOption) -> FlashPorts {
        FlashPorts(
            inspectImage: { try inspectOSImage(at: $0) },
            checkReset: { try checkResetLine(of: $0) },
            reset: { try await resetTarget($0, by: $1, hold: nil) },
            claimServer: { try await claim(root: $0, target: $1, listen: listen) },
            answers: { try await TCPPort(address: $0.ip.description, port: $1).answers(within: .seconds(2)) })
    }
}

extension GPIOLine {
    /// For the GPIO module, which does not know the inventory.
    var reference: LineReference {
        switch self {
        case .offset(let offset): .offset(offset)
        case .chipOffset(let chip, let offset): .chipOffset(chip: chip, offset: offset)
        case .name(let name): .name(name)
        }
    }
}

/// Checks that a target's line is there and free; a command is only known when it runs.
func checkResetLine(of target: Target) throws {
    guard let gpio = target.gpio else { return }
    let line = try findLine(gpio.reference)
    guard !line.isUsed else { throw GPIOError.busy(line: line.place, consumer: line.consumer) }
}

/// Resets a target in one of the ways that its row has.
func resetTarget(_ target: Target, by method: ResetMethod, hold: Duration?) async throws {
    switch method {
    case .line(let gpio):
        try await pulse(
            try findLine(gpio.reference), hold: hold ?? .milliseconds(Int64(target.resetHoldMilliseconds)))
    case .command:
        guard let command = target.resetCommand else { return }
        try await ShellCommand(command).run(within: resetCommandLimit)
    }
}

private func claim(root: FilePath, target: Target, listen: ListenOption) async throws -> ClaimedServer {
    do throws(TFTPServerError) {
        return .own(try await Serving(root: root, listen: listen))
    } catch {
        guard case .addressInUse = error else { throw FlashError.server(error.description) }
        // On all addresses: the one that the target sees is the one that counts.
        let host = listen.host == "0.0.0.0" ? localAddress(towards: target.ip.description) : listen.host
        guard let host else { throw FlashError.server("there is no way to \(target.ip) from this host") }
        return .foreign(OtherServer(host: host, port: listen.port))
    }
}

/// Our own server.
private struct Serving: OwnServer {
    private let server: TFTPServer
    let address: String

    init(root: FilePath, listen: ListenOption) async throws(TFTPServerError) {
        server = try await TFTPServer.start(root: root.string, host: listen.host, port: listen.port)
        address = "\(listen.host):\(server.port)"
    }

    func serve(folder: String, files: Set<String>, to target: Target) -> any ServeEvents {
        let events = server.add(Job(folder: folder, files: files, address: target.ip.description))
        let queue = EventQueue()
        Task { for await event in events { queue.add(event) } }
        return queue
    }

    func stop() async { await server.stop() }
}

/// Holds events until they are asked for.
private final class EventQueue: ServeEvents {
    private let events = Mutex<[ServeEvent]>([])

    func add(_ event: ServerEvent) {
        let own: ServeEvent? =
            switch event {
            case .opened(let file, _, _): .opened(file: file)
            case .progress(let file, let bytes): .progress(file: file, bytes: bytes)
            case .sent(let file): .sent(file: file)
            case .completed(let file, _, let sent, let repeated):
                .completed(file: file, packets: sent, repeated: repeated)
            case .interrupted(let file, let reason): .interrupted(file: file, reason: reason)
            case .uploaded(let name, let content): .uploaded(name: name, content: content)
            // A target asks for a plan first; that there is none is no news.
            case .refused(let path, _, _) where path.hasSuffix("/flash.scr"): .activity
            case .refused(let path, let address, let reason): .refused("refused \(address) the file \(path): \(reason)")
            }
        if let own { events.withLock { $0.append(own) } }
    }

    func take() -> [ServeEvent] {
        events.withLock { events in
            defer { events = [] }
            return events
        }
    }
}

/// A server that was there before.
private struct OtherServer: ForeignServer {
    let host: String
    let port: Int

    var address: String { "\(host):\(port)" }

    func read(_ path: String) async -> ProbeAnswer { answer(await ServerProbe(host: host, port: port).read(path)) }

    func write(_ path: String, content: [UInt8]) async -> ProbeAnswer {
        answer(await ServerProbe(host: host, port: port).write(path, content: content))
    }

    private func answer(_ answer: ServerProbe.Answer) -> ProbeAnswer {
        switch answer {
        case .content(let bytes): .content(bytes)
        case .taken: .taken
        case .refused(let code, let message): .refused(message.isEmpty ? "error \(code)" : message)
        case .silence: .silence
        }
    }

    func watch(_ folder: FilePath) throws -> any ServeEvents {
        WatchedFolder(folder: folder, watch: try FolderWatch(folder))
    }
}

/// What another server does, seen through the files of the folder.
private struct WatchedFolder: ServeEvents {
    let folder: FilePath
    let watch: FolderWatch

    func take() -> [ServeEvent] {
        watch.take().compactMap { event in
            switch event {
            case .opened(let name): .opened(file: name)
            case .read: .activity
            case .closed(let name): .sent(file: name)
            case .written(let name):
                // Made empty before the reset; empty once more is an upload that broke off and will be repeated.
                if let content = readUpload(folder.appending(name)), !content.isEmpty {
                    .uploaded(name: name, content: content)
                } else {
                    .activity
                }
            }
        }
    }
}
