import TestSupport
import DiskLayout
import Testing

private func card(
    _ size: ByteCount = CardLayout.smallestCommonCard, uboot: ByteCount = .mebibytes(64),
    boot: ByteCount = .mebibytes(512),
    rootfs: ByteCount? = nil
) throws(LayoutError) -> CardLayout {
    try CardLayout(
        cardSize: size, ubootSize: uboot, bootSize: boot, rootfsSize: rootfs, diskID: CardLayout.defaultDiskID)
}

@Suite struct CardLayoutTests {
    @Test func `lays the default card out as the design says`() throws {
        let card = try card()
        #expect(
            card.uboot
                == Partition(number: 1, type: .fat32LBA, isActive: true, start: LBA(8192), size: SectorCount(131_072)))
        #expect(card.boot == Partition(number: 2, type: .fat32LBA, start: LBA(139_264), size: SectorCount(1_048_576)))
        #expect(card.rootfs == Partition(number: 3, type: .linux, start: LBA(1_187_840), size: SectorCount(14_041_088)))
        #expect(card.writeStart.hex == "0x22000")
        #expect(card.rootfsOffset == SectorCount(1_048_576))
        #expect(card.largestContent == ByteCount(7_725_907_968))
        // A card that is sold as 8 GB may have no more than 7.82e9 bytes.
        #expect(card.cardSize.byteCount == ByteCount(7_800_000_000))
    }

    @Test func `the default card takes today's Raspberry Pi OS without an option, in parts too`() throws {
        // pi-gen, export-image/prerun.sh of 2025-03-12 (ALIGN 8 MiB, BOOT_SIZE 512 MiB): boot at LBA 16384, rootfs right
        // behind it, every size a multiple of 8 MiB. Its rootfs of about 2.3 GB (Lite) or 5.5 GB (with a desktop).
        for mebibytes: UInt64 in [2296, 5504] {
            let today = try image(boot: (16384, 1_048_576), rootfs: (1_064_960, mebibytes * 2048))
            #expect(throws: Never.self) { try card().checkPartitionsFit(today) }
            #expect(throws: Never.self) { try card().checkFit(today) }
        }
    }

    @Test(arguments: UInt64(0)..<200)
    func `keeps the rules on any card`(seed: UInt64) throws {
        let card = try CardLayout.random(seed: seed)
        // Law 1: nothing that a flash writes lies below partition 1's end, and partition 1 not in the first 4 MiB.
        #expect(card.uboot.start == LBA(8192))
        #expect(card.writeStart == card.uboot.end)
        #expect(card.boot.end == card.rootfs.start)
        for partition in card.table.partitions {
            #expect(partition.start.sector % 8192 == 0)
            #expect(partition.size.sectors > 0)
            #expect(partition.end.sector <= card.cardSize.sectors)
        }
        #expect(card.table.partitions.map(\.number) == [1, 2, 3])
        #expect(card.table.partitions.map(\.isActive) == [true, false, false])
        // The last sector of the largest image lands on the last sector of partition 3.
        #expect(card.writeStart + SectorCount(roundingUp: card.largestContent) == card.rootfs.end)
    }

    @Test(
        arguments: [
            (
                7_999_999_999, 67_108_864, 536_870_912, nil,
                "card size is 7999999999 bytes; must be a multiple of 512 bytes (one sector)"
            ),
            (
                8_000_000_000, 67_108_865, 536_870_912, nil,
                "u-boot size is 67108865 bytes; must be a multiple of 512 bytes (one sector)"
            ),
            (
                8_000_000_000, 67_109_376, 536_870_912, nil,
                "u-boot size is 67109376 bytes; must be a multiple of 4194304 bytes (4 MiB)"
            ),
            (8_000_000_000, 0, 536_870_912, nil, "u-boot size is 0 bytes; must be more than 0"),
            (
                8_000_000_000, 67_108_864, 2_097_152, nil,
                "boot size is 2097152 bytes; must be a multiple of 4194304 bytes (4 MiB)"
            ),
            (8_000_000_000, 67_108_864, 0, nil, "boot size is 0 bytes; must be more than 0"),
            (8_000_000_000, 67_108_864, 536_870_912, 0, "rootfs size is 0 bytes; must be more than 0"),
            (
                8_000_000_000, 67_108_864, 536_870_912, 511,
                "rootfs size is 511 bytes; must be a multiple of 512 bytes (one sector)"
            ),
            (
                608_174_080, 67_108_864, 536_870_912, nil,
                "card size is 608174080 bytes; must be at least 612368384 bytes for these partitions"
            ),
            (
                608_174_080, 67_108_864, 536_870_912, 512,
                "card size is 608174080 bytes; must be at least 608174592 bytes for these partitions"
            ),
            (
                0, 67_108_864, 536_870_912, nil,
                "card size is 0 bytes; must be at least 612368384 bytes for these partitions"
            ),
            (
                2_199_023_255_552, 67_108_864, 536_870_912, nil,
                "card size is 2199023255552 bytes; must be at most 2199023255040 bytes (2^32 - 1 sectors, the DOS label's limit)"
            ),
        ] as [(UInt64, UInt64, UInt64, UInt64?, String)])
    func `refuses a card that breaks a rule, with that rule's message`(
        size: UInt64, uboot: UInt64, boot: UInt64, rootfs: UInt64?, message: String
    ) {
        #expect {
            try card(
                ByteCount(size), uboot: ByteCount(uboot), boot: ByteCount(boot), rootfs: rootfs.map { ByteCount($0) })
        } throws: {
            "\($0)" == message
        }
    }

    @Test(arguments: [UInt64.max - 511, UInt64.max - 4_194_303, 1 << 63])
    func `refuses sizes near 2^64 without a trap`(size: UInt64) {
        #expect(throws: LayoutError.self) { try card(uboot: ByteCount(size)) }
        #expect(throws: LayoutError.self) { try card(boot: ByteCount(size)) }
        #expect(throws: LayoutError.self) { try card(rootfs: ByteCount(size)) }
        #expect(throws: LayoutError.self) { try card(ByteCount(size)) }
    }

    @Test func `takes the smallest and the largest card`() throws {
        let smallest = try card(.mebibytes(16), uboot: .mebibytes(4), boot: .mebibytes(4))
        #expect(smallest.rootfs.size == CardLayout.alignment)
        let largest = try card(ByteCount(2_199_023_255_040))
        #expect(largest.rootfs.end.sector <= UInt64(UInt32.max))
    }
}

