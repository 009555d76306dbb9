/// The window that a client is granted, learned from what became of its transfers.
///
/// A lost packet costs what was sent behind it in its window, so a window must be small where much is lost; where a
/// client's network card holds fewer packets than a window has (QEMU's virtio has 32), every window loses its end. A
/// large one costs nothing where nothing is lost.
public struct WindowMemory: Hashable, Sendable {
    /// The largest and the smallest window, in blocks.
    public let limits: ClosedRange<Int>
    /// The window to grant next, in blocks; the client may ask for less.
    public private(set) var window: Int

    /// Transfers of fewer packets tell nothing.
    static let fewest: UInt64 = 64

    /// Begins with the largest window.
    public init(limits: ClosedRange<Int> = 4...64) {
        self.limits = limits
        window = limits.upperBound
    }

    /// Learns from a transfer.
    ///
    /// - Parameters:
    ///   - counters: its DATA packets.
    ///   - granted: the window that it had, in blocks.
    ///   - isComplete: false where the client fell silent.
    public mutating func learn(from counters: Sender.Counters, granted: Int, isComplete: Bool) {
        if !isComplete {
            window = max(limits.lowerBound, min(window, granted) / 2)
        } else if counters.sent < Self.fewest {
            return
        } else if counters.repeated * 10 >= counters.sent * 4 {
            // Two of five packets again: at 5 % loss a window of 32 does worse than that, one of 8 does not.
            window = max(limits.lowerBound, min(window, granted) / 2)
        } else if counters.repeated * 20 <= counters.sent {
            window = min(limits.upperBound, window * 2)
        }
    }
}
