import BootScript
import DiskLayout
import FlashPlan
import Flashing
import GPIO
import HostTools
import ImageStore
import Inventory
import LinuxHost
import OSImage
import RunRecords
import Synchronization
import SystemPackage
import TFTPServer
import TFTPService

/// How long a reset_command may take.
private let resetCommandLimit = Duration.seconds(60)

extension FlashPorts {
    /// The real world.
    ///
    /// - Parameter share: what the flashes of several targets have in common; nil for one alone.
    static func real(
        listen: ListenOption?, service: FilePath, store: FilePath, relocation: RelocationRequest?,
        settings: FirstBootSettings?, templates: FilePath, share: FlashShare? = nil, board: String? = nil,
        heardConsole: @escaping @Sendable () -> Bool
    ) -> FlashPorts {
        FlashPorts(
            inspectImage: { try inspectOSImage(at: $0) },
            prepareImage: { image, report in
                let store = ImageStore(at: store)
                var prepared: PreparedImage
                if let known = await share?.image {
                    prepared = known
                } else {
                    prepared = try await prepare(image, relocation, in: store, report: report)
                    await share?.keep(prepared)
                    Console.shared.line("the image's chunks are in \(prepared.folder)", .detail)
                }
                let record = prepared.manifest.relocation
                try checkObstacles(of: prepared, from: image, board: board)
                if let settings {
                    prepared = try await settings.applied(to: prepared, in: store)
                    Console.shared.line("with settings they are in \(prepared.folder)", .detail)
                }
                return try prepared.forFlashing(
                    raw: try isCompressed(image) ? nil : image, remark: record?.summary(of: image))
            },
            renderPlan: { try $0.scriptImage(templates: try planTemplates(in: templates), time: 0) },
            checkReset: { _ = try checkResetLine(of: $0) },
            reset: { try await resetTarget($0, by: $1, hold: nil) },
            claimServer: { try await claim(root: $0, target: $1, listen: listen, service: service, share: share) },
            answers: { try await TCPPort(address: $0.ip.description, port: $1).answers(within: .seconds(2)) },
            heardConsole: heardConsole)
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

/// Checks that a target's line is there and free. Nothing is requested, so nothing changes: a request would make a line
/// that is driven an input. A command is only known when it runs.
///
/// - Returns: the line; nil where the target has none.
@discardableResult
func checkResetLine(of target: Target) throws -> LineDescription? {
    guard let gpio = target.gpio else { return nil }
    let line = try findLine(gpio.reference)
    guard !line.isUsed else { throw GPIOError.busy(line: line.place, consumer: line.consumer) }
    logFound(line, of: target)
    if line.isForgotten {
        Console.shared.line(
            "warning: \(line.place) is driven, but nobody uses it: \(target.displayName) may be held in reset; "
                + "its next reset ends that", .warning)
    }
    return line
}

/// Refuses a prepared image that cannot work on a card, or not on the target's.
///
/// - Parameter board: the board that the target's card was made for; nil where that is not known.
func checkObstacles(of prepared: PreparedImage, from image: FilePath, board: String? = nil) throws(FlashError) {
    guard let relocation = prepared.manifest.relocation,
        let obstacle = relocation.obstacles.first ?? board.flatMap({ relocation.unstartable?[$0] })
    else { return }
    throw .image("\(image): \(obstacle); --as-is flashes it all the same")
}

/// The board that a target's card was made for, by the last report that said so; nil where none did.
func knownBoard(of target: Target, in runs: RunStore) -> String? {
    guard let stored = try? runs.list(mac: target.mac.description) else { return nil }
    return stored.reversed().lazy.compactMap { $0.record?.board?.board }.first
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

/// Refuses templates of flash plans that another user could have written: targets run them.
func checkPlanTemplates(in folder: FilePath) throws(FlashError) {
    for name in ["plan.cmd", "plan-chunk.cmd"] { try checkTrust(of: folder.appending(name)) }
}

private func checkTrust(of path: FilePath) throws(FlashError) {
    do throws(UntrustedFile) {
        try FileTrust.current.check(path)
    } catch {
        throw .server("\(error)")
    }
}

/// The templates of flash plans.
func planTemplates(in folder: FilePath) throws -> PlanTemplates {
    func template(_ name: String) throws -> Template {
        let path = folder.appending(name)
        try checkTrust(of: path)
        guard let content = readFile(path, limit: 1 << 20), let text = String(validating: content, as: UTF8.self)
        else { throw FlashError.server("cannot read the template \(path); give its folder with --templates") }
        return try Template(text, file: path.string)
    }
    return PlanTemplates(plan: try template("plan.cmd"), chunk: try template("plan-chunk.cmd"))
}

/// The number of the boot script that this version's cards get; nil where the template is not there or has none.
func bootScriptNumber(in folder: FilePath) -> UInt64? {
    guard let content = readFile(folder.appending("boot.cmd"), limit: 1 << 20) else { return nil }
    let text = String(decoding: content, as: UTF8.self)
    return text.firstMatch(of: /(?m)^setenv l_script ([0-9a-f]+)$/).flatMap { UInt64($0.output.1, radix: 16) }
}

/// Has the store prepare an image, or finds it there, and says it in the flash's terms.
func prepare(
    _ image: FilePath, _ relocation: RelocationRequest?, in store: ImageStore,
    report: @escaping @Sendable (FlashProgress) -> Void
) async throws -> PreparedImage {
    do {
        return try await store.prepare(image, relocation: relocation) { progress in
            switch progress {
            case .waiting(let holder): report(.note("waiting for \(holder), which prepares the same image"))
            case .unpacking(let progress): report(.unpacking(read: progress.read.bytes, total: progress.total.bytes))
            case .preparing(let done, let total): report(.preparing(bytes: done.bytes, total: total.bytes))
            case .examining, .finishing: break
            }
        }
    } catch let error as ImageStoreError {
        throw FlashError(error)
    }
}

extension FlashError {
    /// What the store says, in the flash's terms.
    init(_ error: ImageStoreError) { self = error.isAboutImage ? .image("\(error)") : .server("\(error)") }
}

/// Whether an image is no raw one.
func isCompressed(_ image: FilePath) throws(FlashError) -> Bool {
    do throws(OSImageError) {
        return try Compression(of: image) != nil
    } catch {
        throw .image("\(error)")
    }
}

extension Manifest.RelocationRecord {
    /// One sentence for the log; nil where there is nothing to say.
    fileprivate func summary(of image: FilePath) -> String? {
        if changed.isEmpty, notes.isEmpty { return nil }
        let files = changed.map { $0.drop { $0 != ":" }.dropFirst() }.joined(separator: ", ")
        let what = files.isEmpty ? "nothing had to be changed for the card" : "changed for the card: \(files)"
        let count = notes.count
        return notes.isEmpty ? what : "\(what) (\(count) note\(count == 1 ? "" : "s"): rpiflash plan \(image))"
    }
}

extension PreparedImage {
    /// - Parameter raw: the image itself where it is not compressed.
    func forFlashing(raw: FilePath?, remark: String?) throws -> ChunkedImage {
        let chunks = try manifest.chunks.map { chunk in
            guard let partition = CardPartition(rawValue: UInt64(chunk.partition)),
                let digest = SHA256Digest(hexadecimal: chunk.sha256)
            else { throw FlashError.server("\(folder) is damaged; remove it with rpiflash images") }
            return ChunkedImage.Chunk(
                place: ChunkPlace(
                    partition: partition, offset: SectorCount(chunk.offset), size: SectorCount(chunk.count)),
                digest: digest, encoding: chunk.encoding == .gzip ? .gzip : .raw,
                encodedSize: ByteCount(chunk.encodedBytes), file: chunk.file, pieces: ByteCount(chunk.pieces))
        }
        return ChunkedImage(
            id: manifest.id,
            layout: try layout(), chunks: chunks, table: ("pieces", ByteCount(manifest.piecesBytes)), raw: raw,
            remark: remark,
            isPrivate: isPrivate, link: { try link($0, to: $1, isForEveryone: $2) })
    }
}

/// Binds the TFTP port, or finds who has it.
func claim(
    root: FilePath, target: Target, listen: ListenOption?, service: FilePath, share: FlashShare?
) async throws -> ClaimedServer {
    // Who says where to serve wants to serve by himself.
    if listen == nil {
        do {
            if let client = try ServiceClient.connect(to: service) {
                guard client.serves(root) else {
                    throw FlashError.server(
                        "the rpiflash service serves \(client.root), not \(root); give --tftp-root \(client.root)")
                }
                return .own(
                    ServiceServing(client: client, socket: service, others: share?.others(than: target) ?? []))
            }
        } catch let error as ServiceError {
            throw FlashError.server(error.description)
        }
    }
    let listen = listen ?? ListenOption(host: "0.0.0.0", port: 69)
    do throws(TFTPServerError) {
        guard let share else { return .own(try await Serving(root: root, listen: listen)) }
        return .own(
            SharedServing(
                server: try await share.server(root: root, listen: listen), host: listen.host,
                folder: target.mac.description, others: share.others(than: target)))
    } catch {
        guard case .addressInUse = error else { throw FlashError.server(error.description) }
        // On all addresses: the one that the target sees is the one that counts.
        let host = listen.host == "0.0.0.0" ? localAddress(towards: target.ip.description) : listen.host
        guard let host else { throw FlashError.server("there is no way to \(target.ip) from this host") }
        return .foreign(OtherServer(host: host, port: listen.port))
    }
}

/// Our own server, in this process.
private struct Serving: OwnServer {
    private let server: TFTPServer
    let address: String

    init(root: FilePath, listen: ListenOption) async throws(TFTPServerError) {
        server = try await TFTPServer.start(root: root.string, host: listen.host, port: listen.port)
        address = "\(listen.host):\(server.port)"
    }

    func serve(_ files: JobFiles, to target: Target) throws -> any ServeEvents {
        EventQueue(server.add(try job(files, target)))
    }

    func stop() async { await server.stop() }
}

private func job(_ files: JobFiles, _ target: Target) throws -> Job {
    var sources = Dictionary(uniqueKeysWithValues: files.names.map { ($0, Job.Source.folder) })
    if let ranged = files.ranged {
        let image = try FileDescriptor.open(ranged.path, .readOnly, options: .closeOnExec)
        defer { try? image.close() }
        sources[ranged.name] = SharedFile(duplicating: image.rawValue).map { .open($0) }
    }
    return Job(
        folder: files.folder, files: sources, ranged: files.ranged.map { [$0.name] } ?? [], entry: files.entry,
        address: target.ip.description)
}

/// What the flashes of several targets have in common: the image, prepared once, and our own server, bound once.
actor FlashShare {
    private let folders: Set<String>
    /// The prepared image, without the settings of a target.
    private(set) var image: PreparedImage?
    private let shared = SharedServer<TFTPServer>()

    init(_ targets: [Target]) { folders = Set(targets.map(\.mac.description)) }

    func keep(_ image: PreparedImage) { self.image = image }

    /// The folders of the other targets.
    nonisolated func others(than target: Target) -> Set<String> { folders.subtracting([target.mac.description]) }

    /// The server that has the port, started where it is not; it stays until ``close()``.
    func server(root: FilePath, listen: ListenOption) async throws(TFTPServerError) -> TFTPServer {
        try await shared.server { () async throws(TFTPServerError) in
            try await TFTPServer.start(root: root.string, host: listen.host, port: listen.port)
        }
    }

    /// Frees the port.
    func close() async { await shared.close() }
}

/// Our own server, for one of several targets.
private struct SharedServing: OwnServer {
    let server: TFTPServer
    let host: String
    let folder: String
    let others: Set<String>

    var address: String { "\(host):\(server.port)" }

    func serve(_ files: JobFiles, to target: Target) throws -> any ServeEvents {
        EventQueue(server.add(try job(files, target)), others: others)
    }

    func stop() async { server.remove(folder: folder) }
}

/// The service that runs on this host.
private struct ServiceServing: OwnServer {
    let client: ServiceClient
    let socket: FilePath
    let others: Set<String>

    var address: String { "the rpiflash service (\(socket))" }
    var reader: StagedFileReader { .group }

    func serve(_ files: JobFiles, to target: Target) throws -> any ServeEvents {
        let image = try files.ranged.map { try FileDescriptor.open($0.path, .readOnly, options: .closeOnExec) }
        defer { try? image?.close() }
        let events = try client.register(
            folder: files.folder, files: files.names, entry: files.entry, image: files.ranged?.name, imageFile: image,
            address: target.ip.description)
        return EventQueue(events, lost: "the rpiflash service ended; see its log", others: others)
    }

    func stop() async { client.close() }
}

/// Holds events until they are asked for.
private final class EventQueue: ServeEvents {
    private let events = Mutex<[(event: ServeEvent, at: MonotonicInstant)]>([])
    private let others: Set<String>

    /// - Parameters:
    ///   - lost: what the end of the events means where nobody here brought it about; nil where only we do.
    ///   - others: folders of other targets of this run: what is refused of them says nothing of this one.
    init(_ stream: AsyncStream<TimedServerEvent>, lost: String? = nil, others: Set<String> = []) {
        self.others = others
        Task {
            for await event in stream { add(event) }
            if let lost { events.withLock { $0.append((.lost(lost), .now)) } }
        }
    }

    private func add(_ timed: TimedServerEvent) {
        let own: ServeEvent? =
            switch timed.event {
            case .opened(let file, _, _): .opened(file: file)
            case .progress(let file, let bytes): .progress(file: file, bytes: bytes)
            case .sent(let file): .sent(file: file)
            case .completed(let file, _, let sent, let repeated, let window):
                .completed(file: file, packets: sent, repeated: repeated, window: window)
            case .interrupted(let file, let reason): .interrupted(file: file, reason: reason)
            case .uploaded(let name, let content): .uploaded(name: name, content: content)
            case .refused(let path, _, _) where others.contains { path.contains($0) }: nil
            // A target asks for a plan first; that there is none is no news.
            case .refused(let path, _, _) where path.hasSuffix("/flash.scr"): .activity
            case .refused(let path, let address, let reason): .refused("refused \(address) the file \(path): \(reason)")
            }
        if let own { events.withLock { $0.append((own, timed.instant)) } }
    }

    func take() -> [TimedServeEvent] {
        let taken = events.withLock { events in
            defer { events = [] }
            return events
        }
        let now = MonotonicInstant.now
        return taken.map { TimedServeEvent($0.event, age: $0.at.duration(to: now)) }
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

    func take() -> [TimedServeEvent] {
        // inotify has no times, and nothing is measured with another server: it does not tell when the target has a file.
        watch.take().compactMap { event -> ServeEvent? in
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
        }.map { TimedServeEvent($0, age: .zero) }
    }
}
