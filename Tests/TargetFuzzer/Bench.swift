import Configuration
import DiskLayout
import FlashEvents
import FlashPlan
import Flashing
import Foundation
import HostTools
import Inventory
import RunRecords
import Synchronization
import SystemPackage
import TFTP
import TFTPServer
import TargetConsole

@testable import Wiring

/// A minute of a flash in 0.6 s: what takes time here is waiting.
struct FastClock: Clock {
    struct Instant: InstantProtocol {
        var offset: Duration
        func advanced(by duration: Duration) -> Instant { Instant(offset: offset + duration) }
        func duration(to other: Instant) -> Duration { other.offset - offset }
        static func < (a: Instant, b: Instant) -> Bool { a.offset < b.offset }
    }

    static let speed = 100
    private let origin = ContinuousClock.now

    var now: Instant { Instant(offset: (ContinuousClock.now - origin) * Self.speed) }
    var minimumResolution: Duration { .milliseconds(1) }
    func sleep(until deadline: Instant, tolerance: Duration?) async throws {
        try await ContinuousClock().sleep(for: max(.zero, now.duration(to: deadline)) / Self.speed)
    }
}

/// A server, a hostile target, and beside it one that does everything right: sessions with both, and what must be true of
/// them.
final class Bench: Sendable {
    /// What a session has shown.
    struct Session {
        var ending: String
        var packets: Int
        var wrong: [String]
    }

    private let folder: URL
    private let share: FlashShare
    /// None: it is a bench without keys.
    private let keys: SigningKeys
    let server: TFTPServer
    private let targets: [Target]
    private let layout: OSImageLayout
    private let card: CardLayout
    /// Where standard output and standard error go.
    private let log: URL

    private static let stranger = "127.7.0.9"

    init(folder: URL, log: URL) async throws {
        self.folder = folder
        self.log = log
        keys = try SigningKeys(in: FilePath(folder.path).appending("none"))
        let csv = """
            mac,ip,server,reset_command,gpio,name
            02:00:00:00:00:01,127.7.0.1,bench,true,,hostile
            02:00:00:00:00:02,127.7.0.2,bench,true,,honest
            """
        targets = try Inventory(csv: csv.utf8, file: "targets.csv").targets
        let table = PartitionTable(
            diskID: CardLayout.defaultDiskID,
            partitions: [
                Partition(number: 1, type: .fat32LBA, start: LBA(8192), size: SectorCount(8192)),
                Partition(number: 2, type: .linux, start: LBA(16384), size: SectorCount(64)),
            ])
        layout = try OSImageLayout(table: table, size: ByteCount(16448 * 512))
        card = try CardLayout(
            cardSize: .mebibytes(128), ubootSize: .mebibytes(4), bootSize: .mebibytes(4),
            diskID: CardLayout.defaultDiskID)
        for name in ["tftp", "runs", "store"] {
            try FileManager.default.createDirectory(
                at: folder.appending(path: name), withIntermediateDirectories: true)
        }
        // An MBR with the table, and zeros.
        var image = Data(count: 16448 * 512)
        for (place, (type, start, size)) in [(UInt8(0x0c), 8192, 8192), (0x83, 16384, 64)].enumerated() {
            let entry = 446 + place * 16
            image[entry + 4] = type
            for byte in 0..<4 {
                image[entry + 8 + byte] = UInt8(start >> (8 * byte) & 0xff)
                image[entry + 12 + byte] = UInt8(size >> (8 * byte) & 0xff)
            }
        }
        (image[440], image[441], image[442], image[443]) = (0xfe, 0xca, 0xad, 0x0b)
        (image[510], image[511]) = (0x55, 0xaa)
        try image.write(to: folder.appending(path: "image.img"))
        for file in ["one", "two", "pieces"] {
            let size = file == "pieces" ? 1024 : file == "one" ? 8 * 512 : 512
            try Data(repeating: 7, count: size).write(to: folder.appending(path: "store/\(file)"))
        }
        share = FlashShare(targets)
        server = try await share.server(
            root: FilePath(folder.appending(path: "tftp").path), listen: ListenAddress(host: "127.0.0.1", port: 0))
    }

    func close() async { await share.close() }

    private func path(_ name: String) -> FilePath { FilePath(folder.appending(path: name).path) }

