import CommandOutput
import Configuration
import FlashEvents
import Flashing
import LinuxHost
import ImageStore
package import Inventory
import OSImage
import Synchronization
import SystemPackage
import TFTP
import TFTPServer
import TFTPService

extension ServerChoice {
    /// The real servers.
    ///
    /// - Parameters:
    ///   - listen: where to serve; nil: through the service if it runs, else the usual place.
    ///   - service: the service's socket.
    ///   - share: what the flashes of the run have in common.
    static func real(
        root: FilePath, target: Target, listen: ListenAddress?, service: FilePath, share: FlashShare,
        windows: KnownWindows = .none
    ) -> ServerChoice {
        let (place, others) = (listen ?? .usual, share.others(than: target))
        let find: @Sendable () throws -> Service? = {
            do {
                guard let client = try ServiceClient.connect(to: service) else { return nil }
                return Service(
                    root: client.root, servesRoot: client.serves(root),
                    server: ServiceServing(client: client, socket: service, others: others, windows: windows))
            } catch let error as ServiceError {
                throw FlashError.server(error.description)
            }
        }
        return ServerChoice(
            service: listen == nil ? find : nil,
            bind: {
                do throws(TFTPServerError) {
                    return SharedServing(
                        server: try await share.server(root: root, listen: place), host: place.host,
                        folder: target.mac.description, others: others, windows: windows)
                } catch {
                    if case .addressInUse = error { return nil }
                    throw FlashError.server(error.description)
                }
            },
            other: {
                // On all addresses: the one that the target sees is the one that counts.
                let host = place.host == "0.0.0.0" ? localAddress(towards: target.ip.description) : place.host
                return host.map { OtherServer(host: $0, port: place.port) }
            })
    }
}

private func servedFolder(_ files: JobFiles, _ target: Target, _ windows: KnownWindows) -> ServedFolder {
    var sources = Dictionary(uniqueKeysWithValues: files.names.map { ($0, ServedFolder.Source.folder) })
    if let ranged = files.ranged {
        sources[ranged.name] = SharedFile(duplicating: ranged.image.descriptor.rawValue).map { .open($0) }
    }
    return ServedFolder(
        folder: files.folder, files: sources, ranged: files.ranged.map { [$0.name] } ?? [], entry: files.entry,
        address: target.ip.description, windows: windows.before ?? WindowMemory())
}

/// What the flashes of a run have in common: the image, opened and prepared once, and our own server, bound once.
package actor FlashShare {
    private let folders: Set<String>
    /// The prepared image, without the settings of a target.
    private(set) var image: PreparedImage?
    private var opened: ImageReader?
    private let shared = SharedServer<TFTPServer>()

    package init(_ targets: [Target]) { folders = Set(targets.map(\.mac.description)) }

    func keep(_ image: PreparedImage) { self.image = image }

    /// The run's image.
    func open(_ path: FilePath) throws(FlashError) -> ImageReader {
        if let opened, opened.path == path { return opened }
        let image = try openImage(path)
        opened = image
        return image
    }

    /// The folders of the other targets.
    nonisolated func others(than target: Target) -> Set<String> { folders.subtracting([target.mac.description]) }

    /// The server that has the port, started where it is not; it stays until ``close()``.
    func server(root: FilePath, listen: ListenAddress) async throws(TFTPServerError) -> TFTPServer {
        try await shared.server { () async throws(TFTPServerError) in
            try await TFTPServer.start(root: root.string, host: listen.host, port: listen.port)
        }
    }

    /// Frees the port.
    package func close() async { await shared.close() }
}

/// Our own server, in this process, for one of its targets.
private struct SharedServing: OwnServer {
    let server: TFTPServer
    let host: String
    let folder: String
    let others: Set<String>
    let windows: KnownWindows

    var address: String { "\(host):\(server.port)" }

    func serve(_ files: JobFiles, to target: Target) throws -> any TransferEvents {
        EventQueue(server.add(servedFolder(files, target, windows)), others: others, windows: windows)
    }

    func stop() async { server.remove(folder: folder) }
}

/// The service that runs on this host.
private struct ServiceServing: OwnServer {
    let client: ServiceClient
    let socket: FilePath
    let others: Set<String>
    let windows: KnownWindows

    var address: String { "the rpiflash service (\(socket))" }
    var reader: StagedFileReader { .group }

    func serve(_ files: JobFiles, to target: Target) throws -> any TransferEvents {
        let events = try client.register(
            folder: files.folder, files: files.names, entry: files.entry, image: files.ranged?.name,
            imageFile: files.ranged?.image.descriptor,
            address: target.ip.description, windows: windows.before)
        return EventQueue(
            events, lost: "the rpiflash service ended; see its log", others: others, windows: windows)
    }

    func stop() async { client.close() }
}

/// Holds events until they are asked for.
private final class EventQueue: TransferEvents {
    private let events = Mutex<[(event: TransferEvent, at: MonotonicInstant)]>([])
    private let others: Set<String>
    private let windows: KnownWindows

    /// - Parameters:
    ///   - lost: what the end of the events means where nobody here brought it about; nil where only we do.
    ///   - others: folders of other targets of this run: what is refused of them says nothing of this one.
    ///   - windows: told what the server learns of the target's window.
    init(
        _ stream: AsyncStream<TimedTransferEvent>, lost: String? = nil, others: Set<String> = [], windows: KnownWindows
    ) {
        (self.others, self.windows) = (others, windows)
        Task {
            for await event in stream { add(event) }
            if let lost { events.withLock { $0.append((.lost(lost), .now)) } }
        }
    }

    private func add(_ timed: TimedTransferEvent) {
        if let learned = timed.windows { windows.learned(learned) }
        // What others of this run are refused says nothing of this target.
        if case .refused(let path, _, _) = timed.event, others.contains(where: { path.contains($0) }) { return }
        events.withLock { $0.append((timed.event, timed.instant)) }
    }

    func take() -> [AgedEvent] {
        let taken = events.withLock { events in
            defer { events = [] }
            return events
        }
        let now = MonotonicInstant.now
        return taken.map { AgedEvent($0.event, age: $0.at.duration(to: now)) }
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

    func watch(_ folder: FilePath) throws -> any TransferEvents {
        WatchedFolder(folder: folder, watch: try FolderWatch(folder))
    }
}

/// What another server does, seen through the files of the folder.
private struct WatchedFolder: TransferEvents {
    let folder: FilePath
    let watch: FolderWatch

    func take() -> [AgedEvent] {
        // inotify has no times, and nothing is measured with another server: it does not tell when the target has a file.
        watch.take().compactMap { event -> TransferEvent? in
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
        }.map { AgedEvent($0, age: .zero) }
    }
}
