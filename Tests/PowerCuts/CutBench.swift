import Foundation

/// One card, one target, one image: flashes that are cut, and what the laws say of the card afterwards.
struct CutBench {
    let folder: URL
    let target: SandboxTarget
    let rpiflash: String
    let repository: String
    /// The keys that sign plans; nil: nothing is signed.
    let keys: String?
    /// How its card can be flashed.
    let ways: [Way]
    /// What is before partition 2, and must stay (law 1).
    let recovery: Data
    /// The image from its boot partition on.
    let image: Data
    /// Bytes of partitions 2 and 3 that a plan covers: unused blocks of filesystems are not written.
    private(set) var covered: [Range<Int>] = []
    /// Kept cards and consoles.
    var failures: [String] = []

    init(folder: URL, rpiflash: String, repository: String, keys: String?) throws {
        self.folder = folder
        self.rpiflash = rpiflash
        self.repository = repository
        self.keys = keys
        ways = Way.allCases.filter { keys == nil || $0 != .parts }
        target = SandboxTarget(
            folder: folder.appending(path: "target"), program: "\(repository)/virtual_target/virtual-target")
        let card = try Data(contentsOf: folder.appending(path: "recovery.img"))
        recovery = card.prefix(try Self.start(of: 2, in: card))
        let whole = try Data(contentsOf: folder.appending(path: "new.img"))
        image = Data(whole.dropFirst(try Self.start(of: 1, in: whole)))
        covered = [0..<image.count]
    }

    /// The byte at which a partition of an MBR starts.
    private static func start(of partition: Int, in disk: Data) throws -> Int {
        let entry = 446 + (partition - 1) * 16 + 8
        guard disk.count > 512 else { throw BenchFailure("\(disk.count) bytes are no disk") }
        return (0..<4).reduce(0) { $0 | Int(disk[entry + $1]) << (8 * $1) } * 512
    }

    func template(_ origin: Origin) -> URL { folder.appending(path: "\(origin).img") }

    /// What is on the card: before partition 2, and as much behind it as the image has.
    func content() throws -> (first: Data, rest: Data) {
        let file = try FileHandle(forReadingFrom: target.card)
        defer { try? file.close() }
        let bytes = try file.read(upToCount: recovery.count + image.count) ?? Data()
        return (Data(bytes.prefix(recovery.count)), Data(bytes.dropFirst(recovery.count)))
    }

    func isWhole(_ content: Data, _ way: Way) -> Bool {
        way == .parts ? content == image : covered.allSatisfy { content[$0] == image[$0] }
    }

    /// rpiflash flash, until it ends, or the target's power has gone. Its exit status.
    func flash(
        _ way: Way, image: String = "new.img", inventory: String = "target/targets.csv", more: [String] = []
    ) throws -> Int32 {
        let process = Process()
        process.executableURL = URL(filePath: rpiflash)
        func path(_ name: String) -> String { folder.appending(path: name).path }
        process.arguments =
            [
                "flash", path(image), "vt", "--as-is", "--no-wait", "--quiet", "--listen", "192.168.77.1",
                "--inventory", path(inventory), "--card", path("card.yaml"), "--tftp-root", path("tftp"),
                "--store", path("store"), "--runs", path("runs"), "--templates", "\(repository)/templates",
                "--service", path("none.sock"), "--keys", keys ?? path("no-keys"),
            ] + way.options + more
        try Data().write(to: URL(filePath: path("flash.log")))
        let log = try FileHandle(forWritingTo: URL(filePath: path("flash.log")))
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = log
        process.standardError = log
        try process.run()
        let end = Date.now.addingTimeInterval(180)
        var isCut = false
        while process.isRunning {
            if !isCut, target.isOn == false {
                // Nobody waits for a target without power.
                process.terminate()
                isCut = true
            }
            guard Date.now < end else {
                process.terminate()
                process.waitUntilExit()
                throw BenchFailure("a flash took more than 180 s; see \(path("flash.log"))")
            }
            usleep(2000)
        }
        process.waitUntilExit()
        try target.stop()
        return process.terminationStatus
    }

    private var flashLog: String {
        String(((try? String(contentsOf: folder.appending(path: "flash.log"), encoding: .utf8)) ?? "").suffix(400))
    }

    /// A whole flash of a card as it is; throws where it does not end in a proof of just the image.
    @discardableResult
    func flashWhole(_ way: Way, image: String = "new.img") throws -> Extent {
        let before = target.consoleSize
        try target.set(faults: "")
        let status = try flash(way, image: image)
        let now = try content()
        guard status == 0 else { throw BenchFailure("a flash without a cut ended with \(status): \(flashLog)") }
        guard image != "new.img" || isWhole(now.rest, way) else {
            throw BenchFailure("law 2: proven, but the card differs")
        }
        guard now.first == recovery else { throw BenchFailure("law 1: what is before partition 2 has changed") }
        let counters = try target.counters()
        var sum = 0
        let boundaries = target.console(from: before).matches(of: /MMC write: dev # 0, block # \d+, count (\d+)/).map {
            sum += Int($0.output.1) ?? 0
            return sum
        }
        return Extent(
            written: counters.written, read: counters.read, packets: counters.packets, boundaries: boundaries)
    }

