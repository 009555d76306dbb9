package import FlashPlan
package import FoundationEssentials
package import TFTP

/// What is kept of a target's flash: the text of `run.json`. What the target said is sanitized before it gets here.
package struct RunRecord: Hashable, Sendable, Codable {
    /// The version that this program writes; others are not read.
    package static let currentVersion = 1
    /// The layout's version, 1. Grows when a field changes its meaning or goes.
    package var version = currentVersion
    /// Its folder's name: when it began and the target's Ethernet address. Later ones sort behind earlier ones.
    package var id: String
    /// Version of rpiflash.
    package var program: String
    /// When the target was about to be reset.
    package var started: Date
    /// When it was over; nil while it runs, and where it was killed.
    package var ended: Date?
    /// Who was flashed.
    package var target: TargetEntry
    /// With what.
    package var image: ImageEntry
    /// `plan` or `parts`.
    package var delivery: String
    /// `normal`, `full` or `verify`; nil for parts.
    package var mode: String?
    /// Who flashed it.
    package var by: Author
    /// What whoever flashed it wrote about it, by key; nil where nothing.
    package var labels: [String: String]?
    /// The exit status that this target's flash had alone; nil while it runs, and where it was killed.
    package var status: Int32?
    /// Why it failed, for people; nil where it did not.
    package var error: String?
    /// Why the target failed, for programs, as docs/plan-protocol.md lists it; nil where it did not or did not say, and in
    /// records of before 0.2.
    package var code: String?
    /// What is proven; nil where nothing is.
    package var proven: FlashProof?
    /// How long its steps took.
    package var timings = Timings()
    /// What was learnt of the card; nil where the target reported nothing.
    package var card: CardEntry?
    /// What was learnt of what runs on the target; nil where it reported nothing.
    package var board: BoardEntry?
    /// The TFTP window that the target takes; nil where it loaded nothing from a server that knows it, and in records of
    /// before 0.2.
    package var windows: KeptWindows?

    enum CodingKeys: String, CodingKey {
        case version, id, program, started, ended, target, image, mode, by, labels, status, error, code, proven
        case timings, card, board, windows
        case delivery = "protocol"
    }

    /// A target.
    package struct TargetEntry: Hashable, Sendable, Codable {
        /// Its name; nil where the inventory has none.
        package var name: String?
        /// Its Ethernet address.
        package var mac: String
        /// Its IPv4 address.
        package var ip: String

        /// As the inventory has it.
        package init(name: String?, mac: String, ip: String) { (self.name, self.mac, self.ip) = (name, mac, ip) }

        /// Its name, else its IPv4 address.
        package var displayName: String { name ?? ip }
    }

    /// An image.
    package struct ImageEntry: Hashable, Sendable, Codable {
        /// As the command named it.
        package var path: String
        /// SHA-256 of the content that was to be on the card, with what was changed for it: the id of `rpiflash images`.
        /// nil for parts.
        package var id: String?

        package init(path: String, id: String? = nil) { (self.path, self.id) = (path, id) }
    }

    /// Who and from where.
    package struct Author: Hashable, Sendable, Codable {
        /// The user, also behind sudo.
        package var user: String
        /// This host's name.
        package var host: String
        /// The address that the user came from by SSH; nil where not.
        package var from: String?
        /// The command, word by word.
        package var command: [String]

        package init(user: String, host: String, from: String?, command: [String]) {
            (self.user, self.host, self.from, self.command) = (user, host, from, command)
        }
    }

    /// Seconds; nil where it did not come to that.
    package struct Timings: Hashable, Sendable, Codable {
        /// From the first reset until the target asked for its image.
        package var asked: Double?
        /// From the first reset until it was proven.
        package var flash: Double?
        /// From then until it was up.
        package var up: Double?

        package init() {}
    }

    /// A card.
    package struct CardEntry: Hashable, Sendable, Codable {
        /// PARTUUID of partition 1; cards that were made from the same recovery image share it.
        package var partuuid: String?
        /// Maker, product and size as U-Boot's `mmc info` has them; nil where the console was not heard.
        package var model: String?
        /// Bytes that were written, read back and compared, of which the time is known.
        package var writeBytes: UInt64 = 0
        /// Seconds that this took: unpacking, hashing, writing, reading back.
        package var writeSeconds: Double = 0
        /// How often something was tried again, also where the flash failed.
        package var retries: UInt64 = 0

        enum CodingKeys: String, CodingKey {
            case partuuid, model, retries
            case writeBytes = "write_bytes"
            case writeSeconds = "write_seconds"
        }

        /// Nothing known.
        package init() {}

        /// Bytes a second; nil below 8 MiB, of which nothing follows.
        package var writeRate: Double? {
            writeBytes >= 8 << 20 && writeSeconds > 0 ? Double(writeBytes) / writeSeconds : nil
        }
    }

    /// What runs on a target.
    package struct BoardEntry: Hashable, Sendable, Codable {
        /// U-Boot's version; nil where Linux flashes.
        package var uboot: String?
        /// Linux's version, where that flashes.
        package var linux: String?
        /// The number of that Linux's agent.
        package var agent: UInt64?
        /// The number of the card's boot script; nil for those before there were numbers.
        package var script: UInt64?
        /// The board that the card was made for, by the boot script.
        package var board: String?
        /// The board's serial number.
        package var serial: String?
        /// Names of the keys that the card knows; empty: none. nil in records of before 0.2.
        package var keys: [String]?

        /// What is known.
        package init(
            uboot: String?, script: UInt64?, linux: String? = nil, agent: UInt64? = nil, board: String?,
            serial: String?, keys: [String]? = nil
        ) {
            (self.uboot, self.script, self.board, self.serial) = (uboot, script, board, serial)
            (self.linux, self.agent) = (linux, agent)
            self.keys = keys
        }
    }

    /// A record of a run that begins; ``RunStore/begin(_:)`` names it.
    package init(
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
