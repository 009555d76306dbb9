public import FlashPlan

/// A proven flash.
public struct FlashResult: Hashable, Sendable {
    /// What is on the card, and what it took.
    public let proof: FlashProof
    /// From the reset to the outcome.
    public let flashTime: Duration
    /// From the outcome until the TCP port answered; nil where it was not waited for.
    public let upAfter: Duration?

    /// Numbers as given.
    public init(proof: FlashProof, flashTime: Duration, upAfter: Duration?) {
        (self.proof, self.flashTime, self.upAfter) = (proof, flashTime, upAfter)
    }
}
