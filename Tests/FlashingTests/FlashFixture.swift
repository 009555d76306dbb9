import FlashEvents
import DiskLayout
import FlashPlan
import Foundation
import Inventory
import OSImage
import Synchronization
import SystemPackage
import TFTP
import TestSupport
import Testing

@testable import Flashing

/// Cancels the task that calls it, as a signal does.
func cancelThisTask() { withUnsafeCurrentTask { $0?.cancel() } }

/// What a port threw because the test wanted it to.
struct Trouble: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

extension TemporaryFolder {
    var path: FilePath { FilePath(url.path) }
}

func data(_ path: FilePath) throws -> Data { try Data(contentsOf: URL(filePath: path.string)) }
func contents(_ path: FilePath) throws -> [UInt8] { Array(try data(path)) }
func write(_ content: [UInt8], to path: FilePath) throws {
    try Data(content).write(to: URL(filePath: path.string))
}
func names(in folder: FilePath) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.string).sorted()
}

/// Boot at 4 MiB if not elsewhere and 4 MiB long, then a rootfs.
func layout(rootfsSectors: UInt64, bootStart: UInt64 = 8192, span: UInt64 = 8192, size: UInt64? = nil) throws
    -> OSImageLayout
{
    let table = PartitionTable(
        diskID: CardLayout.defaultDiskID,
        partitions: [
            Partition(number: 1, type: .fat32LBA, start: LBA(bootStart), size: SectorCount(span)),
            Partition(number: 2, type: .linux, start: LBA(bootStart + span), size: SectorCount(rootfsSectors)),
        ])
    return try OSImageLayout(table: table, size: ByteCount(size ?? (bootStart + span + rootfsSectors) * 512))
}

func target(_ columns: String = "17,") throws -> Target {
    let csv = "mac,ip,server,gpio,reset_command,name\nb8:27:eb:3d:60:b9,192.0.2.51,bench1,\(columns),camera\n"
    return try #require(try Inventory(csv: csv.utf8, file: "targets.csv").targets.first)
}

/// The world of a flash: real files, a manual clock, and doubles that fail the test when something calls them that the
/// test does not expect.
final class FlashFixture: Sendable {
    struct State {
        var calls: [String] = []
        var progress: [FlashProgress] = []
        /// When each event comes.
        var schedule: [(at: Duration, event: TransferEvent)] = []
        var resets: [@Sendable (FlashFixture) async throws -> Void] = []
        var inspect: (@Sendable (FlashFixture) throws -> OSImageLayout)?
        var prepare: (@Sendable (FlashFixture) throws -> ChunkedImage)?
        /// The plan that was rendered last.
        var plan: ChunkPlan?
        var ranged: JobFiles.RangedFile?
        var signer: ScriptSigner?
        var checkReset: (@Sendable () throws -> Void)?
        var claim: (@Sendable (FlashFixture) async throws -> ClaimedServer)?
        var answers: (@Sendable (FlashFixture) throws -> Bool)?
        var onProgress: (@Sendable (FlashProgress, FlashFixture) -> Void)?
        var served: Set<String> = []
    }

    static let mac = "b8:27:eb:3d:60:b9"

    let home: TemporaryFolder
    let root: FilePath
    let image: FilePath
    let layout: OSImageLayout
    let clock = ManualClock()
    let state: Mutex<State>

    /// An image of 9 MiB with other bytes everywhere, in 2 parts of 5 MiB, and a card that it fits.
    init(rootfsSectors: UInt64 = 2048, cut: UInt64 = 0, bootStart: UInt64 = 8192) throws {
        home = try TemporaryFolder()
        root = home.path.appending("tftp")
        image = home.path.appending("os image.img")
        try FileManager.default.createDirectory(atPath: root.string, withIntermediateDirectories: true)
        let size = (bootStart + 8192 + rootfsSectors) * 512 - cut
        let layout = try sizedLayout(rootfsSectors, size, bootStart)
        self.layout = layout
        // A number in every sector, so that no two are equal.
        var content = Data(repeating: 0x5a, count: Int(size))
        content.withUnsafeMutableBytes { bytes in
            for offset in stride(from: 0, to: bytes.count - 4, by: 512) {
                bytes.storeBytes(of: UInt32(offset), toByteOffset: offset, as: UInt32.self)
            }
        }
        try content.write(to: URL(filePath: image.string))
        state = Mutex(State(inspect: { _ in layout }, checkReset: {}))
    }

