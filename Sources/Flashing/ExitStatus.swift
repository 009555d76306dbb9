/// What `rpiflash` exits with: one number a cause, so that a script can tell them apart. The README has the table.
public enum ExitStatus: Int32, Hashable, Sendable, CaseIterable {
    /// The target reported OK, its count is exact, and it came up.
    case proven = 0
    /// Flashed and reported, but the target did not come up.
    case notUp = 1
    /// The target reported FAILED.
    case failed = 2
    /// No outcome in time.
    case noOutcome = 3
    /// The target's report does not fit what was to be written.
    case countDiffers = 4
    /// The target never asked for the image.
    case neverAsked = 5
    /// Inventory missing or invalid.
    case inventory = 6
    /// Image missing or unfit.
    case image = 7
    /// Target unknown, or another server's.
    case target = 8
    /// Trouble on the server: port, disk, lock, GPIO.
    case server = 9
    /// Wrong usage.
    case usage = 64
    /// Interrupted; cleaned up, RESET released.
    case interrupted = 130

    /// One line for the table in `--help`.
    public var meaning: String {
        switch self {
        case .proven: "proven: reported OK with the exact count, and came up"
        case .notUp: "flashed, but the target did not come up"
        case .failed: "the target reported FAILED"
        case .noOutcome: "no outcome in time"
        case .countDiffers: "the target's count differs"
        case .neverAsked: "the target never asked for the image"
        case .inventory: "inventory missing or invalid"
        case .image: "image missing or unfit"
        case .target: "target unknown, or another server's"
        case .server: "trouble on the server: port, disk, lock, GPIO"
        case .usage: "wrong usage"
        case .interrupted: "interrupted; cleaned up, RESET released"
        }
    }
}

/// Why a job ended: the status and one sentence.
public struct FlashFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// What the program exits with.
    public let status: ExitStatus
    /// One sentence: what, the actual value, the limit or the remedy.
    public let reason: String

    /// A failure as given.
    public init(_ status: ExitStatus, _ reason: String) {
        self.status = status
        self.reason = reason
    }

    /// The sentence.
    public var description: String { reason }
}
