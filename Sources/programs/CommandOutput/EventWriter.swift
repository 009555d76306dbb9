import Dispatch
import Synchronization

/// Writes events, without ever keeping a flash waiting for who reads them.
package final class EventWriter: Sendable {
    private let begin = ContinuousClock.now
    private let queue = DispatchQueue(label: "events")
    private let sink: @Sendable (String) -> Void

    /// - Parameter sink: takes each line, without its end. By default standard output.
    package init(
        // A reader that went away is no reason to stop half-way: it is told at the end.
        to sink: @escaping @Sendable (String) -> Void = { StandardOutput.write($0 + "\n") }
    ) {
        self.sink = sink
    }

    private let order = Mutex(())

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
