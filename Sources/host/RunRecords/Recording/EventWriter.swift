import Configuration
import Dispatch
package import FlashEvents
import Synchronization

/// Writes events, without ever keeping a flash waiting for who reads them.
package final class EventWriter: Sendable {
    private let begin = ContinuousClock.now
    private let queue = DispatchQueue(label: "events")
    private let sink: @Sendable (String) -> Void

    /// - Parameter sink: takes each line, without its end.
    package init(to sink: @escaping @Sendable (String) -> Void) { self.sink = sink }

    private let order = Mutex(())

    /// Writes an event, with the time at which it is called.
    package func write(_ event: FlashEvent) {
        var event = event
        // Several flashes write: what is later in time comes later.
        order.withLock { _ in
            event.time = FlashEvent.seconds(ContinuousClock.now - begin)
            let line = jsonLine(event)
            queue.async { [sink] in sink(line) }
        }
    }

    /// Returns when everything is written.
    package func finish() { queue.sync {} }
}
