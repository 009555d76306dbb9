import CUnixSocket
import Glibc
import Synchronization
import TFTPServer

/// Events of a job that wait for the thread which sends them. Whoever adds one never waits.
final class Outbox: Sendable {
    private struct State {
        var events: [TimedTransferEvent] = []
        var isFinished = false
        var isOverfull = false
    }

    private let state = Mutex(State())
    private let limit: Int
    /// Readable while something is new.
    let bell: Int32

    /// - Parameter limit: the most events that wait at a time.
    /// - Returns: nil where the process has no descriptor left.
    init?(limit: Int) {
        let bell = cunix_bell()
        guard bell >= 0 else { return nil }
        self.bell = bell
        self.limit = limit
    }

    deinit { close(bell) }

    /// Adds an event; one too many ends the box.
    func add(_ event: TimedTransferEvent) {
        state.withLock { state in
            if state.events.count < limit { state.events.append(event) } else { state.isOverfull = true }
        }
        cunix_ring(bell)
    }

    /// No more events come.
    func finish() {
        state.withLock { $0.isFinished = true }
        cunix_ring(bell)
    }

    /// What is new, whether more may come, and whether something was lost.
    func take() -> (events: [TimedTransferEvent], isFinished: Bool, isOverfull: Bool) {
        cunix_silence(bell)
        return state.withLock { state in
            defer { state.events = [] }
            return (state.events, state.isFinished, state.isOverfull)
        }
    }
}
