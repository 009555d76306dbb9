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
    /// The events at the end of its file; what is no event is left out.
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
    /// Of each target this many runs are known, the last ones: the memory that it takes depends on the bench, not on its past.
    package static let most = 100

    /// Grows with every change.
    package private(set) var generation = 0
    /// Of each target the generation of its last change, by the digits of its Ethernet address.
    package private(set) var generations: [String: Int] = [:]
    /// Of each target its runs, the oldest first.
    package private(set) var targets: [String: [WatchedRun]] = [:]
    private let store: RunStore
    private let only: Set<String>?
    private var changed: Double?

    /// - Parameters:
    ///   - store: where the records are.
    ///   - only: the runs that count, however many; nil: the last ones.
    package init(_ store: RunStore, only: Set<String>? = nil) { (self.store, self.only) = (store, only) }

    /// A run; nil where there is none of that name. One that is older than what is known is read.
    package func run(_ id: String) -> WatchedRun? {
        let stored = StoredRun(id: id, folder: store.path.appending(id))
        guard RunStore.isID(id) else { return nil }
        if let known = targets[String(stored.targetDigits)]?.last(where: { $0.stored.id == id }) { return known }
        return exists(stored.folder) ? Self.read([stored])[0] : nil
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

    private mutating func touch(_ targets: some Sequence<String>) {
        generation += 1
        for target in targets { generations[target] = generation }
    }

    private mutating func list() {
        var wanted: [String: [StoredRun]] = [:]
        for run in ((try? store.list()) ?? []).reversed() {
            let count = wanted[String(run.targetDigits)]?.count ?? 0
            guard only?.contains(run.id) ?? (count < Self.most) else { continue }
            wanted[String(run.targetDigits), default: []].append(run)
        }
        let old = targets.mapValues { $0.map(\.stored) }
        var known = Dictionary(uniqueKeysWithValues: targets.values.joined().map { ($0.stored.id, $0) })
        for run in Self.read(wanted.values.joined().filter { known[$0.id] == nil }) { known[run.stored.id] = run }
        targets = wanted.mapValues { runs in runs.reversed().compactMap { known[$0.id] } }
        let changed = Set(old.keys).union(wanted.keys).filter { old[$0] != targets[$0]?.map(\.stored) }
        if !changed.isEmpty { touch(changed) }
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
