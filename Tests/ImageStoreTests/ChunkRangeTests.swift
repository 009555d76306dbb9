import DiskLayout
import ImageStore
import OSImage
import Testing

private func extent(_ offset: UInt64, _ count: UInt64) -> SectorExtent {
    SectorExtent(offset: SectorCount(offset), count: SectorCount(count))
}

private func cut(_ boot: [(UInt64, UInt64)], _ rootfs: [(UInt64, UInt64)], largest: UInt64 = 100) -> [[UInt64]] {
    chunkRanges(
        of: [
            UsedPartition(number: 1, extents: boot.map { extent($0.0, $0.1) }),
            UsedPartition(number: 2, extents: rootfs.map { extent($0.0, $0.1) }),
        ], largest: SectorCount(largest)
    ).map { [UInt64($0.partition), $0.extent.offset.sectors, $0.extent.count.sectors] }
}

@Suite struct ChunkRangeTests {
    @Test func `law 3: puts the chunk with the first sector of partition 1 last`() {
        #expect(cut([(0, 30), (90, 5)], [(0, 10)]) == [[1, 90, 5], [2, 0, 10], [1, 0, 30]])
    }

    @Test func `cuts at the largest chunk and nowhere else`() {
        #expect(
            cut([(0, 250)], [(7, 100), (200, 101)]) == [
                [1, 100, 100], [1, 200, 50], [2, 7, 100], [2, 200, 100], [2, 300, 1], [1, 0, 100],
            ])
    }

    @Test func `fills the smallest gaps first, as far as 4 percent of what is used go`() {
        // 100 sectors are used: 4 may be filled. 1 and 2 are; after 1 there is no room for 4, after 2 none for 3.
        #expect(cut([(0, 50)], [(0, 20), (21, 20), (43, 10)]) == [[2, 0, 53], [1, 0, 50]])
        #expect(cut([(0, 50)], [(0, 20), (21, 20), (45, 10)]) == [[2, 0, 41], [2, 45, 10], [1, 0, 50]])
        #expect(cut([(0, 40), (43, 10)], [(0, 25), (27, 25)]) == [[1, 43, 10], [2, 0, 52], [1, 0, 40]])
    }

    @Test func `counts no gap between partitions, and takes nothing for nothing`() {
        #expect(cut([], []) == [])
        #expect(cut([(0, 1)], []) == [[1, 0, 1]])
    }

    @Test(arguments: 0..<20 as Range<UInt64>)
    func `covers all that is used once, whatever it is`(seed: UInt64) {
        var generator = SystemRandomNumberGenerator()
        var extents: [(UInt64, UInt64)] = []
        var next: UInt64 = 0
        for _ in 0..<200 {
            let count = UInt64.random(in: 1...300, using: &generator)
            extents.append((next, count))
            next += count + UInt64.random(in: 1...(seed % 2 == 0 ? 3 : 200), using: &generator)
        }
        let chunks = cut(extents, extents)
        let used = extents.reduce(0) { $0 + $1.1 } * 2
        let sum = chunks.reduce(0) { $0 + $1[2] }
        #expect(sum >= used && sum <= used + used * 4 / 100)
        #expect(chunks.allSatisfy { $0[2] > 0 && $0[2] <= 100 })
        for partition in [1, 2] as [UInt64] {
            var sectors = Set<UInt64>()
            var count = 0
            for chunk in chunks where chunk[0] == partition {
                sectors.formUnion(chunk[1]..<chunk[1] + chunk[2])
                count += Int(chunk[2])
            }
            #expect(sectors.count == count)
            #expect(extents.allSatisfy { extent in (extent.0..<extent.0 + extent.1).allSatisfy(sectors.contains) })
        }
    }
}
