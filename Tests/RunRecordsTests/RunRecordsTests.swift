import Foundation
import RunRecords
import SystemPackage
import TFTP
import Testing

private func record(
    _ mac: String = "b8:27:eb:3d:60:b9", at seconds: Double = 1_764_051_638, rate: Double? = nil, retries: UInt64 = 0,
    partuuid: String? = "52504946-01", model: String? = nil, error: String? = nil, code: String? = nil
) -> RunRecord {
    var record = RunRecord(
        program: "1", started: Date(timeIntervalSince1970: seconds),
        target: .init(name: "cam", mac: mac, ip: "192.168.1.51"), image: .init(path: "os.img"), delivery: "plan",
        mode: "normal", by: .init(user: "me", host: "here", from: nil, command: ["rpiflash"]))
    var card = RunRecord.CardEntry()
    card.partuuid = partuuid
    card.model = model
    card.retries = retries
    if let rate {
        card.writeSeconds = 10
        card.writeBytes = UInt64(rate * 10)
    }
    record.card = card
    record.error = error
    record.code = code
    return record
}

/// The folder of records.
@Suite struct RunStoreTests {
    private let store = RunStore(
        at: FilePath(FileManager.default.temporaryDirectory.path).appending("rpiflash-runs-\(UUID().uuidString)/a/b"))

    private func remove() {
        try? FileManager.default.removeItem(atPath: store.path.removingLastComponent().removingLastComponent().string)
    }

    @Test func `the window of a target is kept, and one that makes no sense costs only itself`() throws {
        defer { remove() }
        var windows = WindowMemory()
        windows.learn(from: Sender.Counters(sent: 1000, repeated: 700), granted: 32, isComplete: true)
        var record = record()
        record.windows = KeptWindows(windows)
        let open = try store.begin(record)
        let stored = try #require(try store.list().first)
        #expect(stored.record?.windows?.memory == windows)
        let path = stored.folder.appending("run.json").string
        let text = try String(contentsOfFile: path, encoding: .utf8)
        #expect(text.contains(#""window" : 8"#), "\(text)")
        for damage in [#""window" : 0"#, #""window" : "x""#, #""window" : 1e99"#, #""other" : 8"#] {
            let damaged = text.replacing(#""window" : 8"#, with: damage)
            try damaged.write(toFile: path, atomically: true, encoding: .utf8)
            let read = try #require(stored.record)
            #expect(read.windows != nil && read.windows?.memory == nil)
            #expect(read.target == record.target)
        }
        withExtendedLifetime(open) {}
    }

    @Test func `a run is named by time and target, is running until it is let go, and is read back`() throws {
        defer { remove() }
        #expect(try store.list().isEmpty)
        var open: OpenRun? = try store.begin(record())
        #expect(open?.id == "20251125-062038-b827eb3d60b9")
        let again = try store.begin(record())
        #expect(again.id == "20251125-062038-b827eb3d60b9-2")
        let other = try store.begin(record("dc:a6:32:0a:4e:17", at: 1_764_051_600))
        #expect(try store.list().map(\.id) == [other.id, open?.id, again.id])
        #expect(try store.list().allSatisfy(\.isRunning))
        #expect(try store.running(mac: "b8:27:eb:3d:60:b9")?.id == again.id)
        #expect(try store.running(mac: "00:00:00:00:00:01") == nil)
        // A run that goes on is not removed.
        #expect(try store.remove(store.list()[1]) == false)
        var end = record()
        end.id = open?.id ?? ""
        end.status = 4
        end.ended = Date(timeIntervalSince1970: 1_764_051_700)
        open?.addEvent("{}")
        open?.addConsole("U-Boot", seconds: 12.3456)
        open?.keepReport(["rpi_report=1"])
        open?.write(end)
        #expect(open?.problem == nil)
        open = nil
        let stored = try store.list()[1]
        #expect(!stored.isRunning)
        #expect(stored.record == end)
        #expect(try String(contentsOfFile: stored.console.string, encoding: .utf8) == "[   12.346] U-Boot\n")
        #expect(try String(contentsOfFile: stored.report.string, encoding: .utf8) == "rpi_report=1\n")
        #expect(stored.bytes > 100)
        #expect(try store.remove(stored))
        #expect(try store.list().map(\.id) == [other.id, again.id])
    }

    @Test func `what is none of ours in the folder is left alone, a damaged record is listed`() throws {
        defer { remove() }
        let open = try store.begin(record())
        for name in ["notes", "20251125-062038-b827eb3d60b9x", "2025"] {
            try FileManager.default.createDirectory(
                atPath: store.path.appending(name).string, withIntermediateDirectories: true)
        }
        try Data("{".utf8).write(to: URL(fileURLWithPath: open.folder.appending("run.json").string))
        let all = try store.list()
        #expect(all.map(\.id) == [open.id])
        #expect(all[0].record == nil)
    }

    @Test func `a folder with a file of someone else is not removed`() throws {
        defer { remove() }
        var open: OpenRun? = try store.begin(record())
        let folder = try #require(open?.folder)
        open = nil
        try Data().write(to: URL(fileURLWithPath: folder.appending("mine").string))
        #expect(throws: RunStoreError.self) { _ = try store.remove(store.list()[0]) }
        #expect(FileManager.default.fileExists(atPath: folder.appending("mine").string))
    }

    @Test func `a console that never ends does not fill the disk`() throws {
        defer { remove() }
        let open = try store.begin(record())
        let line = String(repeating: "x", count: 1000)
        for _ in 0..<(OpenRun.longestConsole / 1000 + 100) { open.addConsole(line, seconds: 1) }
        let stored = try store.list()[0]
        #expect(stored.bytes < UInt64(OpenRun.longestConsole) + 4096)
        let text = try String(contentsOfFile: stored.console.string, encoding: .utf8)
        #expect(text.hasSuffix("(more than 4194304 bytes: the rest is not kept)\n"))
        #expect(open.problem == nil)
    }

    @Test func `a folder that cannot be made is an error that names it`() {
        let error = #expect(throws: RunStoreError.self) { _ = try RunStore(at: "/proc/runs").begin(record()) }
        #expect(error?.description.hasPrefix("/proc/runs: ") == true)
    }
}

/// How cards do.
@Suite struct CardTrendTests {
    private func verdict(_ records: [RunRecord]) -> CardTrend.Verdict? { CardTrend.all(records).last?.verdict }

