import CommandOutput
import FlashEvents
import Flashing
import Inventory
import RunRecords
import Synchronization
import Wiring

/// What a target does in a session: begun by its first reset, on a thread of its own.
final class Conduct: Sendable {
    typealias Deeds = TargetClient.Deeds

    private struct State {
        var act: (@Sendable (_ isOver: () -> Bool) throws -> Deeds)?
        var task: Task<Deeds, any Error>?
        var isOver = false
    }
    private let state = Mutex(State())

    /// What it does from ``begin()`` on; a second reset finds it where it is.
    func prepare(_ act: @escaping @Sendable (_ isOver: () -> Bool) throws -> Deeds) {
        state.withLock { state in if state.task == nil { state.act = act } }
    }

    /// Begins what is prepared: the flash has noted its reset, and counts what comes from now on.
    func begin() {
        state.withLock { state in
            guard let act = state.act else { return }
            state.act = nil
            state.task = Task.detached { [self] in
                try await withCheckedThrowingContinuation { continuation in
                    startThread {
                        continuation.resume(with: Result { try act { self.state.withLock { $0.isOver } } })
                    }
                }
            }
        }
    }

    /// Its flash is over.
    func end() { state.withLock { $0.isOver = true } }

    /// What it did; of one that was never reset nothing.
    func wait() async -> Deeds {
        guard let task = state.withLock({ $0.task }) else { return Deeds() }
        return (try? await task.value) ?? Deeds()
    }
}

/// Gives what happens to the records, the log and the events, as `rpiflash flash --json` does.
final class Reporter: Sendable {
    private let recorded: RecordedReporter
    private let reporter: RunReporter

    init(_ targets: [Target], _ recorders: [RunRecorder]) {
        reporter = RunReporter(
            isOne: false, wording: .init(done: "flashed and proven", port: 22, hasCounts: true),
            start: FlashEvent(.start), json: true)
        recorded = RecordedReporter(recorders, reporter)
        reporter.begin(targets)
    }

    func report(_ index: Int?, _ event: FleetEvent) { recorded.report(index, event) }

    func finish(_ verdicts: [Verdict]) -> RunVerdict { reporter.finish(verdicts) }
}
