package import DiskLayout
package import Inventory
package import SystemPackage

/// What checks need of the machine. Nothing of it changes anything.
package struct DoctorPorts: Sendable {
    /// Who would serve.
    package enum Server: Hashable, Sendable {
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
    package struct Line: Hashable, Sendable {
        /// Chip and offset.
        package var place: String
        /// Why it cannot be had: somebody uses it; nil where it is free.
        package var busy: String?
        /// Whether it is driven though nobody uses it.
        package var isForgotten: Bool

        package init(place: String, busy: String?, isForgotten: Bool) {
            (self.place, self.busy, self.isForgotten) = (place, busy, isForgotten)
        }
    }

    /// What earlier runs tell of a target's card, the one that it was seen with last.
    package struct Card: Hashable, Sendable {
        /// The target's Ethernet address.
        package var mac: String
        /// U-Boot's version as it says it; nil where it did not.
        package var uboot: String?
        /// The number of its boot script; nil for those before there were numbers.
        package var script: UInt64?
        /// Linux's version and the number of its agent, where Linux flashes it.
        package var linux: String?
        package var agent: UInt64?
        /// Names of the keys that it knows; empty: none. nil: not known.
        package var keys: [String]?
        /// Whether it is known what runs on it.
        package var isKnown: Bool
        /// What is wrong with how it writes, one sentence; nil where nothing is.
        package var warning: String?

        package init(
            mac: String, uboot: String?, script: UInt64?, linux: String? = nil, agent: UInt64? = nil,
            keys: [String]? = nil, isKnown: Bool, warning: String?
        ) {
            (self.linux, self.agent) = (linux, agent)
            (self.mac, self.uboot, self.script, self.keys, self.isKnown) = (mac, uboot, script, keys, isKnown)
            self.warning = warning
        }
    }

    /// The records of runs.
    package struct Records: Hashable, Sendable {
        /// How many there are.
        package var count: Int
        /// What they take on the disk.
        package var bytes: UInt64
        /// What they tell of cards.
        package var cards: [Card]

        /// Records as given.
        package init(count: Int, bytes: UInt64, cards: [Card]) {
            (self.count, self.bytes, self.cards) = (count, bytes, cards)
        }
    }

    /// The keys that sign what targets run.
    package struct Keys: Hashable, Sendable {
        /// Their names; empty: nothing is signed.
        package var names: [String]
        /// The one that new cards get; nil where there is none.
        package var current: String?

        package init(names: [String], current: String?) { (self.names, self.current) = (names, current) }
    }

    /// The firewall's rules for what comes in.
    package enum Firewall: Hashable, Sendable {
        /// nftables is not installed.
        case none
        /// It cannot be seen; why.
        case hidden(String)
        /// What nft lists as chains.
        case chains(String)
    }

    /// A program that changes images.
    package struct Program: Hashable, Sendable {
        /// Why it is missing, and which package has it; nil where it is there.
        package var missing: String?
        /// Whether every flash needs it.
        package var isNeeded: Bool

        package init(missing: String?, isNeeded: Bool) { (self.missing, self.isNeeded) = (missing, isNeeded) }
    }

    /// Reads the inventory.
    package var inventory: @Sendable () throws -> Inventory
    /// Reads the layout of the targets' cards.
    package var card: @Sendable () throws -> CardLayout
    /// Reads the templates of flash plans; throws where they cannot be used.
    package var checkTemplates: @Sendable () throws -> Void
    /// The number of the boot script that this version's cards get; nil where it is not known.
    package var bootScript: @Sendable () -> UInt64?
    /// The programs that change images.
    package var programs: @Sendable () -> [Program]
    /// Who would serve the TFTP root.
    package var server: @Sendable () async -> Server
    /// Checks the TFTP root.
    package var checkRoot: @Sendable () throws -> Void
    /// The RESET line of a target that has one.
    package var line: @Sendable (GPIOLine) throws -> Line
    /// Files that only their group may write to: the service's socket, GPIO chips where lines are wanted.
    package var groupFiles: @Sendable (_ withLines: Bool) -> [FilePath]
    /// Why a serial port's speed cannot be had; nil where it can.
    package var checkSpeed: @Sendable (SerialPort) -> String?
    /// Whether U-Boot's netconsole could be heard; returns where, throws why not.
    package var listen: @Sendable () throws -> String
    /// The records of runs.
    package var records: @Sendable () throws -> Records
    /// The bench's keys; throws why they cannot be used.
    package var keys: @Sendable () throws -> Keys
    /// The firewall.
    package var firewall: @Sendable () async -> Firewall

    package init(
        inventory: @escaping @Sendable () throws -> Inventory, card: @escaping @Sendable () throws -> CardLayout,
        checkTemplates: @escaping @Sendable () throws -> Void, bootScript: @escaping @Sendable () -> UInt64?,
        programs: @escaping @Sendable () -> [Program], server: @escaping @Sendable () async -> Server,
        checkRoot: @escaping @Sendable () throws -> Void, line: @escaping @Sendable (GPIOLine) throws -> Line,
        groupFiles: @escaping @Sendable (Bool) -> [FilePath], checkSpeed: @escaping @Sendable (SerialPort) -> String?,
        listen: @escaping @Sendable () throws -> String, records: @escaping @Sendable () throws -> Records,
        keys: @escaping @Sendable () throws -> Keys, firewall: @escaping @Sendable () async -> Firewall
    ) {
        (self.inventory, self.card, self.checkTemplates) = (inventory, card, checkTemplates)
        (self.bootScript, self.programs, self.server) = (bootScript, programs, server)
        (self.checkRoot, self.line, self.groupFiles) = (checkRoot, line, groupFiles)
        (self.checkSpeed, self.listen, self.records) = (checkSpeed, listen, records)
        (self.keys, self.firewall) = (keys, firewall)
    }
}
