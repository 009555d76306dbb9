package import FlashEvents
import Synchronization

/// Turns what a flash tells into events, at most five a second of a kind that only says how far it is.
package final class EventReporter: Sendable {
    private struct State {
        var lastKind: FlashEvent.Kind?
        var lastNumber: UInt64?
        var lastShown: ContinuousClock.Instant?
        var rate = TransferRate()
    }

    private let writer: EventWriter
    private let target: String?
    private let state = Mutex(State())

    /// - Parameter target: its name where it is one of several.
    package init(_ writer: EventWriter, target: String? = nil) { (self.writer, self.target) = (writer, target) }

    /// Takes what a flash tells.
    package func report(_ progress: FlashProgress) {
        let event: FlashEvent? = state.withLock { state in
            var rate: Double?
            switch progress {
            case .chunk(_, _, let bytes, _, let elapsed), .transfer(_, _, let bytes?, _, let elapsed):
                rate = state.rate.take(bytes, at: elapsed)
            default: break
            }
            var event = FlashEvent(progress, rate: rate)
            event.target = target
            let isStep = event.total != nil || event.event == .waiting
            let now = ContinuousClock.now
            let isLast = event.total != nil && event.bytes == event.total
            let isNew = event.event != state.lastKind || event.number != state.lastNumber || isLast
            guard !isStep || isNew || state.lastShown.map({ now - $0 >= .milliseconds(200) }) ?? true else {
                return nil
            }
            if isStep { (state.lastKind, state.lastNumber, state.lastShown) = (event.event, event.number, now) }
            return event
        }
        if let event { writer.write(event) }
    }
}