    var folder: FilePath { root.appending(Self.mac) }
    var calls: [String] { state.withLock { $0.calls } }
    var progress: [FlashProgress] { state.withLock { $0.progress } }
    var notes: [String] {
        progress.compactMap { if case .warning = $0 { nil } else { $0.logLine } }
    }
    var warnings: [String] {
        progress.compactMap { if case .warning(let text) = $0 { text } else { nil } }
    }

    func plan(partSize: ByteCount = .mebibytes(5)) throws -> PartsPlan {
        try PartsPlan(image: layout, partSize: partSize)
    }

    /// Says what happens; returns itself, so that a test can say several things.
    @discardableResult
    func with(_ change: (inout State) -> Void) -> FlashFixture {
        state.withLock { change(&$0) }
        return self
    }

    /// What each reset, one after the other, leads to. More resets than these fail the test.
    @discardableResult
    func resets(_ actions: (@Sendable (FlashFixture) async throws -> Void)...) -> FlashFixture {
        with { $0.resets = actions }
    }

    /// rpiflash serves by itself.
    @discardableResult
    func ownServer() -> FlashFixture {
        with { $0.claim = { .own(OwnDouble(world: $0)) } }
    }

    /// These events come from now on, a second apart.
    func happen(_ events: [TransferEvent]) {
        let now = clock.now.offset
        state.withLock { state in
            for (index, event) in events.enumerated() { state.schedule.append((now + .seconds(index + 1), event)) }
        }
    }

    /// What a target that does everything right does.
    func flashWell(_ outcome: [TransferEvent]? = nil, partSize: ByteCount = .mebibytes(5)) throws {
        let plan = try plan(partSize: partSize)
        happen(fetching(plan) + (outcome ?? [.ok(plan.bytesToWrite.bytes)]))
    }

    func fetching(_ plan: PartsPlan) -> [TransferEvent] { fetchAll(plan) }

    func record(_ call: String) { state.withLock { $0.calls.append(call) } }

    private func unexpected(_ call: String) -> Trouble {
        Issue.record("unexpected call: \(call)")
        return Trouble("unexpected call: \(call)")
    }

    func request(
        target: Target? = nil, partSize: ByteCount = .mebibytes(5), waitPort: UInt16? = nil, root: FilePath? = nil,
        outcomeTimeout: Duration? = .seconds(60), delivery: TransferMode? = nil
    ) throws -> FlashRequest {
        let card = try CardLayout(
            cardSize: .mebibytes(128), ubootSize: .mebibytes(4), bootSize: .mebibytes(4),
            diskID: CardLayout.defaultDiskID)
        return FlashRequest(
            image: image, target: try target ?? usualTarget(), card: card, root: root ?? self.root,
            delivery: delivery ?? .parts(partSize), outcomeTimeout: outcomeTimeout, waitPort: waitPort)
    }

    var ports: FlashPorts {
        FlashPorts(
            openImage: { [self] path in
                #expect(path == image)
                record("open")
                return try ImageDouble(path) { [self] in
                    record("inspect")
                    guard let inspect = state.withLock({ $0.inspect }) else { throw unexpected("inspect") }
                    return try inspect(self)
                }
            },
            prepareImage: { [self] path, _ in
                #expect(path == image)
                record("prepare")
                guard let prepare = state.withLock({ $0.prepare }) else { throw unexpected("prepare") }
                return try prepare(self)
            },
            renderPlan: { [self] plan in
                record("render")
                with { $0.plan = plan }
                return Array("plan \(plan.job.hex)".utf8)
            },
            signer: state.withLock { $0.signer },
            checkReset: { [self] _ in
                record("checkReset")
                guard let check = state.withLock({ $0.checkReset }) else { throw unexpected("checkReset") }
                try check()
            },
            reset: { [self] _, method in
                record("reset by \(method)")
                let action = state.withLock { $0.resets.isEmpty ? nil : $0.resets.removeFirst() }
                guard let action else { throw unexpected("reset") }
                try await action(self)
            },
            claimServer: { [self] root, _ in
                record("claim")
                guard let claim = state.withLock({ $0.claim }) else { throw unexpected("claim") }
                return try await claim(self)
            },
            answers: { [self] _, port in
                record("answers \(port)")
                guard let answers = state.withLock({ $0.answers }) else { throw unexpected("answers") }
                return try answers(self)
            })
    }

    func flash(_ request: FlashRequest? = nil) async throws -> FlashResult {
        let flasher = Flasher(ports: ports, clock: clock) { [self] progress in
            let react = state.withLock { state in
                state.progress.append(progress)
                return state.onProgress
            }
            react?(progress, self)
        }
        return try await flasher.run(try request ?? self.request())
    }

