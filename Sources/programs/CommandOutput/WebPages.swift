import Configuration
package import Doctor
package import FlashEvents
import LinuxHost
package import RunRecords
import SystemPackage

/// A target as pages show it.
package struct BenchTarget: Hashable, Sendable, Encodable {
    private let entry: RunRecord.TargetEntry
    private let tags: [String]

    /// One of the inventory or of a run.
    package init(_ entry: RunRecord.TargetEntry, tags: [String] = []) { (self.entry, self.tags) = (entry, tags) }

    /// The digits of its Ethernet address.
    var digits: String { entry.mac.filter { $0 != ":" } }
}

/// A page as data: parts by name, each in JSON; web/rpiflash.js makes elements of them.
package struct WebPage: Sendable {
    private(set) var parts: [(id: String, json: String)] = []

    private mutating func add(_ id: String, _ value: some Encodable) { parts.append((id, jsonLine(value))) }

    private mutating func add(_ target: BenchTarget, _ runs: [WatchedRun]) {
        let records = runs.compactMap(\.record)
        let (trend, board) = (CardTrend.all(records).last?.text, records.last { $0.board != nil }?.board)
        let run = runs.last.map { RunPart($0) }
        add("target-\(target.digits)", TargetPart(target: target, run: run, trend: trend, board: board))
    }

    /// All targets, with their runs by the digits of their Ethernet addresses, the oldest first, and what checks found.
    init(_ bench: WebPages.Bench, _ runs: [String: [WatchedRun]]) {
        add("findings", bench.findings)
        for target in bench.targets { add(target, runs[target.digits] ?? []) }
    }

    /// A target, its runs, and the end of the last one's console.
    init(_ target: BenchTarget, _ runs: [WatchedRun], console: String?) {
        add(target, runs)
        for run in runs.reversed() { add("run-\(run.stored.id)", RunPart(run)) }
        add("console", console.map(sanitizedLines))
    }

    /// A run: its record, the last events, the end of its console, its report.
    init(_ run: WatchedRun, of target: BenchTarget?, _ runs: [WatchedRun], console: String?, report: String?) {
        let trend = CardTrend.all(runs.compactMap(\.record)).first { $0.runs.contains { $0.id == run.stored.id } }
        add("above", target)
        add("run-\(run.stored.id)", RunPart(run))
        add("facts", run.record.map { run.stored.facts(of: $0, trend) })
        add("events", run.stored.lastEvents(of: 64 << 10))
        add("console", console.map(sanitizedLines))
        add("report", report.map(sanitizedLines))
    }

    /// The page as the data of a file, or the parts that are named as the data of a change.
    func json(_ wanted: Set<String>? = nil, live: Bool = true) -> String {
        let shown = wanted.map { wanted in parts.filter { wanted.contains($0.id) } } ?? parts
        let texts = shown.map { "[\"\($0.id)\",\($0.json)]" }.joined(separator: ",")
        // A script element ends at `<`, if at all.
        return "{\"live\":\(live),\"whole\":\(wanted == nil),\"parts\":[\(texts.replacing("<", with: "\\u003c"))]}"
    }

    private struct TargetPart: Encodable {
        let target: BenchTarget
        let run: RunPart?
        let trend: String?
        let board: RunRecord.BoardEntry?
    }

    private struct RunPart: Encodable {
        let id, outcome: String
        let isRunning: Bool
        let record: RunRecord?
        let step: FlashEvent?

        init(_ run: WatchedRun) {
            (id, isRunning, record, step) = (run.stored.id, run.isRunning, run.record, run.isRunning ? run.step : nil)
            outcome = run.record.map { run.stored.outcome($0) } ?? "its record is damaged"
        }
    }
}

