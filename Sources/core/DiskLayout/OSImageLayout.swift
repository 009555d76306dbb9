/// What of an OS image matters to a card: its two partitions and its length.
package struct OSImageLayout: Hashable, Sendable {
    /// Length of the image file in bytes, as it is.
    package let size: ByteCount
    /// The image's first partition; it starts anywhere behind the partition table.
    package let boot: Partition
    /// The image's second partition, behind it.
    package let rootfs: Partition

    /// Takes a table with two partitions, one behind the other, both within the image.
    ///
    /// Where the first one starts plays no part: Raspberry Pi OS has it at LBA 8192 or 16384, Ubuntu at 2048, Buildroot's
    /// genimage at 1 (docs/images.md has the sources).
    ///
    /// - Throws: ``ImageLayoutError``.
    package init(table: PartitionTable, size: ByteCount) throws(ImageLayoutError) {
        guard table.partitions.map(\.number) == [1, 2] else { throw .notTwoPartitions(table.partitions.map(\.number)) }
        let (boot, rootfs) = (table.partitions[0], table.partitions[1])
        for partition in table.partitions {
            guard !partition.type.isExtended else { throw .extended(partition.number) }
            guard partition.size.sectors > 0 else { throw .emptyPartition(partition.number) }
        }
        guard boot.start > LBA(0) else { throw .bootOnTable }
        guard boot.end <= rootfs.start else { throw .overlap(bootEnd: boot.end, rootfsStart: rootfs.start) }
        let sectors = SectorCount(roundingUp: size)
        guard rootfs.end.sector <= sectors.sectors else {
            throw .truncated(size: size, needed: SectorCount(rootfs.end.sector).byteCount)
        }
        self.size = size
        self.boot = boot
        self.rootfs = rootfs
    }

    /// From the start of the first partition to the end of the second: what of the image is put on a card in parts, at
    /// least two sectors. What lies before and behind that is not needed. The file may end within the last sector.
    package var content: SectorCount { rootfs.end - boot.start }

    /// From the start of the first partition to the start of the second.
    package var rootfsOffset: SectorCount { rootfs.start - boot.start }
}

/// Why a file is no OS image that can be laid down on a card.
package enum ImageLayoutError: Error, Hashable, Sendable {
    /// The table has other entries than 1 and 2; the numbers that it has.
    case notTwoPartitions([Int])
    /// The partition with this number is an extended one, which holds others.
    case extended(Int)
    /// The partition with this number has 0 sectors.
    case emptyPartition(Int)
    /// The first partition starts at LBA 0, where the partition table is.
    case bootOnTable
    /// The second partition starts inside the first or before it.
    case overlap(bootEnd: LBA, rootfsStart: LBA)
    /// The file ends before its last partition does.
    case truncated(size: ByteCount, needed: ByteCount)
}

extension ImageLayoutError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .notTwoPartitions(let numbers):
            "image has \(Self.list(numbers)); must have two partitions, 1 (boot) and 2 (rootfs)"
        case .extended(let number):
            "image's partition \(number) is an extended one; must be a primary one that holds a filesystem"
        case .emptyPartition(let number):
            "image's partition \(number) has 0 sectors; must have at least one"
        case .bootOnTable:
            "image's boot partition starts at LBA 0, where the partition table is; must start at LBA 1 or later"
        case .overlap(let bootEnd, let rootfsStart):
            "image's rootfs starts at \(rootfsStart), before its boot partition ends at \(bootEnd); must lie behind it"
        case .truncated(let size, let needed):
            "image is \(size.bytes) bytes, but its partitions end at byte \(needed.bytes); the file is cut short"
        }
    }

    private static func list(_ numbers: [Int]) -> String {
        switch numbers.count {
        case 0: "no partition"
        case 1: "one partition, \(numbers[0])"
        default: "\(numbers.count) partitions, \(numbers.map(String.init).joined(separator: ", "))"
        }
    }
}
