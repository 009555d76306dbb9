import Configuration
import FoundationEssentials
package import Inventory
package import RunRecords
package import TFTP

/// What the records of a target's runs tell the next one; read once.
package struct EarlierRuns: Sendable {
    /// The board that its card was made for, by the last report that said so; nil where none did.
    package private(set) var board: String?
    /// What the last run that tells something of its window has; nil where none does, or where that is too old.
    let windows: WindowMemory?

    /// Networks and boards change: what is older than this is tried anew.
    static let longestAge: TimeInterval = 90 * 86400

    /// - Parameter runs: what cannot be read of them tells nothing.
    package init(of target: Target, in runs: RunStore) {
        var last: (memory: WindowMemory?, started: Date)?
        for run in ((try? runs.list(mac: target.mac.description)) ?? []).reversed() where board == nil || last == nil {
            guard let record = run.record else { continue }
            board = board ?? record.board?.board
            if last == nil, let windows = record.windows { last = (windows.memory, record.started) }
        }
        windows = last.flatMap { last in
            (0...Self.longestAge).contains(Date.now.timeIntervalSince(last.started)) ? last.memory : nil
        }
    }
}

/// The window that a target takes: what is known of it before a flash, and who is told what the server learns of it.
package struct KnownWindows: Sendable {
    /// Where nothing is known the server begins with the largest window.
    var before: WindowMemory?
    var learned: @Sendable (WindowMemory) -> Void

    /// For what serves nothing to a target.
    static let none = KnownWindows(before: nil) { _ in }

    /// - Parameters:
    ///   - before: nil where nothing is known.
    ///   - learned: told what the server learns.
    package init(before: WindowMemory?, learned: @escaping @Sendable (WindowMemory) -> Void) {
        (self.before, self.learned) = (before, learned)
    }
}
