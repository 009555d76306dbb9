package import CardUpgrade
package import FlashEvents
package import Inventory
import RunRecords

/// Shows how upgrades progress and end: the log on standard error, and on standard output a line for each target that is done,
/// or events for programs.
package final class UpgradeReporter: Sendable {
    private let isOne: Bool
    private let events: EventWriter?
    private let start: FlashEvent
    private var isDryRun: Bool { start.isDryRun == true }

    /// - Parameters:
    ///   - isOne: whether one target was named: its events name none.
    ///   - start: the first event.
    ///   - json: whether events are printed.
    package init(isOne: Bool, start: FlashEvent, json: Bool) {
        (self.isOne, self.start) = (isOne, start)
        events = json ? EventWriter.toStandardOutput() : nil
        if isOne { events?.write(start) }
    }

    /// These targets are upgraded.
    package func begin(_ targets: [Target]) {
        var start = start
        start.targets = targets.map(\.displayName)
        if !isOne { events?.write(start) }
        for target in targets { events?.write(FlashEvent(target, isOne: isOne)) }
    }

    package func report(_ target: Target, _ progress: UpgradeProgress) {
        switch progress {
        case .note(let text): log(target, text, .note) { $0.text = text }
        case .compared(let result):
            let lines = Self.lines(result)
            if isDryRun, events == nil {
                print("\(Self.title(target)): \(lines.joined(separator: "\n  "))")
            } else {
                for line in lines { log(target, line) }
            }
            write(target, .compared) { $0.add(result) }
            for change in result.changes {
                write(target, .differs) {
                    ($0.name, $0.bytes, $0.oldBytes) = (change.name, change.bytes, change.oldBytes)
                }
            }
        case .copied: log(target, "copied and read back; renaming", .copied) { _ in }
        case .renamed(let file): log(target, "\(file) is new", .renamed) { $0.name = file }
        case .ended(let verdict): end(verdict)
        }
    }

    private func end(_ verdict: UpgradeVerdict) {
        let target = verdict.target
        if case .done(let result) = verdict.ending {
            if events == nil, !isDryRun { print("\(Self.title(target)): \(outcome(result))") }
        } else {
            Log.shared.line("\(target.displayName): \(verdict.sentence ?? "")", .error)
        }
        write(target, .result) { event in
            (event.status, event.error) = (verdict.status, verdict.sentence)
            event.isProven = false
            switch verdict.ending {
            case .done(let result):
                event.add(result)
                (event.isProven, event.keepsOld) = (!isDryRun, result.hasWritten ? result.keepsOld : nil)
            case .failed(let error): event.code = error.code.rawValue
            case .interrupted, .notStarted: break
            }
        }
    }

    private func outcome(_ result: UpgradeResult) -> String {
        let all = "all \(result.total) files on \(result.device)"
        guard result.hasWritten else {
            return "nothing to do, \(all) (board \(result.board)) are those of \(start.image ?? "the image")"
        }
        let (new, old) = (result.changes.count, result.total - result.changes.count)
        return Palette.standardOutput.paint("upgraded", .success)
            + ", \(all) read back: \(new) new, \(old) as they were"
            + (result.keepsOld ? "; the old ones are in rpiflash.old" : "")
    }

    /// What differs.
    private static func lines(_ result: UpgradeResult) -> [String] {
        ["\(result.device), board \(result.board): \(result.changes.count) of \(result.total) files differ"]
            + result.changes.map { change in
                change.oldBytes.map { "\(change.name): differs, has \($0) bytes, gets \(change.bytes)" }
                    ?? "\(change.name): not there yet, \(change.bytes) bytes"
            }
    }

    private static func title(_ target: Target) -> String { "\(target.displayName) (\(target.mac), \(target.ip))" }

    /// A line of the log, and its event.
    private func log(
        _ target: Target, _ text: String, _ kind: FlashEvent.Kind? = nil, _ fill: (inout FlashEvent) -> Void = { _ in }
    ) {
        Log.shared.line("\(target.displayName): \(text)")
        if let kind { write(target, kind, fill) }
    }

    private func write(_ target: Target, _ kind: FlashEvent.Kind, _ fill: (inout FlashEvent) -> Void) {
        var event = FlashEvent(kind)
        event.target = isOne ? nil : target.displayName
        fill(&event)
        events?.write(event)
    }

    /// Refused before any target was asked.
    package func refuse(status: Int32, _ sentence: String) {
        if !isOne { events?.write(start) }
        events?.write(FlashEvent(untouched: 0, isOne: isOne, status: status, error: sentence))
        events?.finish()
    }

    /// - Returns: the exit status, the highest of any target.
    package func finish(_ verdicts: [UpgradeVerdict]) -> Int32 {
        let status = RunVerdict.worst(of: verdicts.map(\.status), isCancelled: Task.isCancelled)
        let statuses = verdicts.compactMap(\.status)
        let done = statuses.count { $0 == 0 }
        if !isOne {
            var event = FlashEvent(.summary)
            (event.status, event.count) = (status, UInt64(verdicts.count))
            (event.provenCount, event.failedCount) = (UInt64(isDryRun ? 0 : done), UInt64(statuses.count - done))
            event.notStartedCount = UInt64(verdicts.count - statuses.count)
            events?.write(event)
            if events == nil { print("\(done) of \(verdicts.count) done") }
        } else if status == 0, !isDryRun, let target = verdicts.first?.target {
            suggest("rpiflash reset \(target.displayName)")
        }
        events?.finish()
        return status
    }
}

extension FlashEvent {
    fileprivate mutating func add(_ result: UpgradeResult) {
        (device, board, count) = (result.device, result.board, UInt64(result.total))
        changed = UInt64(result.changes.count)
    }
}