/// What is shown of a bench, from its records: pages, their changes, and files.
package actor WebPages {
    /// What else than records tells of a bench: the targets of the inventory, and what checks found.
    package typealias Bench = (targets: [BenchTarget], findings: [Finding])
    /// The media types of the files that make pages of data.
    package static let types = [
        "rpiflash.css": "text/css", "rpiflash.js": "text/javascript", "rpiflash.svg": "image/svg+xml",
    ]

    private let look: @Sendable ([RunRecord]) -> Bench
    private var watch: RunWatch
    private var bench: Bench = ([], [])
    private var lookTime, benchTime: ContinuousClock.Instant?
    private var benchChanges = 0
    private var drawn: [String: (generation: Int, page: WebPage)] = [:]

    /// Pages of the runs of a store: of some only, or of the last ones of each target. `look` tells the rest, is called now and
    /// then, and gets what is known of runs, the oldest first.
    package init(_ runs: RunStore, only: Set<String>? = nil, look: @escaping @Sendable ([RunRecord]) -> Bench) {
        (self.look, watch) = (look, RunWatch(runs, only: only))
    }

    /// A page as it is now; nil where there is none.
    ///
    /// - Parameter name: `index`, `target-` and the digits of its Ethernet address, `run-` and the run's name.
    package func page(_ name: String) -> WebPage? {
        update()
        let digits = name == "index" ? nil : name.split(separator: "-").last { $0.count == 12 }.map(String.init)
        let generation = benchChanges + (digits.map { watch.generations[$0] ?? 0 } ?? watch.generation)
        if let drawn = drawn[name], drawn.generation == generation { return drawn.page }
        if drawn.count > 300 { drawn = [:] }
        let page = draw(name, digits ?? "")
        drawn[name] = page.map { (generation, $0) }
        return page
    }

    /// A file; nil where there is none: of a page, as `index.html`, whose changes can be followed or not; of what all pages
    /// need; or a run's own, as `run-20261125-062038-b827eb3d60b9.console.txt`.
    package func file(_ name: String, live: Bool) -> [UInt8]? {
        if Self.types[name] != nil { return try? Self.read(name) }
        if name.hasSuffix(".html"), let page = page(String(name.dropLast(5))), let shell = try? Self.read("page.html") {
            let text = String(decoding: shell, as: UTF8.self)
            return Array(text.replacing("@DATA@", with: page.json(live: live), maxReplacements: 1).utf8)
        }
        let parts = name.split(separator: ".").map(String.init)
        guard parts.count == 3, name.hasPrefix("run-"), name.hasSuffix(".txt") else { return nil }
        guard let stored = watch.run(String(parts[0].dropFirst(4)))?.stored else { return nil }
        let files = ["console": stored.console, "events": stored.events, "report": stored.report]
        return files[parts[1]].flatMap { SmallFile.start(of: $0, count: 32 << 20) }
    }

    /// Reads what pages are made with.
    ///
    /// - Throws: ``FlashError/server(_:)`` where it is not there.
    @discardableResult package static func read(_ name: String) throws(FlashError) -> [UInt8] {
        let path = sharedFile("web/\(name)")
        if let bytes = SmallFile.start(of: path, count: 1 << 20) { return bytes }
        throw .server("cannot read \(path), which comes with rpiflash")
    }

    /// What changed of a page behind what was sent, as server-sent events; waits for that up to 15 s.
    ///
    /// - Parameter sent: a number for each part that was; empty at first, when all of it is sent.
    /// - Throws: `CancellationError`.
    package func changes(
        of name: String, behind sent: [String: Int]
    ) async throws -> (text: String, sent: [String: Int]) {
        for _ in 0..<60 {
            if let page = page(name) {
                let now = Dictionary(page.parts.map { ($0.id, $0.json.hashValue) }) { first, _ in first }
                let changed = Set(now.keys.filter { now[$0] != sent[$0] })
                // Where parts came or went, all are sent, in their order.
                if now != sent { return ("data: \(page.json(now.keys == sent.keys ? changed : nil))\n\n", now) }
            }
            try await Task.sleep(for: .milliseconds(250))
        }
        return ("event: beat\ndata:\n\n", sent)
    }

    private func draw(_ name: String, _ digits: String) -> WebPage? {
        func end(_ path: FilePath) -> String? {
            SmallFile.end(of: path, count: 64 << 10).map { String(decoding: $0, as: UTF8.self) }
        }
        if name == "index" { return WebPage(bench, watch.targets) }
        let run = name.hasPrefix("run-") ? watch.run(String(name.dropFirst(4))) : nil
        let runs = watch.runs(of: digits)
        let seen = runs.compactMap(\.record).last?.target
        let target = bench.targets.first { $0.digits == digits } ?? seen.map { BenchTarget($0) }
        let console = (run ?? runs.last).flatMap { end($0.stored.console) }
        if let run { return WebPage(run, of: target, runs, console: console, report: end(run.stored.report)) }
        return name == "target-\(digits)" ? target.map { WebPage($0, runs, console: console) } : nil
    }

    /// Looks again, unless somebody did just now.
    private func update() {
        let now = ContinuousClock.now
        guard lookTime.map({ now - $0 > .milliseconds(200) }) ?? true else { return }
        lookTime = now
        watch.look()
        guard benchTime.map({ now - $0 > .seconds(10) }) ?? true else { return }
        benchTime = now
        let new = look(watch.targets.values.joined().compactMap(\.record).sorted { $0.id < $1.id })
        if new != bench { (bench, benchChanges) = (new, benchChanges + 1) }
    }
}
