import DiskLayout
import FlashPlan
import Testing

private func used(_ size: UInt64, _ extents: [Range<UInt64>]) -> UsedSectors {
    UsedSectors(partition: SectorCount(size), extents: extents)
}

/// A generator that gives the same numbers in each run.
private struct Numbers: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 29
    }
}

struct ChunkLayoutTests {
    @Test func `law 3 - the boot partition's first sector is the last chunk, alone`() throws {
        for boot in [used(0x100, [0..<0x100]), used(0x100, []), used(1, [0..<1]), used(0x100, [0..<1, 5..<9])] {
            let chunks = try cutIntoChunks(boot: boot, rootfs: used(0x100, [0..<0x10]))
            #expect(chunks.last == ChunkPlace(partition: .boot, offset: SectorCount(0), size: SectorCount(1)))
            #expect(!chunks.dropLast().contains { $0.partition == .boot && $0.offset.sectors == 0 })
        }
    }

    @Test func `cuts at multiples of 16 MiB of the partition, so that chunks stay where they are`() throws {
        let chunks = try cutIntoChunks(boot: used(0x4000, [0..<0x4000]), rootfs: used(0x20000, [0x7ff0..<0x18008]))
        #expect(
            chunks.map { [$0.partition.rawValue, $0.offset.sectors, $0.size.sectors] } == [
                [2, 1, 0x3fff], [3, 0x7ff0, 0x10], [3, 0x8000, 0x8000], [3, 0x10000, 0x8000], [3, 0x18000, 8],
                [2, 0, 1],
            ])
    }

    @Test func `fills small gaps first, up to 4 percent`() throws {
        // 3000 used sectors: at most 120 are filled. The gaps are 200, 50, 60 and 30; of boot only the last chunk.
        let rootfs = used(0x8000, [0..<600, 800..<1400, 1450..<2050, 2110..<2710, 2740..<3340])
        let chunks = try cutIntoChunks(boot: used(1, []), rootfs: rootfs)
        #expect(
            chunks.dropLast().map { [$0.offset.sectors, $0.end.sectors] } == [[0, 600], [800, 2050], [2110, 3340]])
    }

    @Test func `goes on filling where there are more chunks than asked for`() throws {
        let extents = (0..<100).map { UInt64($0) * 300..<UInt64($0) * 300 + 8 }
        let few = try cutIntoChunks(boot: used(1, []), rootfs: used(0x8000, extents), mostChunks: 11)
        #expect(few.count == 11)
        // Nothing is left to fill across multiples of 16 MiB.
        let far = (0..<5).map { UInt64($0) * 0x8000..<UInt64($0) * 0x8000 + 8 }
        #expect(try cutIntoChunks(boot: used(1, []), rootfs: used(0x40000, far), mostChunks: 2).count == 6)
    }

    @Test(arguments: 1...40)
    func `chunks hold every used sector once, little else, and are ordered`(seed: Int) throws {
        var numbers = Numbers(state: UInt64(seed))
        let (bootSize, rootfsSize) = (UInt64.random(in: 1...0x9000, using: &numbers), UInt64(0x30000))
        func extents(_ size: UInt64) -> [Range<UInt64>] {
            (0..<Int.random(in: 0...300, using: &numbers)).map { _ in
                let start = UInt64.random(in: 0..<size, using: &numbers)
                return start..<min(size, start + UInt64.random(in: 0...400, using: &numbers))
            }
        }
        let input: [CardPartition: UsedSectors] = [
            .boot: used(bootSize, extents(bootSize)), .rootfs: used(rootfsSize, extents(rootfsSize)),
        ]
        let chunks = try cutIntoChunks(
            boot: try #require(input[.boot]), rootfs: try #require(input[.rootfs]), mostChunks: .max)
        for (partition, used) in input {
            var wanted = [Bool](repeating: false, count: Int(used.partition.sectors))
            for extent in used.extents { for sector in extent { wanted[Int(sector)] = true } }
            if partition == .boot { wanted[0] = true }
            var covered = [Bool](repeating: false, count: wanted.count)
            for chunk in chunks where chunk.partition == partition {
                #expect((1...0x8000).contains(chunk.size.sectors))
                #expect(chunk.offset.sectors / 0x8000 == (chunk.end.sectors - 1) / 0x8000)
                for sector in Int(chunk.offset.sectors)..<Int(chunk.end.sectors) {
                    #expect(!covered[sector], "sector \(sector) twice")
                    covered[sector] = true
                }
            }
            #expect(zip(wanted, covered).allSatisfy { !$0 || $1 })
            let starts = chunks.dropLast().filter { $0.partition == partition }.map(\.offset)
            #expect(starts == starts.sorted())
        }
        let usedCount = input.values.reduce(0) { sum, used in
            sum + Set(used.extents.flatMap { Array($0) }).count
        }
        let chunkCount = chunks.reduce(0) { $0 + Int($1.size.sectors) }
        #expect(chunkCount <= usedCount + usedCount / 25 + 1)
    }

    @Test func `refuses extents behind the partition, and an empty boot partition`() {
        #expect(throws: ChunkError.outside(.rootfs, end: SectorCount(17), size: SectorCount(16))) {
            try cutIntoChunks(boot: used(1, []), rootfs: used(16, [0..<17]))
        }
        #expect(throws: ChunkError.emptyBootPartition) {
            try cutIntoChunks(boot: used(0, []), rootfs: used(16, []))
        }
        #expect(
            "\(ChunkError.outside(.rootfs, end: SectorCount(17), size: SectorCount(16)))"
                == "used sectors of image's partition 2 end at sector 17 of it; it has only 16 sectors (8 KiB)")
    }
}
