import Synchronization

/// Counts clients, so that the service can end when there are none. Also those that have no job yet: a flash that prepares
/// counts on this service.
package final class ClientCount: Sendable {
    private struct State {
        var running = 0
        var isEnding = false
        var waiter: CheckedContinuation<Void, Never>?
    }
    private let state = Mutex(State())

    package init() {}

    package func follow(_ event: ServiceEvent) {
        switch event {
        case .connected: state.withLock { $0.running += 1 }
        case .disconnected:
            state.withLock { $0.running -= 1 }
            check()
        default: break
        }
    }

    package func endWhenIdle() {
        state.withLock { $0.isEnding = true }
        check()
    }

    private func check(force: Bool = false) {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard force || (state.isEnding && state.running == 0) else { return nil }
            state.isEnding = true
            if force { state.running = 0 }
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }

    /// Returns when the service has to end.
    package func ended() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                state.withLock { $0.waiter = continuation }
                check(force: Task.isCancelled)
            }
        } onCancel: {
            check(force: true)
        }
    }
}
