/// How long to wait before something is repeated: adapted to the measured round trip, doubled with each repeat.
///
/// TFTP's own timeouts are seconds long, and U-Boot waits 5 s before it repeats an ACK: a server that waits as long
/// loses 5 s with every lost packet. Source of the estimate: RFC 6298.
struct RetransmitTimer {
    /// Before anything was measured.
    static let initial = Interval.milliseconds(100)
    /// Below this, a busy host's own scheduling would look like a loss.
    static let shortest = Interval.milliseconds(20)
    static let longest = Interval.seconds(1)

    private var smoothed: Int64?
    private var variation: Int64 = 0
    private(set) var repeats = 0

    /// Takes the time from a packet that was sent once to its answer.
    mutating func measured(_ interval: Interval) {
        let sample = max(0, interval.nanoseconds)
        if let old = smoothed {
            variation += (abs(sample - old) - variation) / 4
            smoothed = old + (sample - old) / 8
        } else {
            smoothed = sample
            variation = sample / 2
        }
    }

    /// The next wait.
    var wait: Interval {
        let base = smoothed.map { Interval(nanoseconds: $0 + max(4 * variation, 1_000_000)) } ?? Self.initial
        let bounded = min(max(base, Self.shortest), Self.longest)
        return min(bounded * (Int64(1) << min(repeats, 10)), Self.longest)
    }

    /// The measured round trip, 3 to 50 ms: how long packets that are under way need to arrive.
    var roundTrip: Interval {
        let estimate = smoothed.map { Interval(nanoseconds: $0 + 2 * variation) } ?? Self.shortest
        return min(max(estimate, .milliseconds(3)), .milliseconds(50))
    }

    mutating func repeated() { repeats += 1 }
    mutating func answered() { repeats = 0 }
}
