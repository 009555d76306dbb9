import Configuration
import FoundationEssentials
package import Inventory
package import RunRecords
package import TFTP

/// The board that a target's card was made for, by the last report that said so; nil where none did.
package func knownBoard(of target: Target, in runs: RunStore) -> String? {
    guard let stored = try? runs.list(mac: target.mac.description) else { return nil }
    return stored.reversed().lazy.compactMap { $0.record?.board?.board }.first
}

/// The window that a target takes: what is known of it before a flash, and who is told what the server learns of it.
package struct KnownWindows: Sendable {
    /// Where nothing is known the server begins with the largest window.
    var before: WindowMemory?
    var learned: @Sendable (WindowMemory) -> Void

    /// Networks and boards change: what is older than this is tried anew.
    static let longestAge: TimeInterval = 90 * 86400

    /// For what serves nothing to a target.
    static let none = KnownWindows(before: nil) { _ in }

    /// What the last run of a target that tells something of it has.
    package init(of target: Target, in runs: RunStore, learned: @escaping @Sendable (WindowMemory) -> Void) {
        let stored = (try? runs.list(mac: target.mac.description)) ?? []
        let now = Date.now
        let last = stored.reversed().lazy.compactMap { run -> (WindowMemory?, started: Date)? in
            run.record.flatMap { record in record.windows.map { ($0.memory, record.started) } }
        }.first
        self.init(
            before: last.flatMap { memory, started in
                (0...Self.longestAge).contains(now.timeIntervalSince(started)) ? memory : nil
            }, learned: learned)
    }

    private init(before: WindowMemory?, learned: @escaping @Sendable (WindowMemory) -> Void) {
        (self.before, self.learned) = (before, learned)
    }
}