    private func chunks(_ image: any OpenImage) throws -> ChunkedImage {
        guard let digest = SHA256Digest([UInt8](repeating: 7, count: 32)) else { throw BenchFailure("not a digest") }
        func chunk(_ partition: CardPartition, _ offset: UInt64, _ size: UInt64, _ file: String, _ number: UInt64)
            -> ChunkedImage.Chunk
        {
            ChunkedImage.Chunk(
                place: ChunkPlace(partition: partition, offset: SectorCount(offset), size: SectorCount(size)),
                digest: digest, encoding: .raw, encodedSize: SectorCount(size).byteCount, file: file,
                pieces: ByteCount(number * 256))
        }
        let store = folder.appending(path: "store")
        return ChunkedImage(
            id: String(repeating: "a", count: 64), layout: layout,
            chunks: [chunk(.boot, 1, 8, "one", 0), chunk(.rootfs, 0, 8, "one", 1), chunk(.boot, 0, 1, "two", 2)],
            table: ("pieces", ByteCount(1024)), raw: image
        ) { file, path, _ in
            try FileManager.default.linkItem(atPath: store.appending(path: file).path, toPath: path.string)
        }
    }

    /// One session: the hostile target does these things while the honest one is flashed.
    func run(_ actions: [Action], mode: TransferMode, upAfter: Int?) async throws -> Session {
        let store = RunStore(at: path("runs"))
        let recorders = targets.map { target in
            var start = FlashEvent(.start)
            start.target = target.displayName
            return RunRecorder(
                store,
                RunRecord(
                    program: "fuzz", started: .now,
                    target: .init(name: target.name, mac: target.mac.description, ip: target.ip.description),
                    image: .init(path: "image.img"), delivery: "plan", mode: nil, by: .current()),
                start: start, console: .network(address: target.ip.description))
        }
        let (hostile, honest) = (Conduct(), Conduct())
        let questions = Questions(upAfter: upAfter ?? 0)
        let partsPlan = try PartsPlan(image: layout, partSize: .mebibytes(5))
        let reporter = Reporter(targets, recorders)
        let ports: @Sendable (Target) -> FlashPorts = { [self] target in
            let isHostile = target == targets[0]
            return self.ports(
                target, isHostile ? actions : nil, isHostile ? hostile : honest, recorders[isHostile ? 0 : 1], questions
            )
        }
        let run = FleetRun(
            options: FleetOptions(jobs: 2, stagger: .zero), clock: FastClock(), ports: ports,
            report: { index, event in
                reporter.report(index, event)
                if case .ended = event { (index == 0 ? hostile : honest).end() }
            })
        let requests = targets.map { target in
            FlashRequest(
                image: path("image.img"), target: target, card: card, root: path("tftp"), delivery: mode,
                // The honest one has hours; what the other does not say in seconds it will not say.
                requestTimeout: target == targets[0] ? .seconds(40) : .seconds(3600),
                outcomeTimeout: target == targets[0] ? .seconds(20) : .seconds(3600),
                waitPort: target == targets[0] && upAfter != nil ? 22 : nil, waitTimeout: .seconds(5),
                sendsConsole: true)
        }
        let verdicts = try await run.run(requests)
        let done = await hostile.wait()
        let good = await honest.wait()
        let summary = reporter.finish(verdicts)
        var wrong = Self.judge(verdicts, done, mode, partsPlan)
        if summary.proven != verdicts.count(where: { $0.proof != nil }) { wrong.append("the run counts wrongly") }
        wrong += try inspect()
        let ending: String
        switch verdicts[0].ending {
        case .flashed: ending = "proven"
        case .failed(let error): ending = "exit status \(error.exitCode)\(verdicts[0].proof == nil ? "" : ", proven")"
        case .interrupted, .notStarted: ending = "not started"
        }
        return Session(ending: ending, packets: done.packets + good.packets, wrong: wrong)
    }

    /// Whether a target is up.
    private final class Questions: Sendable {
        private let left: Mutex<Int>
        init(upAfter: Int) { left = Mutex(upAfter) }
        func ask() -> Bool {
            left.withLock { left in
                left -= 1
                return left < 0
            }
        }
    }

