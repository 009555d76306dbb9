package import FlashEvents
import Configuration
import DiskLayout
import FlashPlan
package import Flashing
package import Inventory
import RunRecords
import Synchronization

/// Shows how a run progresses and ends: the log on standard error, and on standard output a result for people or events for
/// programs. A run of one target has no names in front of its lines and no table; everything else is the same.
package final class RunReporter: Sendable {
    /// How a proven target is told of, where it is the only one.
    package struct Wording: Sendable {
        /// `flashed and proven`.
        package var done: String
        /// The TCP port that showed that it is up.
        package var port: UInt16
        /// Whether it is told what was written and loaded.
        package var hasCounts: Bool

        package init(done: String, port: UInt16, hasCounts: Bool) {
            (self.done, self.port, self.hasCounts) = (done, port, hasCounts)
        }
    }

    private struct State {
        var targets: [Target] = []
        var logs: [FlashLog] = []
        var eventReporters: [EventReporter] = []
    }

    private let isOne: Bool
    private let wording: Wording
    private let events: EventWriter?
    private let start: FlashEvent
    private let general = FlashLog(target: "")
    private let generalEvents: EventReporter?
    private let state = Mutex(State())

    /// - Parameters:
    ///   - isOne: whether one target was named.
    ///   - wording: how its proof is told.
    ///   - start: the first event. That of one target is written at once, with its name as it was given.
    ///   - json: whether events are printed in place of a result for people.
    package init(isOne: Bool, wording: Wording, start: FlashEvent, json: Bool) {
        (self.isOne, self.wording, self.start) = (isOne, wording, start)
        events = json ? EventWriter.toStandardOutput() : nil
        generalEvents = events.map { EventReporter($0) }
        if isOne { events?.write(start) }
    }

    /// These targets are flashed.
    package func begin(_ targets: [Target]) {
        let isOne = isOne
        state.withLock { state in
            state.targets = targets
            state.logs = targets.enumerated().map { FlashLog(target: $1.displayName, number: isOne ? nil : $0) }
            if let events {
                state.eventReporters = targets.map { EventReporter(events, target: isOne ? nil : $0.displayName) }
            }
        }
        guard let events else { return }
        if !isOne {
            var start = start
            start.targets = targets.map(\.displayName)
            events.write(start)
        }
        for target in targets { events.write(FlashEvent(target, isOne: isOne)) }
    }

    /// Takes what a run tells.
    ///
    /// - Parameter index: the target's place; nil for what concerns all.
    package func report(_ index: Int?, _ event: FleetEvent) {
        switch event {
        case .progress(let progress):
            let place = index ?? (isOne ? 0 : nil)
            let (log, eventReporter) = state.withLock { state in
                place.map { (state.logs[$0], events == nil ? nil : state.eventReporters[$0]) }
                    ?? (general, generalEvents)
            }
            log.report(progress)
            eventReporter?.report(progress)
        case .ended(let verdict):
            if !isOne { tellEnding(index, verdict) }
            var result = FlashEvent(verdict)
            if !isOne { result.target = verdict.target.displayName }
            events?.write(result)
        }
    }

    private func tellEnding(_ index: Int?, _ verdict: Verdict) {
        if let index, Log.shared.isTerminal { Log.shared.status(nil, number: index) }
        let name = verdict.target.displayName
        switch verdict.ending {
        case .interrupted, .notStarted: break
        case .failed(let error): Log.shared.line("\(name): \(error)", .error)
        case .flashed:
            if let up = verdict.upAfter { Log.shared.line("\(name): up \(Figures.seconds(up)) after that") }
        }
    }

    /// The run was refused; nothing was touched.
    ///
    /// - Parameters:
    ///   - status: the exit status.
    ///   - sentence: why.
    package func refuse(status: Int32, _ sentence: String) {
        Log.shared.finish()
        guard let events else { return }
        let count = state.withLock { $0.targets.count }
        if !isOne, count == 0 { events.write(start) }
        events.write(FlashEvent(untouched: count, isOne: isOne, status: status, error: sentence))
        events.finish()
    }

    /// Prints how every target ended.
    ///
    /// - Returns: how the run ended.
    package func finish(_ verdicts: [Verdict]) -> RunVerdict {
        Log.shared.finish()
        let verdict = RunVerdict(verdicts, isCancelled: Task.isCancelled)
        if let events {
            if !isOne { events.write(FlashEvent(verdict)) }
            events.finish()
        } else if !isOne {
            print(Self.coloured(Self.table(verdicts), verdicts) + verdict.line)
        } else if let only = verdicts.first, case .flashed(let result) = only.ending {
            print(proven(only.target, result))
            suggest("rpiflash runs show \(only.target.displayName)")
        }
        return verdict
    }

    /// `cam (b8:27:eb:3d:60:b9, 192.168.1.20): flashed and proven, 104857600 bytes (…) in 12.3 s, TCP port 22 answered 20.0 s
    /// later`.
    private func proven(_ target: Target, _ result: FlashResult) -> String {
        let proof = result.proof
        let done = Palette.standardOutput.paint(wording.done, .success)
        let retries = proof.retries > 0 ? ", \(proof.retries) retries" : ""
        let counts = " (\(proof.written.bytes) written, \(proof.loaded.bytes) loaded\(retries))"
        let up = result.upAfter.map { ", TCP port \(wording.port) answered \(Figures.seconds($0)) later" } ?? ""
        return "\(target.displayName) (\(target.mac), \(target.ip)): \(done), \(proof.bytes.bytes) bytes"
            + "\(wording.hasCounts ? counts : "") in \(Figures.seconds(result.flashTime))\(up)"
    }

    /// What is proven is green, what failed is red.
    private static func coloured(_ table: String, _ verdicts: [Verdict]) -> String {
        let lines = table.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        return lines.enumerated().map { index, line in
            guard verdicts.indices.contains(index - 1) else { return line }
            let style: Palette.Style? =
                switch verdicts[index - 1].ending {
                case .flashed: .success
                case .failed, .interrupted: .error
                case .notStarted: nil
                }
            return Palette.standardOutput.paint(line, style)
        }.joined(separator: "\n")
    }

    /// One line a target; the sentence of a failure, which is long, comes last.
    static func table(_ verdicts: [Verdict]) -> String {
        let rows = verdicts.map { verdict in
            let outcome =
                switch verdict.ending {
                case .flashed: "proven"
                case .interrupted: "interrupted"
                case .failed, .notStarted: verdict.sentence ?? ""
                }
            return [
                verdict.target.displayName, verdict.target.mac.description, verdict.target.ip.description,
                verdict.proof.map { "\($0.written.bytes)" } ?? "-",
                verdict.flashTime.map { String(Figures.seconds($0).dropLast(2)) } ?? "-", sanitized(outcome),
            ]
        }
        return textTable([["NAME", "MAC", "IP", "WRITTEN", "SECONDS", "OUTCOME"]] + rows)
    }
}

extension FlashEvent {
    /// A target that was found.
    ///
    /// - Parameter isOne: whether it is the only one, whose events name none.
    package init(_ target: Target, isOne: Bool) {
        self.init(.target)
        self.target = isOne ? nil : target.displayName
        (name, mac, ip) = (target.name, target.mac.description, target.ip.description)
    }
}
