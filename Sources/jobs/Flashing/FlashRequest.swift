public import DiskLayout
public import FlashPlan
public import Inventory
public import SystemPackage

/// What is to be flashed where.
public struct FlashRequest: Sendable {
    /// The image; only ever read (law 4).
    public var image: FilePath
    /// The target.
    public var target: Target
    /// The card that the target has.
    public var card: CardLayout
    /// The TFTP root folder.
    public var root: FilePath
    /// How the image goes over.
    public var delivery: TransferMode
    /// From a reset to the first request; then the target is reset once more, in every way that its row has.
    public var requestTimeout: Duration
    /// Without a sign of life after that; nil: two minutes and the time that a slow card needs in between: a second for
    /// each MiB of a part, 5 s for each chunk of a plan. 90 s where its console is heard, and that is shorter.
    public var outcomeTimeout: Duration?
    /// The TCP port that shows that the target is up; nil: not waited for.
    public var waitPort: UInt16?
    /// How long that is waited for.
    public var waitTimeout: Duration
    /// Whether the target sends its console to the server meanwhile, where it is flashed by plan.
    public var sendsConsole: Bool

    /// A request with the usual times.
    public init(
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
public enum TransferMode: Hashable, Sendable {
    /// As a flash plan: chunk by chunk, only what is used and differs. Source: docs/plan-protocol.md.
    case plan(ChunkPlan.Mode)
    /// Whole, in parts of at most this length. Source: docs/parts-protocol.md.
    case parts(ByteCount)
}
