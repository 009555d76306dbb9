import Synchronization

/// A clock that moves only when somebody sleeps, and then at once: hours pass in no time.
struct ManualClock: Clock {
    struct Instant: InstantProtocol {
        var offset: Duration
        func advanced(by duration: Duration) -> Instant { Instant(offset: offset + duration) }
        func duration(to other: Instant) -> Duration { other.offset - offset }
        static func < (one: Instant, other: Instant) -> Bool { one.offset < other.offset }
    }

    private final class Time: Sendable {
        let now = Mutex(Instant(offset: .zero))
    }

    private let time = Time()

    var now: Instant { time.now.withLock { $0 } }
    var minimumResolution: Duration { .nanoseconds(1) }

    func sleep(until deadline: Instant, tolerance: Duration?) async throws {
        try Task.checkCancellation()
        time.now.withLock { $0 = max($0, deadline) }
    }
}
