public import DiskLayout
public import Inventory
public import SystemPackage

/// What checks need of the machine. Nothing of it changes anything.
public struct DoctorPorts: Sendable {
    /// Who would serve.
    public enum Server: Hashable, Sendable {
        /// The rpiflash service, which serves this folder.
        case service(root: FilePath, isOurs: Bool)
        /// The service is there, but cannot be talked to; why.
        case brokenService(String)
        /// The port is free.
        case free
        /// Another program has the port; whether it answers TFTP.
        case taken(answers: Bool)
        /// The TFTP root is what is wrong, which a check of its own tells.
        case noRoot
        /// The port cannot be had for another reason.
        case trouble(String)
    }

    /// A RESET line.
    public struct Line: Hashable, Sendable {
        /// Chip and offset.
        public var place: String
        /// Why it cannot be had: somebody uses it; nil where it is free.
        public var busy: String?
        /// Whether it is driven though nobody uses it.
        public var isForgotten: Bool

        /// A line as given.
        public init(place: String, busy: String?, isForgotten: Bool) {
            (self.place, self.busy, self.isForgotten) = (place, busy, isForgotten)
        }
    }

    /// What earlier runs tell of a target's card, the one that it was seen with last.
    public struct Card: Hashable, Sendable {
        /// The target's Ethernet address.
        public var mac: String
        /// U-Boot's version as it says it; nil where it did not.
        public var uboot: String?
        /// The number of its boot script; nil for those before there were numbers.
        public var script: UInt64?
        /// Whether it is known what runs on it.
        public var isKnown: Bool
        /// What is wrong with how it writes, one sentence; nil where nothing is.
        public var warning: String?

        /// A card as given.
        public init(mac: String, uboot: String?, script: UInt64?, isKnown: Bool, warning: String?) {
            (self.mac, self.uboot, self.script, self.isKnown) = (mac, uboot, script, isKnown)
            self.warning = warning
        }
    }

    /// The records of runs.
    public struct Records: Hashable, Sendable {
        /// How many there are.
        public var count: Int
        /// What they take on the disk.
        public var bytes: UInt64
        /// What they tell of cards.
        public var cards: [Card]

        /// Records as given.
        public init(count: Int, bytes: UInt64, cards: [Card]) {
            (self.count, self.bytes, self.cards) = (count, bytes, cards)
        }
    }

    /// The firewall's rules for what comes in.
    public enum Firewall: Hashable, Sendable {
        /// nftables is not installed.
        case none
        /// It cannot be seen; why.
        case hidden(String)
        /// What nft lists as chains.
        case chains(String)
    }

    /// A program that changes images.
    public struct Program: Hashable, Sendable {
        /// Why it is missing, and which package has it; nil where it is there.
        public var missing: String?
        /// Whether every flash needs it.
        public var isNeeded: Bool

        /// A program as given.
        public init(missing: String?, isNeeded: Bool) { (self.missing, self.isNeeded) = (missing, isNeeded) }
    }

    /// Reads the inventory.
    public var inventory: @Sendable () throws -> Inventory
    /// Reads the layout of the targets' cards.
    public var card: @Sendable () throws -> CardLayout
    /// Reads the templates of flash plans; throws where they cannot be used.
    public var checkTemplates: @Sendable () throws -> Void
    /// The number of the boot script that this version's cards get; nil where it is not known.
    public var bootScript: @Sendable () -> UInt64?
    /// The programs that change images.
    public var programs: @Sendable () -> [Program]
    /// Who would serve the TFTP root.
    public var server: @Sendable () async -> Server
    /// Checks the TFTP root.
    public var checkRoot: @Sendable () throws -> Void
    /// The RESET line of a target that has one.
    public var line: @Sendable (GPIOLine) throws -> Line
    /// Files that only their group may write to: the service's socket, GPIO chips where lines are wanted.
    public var groupFiles: @Sendable (_ withLines: Bool) -> [FilePath]
    /// Why a serial port's speed cannot be had; nil where it can.
    public var checkSpeed: @Sendable (SerialPort) -> String?
    /// Whether U-Boot's netconsole could be heard; returns where, throws why not.
    public var listen: @Sendable () throws -> String
    /// The records of runs.
    public var records: @Sendable () throws -> Records
    /// The firewall.
    public var firewall: @Sendable () async -> Firewall

    /// The ports as given.
    public init(
        inventory: @escaping @Sendable () throws -> Inventory, card: @escaping @Sendable () throws -> CardLayout,
        checkTemplates: @escaping @Sendable () throws -> Void, bootScript: @escaping @Sendable () -> UInt64?,
        programs: @escaping @Sendable () -> [Program], server: @escaping @Sendable () async -> Server,
        checkRoot: @escaping @Sendable () throws -> Void, line: @escaping @Sendable (GPIOLine) throws -> Line,
        groupFiles: @escaping @Sendable (Bool) -> [FilePath], checkSpeed: @escaping @Sendable (SerialPort) -> String?,
        listen: @escaping @Sendable () throws -> String, records: @escaping @Sendable () throws -> Records,
        firewall: @escaping @Sendable () async -> Firewall
    ) {
        (self.inventory, self.card, self.checkTemplates) = (inventory, card, checkTemplates)
        (self.bootScript, self.programs, self.server) = (bootScript, programs, server)
        (self.checkRoot, self.line, self.groupFiles) = (checkRoot, line, groupFiles)
        (self.checkSpeed, self.listen, self.records, self.firewall) = (checkSpeed, listen, records, firewall)
    }
}