    /// The real ports but for the image's preparation, RESET, and whether the target is up.
    ///
    /// - Parameter actions: what it does when it is reset; nil: what is right.
    private func ports(
        _ target: Target, _ actions: [Action]?, _ conduct: Conduct, _ recorder: RunRecorder, _ questions: Questions
    ) -> FlashPorts {
        let box = PlanBox()
        var ports = FlashPorts.real(
            listen: ListenAddress(host: "127.0.0.1", port: 0), service: path("none.sock"), store: path("store"),
            relocation: nil, settings: nil, templates: path("none"), keys: keys, share: share,
            earlier: EarlierRuns(of: target, in: RunStore(at: path("none"))),
            learned: { recorder.learned($0) },
            heardConsole: {
                conduct.begin()
                return recorder.takeHeard()
            })
        let open = ports.openImage
        ports.prepareImage = { [self] path, _ in try chunks(try await open(path)) }
        ports.renderPlan = { plan in
            box.plan.withLock { $0 = plan }
            return Array("plan \(plan.job.hex)".utf8)
        }
        ports.checkReset = { _ in }
        ports.answers = { _, _ in questions.ask() }
        ports.reset = { [self] target, _ in
            let job =
                try box.plan.withLock { $0 }.map { Job.plan($0) }
                ?? .parts(PartsPlan(image: layout, partSize: .mebibytes(5)))
            let (server, stranger) = (UInt16(clamping: server.port), Self.stranger)
            let other = targets.first { $0 != target }?.mac.description ?? ""
            conduct.prepare { isOver in
                var client = try TargetClient(
                    mac: target.mac.description, address: target.ip.description, neighbour: other, stranger: stranger,
                    job: job, port: server, patience: actions == nil ? 400 : TargetClient.hostilePatience)
                client.perform(actions ?? Self.allGood(job), until: isOver)
                return client.deeds
            }
        }
        return ports
    }

    /// The plan that was rendered last: its script lies in the target's folder.
    private final class PlanBox: Sendable { let plan = Mutex<ChunkPlan?>(nil) }

    private static func allGood(_ job: Job) -> [Action] {
        [.fetch(.entry, options: 1, .never)] + job.files.indices.map { .fetch(.served($0), options: 1, .never) }
            + [.upload("REPORT", .truth, .plain), .upload("OK", .truth, .plain)]
    }

    /// Laws 2 and 7, and that nobody else is disturbed.
    private static func judge(
        _ verdicts: [Verdict], _ deeds: TargetClient.Deeds, _ mode: TransferMode, _ parts: PartsPlan
    ) -> [String] {
        var wrong: [String] = []
        if verdicts[1].proof == nil || !verdicts[1].isGood {
            wrong.append("the honest target is not proven: \(verdicts[1].sentence ?? "no reason")")
        }
        guard verdicts[0].proof != nil else { return wrong }
        if !deeds.hasAsked { wrong.append("law 2: proven, and the target never asked") }
        if !deeds.hasSaidOK { wrong.append("law 2: proven, and the target never said OK with the right count") }
        if deeds.hasFailedFirst { wrong.append("law 2: proven, and FAILED came before any OK") }
        switch mode {
        case .plan: if !deeds.hasReported { wrong.append("law 2: proven, and no REPORT was a proof") }
        case .parts:
            if let missing = parts.parts.first(where: { !deeds.asked.contains($0.name) }) {
                wrong.append("law 2: proven, and the target never asked for \(missing.name)")
            }
        }
        return wrong
    }

    /// What the session has left: no staged file, and nothing in log, events and records that does something to a terminal.
    private func inspect() throws -> [String] {
        var wrong: [String] = []
        let left = try FileManager.default.contentsOfDirectory(atPath: path("tftp").string)
        if !left.isEmpty { wrong.append("left in the TFTP root: \(left)") }
        for run in try FileManager.default.contentsOfDirectory(
            at: folder.appending(path: "runs"), includingPropertiesForKeys: nil)
        {
            for file in try FileManager.default.contentsOfDirectory(at: run, includingPropertiesForKeys: nil) {
                wrong += try Self.inspect(file, json: file.pathExtension)
            }
            try FileManager.default.removeItem(at: run)
        }
        fflush(nil)
        wrong += try Self.inspect(log, json: "log")
        truncate(log.path, 0)
        return wrong
    }

    private static func inspect(_ file: URL, json: String) throws -> [String] {
        let bytes = try Data(contentsOf: file)
        let name = file.lastPathComponent
        guard let text = String(validating: bytes, as: UTF8.self) else { return ["law 7: \(name) is not UTF-8"] }
        // At a terminal a control character acts wherever it is; in JSON it is escaped.
        if let bad = text.unicodeScalars.first(where: { $0 != "\n" && !$0.isPlain }) {
            return ["law 7: \(name) has the control character U+\(String(bad.value, radix: 16))"]
        }
        let objects: [Substring] =
            switch json {
            case "json": [text[...]]
            case "jsonl": text.split(separator: "\n")
            case "log": text.split(separator: "\n").filter { $0.hasPrefix("{") }
            default: []
            }
        for object in objects where (try? JSONSerialization.jsonObject(with: Data(object.utf8))) == nil {
            return ["\(name) has a line that is not JSON: \(object.prefix(200))"]
        }
        return []
    }
}
