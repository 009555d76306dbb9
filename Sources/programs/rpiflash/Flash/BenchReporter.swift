import ArgumentParser
import Configuration
import DiskLayout
import Flashing
import HostTools
import Inventory
import Synchronization

/// Shows how the flashes of several targets go on and end.
final class BenchReporter: Sendable {
    private struct State {
        var targets: [Target] = []
        var reporters: [Reporter] = []
        var eventReporters: [EventReporter] = []
    }

    private let events: EventWriter?
    private let general = Reporter(target: "")
    private let generalEvents: EventReporter?
    private let state = Mutex(State())

    /// - Parameter json: prints events instead of a table.
    init(json: Bool) {
        events = json ? EventWriter() : nil
        generalEvents = events.map { EventReporter($0) }
    }

    /// These targets are flashed.
    func start(_ event: FlashEvent, _ targets: [Target]) {
        state.withLock { state in
            state.targets = targets
            state.reporters = targets.enumerated().map { Reporter(target: $1.displayName, number: $0) }
            if let events { state.eventReporters = targets.map { EventReporter(events, target: $0.displayName) } }
        }
        guard let events else { return }
        var start = event
        start.targets = targets.map(\.displayName)
        events.write(start)
        for target in targets {
            var found = FlashEvent(.target)
            (found.target, found.name) = (target.displayName, target.name)
            (found.mac, found.ip) = (target.mac.description, target.ip.description)
            events.write(found)
        }
    }

    /// - Parameter index: the target's place; nil for what concerns all.
    func report(_ index: Int?, _ event: BenchEvent) {
        switch event {
        case .progress(let progress):
            let (reporter, eventReporter) = state.withLock { state in
                index.map { (state.reporters[$0], events == nil ? nil : state.eventReporters[$0]) }
                    ?? (general, generalEvents)
            }
            reporter.report(progress)
            eventReporter?.report(progress)
        case .ended(let ending):
            if let index, Console.shared.isTerminal { Console.shared.status(nil, number: index) }
            let name = ending.target.displayName
            switch ending.outcome {
            case .failed(is CancellationError), .notStarted: break
            case .failed(let error): Console.shared.line("\(name): \(RPiFlash.ending(error).text)", .error)
            case .flashed(let result):
                if let up = result.upAfter { Console.shared.line("\(name): up \(Reporter.seconds(up)) after that") }
            }
            if let events { events.write(Self.result(ending, events)) }
        }
    }

    private static func result(_ ending: TargetEnding, _ events: EventWriter) -> FlashEvent {
        let (proven, time) = (ending.proven?.0, ending.proven?.elapsed)
        var result: FlashEvent
        switch ending.outcome {
        case .flashed(let flash):
            result = events.result(
                proven: flash.proven, flashTime: flash.flashTime, upAfter: flash.upAfter, error: nil)
        case .failed(let error): result = events.result(proven: proven, flashTime: time, upAfter: nil, error: error)
        case .notStarted(let reason):
            result = events.result(proven: nil, flashTime: nil, upAfter: nil, error: nil)
            (result.status, result.error) = (nil, reason)
        }
        result.target = ending.target.displayName
        return result
    }

    /// Nothing was touched.
    ///
    /// - Parameter event: the first event, where the targets were not found.
    func refuse(_ event: FlashEvent, _ error: any Error) {
        Console.shared.finish()
        guard let events else { return }
        let count = UInt64(state.withLock { $0.targets.count })
        if count == 0 { events.write(event) }
        var summary = FlashEvent(.summary)
        let end = RPiFlash.ending(error)
        (summary.status, summary.error) = (end.status, end.text)
        (summary.count, summary.notStartedCount) = (count, count)
        (summary.provenCount, summary.failedCount) = (0, 0)
        events.write(summary)
        events.finish()
    }

    /// Prints how every target ended.
    ///
    /// - Throws: `CancellationError`, or an exit status, where one is not flashed.
    func finish(_ endings: [TargetEnding]) throws {
        Console.shared.finish()
        let tally = Tally(endings, isCancelled: Task.isCancelled)
        if let events {
            var summary = FlashEvent(.summary)
            summary.status = tally.status
            summary.count = UInt64(endings.count)
            summary.provenCount = UInt64(tally.proven)
            summary.notStartedCount = UInt64(tally.notStarted)
            summary.failedCount = UInt64(endings.count - tally.proven - tally.notStarted)
            events.write(summary)
            events.finish()
        } else {
            print(Self.coloured(Self.table(endings), endings) + tally.line)
        }
        if tally.isInterrupted { throw CancellationError() }
        guard tally.status == 0 else { throw ExitCode(tally.status) }
    }

    /// What is proven is green, what failed is red.
    private static func coloured(_ table: String, _ endings: [TargetEnding]) -> String {
        let lines = table.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        return lines.enumerated().map { index, line in
            guard endings.indices.contains(index - 1) else { return line }
            let tone: Palette.Tone? =
                switch endings[index - 1].outcome {
                case .flashed: .good
                case .failed: .bad
                case .notStarted: nil
                }
            return Palette.standardOutput.paint(line, tone)
        }.joined(separator: "\n")
    }

    /// One line a target; the sentence of a failure, which is long, comes last.
    static func table(_ endings: [TargetEnding]) -> String {
        let rows = endings.map { ending in
            let outcome =
                switch ending.outcome {
                case .flashed: "proven"
                case .failed(is CancellationError): "interrupted"
                case .failed(let error): RPiFlash.ending(error).text
                case .notStarted(let reason): reason
                }
            return [
                ending.target.displayName, ending.target.mac.description, ending.target.ip.description,
                ending.proven.map { "\($0.0.written.bytes)" } ?? "-",
                ending.proven.map { String(Reporter.seconds($0.elapsed).dropLast(2)) } ?? "-",
                sanitized(outcome),
            ]
        }
        return columns([["NAME", "MAC", "IP", "WRITTEN", "SECONDS", "OUTCOME"]] + rows)
    }
}

/// What became of several targets.
struct Tally {
    let count: Int
    /// Proven, also where it did not come up then.
    let proven: Int
    /// Proven, but not up.
    let notUp: Int
    let notStarted: Int
    let isInterrupted: Bool
    /// The highest exit status of any.
    let status: Int32

    private static let interrupted: Int32 = 130

    /// - Parameter isCancelled: by a signal; who was not started then was not for that.
    init(_ endings: [TargetEnding], isCancelled: Bool = false) {
        count = endings.count
        proven = endings.count { $0.proven != nil }
        notUp = endings.count { $0.proven != nil && !$0.isGood }
        notStarted = endings.count { if case .notStarted = $0.outcome { true } else { false } }
        let worst = endings.map(Self.status).max() ?? 0
        isInterrupted = worst == Self.interrupted || isCancelled && notStarted > 0
        status = isInterrupted ? Self.interrupted : worst
    }

    private static func status(_ ending: TargetEnding) -> Int32 {
        if case .failed(let error) = ending.outcome { RPiFlash.ending(error).status } else { 0 }
    }

    /// `7 of 8 proven`, and what else is to be said.
    var line: String {
        "\(proven) of \(count) proven" + (notUp > 0 ? ", \(notUp) of them not up" : "")
            + (notStarted > 0 ? ", \(notStarted) not started" : "")
    }
}