private func image(
    boot: (start: UInt64, size: UInt64) = (8192, 8192), rootfs: (start: UInt64, size: UInt64) = (16384, 5000),
    numbers: [Int] = [1, 2], type: PartitionType = .linux, size: UInt64? = nil
) throws(ImageLayoutError) -> OSImageLayout {
    let extents: [(start: UInt64, size: UInt64)] = [boot, rootfs, (40000, 100)]
    let partitions = zip(numbers, extents).map { number, extent in
        Partition(
            number: number, type: number == 1 ? .fat32LBA : type, start: LBA(extent.start),
            size: SectorCount(extent.size))
    }
    return try OSImageLayout(
        table: PartitionTable(diskID: nil, partitions: partitions),
        size: ByteCount(size ?? (rootfs.start + rootfs.size) * 512))
}

@Suite struct OSImageLayoutTests {
    /// Published images: Buildroot's (genimage's hdimage aligns to 512 bytes if not told otherwise), hand-made ones on
    /// fdisk's old cylinders, Ubuntu's (pi-gadget, gadget.yaml: 1 MiB, as snapd places a first partition), Raspberry Pi OS
    /// up to 2024-11 and since (pi-gen, export-image/prerun.sh).
    @Test(arguments: [UInt64(1), 63, 2048, 8191, 8192, 8193, 16384, 1 << 31])
    func `takes two partitions, wherever the first one starts`(start: UInt64) throws {
        let image = try image(boot: (start, 8192), rootfs: (start + 8192, 5000))
        #expect(image.boot.start == LBA(start))
        #expect(image.rootfsOffset == SectorCount(8192))
        #expect(image.content == SectorCount(13192))
    }

    @Test func `takes an image whose last sector is not whole, and one that is longer than its partitions`() throws {
        #expect(try image(size: 21384 * 512 - 511).content == SectorCount(13192))
        #expect(try image(size: 30000 * 512).content == SectorCount(13192))
    }

    @Test(
        arguments: [
            ([], "image has no partition; must have two partitions, 1 (boot) and 2 (rootfs)"),
            ([1], "image has one partition, 1; must have two partitions, 1 (boot) and 2 (rootfs)"),
            ([1, 2, 3], "image has 3 partitions, 1, 2, 3; must have two partitions, 1 (boot) and 2 (rootfs)"),
            ([1, 3], "image has 2 partitions, 1, 3; must have two partitions, 1 (boot) and 2 (rootfs)"),
            ([2, 3], "image has 2 partitions, 2, 3; must have two partitions, 1 (boot) and 2 (rootfs)"),
        ] as [([Int], String)])
    func `refuses any other number of partitions`(numbers: [Int], message: String) {
        #expect { try image(numbers: numbers) } throws: { "\($0)" == message }
    }

