public import FlashPlan
public import FoundationEssentials
public import TFTP

/// What is kept of a target's flash: the text of `run.json`. What the target said is sanitized before it gets here.
public struct RunRecord: Hashable, Sendable, Codable {
    /// The version that this program writes; others are not read.
    public static let currentVersion = 1
    /// The layout's version, 1. Grows when a field changes its meaning or goes.
    public var version = currentVersion
    /// Its folder's name: when it began and the target's Ethernet address. Later ones sort behind earlier ones.
    public var id: String
    /// Version of rpiflash.
    public var program: String
    /// When the target was about to be reset.
    public var started: Date
    /// When it was over; nil while it runs, and where it was killed.
    public var ended: Date?
    /// Who was flashed.
    public var target: TargetEntry
    /// With what.
    public var image: ImageEntry
    /// `plan` or `parts`.
    public var delivery: String
    /// `normal`, `full` or `verify`; nil for parts.
    public var mode: String?
    /// Who flashed it.
    public var by: Author
    /// What whoever flashed it wrote about it, by key; nil where nothing.
    public var labels: [String: String]?
    /// The exit status that this target's flash had alone; nil while it runs, and where it was killed.
    public var status: Int32?
    /// Why it failed, for people; nil where it did not.
    public var error: String?
    /// Why the target failed, for programs, as docs/plan-protocol.md lists it; nil where it did not or did not say, and in
    /// records of before 0.2.
    public var code: String?
    /// What is proven; nil where nothing is.
    public var proven: FlashProof?
    /// How long its steps took.
    public var timings = Timings()
    /// What was learnt of the card; nil where the target reported nothing.
    public var card: CardEntry?
    /// What was learnt of what runs on the target; nil where it reported nothing.
    public var board: BoardEntry?
    /// The TFTP window that the target takes; nil where it loaded nothing from a server that knows it, and in records of
    /// before 0.2.
    public var windows: KeptWindows?

    enum CodingKeys: String, CodingKey {
        case version, id, program, started, ended, target, image, mode, by, labels, status, error, code, proven
        case timings, card, board, windows
        case delivery = "protocol"
    }

    /// A target.
    public struct TargetEntry: Hashable, Sendable, Codable {
        /// Its name; nil where the inventory has none.
        public var name: String?
        /// Its Ethernet address.
        public var mac: String
        /// Its IPv4 address.
        public var ip: String

        /// As the inventory has it.
        public init(name: String?, mac: String, ip: String) { (self.name, self.mac, self.ip) = (name, mac, ip) }

        /// Its name, else its IPv4 address.
        public var displayName: String { name ?? ip }
    }

    /// An image.
    public struct ImageEntry: Hashable, Sendable, Codable {
        /// As the command named it.
        public var path: String
        /// SHA-256 of the content that was to be on the card, with what was changed for it: the id of `rpiflash images`.
        /// nil for parts.
        public var id: String?

        /// An image as given.
        public init(path: String, id: String? = nil) { (self.path, self.id) = (path, id) }
    }

    /// Who and from where.
    public struct Author: Hashable, Sendable, Codable {
        /// The user, also behind sudo.
        public var user: String
        /// This host's name.
        public var host: String
        /// The address that the user came from by SSH; nil where not.
        public var from: String?
        /// The command, word by word.
        public var command: [String]

        /// An author as given.
        public init(user: String, host: String, from: String?, command: [String]) {
            (self.user, self.host, self.from, self.command) = (user, host, from, command)
        }
    }

    /// Seconds; nil where it did not come to that.
    public struct Timings: Hashable, Sendable, Codable {
        /// From the first reset until the target asked for its image.
        public var asked: Double?
        /// From the first reset until it was proven.
        public var flash: Double?
        /// From then until it was up.
        public var up: Double?

        /// Nothing yet.
        public init() {}
    }

    /// A card.
    public struct CardEntry: Hashable, Sendable, Codable {
        /// PARTUUID of partition 1; cards that were made from the same recovery image share it.
        public var partuuid: String?
        /// Maker, product and size as U-Boot's `mmc info` has them; nil where the console was not heard.
        public var model: String?
        /// Bytes that were written, read back and compared, of which the time is known.
        public var writeBytes: UInt64 = 0
        /// Seconds that this took: unpacking, hashing, writing, reading back.
        public var writeSeconds: Double = 0
        /// How often something was tried again, also where the flash failed.
        public var retries: UInt64 = 0

        enum CodingKeys: String, CodingKey {
            case partuuid, model, retries
            case writeBytes = "write_bytes"
            case writeSeconds = "write_seconds"
        }

        /// Nothing known.
        public init() {}

        /// Bytes a second; nil below 8 MiB, of which nothing follows.
        public var writeRate: Double? {
            writeBytes >= 8 << 20 && writeSeconds > 0 ? Double(writeBytes) / writeSeconds : nil
        }
    }

    /// What runs on a target.
    public struct BoardEntry: Hashable, Sendable, Codable {
        /// U-Boot's version.
        public var uboot: String?
        /// The number of the card's boot script; nil for those before there were numbers.
        public var script: UInt64?
        /// The board that the card was made for, by the boot script.
        public var board: String?
        /// The board's serial number.
        public var serial: String?

        /// What is known.
        public init(uboot: String?, script: UInt64?, board: String?, serial: String?) {
            (self.uboot, self.script, self.board, self.serial) = (uboot, script, board, serial)
        }
    }

    /// A record of a run that begins; ``RunStore/begin(_:)`` names it.
    public init(
        program: String, started: Date, target: TargetEntry, image: ImageEntry, delivery: String, mode: String?,
        by: Author
    ) {
        id = ""
        self.program = program
        self.started = started
        self.target = target
        self.image = image
        self.delivery = delivery
        self.mode = mode
        self.by = by
    }
}
