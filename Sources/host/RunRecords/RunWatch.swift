import Dispatch
package import FlashEvents
import FoundationEssentials
import LinuxHost
import SystemPackage

/// A run as it is now.
package struct WatchedRun: Hashable, Sendable {
    /// Where its files are.
    package let stored: StoredRun
    /// Its record; nil where it cannot be read.
    package private(set) var record: RunRecord?
    /// Whether its flash goes on.
    package private(set) var isRunning = false
    /// How far that is: the last event that says so.
    package private(set) var step: FlashEvent?
    /// Of its files, which grow while it runs.
    private var bytes: UInt64 = 0

    init(_ stored: StoredRun) { self.stored = stored }

    /// Reads what may have changed.
    mutating func look() {
        record = stored.record
        isRunning = record?.ended == nil && stored.isRunning
        // It may have ended between the two.
        guard isRunning else { return record = record?.ended == nil ? stored.record : record }
        let before = bytes
        bytes = stored.bytes
        if bytes != before { step = stored.lastEvents(of: 16 << 10).last { $0.isStep } ?? step }
    }
}

extension StoredRun {
    /// The events at the end of its file; lines that are not events are left out.
    ///
    /// - Parameter bytes: the most bytes that are read.
    package func lastEvents(of bytes: Int) -> [FlashEvent] {
        let (lines, decoder) = (SmallFile.end(of: events, count: bytes) ?? [], JSONDecoder())
        let split = lines.split(separator: UInt8(ascii: "\n"))
        return split.compactMap { try? decoder.decode(FlashEvent.self, from: Data($0)) }
    }
}

extension FlashEvent {
    /// Whether it says how far a flash is.
    var isStep: Bool {
        [.unpacking, .preparing, .staging, .reset, .asked, .chunk, .part, .proven, .waiting].contains(event)
    }
}

/// The runs of a bench, kept up to date while somebody looks. Only what may have changed is read again.
package struct RunWatch: Sendable {
    /// Of each target this many runs are shown, the last ones, and this many kept in memory.
    package static let (most, kept) = (100, 12)

    /// Grows with every change.
    package private(set) var generation = 0
    /// Of each target the generation of its last change, by the digits of its Ethernet address.
    package private(set) var generations: [String: Int] = [:]
    /// Of each target its last runs, the oldest first.
    package private(set) var targets: [String: [WatchedRun]] = [:]
    private var shown: [String: [StoredRun]] = [:]
    private let store: RunStore
    private let only: Set<String>?
    private var changed: Double?

    /// - Parameter only: the runs that are shown, however many; nil: the last ones.
    package init(_ store: RunStore, only: Set<String>? = nil) { (self.store, self.only) = (store, only) }

    /// A run; nil where there is none of that name.
    package func run(_ id: String) -> WatchedRun? {
        let stored = StoredRun(id: id, folder: store.path.appending(id))
        guard RunStore.isID(id), exists(stored.folder) else { return nil }
        return targets[String(stored.targetDigits)]?.last { $0.stored.id == id } ?? Self.read([stored])[0]
    }

    /// All runs of a target that are shown, the oldest first; those that are not kept are read.
    package func runs(of target: String) -> [WatchedRun] {
        Self.read(shown[target]?.dropLast(Self.kept) ?? []) + (targets[target] ?? [])
    }

    /// Finds new runs, and what became of those that go on.
    package mutating func look() {
        let now = changeTime(of: store.path)
        // Two changes of a folder may have the same time: one that is just over is listed again.
        if now != changed { list() }
        changed = now.flatMap { Date.now.timeIntervalSince1970 - $0 > 1 ? $0 : nil }
        for (target, runs) in targets {
            // A target has one flash at a time, but the one before may have been running when it was seen last.
            // A record that cannot be read may be one that is being made.
            for (index, run) in runs.enumerated().suffix(2) where run.isRunning || run.record == nil {
                var new = run
                new.look()
                targets[target]?[index] = new
                if new != run { touch([target]) }
            }
        }
    }

    private mutating func touch(_ targets: Set<String>) {
        generation += 1
        for target in targets { generations[target] = generation }
    }

    private mutating func list() {
        let all = ((try? store.list()) ?? []).filter { only?.contains($0.id) ?? true }
        let new = Dictionary(grouping: all) { String($0.targetDigits) }
            .mapValues { $0.suffix(only == nil ? Self.most : .max).map(\.self) }
        let changed = Set(new.keys).union(shown.keys).filter { new[$0] != shown[$0] }
        guard !changed.isEmpty else { return }
        shown = new
        var known = Dictionary(uniqueKeysWithValues: targets.values.joined().map { ($0.stored.id, $0) })
        let kept = shown.mapValues { $0.suffix(Self.kept) }
        for run in Self.read(kept.values.joined().filter { known[$0.id] == nil }) { known[run.stored.id] = run }
        targets = kept.mapValues { $0.compactMap { known[$0.id] } }
        touch(changed)
    }

    /// Reads runs, on all cores.
    private static func read(_ stored: [StoredRun]) -> [WatchedRun] {
        var runs = stored.map { WatchedRun($0) }
        unsafe runs.withUnsafeMutableBufferPointer { buffer in
            nonisolated(unsafe) let slots = unsafe buffer
            unsafe DispatchQueue.concurrentPerform(iterations: slots.count) { unsafe slots[$0].look() }
        }
        return runs
    }
}
