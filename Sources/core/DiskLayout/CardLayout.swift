/// Where everything lies on a target's card: u-boot, boot and rootfs, back to back, each start aligned to 4 MiB.
///
/// U-Boot and the Pi's firmware live on partition 1, which a flash never writes (law 1). By plan each partition of an OS
/// image goes to one of the card's; in parts the image is laid down as one run from the start of partition 2, from its
/// boot partition on.
package struct CardLayout: Hashable, Sendable {
    /// Every partition starts at a multiple of this: 8192 sectors (4 MiB), the erase block of common cards.
    package static let alignment = SectorCount(8192)
    /// How much of part 0 a target skips in the parts protocol: 4 MiB, whatever an image has before its boot partition.
    /// Source: templates/boot/settings.cmd, `l_skip`.
    package static let partsSkip = ByteCount.mebibytes(4)
    /// The smallest common card: 7,800,000,000 bytes. Cards that are sold as 8 GB have been seen with 7.82e9 bytes.
    package static let smallestCommonCard = ByteCount(7_800_000_000)
    /// The signature of a card whose configuration names none.
    package static let defaultDiskID = DiskID(nonZero: 0x5250_4946)

    /// The whole card.
    package let cardSize: SectorCount
    /// The card's signature; the kernel's `root=PARTUUID=` is made from it.
    package let diskID: DiskID
    /// Partition 1: Pi firmware, U-Boot, boot script.
    package let uboot: Partition
    /// Partition 2: the image's first partition.
    package let boot: Partition
    /// Partition 3: the image's second partition.
    package let rootfs: Partition

    /// Lays the three partitions out back to back from 4 MiB.
    ///
    /// - Parameters:
    ///   - cardSize: the whole card, a multiple of 512.
    ///   - ubootSize: partition 1, a multiple of 4 MiB, at least 4 MiB.
    ///   - bootSize: partition 2, a multiple of 4 MiB, at least 4 MiB.
    ///   - rootfsSize: partition 3, a multiple of 512; nil: to the end of the card, less what does not fill 4 MiB.
    ///   - diskID: the card's signature.
    /// - Throws: ``LayoutError``.
    package init(
        cardSize: ByteCount, ubootSize: ByteCount, bootSize: ByteCount, rootfsSize: ByteCount? = nil, diskID: DiskID
    ) throws(LayoutError) {
        guard let card = cardSize.wholeSectors else { throw .notWholeSectors(what: "card size", cardSize) }
        // The DOS label counts sectors in 32 bits.
        guard card.sectors <= UInt64(UInt32.max) else { throw .cardTooLarge(cardSize) }
        let uboot = try Self.aligned(ubootSize, what: "u-boot size")
        let boot = try Self.aligned(bootSize, what: "boot size")
        let ubootStart = LBA(0) + Self.alignment
        guard let bootStart = ubootStart.advanced(by: uboot), let rootfsStart = bootStart.advanced(by: boot) else {
            throw .cardTooSmall(cardSize, needed: ubootSize)
        }
        let rootfs: SectorCount
        if let rootfsSize {
            guard let whole = rootfsSize.wholeSectors else { throw .notWholeSectors(what: "rootfs size", rootfsSize) }
            guard whole.sectors > 0 else { throw .empty(what: "rootfs size") }
            rootfs = whole
        } else {
            let free = card.sectors > rootfsStart.sector ? card.sectors - rootfsStart.sector : 0
            rootfs = SectorCount(free / Self.alignment.sectors * Self.alignment.sectors)
        }
        guard rootfs.sectors > 0, let end = rootfsStart.advanced(by: rootfs), end.sector <= card.sectors else {
            let needed = rootfsStart.advanced(by: rootfs.sectors > 0 ? rootfs : Self.alignment) ?? rootfsStart
            throw .cardTooSmall(
                cardSize, needed: SectorCount(needed.sector).byteCountIfRepresentable ?? ByteCount(UInt64.max))
        }
        self.cardSize = card
        self.diskID = diskID
        self.uboot = Partition(number: 1, type: .fat32LBA, isActive: true, start: ubootStart, size: uboot)
        self.boot = Partition(number: 2, type: .fat32LBA, start: bootStart, size: boot)
        self.rootfs = Partition(number: 3, type: .linux, start: rootfsStart, size: rootfs)
    }

    private static func aligned(_ size: ByteCount, what: String) throws(LayoutError) -> SectorCount {
        guard let whole = size.wholeSectors else { throw .notWholeSectors(what: what, size) }
        guard whole.sectors > 0 else { throw .empty(what: what) }
        guard whole.sectors % alignment.sectors == 0 else { throw .misaligned(what: what, size) }
        return whole
    }

    /// The partition table that the card carries.
    package var table: PartitionTable { PartitionTable(diskID: diskID, partitions: [uboot, boot, rootfs]) }

    /// The MMC block where an image's boot partition goes: the start of partition 2.
    package var writeStart: LBA { boot.start }

    /// From the start of partition 2 to the start of partition 3. In parts the image's partitions must have the same.
    package var rootfsOffset: SectorCount { rootfs.start - boot.start }

    /// From the start of partition 2 to the end of partition 3: what an image may have at most, from the start of its boot
    /// partition to the end of its rootfs.
    package var largestContent: ByteCount { (rootfs.end - boot.start).byteCount }
}

/// Why a card cannot be laid out as asked.
package enum LayoutError: Error, Hashable, Sendable {
    /// A size is not a multiple of 512 bytes.
    case notWholeSectors(what: String, ByteCount)
    /// A size is 0.
    case empty(what: String)
    /// A size is not a multiple of 4 MiB, so the partition behind it would not start on one.
    case misaligned(what: String, ByteCount)
    /// The partitions do not fit the card.
    case cardTooSmall(ByteCount, needed: ByteCount)
    /// Over 2^32 - 1 sectors, which a DOS label cannot count.
    case cardTooLarge(ByteCount)
}

extension LayoutError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .notWholeSectors(let what, let size):
            "\(what) is \(size.bytes) bytes; must be a multiple of 512 bytes (one sector)"
        case .empty(let what):
            "\(what) is 0 bytes; must be more than 0"
        case .misaligned(let what, let size):
            "\(what) is \(size.bytes) bytes; must be a multiple of 4194304 bytes (4 MiB)"
        case .cardTooSmall(let size, let needed):
            "card size is \(size.bytes) bytes; must be at least \(needed.bytes) bytes for these partitions"
        case .cardTooLarge(let size):
            "card size is \(size.bytes) bytes; must be at most 2199023255040 bytes (2^32 - 1 sectors, the DOS label's limit)"
        }
    }
}
