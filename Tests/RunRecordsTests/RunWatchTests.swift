import FlashEvents
import Foundation
import RunRecords
import SystemPackage
import Testing

/// Runs as they are seen while they go on.
@Suite struct RunWatchTests {
    private let store = RunStore(
        at: FilePath(FileManager.default.temporaryDirectory.path).appending("rpiflash-watch-\(UUID().uuidString)"))

    private func remove() { try? FileManager.default.removeItem(atPath: store.path.string) }

    private func record(_ target: Int, at seconds: Double = 1_764_051_638) -> RunRecord {
        RunRecord(
            program: "1", started: Date(timeIntervalSince1970: seconds),
            target: .init(name: "t\(target)", mac: "b8:27:eb:00:00:0\(target)", ip: "192.0.2.\(target)"),
            image: .init(path: "os.img"), delivery: "plan", mode: "normal",
            by: .init(user: "me", host: "here", from: nil, command: []))
    }

    private func write(_ event: FlashEvent.Kind, to run: OpenRun, number: UInt64? = nil) {
        let number = number.map { #","number":\#($0),"count":9"# } ?? ""
        run.addEvent(#"{"event":"\#(event.rawValue)","time":1.5\#(number)}"#)
    }

    @Test func `a run is followed from its first reset to its end`() throws {
        defer { remove() }
        var watch = RunWatch(store)
        watch.look()
        #expect(watch.targets.isEmpty && watch.generation == 0)

        var open: OpenRun? = try store.begin(record(1))
        watch.look()
        let first = try #require(watch.targets["b827eb000001"]?.last)
        #expect(first.isRunning && first.step == nil && first.record?.target.name == "t1")

        var generations = [watch.generation]
        for number in UInt64(1)...2 {
            try write(.chunk, to: #require(open), number: number)
            // Of what one file took nothing is told.
            try write(.file, to: #require(open))
            watch.look()
            let now = try #require(watch.targets["b827eb000001"]?.last)
            #expect(now.isRunning && now.step?.event == .chunk && now.step?.number == number)
            generations.append(watch.generation)
        }
        open?.addConsole("U-Boot", seconds: 1)
        watch.look()
        generations.append(watch.generation)
        #expect(Set(generations).count == 4 && generations == generations.sorted(), "\(generations)")
        #expect(watch.generations == ["b827eb000001": watch.generation])
        watch.look()
        #expect(watch.generation == generations.last)

        var ended = try #require(first.record)
        (ended.ended, ended.status) = (Date(timeIntervalSince1970: 1_764_051_700), 0)
        open?.write(ended)
        open = nil
        watch.look()
        let over = try #require(watch.targets["b827eb000001"]?.last)
        #expect(!over.isRunning && over.record?.status == 0)
    }

    @Test func `a run whose process was killed is over without an outcome`() throws {
        defer { remove() }
        var watch = RunWatch(store)
        var open: OpenRun? = try store.begin(record(1))
        try write(.asked, to: #require(open))
        watch.look()
        #expect(watch.targets["b827eb000001"]?.last?.isRunning == true)
        open = nil
        watch.look()
        let over = try #require(watch.targets["b827eb000001"]?.last)
        #expect(!over.isRunning && over.record?.status == nil && over.record != nil)
    }

    @Test func `a record that is damaged is a run without one, until it can be read`() throws {
        defer { remove() }
        let open = try store.begin(record(1))
        let path = open.folder.appending("run.json").string
        let text = try String(contentsOfFile: path, encoding: .utf8)
        for damage in [
            "", "{", "[1]", String(repeating: "[", count: 100_000),
            text.replacing("\"version\" : 1", with: "\"version\" : 2"),
        ] {
            try damage.write(toFile: path, atomically: true, encoding: .utf8)
            var watch = RunWatch(store)
            watch.look()
            #expect(watch.targets["b827eb000001"]?.map(\.record) == [nil])
            #expect(watch.run(open.id)?.record == nil)
            try text.write(toFile: path, atomically: true, encoding: .utf8)
            watch.look()
            #expect(watch.targets["b827eb000001"]?.last?.record?.target.name == "t1")
        }
    }

    @Test func `events are read from the end, whole lines, and what is no event is left out`() throws {
        defer { remove() }
        let open = try store.begin(record(1))
        for number in UInt64(1)...500 { write(.chunk, to: open, number: number) }
        for line in ["", "no JSON", #"{"event":"of tomorrow","time":1}"#, #"{"time":2}"#, "[", "\u{0}"] {
            open.addEvent(line)
        }
        let run = try #require(try store.list().first)
        let events = run.lastEvents(of: 2000)
        #expect(events.last?.number == 500 && events.count > 20 && events.count < 60)
        let numbers = Array(UInt64(501 - events.count)...500)
        #expect(events.compactMap(\.number) == numbers)
        #expect(run.lastEvents(of: 1 << 20).count == 500)
    }

    @Test func `of each target the last runs are known, and an older one if it is asked for`() throws {
        defer { remove() }
        for number in 0..<(RunWatch.most + 5) { _ = try store.begin(record(1, at: 1_764_051_638 + Double(number))) }
        _ = try store.begin(record(2))
        let ids = try store.list().map(\.id).filter { $0.hasSuffix("1") }
        var watch = RunWatch(store)
        watch.look()
        #expect(watch.runs(of: "b827eb000001").map(\.stored.id) == ids.suffix(RunWatch.most))
        #expect(watch.runs(of: "b827eb000001").allSatisfy { $0.record != nil })
        #expect(watch.targets["b827eb000001"]?.map(\.stored.id) == ids.suffix(RunWatch.kept))
        #expect(watch.targets["b827eb000002"]?.count == 1)
        #expect(watch.run(ids[0])?.record?.id == ids[0])
        #expect(watch.run("20261125-062038-b827eb000009") == nil)
        for id in ["", "..", "../../etc", ids[0] + "/..", "run.json"] { #expect(watch.run(id) == nil) }

        // One more: the oldest of these goes; the other target did not change.
        let before = watch.generations["b827eb000002"]
        _ = try store.begin(record(1, at: 1_764_052_638))
        watch.look()
        #expect(watch.runs(of: "b827eb000001").count == RunWatch.most)
        #expect(watch.runs(of: "b827eb000001").first?.stored.id == ids[6])
        #expect(watch.generations["b827eb000002"] == before)

        var some = RunWatch(store, only: Set(ids.prefix(3)))
        some.look()
        #expect(some.targets.mapValues { $0.map(\.stored.id) } == ["b827eb000001": Array(ids.prefix(3))])
    }

    @Test func `a run that is removed is seen to be gone`() throws {
        defer { remove() }
        _ = try store.begin(record(1))
        var watch = RunWatch(store)
        watch.look()
        _ = try store.remove(#require(try store.list().first))
        watch.look()
        #expect(watch.targets.isEmpty)
        #expect(watch.generation == 2)
    }
}