    @Test func `refuses a boot partition that lies on the partition table`() {
        #expect {
            try image(boot: (0, 100))
        } throws: {
            "\($0)"
                == "image's boot partition starts at LBA 0, where the partition table is; must start at LBA 1 or later"
        }
    }

    @Test func `refuses partitions that overlap, are empty, extended or cut short`() {
        #expect(throws: ImageLayoutError.overlap(bootEnd: LBA(16385), rootfsStart: LBA(16384))) {
            try image(boot: (8192, 8193))
        }
        #expect(throws: ImageLayoutError.emptyPartition(1)) { try image(boot: (8192, 0)) }
        #expect(throws: ImageLayoutError.emptyPartition(2)) { try image(rootfs: (16384, 0), size: 20_000_000) }
        #expect(throws: ImageLayoutError.extended(2)) { try image(type: PartitionType(code: 0x0f)) }
        #expect {
            try image(size: 21383 * 512)
        } throws: {
            "\($0)" == "image is 10948096 bytes, but its partitions end at byte 10948608; the file is cut short"
        }
    }

    @Test(arguments: [UInt64(1), 63, 2048, 8192, 16384])
    func `fits a card in parts only if the span is the card's and the rootfs not larger than partition 3`(start: UInt64)
        throws
    {
        let image = try image(boot: (start, 8192), rootfs: (start + 8192, 8193))
        func card(boot: UInt64, rootfs: UInt64) throws -> CardLayout {
            try CardLayout(
                cardSize: .mebibytes(1024), ubootSize: .mebibytes(4), bootSize: .mebibytes(boot),
                rootfsSize: SectorCount(rootfs).byteCount, diskID: CardLayout.defaultDiskID)
        }
        #expect(throws: Never.self) { try card(boot: 4, rootfs: 8193).checkFit(image) }
        #expect {
            try card(boot: 8, rootfs: 8193).checkFit(image)
        } throws: {
            "\($0)"
                == "image's rootfs starts 8192 sectors (4 MiB) behind its boot partition's start, the card's 16384 sectors "
                + "(8 MiB); must be equal in parts: flash it by plan, or make a card with rpiflash-gen recovery-image "
                + "--from-image"
        }
        #expect(throws: Never.self) { try card(boot: 8, rootfs: 8193).checkPartitionsFit(image) }
        #expect {
            try card(boot: 4, rootfs: 8192).checkFit(image)
        } throws: {
            "\($0)".hasPrefix("image's rootfs has 8193 sectors (4194816 bytes), the card's partition 3 has 8192")
        }
    }

    @Test(arguments: UInt64(0)..<100)
    func `makes a card that fits any image whose span is aligned, of any size that is enough`(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let span = UInt64.random(in: 1...512, using: &generator) * 8192
        let size = UInt64.random(in: 1...20_000_000, using: &generator)
        let start = UInt64.random(in: 1...20_000, using: &generator)
        let image = try image(boot: (start, span - 100), rootfs: (start + span, size))
        let uboot = ByteCount.mebibytes(64)
        let least = try CardLayout.fitting(image, cardSize: nil, ubootSize: uboot, diskID: CardLayout.defaultDiskID)
        try least.checkFit(image)
        #expect(least.rootfs.end.sector == least.cardSize.sectors)

        let extra = SectorCount(UInt64.random(in: 0...20000, using: &generator))
        let card = try CardLayout.fitting(
            image, cardSize: (least.cardSize + extra).byteCount, ubootSize: uboot, diskID: CardLayout.defaultDiskID)
        try card.checkFit(image)
        #expect(throws: LayoutError.self) {
            try CardLayout.fitting(
                image, cardSize: (least.cardSize - SectorCount(1)).byteCount, ubootSize: uboot,
                diskID: CardLayout.defaultDiskID)
        }
    }

    /// Spans that no card has, as its partitions start at multiples of 4 MiB: the image goes there by plan.
    @Test(
        arguments: [
            // fdisk's old cylinders of 255 heads and 63 sectors: boot behind the first track, rootfs at a cylinder's start.
            ((63, 112_392), 112_455, 14), ((8192, 8192), 16385, 1), ((8192, 8191), 16383, 1), ((1, 8193), 8194, 2),
            ((2048, 1), 4096, 1),
        ] as [((UInt64, UInt64), UInt64, UInt64)])
    func `makes a card that takes an image of any other span by plan, and says so in parts`(
        boot: (UInt64, UInt64), rootfs: UInt64, units: UInt64
    ) throws {
        let image = try image(boot: boot, rootfs: (rootfs, 5000))
        let card = try CardLayout.fitting(
            image, cardSize: nil, ubootSize: .mebibytes(64), diskID: CardLayout.defaultDiskID)
        #expect(card.boot.size.sectors == units * 8192)
        #expect(card.rootfs.size.sectors == 5000)
        #expect(throws: Never.self) { try card.checkPartitionsFit(image) }
        #expect {
            try card.checkFit(image)
        } throws: {
            "\($0)".hasSuffix(
                "must be equal in parts: flash it by plan; no card can match it, as a card's partitions start at multiples of "
                    + "4 MiB")
        }
    }
}
