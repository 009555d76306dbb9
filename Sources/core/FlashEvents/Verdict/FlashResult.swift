package import FlashPlan

/// A proven flash.
package struct FlashResult: Hashable, Sendable {
    /// What is on the card, and what it took.
    package let proof: FlashProof
    /// From the reset to the outcome.
    package let flashTime: Duration
    /// From the outcome until the TCP port answered; nil where it was not waited for.
    package let upAfter: Duration?

    /// Numbers as given.
    package init(proof: FlashProof, flashTime: Duration, upAfter: Duration?) {
        (self.proof, self.flashTime, self.upAfter) = (proof, flashTime, upAfter)
    }
}
