import DiskLayout
import FlashPlan
import Testing

/// A layout with the boot partition at 4 MiB if not elsewhere, rootfs at `rootfsStart` and `rootfsSectors` long.
func image(
    bootStart: UInt64 = 0x2000, rootfsStart: UInt64 = 0x3000, rootfsSectors: UInt64, size: UInt64? = nil
) throws -> OSImageLayout {
    let table = PartitionTable(
        diskID: DiskID(1),
        partitions: [
            Partition(number: 1, type: .fat32LBA, start: LBA(bootStart), size: SectorCount(rootfsStart - bootStart)),
            Partition(number: 2, type: .linux, start: LBA(rootfsStart), size: SectorCount(rootfsSectors)),
        ])
    return try OSImageLayout(table: table, size: ByteCount(size ?? (rootfsStart + rootfsSectors) * 512))
}

struct PartsPlanTests {
    @Test func `an image of at most 750 MiB is one part`() throws {
        // 786,432,000 bytes are 0x177000 sectors.
        let plan = try PartsPlan(image: try image(rootfsSectors: 0x177000 - 0x3000))
        #expect(plan.partCount == 1)
        #expect(plan.part(0).filler == .mebibytes(4))
        #expect(plan.part(0).source == 4_194_304..<786_432_000)
        #expect(plan.part(0).size.bytes == 786_432_000)
        #expect(plan.part(0).padding == 0)
        #expect(plan.part(0).name == "rpi_image_part_0")
    }

    @Test func `one sector more is a second part`() throws {
        let plan = try PartsPlan(image: try image(rootfsSectors: 0x177001 - 0x3000))
        #expect(plan.parts.map(\.size.bytes) == [786_432_000, 512])
        #expect(plan.part(1).source == 786_432_000..<786_432_512)
    }

    @Test func `the manifest is what the protocol says`() throws {
        // docs/parts-protocol.md's own example.
        let plan = try PartsPlan(image: try image(rootfsStart: 0x102000, rootfsSectors: 0x3c0000 - 0x102000))
        #expect(
            plan.manifest == """
                rpi_parts=0x3
                rpi_part_sectors=0x177000
                rpi_total_sectors=0x3c0000
                rpi_skip_sectors=0x2000
                rpi_rootfs_offset=0x100000

                """)
        #expect(plan.bytesToWrite == ByteCount((0x3c0000 - 0x2000) * 512))
    }

    @Test func `a last sector that the file does not fill is padded, not cut`() throws {
        // Original defect: sizes that are not multiples of 512 were cut short.
        let whole: UInt64 = (0x3000 + 9) * 512
        let plan = try PartsPlan(image: try image(rootfsSectors: 9, size: whole - 511))
        #expect(plan.part(0).source == 4 << 20..<(whole - 511))
        #expect(plan.part(0).padding == 511)
        #expect(plan.part(0).size.bytes == whole)
        #expect(plan.bytesToWrite.bytes == whole - 4 << 20)
    }

    @Test func `what lies behind the rootfs is not sent`() throws {
        let plan = try PartsPlan(image: try image(rootfsSectors: 8, size: 1 << 30))
        #expect(plan.part(0).source.upperBound == (0x3000 + 8) * 512)
        #expect(plan.part(0).padding == 0)
    }

    @Test func `there may be more than ten parts`() throws {
        // Original defect: at most 10 parts.
        let plan = try PartsPlan(image: try image(rootfsSectors: 0x2002 * 12), partSize: ByteCount(0x2002 * 512))
        #expect(plan.partCount == 14)
        #expect(plan.parts.last?.name == "rpi_image_part_13")
        #expect(plan.manifest.contains("rpi_parts=0xe\n"))
    }

    /// Also where the image has less than 4 MiB before its boot partition, or more.
    @Test(arguments: [UInt64(0x2002), 0x2fff, 0x3000, 0x4000, 0x177000], [UInt64(1), 63, 2048, 8192, 8193, 16384])
    func `parts cover the image from its boot partition on, once, in order, and all but the last are full`(
        sectors: UInt64, start: UInt64
    ) throws {
        for rootfs in [UInt64(1), 0x1000, 0xfff, 0x5001] {
            for missing in [UInt64(0), 1, 511] {
                let size = (start + 0x1000 + rootfs) * 512 - missing
                let image = try image(
                    bootStart: start, rootfsStart: start + 0x1000, rootfsSectors: rootfs, size: size)
                let plan = try PartsPlan(image: image, partSize: ByteCount(sectors * 512))
                #expect(plan.totalSectors.sectors == 0x2000 + 0x1000 + rootfs)
                #expect(plan.source == start * 512..<size)
                #expect(plan.manifest.contains("rpi_rootfs_offset=0x1000\n"))
                var next = start * 512
                for part in plan.parts {
                    #expect(part.filler.bytes == (part.number == 0 ? 4 << 20 : 0))
                    #expect(part.source.lowerBound == next)
                    next = part.source.upperBound
                    #expect(part.size.bytes % 512 == 0)
                    if part.number + 1 < plan.partCount {
                        #expect(part.size.bytes == sectors * 512)
                        #expect(part.padding == 0)
                    }
                }
                #expect(next == size)
                #expect(plan.parts.reduce(0) { $0 + $1.size.bytes } == plan.totalSectors.byteCount.bytes)
                #expect(plan.bytesToWrite.bytes == plan.totalSectors.byteCount.bytes - 4 << 20)
            }
        }
    }

    @Test func `the smallest image there is has enough for the smallest part`() throws {
        // A sector each: what is kept back, and what is written with the part.
        for start in [UInt64(1), 8192, 16384] {
            let image = try image(bootStart: start, rootfsStart: start + 1, rootfsSectors: 1)
            let plan = try PartsPlan(image: image, partSize: PartsPlan.smallestPart.byteCount)
            #expect(plan.partCount == 1)
            #expect(plan.totalSectors == PartsPlan.smallestPart)
            #expect(plan.bytesToWrite.bytes == 1024)
        }
    }

    @Test func `a count over 32 bits is counted in full`() throws {
        // Original defect: a 32-bit count.
        let plan = try PartsPlan(image: try image(rootfsSectors: 16 << 21))
        #expect(plan.bytesToWrite.bytes == 16 << 30 + UInt64(0x1000) * 512)
    }

    @Test func `a part size that cannot work is refused with the value and the rule`() throws {
        let image = try image(rootfsSectors: 100)
        let message = { (size: UInt64) in
            do throws(PartsPlanError) {
                _ = try PartsPlan(image: image, partSize: ByteCount(size))
                return "accepted"
            } catch {
                return error.description
            }
        }
        #expect(message(5_000_000) == "part size is 5000000 bytes; must be a multiple of 512 bytes (one sector)")
        #expect(
            message(4 << 20)
                == "part size is 4194304 bytes; "
                + "must be at least 4195328 bytes (the 4 MiB that a target skips and two sectors)")
        #expect(message(4 << 20 + 512) != "accepted")
        #expect(message(4 << 20 + 1024) == "accepted")
        #expect(message(3 << 30) == "accepted")
        #expect(
            message(3 << 30 + 512)
                == "part size is 3221225984 bytes; must be at most 3221225472 bytes (a target's RAM)")
    }
}
