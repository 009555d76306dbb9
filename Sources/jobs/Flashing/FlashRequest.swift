package import DiskLayout
package import FlashPlan
package import Inventory
package import SystemPackage

/// What is to be flashed where.
package struct FlashRequest: Sendable {
    /// The image; only ever read (law 4).
    package var image: FilePath
    /// The target.
    package var target: Target
    /// The card that the target has.
    package var card: CardLayout
    /// The TFTP root folder.
    package var root: FilePath
    /// How the image goes over.
    package var delivery: TransferMode
    /// From a reset to the first request; then the target is reset once more, in every way that its row has.
    package var requestTimeout: Duration
    /// Without a sign of life after that; nil: two minutes and the time that a slow card needs in between: a second for
    /// each MiB of a part, 5 s for each chunk of a plan. 90 s where its console is heard, and that is shorter.
    package var outcomeTimeout: Duration?
    /// The TCP port that shows that the target is up; nil: not waited for.
    package var waitPort: UInt16?
    /// How long that is waited for.
    package var waitTimeout: Duration
    /// Whether the target sends its console to the server meanwhile, where it is flashed by plan.
    package var sendsConsole: Bool

    /// A request with the usual times.
    package init(
        image: FilePath, target: Target, card: CardLayout, root: FilePath, delivery: TransferMode = .plan(.normal),
        requestTimeout: Duration = .seconds(45), outcomeTimeout: Duration? = nil, waitPort: UInt16? = 22,
        waitTimeout: Duration = .seconds(180), sendsConsole: Bool = false
    ) {
        self.image = image
        self.target = target
        self.card = card
        self.root = root
        self.delivery = delivery
        self.requestTimeout = requestTimeout
        self.outcomeTimeout = outcomeTimeout
        self.waitPort = waitPort
        self.waitTimeout = waitTimeout
        self.sendsConsole = sendsConsole
    }
}

/// How an image goes over.
package enum TransferMode: Hashable, Sendable {
    /// As a flash plan: chunk by chunk, only what is used and differs. Source: docs/plan-protocol.md.
    case plan(ChunkPlan.Mode)
    /// Whole, in parts of at most this length. Source: docs/parts-protocol.md.
    case parts(ByteCount)
}
