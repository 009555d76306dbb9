public import DiskLayout
public import FlashPlan
public import SystemPackage

/// What is asked for: one image on one target.
public struct FlashRequest: Sendable {
    /// The OS image; only read.
    public var image: FilePath
    /// The card that the target is expected to have.
    public var card: CardLayout
    /// The TFTP root folder.
    public var tftpRoot: FilePath
    /// Length of a part in bytes.
    public var partSize: ByteCount
    /// How long the target may take from a reset to its first request.
    public var requestTimeout: Duration
    /// How long the target may be silent once it has asked: it writes and reads back a whole part in silence.
    public var outcomeTimeout: Duration
    /// The TCP port that the flashed system is to answer on; nil: do not wait for it.
    public var waitPort: UInt16?
    /// How long it may take to come up.
    public var waitTimeout: Duration

    /// A request with these values.
    public init(
        image: FilePath, card: CardLayout, tftpRoot: FilePath, partSize: ByteCount = PartsPlan.defaultPartSize,
        requestTimeout: Duration = .seconds(45), outcomeTimeout: Duration = .seconds(900), waitPort: UInt16? = 22,
        waitTimeout: Duration = .seconds(180)
    ) {
        self.image = image
        self.card = card
        self.tftpRoot = tftpRoot
        self.partSize = partSize
        self.requestTimeout = requestTimeout
        self.outcomeTimeout = outcomeTimeout
        self.waitPort = waitPort
        self.waitTimeout = waitTimeout
    }
}

/// What a job tells while it runs.
public enum FlashEvent: Hashable, Sendable {
    /// A step began or ended; one line for people.
    case note(String)
    /// Bytes of a part that have arrived at the target, and of all parts.
    case progress(part: UInt64, parts: UInt64, bytes: UInt64, total: UInt64)
    /// Something is odd, but the job goes on.
    case warning(String)
}

/// What a job proved.
public struct FlashResult: Hashable, Sendable {
    /// Bytes that the target wrote, read back and reported.
    public let written: ByteCount
    /// From the reset to the outcome.
    public let flashing: Duration
    /// From the outcome to the first answer of the flashed system; nil: not waited for.
    public let comingUp: Duration?
}
