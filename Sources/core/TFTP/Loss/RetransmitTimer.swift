/// How long to wait before something is repeated: adapted to the measured round trip, doubled with each repeat.
///
/// TFTP's own timeouts are seconds long, and U-Boot waits 5 s before it repeats an ACK: a server that waits as long
/// loses 5 s with every lost packet. Source of the estimate: RFC 6298.
struct RetransmitTimer {
    /// Before anything was measured.
    static let initial = Duration.milliseconds(100)
    /// Below this, a busy host's own scheduling would look like a loss.
    static let shortest = Duration.milliseconds(20)
    static let longest = Duration.seconds(1)

    private var smoothed: Duration?
    private var variation = Duration.zero
    /// The fastest answer so far.
    private var fastest: Duration?
    /// How often something was repeated since the last answer.
    private(set) var repeats = 0
    /// Doublings of the wait. They stay after an answer that may be to the first packet or to its repeat, or a client
    /// that is slower than the wait would have everything repeated for ever (Karn's rule).
    private var doublings = 0

    /// Takes the time from a packet to its answer.
    mutating func measured(_ time: Duration) {
        let sample = max(.zero, time)
        fastest = min(fastest ?? sample, sample)
        if let old = smoothed {
            variation += (max(sample - old, old - sample) - variation) / 4
            smoothed = old + (sample - old) / 8
        } else {
            smoothed = sample
            variation = sample / 2
        }
        doublings = 0
    }

    /// Takes the time from a window to the client's sign that something of it is missing.
    mutating func heardGap(after time: Duration) { fastest = min(fastest ?? time, max(.zero, time)) }

    /// Whether an answer comes so soon that it cannot be about what was sent this long ago.
    func isTooEarly(_ time: Duration) -> Bool { fastest.map { time < $0 / 2 } ?? false }

    /// The next wait.
    var wait: Duration {
        let base = smoothed.map { $0 + max(variation * 4, .milliseconds(1)) } ?? Self.initial
        let bounded = min(max(base, Self.shortest), Self.longest)
        return min(bounded * (1 << doublings), Self.longest)
    }

    /// The measured round trip, 3 to 500 ms: how long packets that are under way need to arrive.
    var roundTrip: Duration {
        let estimate = smoothed.map { $0 + variation * 2 } ?? Self.shortest
        return min(max(estimate, .milliseconds(3)), .milliseconds(500))
    }

    mutating func repeated() {
        repeats += 1
        doublings = min(doublings + 1, 6)
    }
    /// An answer came; `isClear` where it cannot be the answer to what was sent before a repeat.
    mutating func answered(isClear: Bool) {
        repeats = 0
        if isClear { doublings = 0 }
    }
}
