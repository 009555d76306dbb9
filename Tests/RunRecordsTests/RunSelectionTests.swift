import Foundation
import RunRecords
import SystemPackage
import Testing

/// Which runs a text or an option means.
@Suite struct RunSelectionTests {
    private let store = RunStore(
        at: FilePath(FileManager.default.temporaryDirectory.path).appending("rpiflash-runs-\(UUID().uuidString)"))
    private let now = Date(timeIntervalSince1970: 1_764_051_638)

    private func remove() { try? FileManager.default.removeItem(atPath: store.path.string) }

    /// A run of one of two targets, that began this long ago; it is over when what is returned is gone.
    @discardableResult
    private func begin(_ target: Int, daysAgo: Double, labels: [String: String] = [:]) throws -> OpenRun {
        var record = RunRecord(
            program: "1", started: now - daysAgo * 86400,
            target: .init(name: "t\(target)", mac: "b8:27:eb:00:00:0\(target)", ip: "192.0.2.\(target)"),
            image: .init(path: "os.img"), delivery: "plan", mode: "normal",
            by: .init(user: "me", host: "here", from: nil, command: []))
        record.labels = labels
        return try store.begin(record)
    }

    private func prunable(keep: Int? = nil, days: Double? = nil) throws -> [String] {
        StoredRun.prunable(try store.list(), keep: keep, olderThan: days.map { $0 * 86400 }, now: now).map(\.id)
    }

    @Test func `old ones and surplus ones may go, the last first, and of each target so many stay`() throws {
        defer { remove() }
        for days in [9.0, 5, 1] { try begin(1, daysAgo: days) }
        try begin(2, daysAgo: 7)
        let ids = try store.list().map(\.id)
        #expect(ids.map { $0.suffix(1) } == ["1", "2", "1", "1"])
        #expect(try prunable(keep: 1) == [ids[2], ids[0]])
        #expect(try prunable(keep: 0) == ids.reversed())
        #expect(try prunable(days: 6) == [ids[1], ids[0]])
        // Both: only what is old and surplus.
        #expect(try prunable(keep: 1, days: 6) == [ids[0]])
        #expect(try prunable(keep: 3, days: 6) == [])
    }

    @Test func `a run that lasts stays, one whose record is damaged counts as old`() throws {
        defer { remove() }
        let running = try begin(1, daysAgo: 9)
        try begin(1, daysAgo: 8)
        try begin(1, daysAgo: 1)
        let runs = try store.list()
        try "{}".write(toFile: runs[2].folder.appending("run.json").string, atomically: true, encoding: .utf8)
        #expect(try prunable(days: 6) == [runs[2].id, runs[1].id])
        #expect(try prunable(keep: 0) == [runs[2].id, runs[1].id])
        withExtendedLifetime(running) {}
    }

    @Test func `a run is found by its name, the beginning of it, last, or its target`() throws {
        defer { remove() }
        try begin(1, daysAgo: 2)
        try begin(2, daysAgo: 1)
        try begin(1, daysAgo: 0)
        let runs = try store.list()
        func found(_ text: String) -> String {
            switch StoredRun.find(text, in: runs) {
            case .one(let run): run.id
            case .several(let count): "\(count)"
            case .none: "none"
            }
        }
        #expect(found("last") == runs[2].id && found(runs[1].id) == runs[1].id)
        #expect(found(String(runs[0].id.prefix(8))) == runs[0].id && found("2025") == "3")
        #expect(found("T1") == runs[2].id && found("192.0.2.2") == runs[1].id)
        #expect(found("B8-27-EB-00-00-01") == runs[2].id && found("goat") == "none")
        // An empty name is the beginning of all.
        #expect(found("") == "3")
    }

    @Test func `runs are selected by target, by all labels, and by how many`() throws {
        defer { remove() }
        try begin(1, daysAgo: 3, labels: ["job": "1", "place": "a"])
        try begin(2, daysAgo: 2, labels: ["job": "1"])
        try begin(1, daysAgo: 1, labels: ["job": "2", "place": "a"])
        let runs = try store.list()
        func selected(target: String? = nil, _ labels: [String] = [], last: Int? = nil) throws -> [Int] {
            let labels = try labels.map { try RunLabel($0) }
            return StoredRun.select(runs, target: target, labels: labels, last: last).map { run in
                runs.firstIndex { $0.id == run.id } ?? -1
            }
        }
        #expect(try selected(target: "t1") == [0, 2] && selected(target: "t1", last: 1) == [2])
        #expect(try selected(["job=1"]) == [0, 1] && selected(["job=1", "place=a"]) == [0])
        #expect(try selected(target: "t2", ["place=a"]) == [] && selected() == [0, 1, 2])
    }
}
