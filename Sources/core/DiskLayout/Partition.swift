/// A DOS partition type, one byte. C: `fdisk_parttype_get_code`.
package struct PartitionType: Hashable, Sendable {
    /// The byte in the partition table.
    package let code: UInt8

    /// The type with this code.
    package init(code: UInt8) { self.code = code }

    /// FAT32 with LBA addressing: what the Pi's boot ROM reads.
    package static let fat32LBA = PartitionType(code: 0x0c)
    /// A Linux filesystem.
    package static let linux = PartitionType(code: 0x83)

    /// It holds logical partitions. C: `IS_EXTENDED` in libfdisk (5, 0x0f, 0x85).
    package var isExtended: Bool { code == 0x05 || code == 0x0f || code == 0x85 }
}

/// One entry of a DOS partition table.
package struct Partition: Hashable, Sendable {
    /// 1 to 4; the table's slot, as in `/dev/mmcblk0p1`.
    package let number: Int
    /// What it holds.
    package let type: PartitionType
    /// Marked active (the boot flag, 0x80).
    package let isActive: Bool
    /// First sector.
    package let start: LBA
    /// Length.
    package let size: SectorCount

    /// An entry as given; nothing is checked here.
    package init(number: Int, type: PartitionType, isActive: Bool = false, start: LBA, size: SectorCount) {
        (self.number, self.type, self.isActive, self.start, self.size) = (number, type, isActive, start, size)
    }

    /// The first sector behind the partition.
    package var end: LBA { start + size }
}

/// The DOS label's 32-bit disk signature; PARTUUIDs are made from it. Range 1 to 2^32 - 1.
package struct DiskID: Hashable, Sendable, CustomStringConvertible {
    /// The signature.
    package let value: UInt32

    /// The signature, or nil for 0, which the kernel takes for 'none'.
    package init?(_ value: UInt32) {
        guard value != 0 else { return nil }
        self.value = value
    }

    /// A signature that is known not to be 0; traps on 0.
    package init(nonZero value: UInt32) {
        precondition(value != 0)
        self.value = value
    }

    /// As libfdisk and sfdisk write it: `0x5e3c9a10`.
    package var description: String {
        let digits = String(value, radix: 16)
        return "0x" + String(repeating: "0", count: 8 - digits.count) + digits
    }
}

/// A DOS partition table: the signature and the entries, sorted by number.
package struct PartitionTable: Hashable, Sendable {
    /// The disk's signature; nil where it is 0, as some tools leave it.
    package let diskID: DiskID?
    /// The entries, sorted by number.
    package let partitions: [Partition]

    /// A table of these entries.
    package init(diskID: DiskID?, partitions: [Partition]) {
        self.diskID = diskID
        self.partitions = partitions.sorted { $0.number < $1.number }
    }
}
