/// A DOS partition type, one byte. C: `fdisk_parttype_get_code`.
public struct PartitionType: Hashable, Sendable {
    /// The byte in the partition table.
    public let code: UInt8

    /// The type with this code.
    public init(code: UInt8) { self.code = code }

    /// FAT32 with LBA addressing: what the Pi's boot ROM reads.
    public static let fat32LBA = PartitionType(code: 0x0c)
    /// A Linux filesystem.
    public static let linux = PartitionType(code: 0x83)

    /// It holds logical partitions. C: `IS_EXTENDED` in libfdisk (5, 0x0f, 0x85).
    public var isExtended: Bool { code == 0x05 || code == 0x0f || code == 0x85 }
}

/// One entry of a DOS partition table.
public struct Partition: Hashable, Sendable {
    /// 1 to 4; the table's slot, as in `/dev/mmcblk0p1`.
    public let number: Int
    /// What it holds.
    public let type: PartitionType
    /// Marked active (the boot flag, 0x80).
    public let isActive: Bool
    /// First sector.
    public let start: LBA
    /// Length.
    public let size: SectorCount

    /// An entry as given; nothing is checked here.
    public init(number: Int, type: PartitionType, isActive: Bool = false, start: LBA, size: SectorCount) {
        self.number = number
        self.type = type
        self.isActive = isActive
        self.start = start
        self.size = size
    }

    /// The first sector behind the partition.
    public var end: LBA { start + size }
}

/// The DOS label's 32-bit disk signature; PARTUUIDs are made from it. Range 1 to 2^32 - 1.
public struct DiskID: Hashable, Sendable, CustomStringConvertible {
    /// The signature.
    public let value: UInt32

    /// The signature, or nil for 0, which the kernel takes for 'none'.
    public init?(_ value: UInt32) {
        guard value != 0 else { return nil }
        self.value = value
    }

    /// A signature that is known not to be 0; traps on 0.
    package init(nonZero value: UInt32) {
        precondition(value != 0)
        self.value = value
    }

    /// As libfdisk and sfdisk write it: `0x5e3c9a10`.
    public var description: String {
        let digits = String(value, radix: 16)
        return "0x" + String(repeating: "0", count: 8 - digits.count) + digits
    }
}

/// A DOS partition table: the signature and the entries, sorted by number.
public struct PartitionTable: Hashable, Sendable {
    /// The disk's signature; nil where it is 0, as some tools leave it.
    public let diskID: DiskID?
    /// The entries, sorted by number.
    public let partitions: [Partition]

    /// A table of these entries.
    public init(diskID: DiskID?, partitions: [Partition]) {
        self.diskID = diskID
        self.partitions = partitions.sorted { $0.number < $1.number }
    }
}