    /// Flashes and expects this error, nothing left behind, and the image as it was.
    @discardableResult
    func fails(_ request: FlashRequest? = nil, sourceLocation: SourceLocation = #_sourceLocation) async throws
        -> FlashError?
    {
        let request = try request ?? self.request()
        let error = await #expect(throws: FlashError.self, sourceLocation: sourceLocation) {
            try await self.flash(request)
        }
        #expect(try names(in: root) == [], sourceLocation: sourceLocation)
        return error
    }

    fileprivate func due() -> [AgedEvent] {
        let now = clock.now.offset
        return state.withLock { state in
            defer { state.schedule.removeAll { $0.at <= now } }
            return state.schedule.filter { $0.at <= now }.map { AgedEvent($0.event, age: now - $0.at) }
        }
    }
}

// Members of World hide the functions of the same name.
private func sizedLayout(_ rootfsSectors: UInt64, _ size: UInt64, _ bootStart: UInt64) throws -> OSImageLayout {
    try layout(rootfsSectors: rootfsSectors, bootStart: bootStart, size: size)
}
private func usualTarget() throws -> Target { try target() }
private func fetchAll(_ plan: PartsPlan) -> [TransferEvent] { fetching(plan) }

/// Everything that a target fetches, in order.
func fetching(_ plan: PartsPlan) -> [TransferEvent] {
    [.opened(file: PartsPlan.manifestName), .sent(file: PartsPlan.manifestName)]
        + plan.parts.flatMap { part -> [TransferEvent] in
            [
                .opened(file: part.name), .progress(file: part.name, bytes: part.size.bytes / 2),
                .sent(file: part.name), .completed(file: part.name, packets: 100, repeated: 0),
            ]
        }
}

extension TransferEvent {
    static func ok(_ written: UInt64) -> TransferEvent {
        .uploaded(name: "OK", content: Outcome(kind: .ok, written: ByteCount(written)).encoded)
    }
    static func failed(_ written: UInt64) -> TransferEvent {
        .uploaded(name: "FAILED", content: Outcome(kind: .failed, written: ByteCount(written)).encoded)
    }
}

private struct Events: TransferEvents {
    let world: FlashFixture
    func take() -> [AgedEvent] { world.due() }
}

private struct OwnDouble: OwnServer {
    let world: FlashFixture
    var address: String { "192.0.2.1:69" }

    func serve(_ files: JobFiles, to target: Target) throws -> any TransferEvents {
        #expect(files.folder == FlashFixture.mac)
        #expect(files.names.contains(files.entry))
        world.record("serve")
        world.with { ($0.served, $0.ranged) = (files.names, files.ranged) }
        return Events(world: world)
    }

    func stop() async { world.record("stop") }
}

/// Another server: hands out and takes files below a folder of its own, which may be the TFTP root.
struct ForeignDouble: ForeignServer {
    let world: FlashFixture
    var serves: FilePath?
    var takes: FilePath?
    var readAnswer: ProbeAnswer?
    var writeAnswer: ProbeAnswer?
    var address: String { "192.0.2.1:69" }

    func read(_ path: String) async -> ProbeAnswer {
        world.record("read")
        if let readAnswer { return readAnswer }
        guard let serves, let content = try? contents(serves.appending(path)) else { return .refused("File not found") }
        return .content(content)
    }

    func write(_ path: String, content: [UInt8]) async -> ProbeAnswer {
        world.record("write")
        if let writeAnswer { return writeAnswer }
        guard let takes, (try? writeFile(content, takes.appending(path))) != nil else {
            return .refused("Access violation")
        }
        return .taken
    }

    func watch(_ folder: FilePath) throws -> any TransferEvents {
        #expect(folder == world.folder)
        world.record("watch")
        return Events(world: world)
    }
}

private func writeFile(_ content: [UInt8], _ path: FilePath) throws { try write(content, to: path) }

/// A real file, whose partition table is what the test says.
final class ImageDouble: OpenImage {
    private let reader: ImageReader
    private let inspect: @Sendable () throws -> OSImageLayout

    init(_ path: FilePath, inspect: @escaping @Sendable () throws -> OSImageLayout) throws {
        reader = try ImageReader(path)
        self.inspect = inspect
    }

    var descriptor: FileDescriptor { reader.descriptor }
    func layout() throws -> OSImageLayout { try inspect() }
    func data(in range: Range<UInt64>) throws -> Range<UInt64>? { try reader.data(in: range) }
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws {
        try reader.read(into: buffer, at: offset)
    }
    func checkUnchanged() throws { try reader.checkUnchanged() }
}