    @Test func `slower than 60 % of the median before it is told, from three runs before it on`() {
        let usual = [5e6, 4.8e6, 5.2e6].map { record(rate: $0) }
        #expect(verdict(usual) == .tooFewRuns)
        #expect(verdict(usual + [record(rate: 3.1e6)]) == .steady)
        #expect(verdict(usual + [record(rate: 2.9e6)]) == .slower(percent: 58))
        // A run that wrote next to nothing says nothing.
        #expect(verdict(usual + [record()]) == .tooFewRuns)
        // One slow run before is no reason for another standard.
        #expect(verdict(usual + [record(rate: 1e6), record(rate: 2.5e6)]) == .slower(percent: 51))
    }

    @Test func `more retries than ever are told, and what the card lost`() {
        let usual = [5e6, 5e6, 5e6, 5e6].map { record(rate: $0) }
        #expect(verdict(usual + [record(rate: 5e6, retries: 2)]) == .retries(now: 2, before: 0))
        #expect(verdict(usual + [record(rate: 5e6, retries: 2), record(rate: 5e6, retries: 2)]) == .steady)
        #expect(verdict([record(retries: 3)]) == .tooFewRuns)
        // By the code, in whatever words. A record of before there were codes tells nothing; nor does what a target may say.
        #expect(verdict([record(error: "chunk 3 of 9 at LBA 5: anything", code: "lost_write")]) == .lostWrites)
        let text = "target failed: chunk 3 of 9 at LBA 5: the card does not hold what was written"
        #expect(verdict([record(error: text)]) == .tooFewRuns)
        #expect(verdict([record(error: text, code: "not_loaded")]) == .tooFewRuns)
    }

    @Test func `cards are told apart by target, signature and model; a run that heard none is about the one before`() {
        let cards = CardTrend.all([
            record(model: "3 SC16G 14.8 GiB"), record(model: nil), record("dc:a6:32:0a:4e:17"),
            record(model: "1b SM32G 29.8 GiB"), record(model: nil), record(partuuid: "00000001-01"),
        ])
        #expect(cards.map(\.runs.count) == [2, 1, 2, 1])
        #expect(cards.map(\.key.model) == ["3 SC16G 14.8 GiB", nil, "1b SM32G 29.8 GiB", nil])
    }

    @Test func `the model comes from what mmc info prints, in full or not at all`() {
        var model = CardModel()
        for line in ["Device: mmc@7e340000", "Manufacturer ID: 3", "OEM: 5344", "Name: SC16G "] { model.take(line) }
        #expect(model.text == nil)
        model.take("Capacity: 14.8 GiB")
        #expect(model.text == "3 SC16G 14.8 GiB")
        model.take("Manufacturer ID: 1b")
        #expect(model.text == "3 SC16G 14.8 GiB")
    }
}