    /// Makes the cards that flashes start from, and learns what a plan covers.
    mutating func prepare() throws {
        let blank = folder.appending(path: "recovery.img")
        try target.insert(blank)
        let disk = try FileHandle(forUpdating: target.card)
        try disk.truncate(atOffset: 64 << 20)
        try disk.close()
        try FileManager.default.copyItem(at: target.card, to: template(.blank))
        // Each sector is marked: those that are not covered stay so.
        let mark = Data((0..<512).map { $0 % 2 == 0 ? 0xa5 : 0x5a })
        let marked = try FileHandle(forUpdating: target.card)
        try marked.seek(toOffset: UInt64(recovery.count))
        for _ in 0..<image.count / 512 { try marked.write(contentsOf: mark) }
        try marked.close()
        try target.set(faults: "")
        guard try flash(.plan) == 0 else { throw BenchFailure("the first flash failed: \(flashLog)") }
        let now = try content().rest
        var runs: [Range<Int>] = []
        for start in stride(from: 0, to: now.count, by: 512) where now[start..<start + 512] != mark {
            if let last = runs.last, last.upperBound == start {
                runs[runs.count - 1] = last.lowerBound..<start + 512
            } else {
                runs.append(start..<start + 512)
            }
        }
        covered = runs
        guard isWhole(now, .plan) else { throw BenchFailure("law 2: proven, but the card differs") }
        try target.insert(template(.blank))
        try flashWhole(keys == nil ? .parts : .full, image: "old.img")
        try FileManager.default.copyItem(at: target.card, to: template(.older))
        let older = try flashWhole(.plan)
        // Cut in the middle of its writes.
        try target.insert(template(.older))
        try target.set(faults: "cut-write=\(older.written / 2)")
        guard try flash(.plan) == 130 else { throw BenchFailure("no cut in the middle of a flash: \(flashLog)") }
        try FileManager.default.copyItem(at: target.card, to: template(.half))
    }

    /// How much each flash writes, reads and sends, to cut it somewhere in that.
    func extents() throws -> [Origin: [Way: Extent]] {
        var extents: [Origin: [Way: Extent]] = [:]
        for origin in Origin.allCases {
            for way in ways {
                try target.insert(template(origin))
                extents[origin, default: [:]][way] = try flashWhole(way)
            }
        }
        return extents
    }

    /// One flash with a fault, a cut as a rule: the laws afterwards.
    ///
    /// - Parameters:
    ///   - statuses: exit statuses that are right.
    ///   - proven: chunks that are proven on this card; those of this run are added.
    /// - Returns: what is on the card, and what is wrong with that; nil for a run that was proven.
    func flash(_ way: Way, faults: String, statuses: Set<Int32> = [0, 130], proven: inout Set<Int>) throws
        -> (state: State?, wrong: [String])
    {
        var wrong: [String] = []
        let before = try content().rest
        let start = target.consoleSize
        try target.set(faults: faults)
        let status = try flash(way)
        let now = try content()
        let text = target.console(from: start)
        if now.first != recovery { wrong.append("law 1: what is before partition 2 has changed") }
        if status == 0, !isWhole(now.rest, way) { wrong.append("law 2: exit status 0, but the card differs") }
        if !statuses.contains(status) { wrong.append("exit status \(status), must be of \(statuses): \(flashLog)") }
        var written: Set<Int> = []
        for line in text.matches(of: /rpiflash: chunk (\d+) of \d+: (wrote|there already)/) {
            guard let number = Int(line.output.1) else { continue }
            if line.output.2 == "wrote", proven.contains(number) { written.insert(number) }
            if way != .parts { proven.insert(number) }
        }
        if way == .plan, !written.isEmpty {
            wrong.append("chunks \(written.sorted()) were proven and are written again")
        }
        try target.set(faults: "")
        let alone = try target.startAlone()
        let starts = alone.contains(/(?m)^rpiflash: starting \//)
        let refuses = alone.contains(
            "rpiflash: cannot boot: no cmdline.txt on partition 2: the card is empty or half written")
        let state: State = isWhole(now.rest, way) ? .whole : now.rest == before ? .untouched : .half
        if state == .half, starts || !refuses { wrong.append("law 3: a half-written card starts") }
        if state == .whole, !starts { wrong.append("a whole card does not start: \(alone.suffix(300))") }
        if starts == refuses { wrong.append("the target neither starts nor refuses: \(alone.suffix(300))") }
        if try content() != now { wrong.append("starting alone has changed the card") }
        return (status == 0 ? nil : state, wrong)
    }

    /// Keeps the card and the console of a failure.
    mutating func keep(_ name: String, _ reasons: [String]) throws {
        let kept = folder.appending(path: "failures/\(name)")
        try? FileManager.default.removeItem(at: kept)
        try FileManager.default.createDirectory(at: kept, withIntermediateDirectories: true)
        for file in [target.card, target.consoleLog, folder.appending(path: "flash.log")] {
            try FileManager.default.copyItem(at: file, to: kept.appending(path: file.lastPathComponent))
        }
        for reason in reasons {
            failures.append("\(name): \(reason)")
            say("failure: \(name): \(reason); card and console are in \(kept.path)")
        }
    }
}
