package import DiskLayout

/// A run of sectors within a partition.
package struct SectorExtent: Hashable, Sendable {
    /// Sectors from the partition's start.
    package let offset: SectorCount
    /// Its length, at least 1 sector.
    package let count: SectorCount

    package init(offset: SectorCount, count: SectorCount) { (self.offset, self.count) = (offset, count) }

    /// Sectors from the partition's start to the first one behind the run.
    package var end: SectorCount { offset + count }
}

/// Puts runs of sectors together, in bounded memory whatever a hostile or badly fragmented filesystem holds.
struct ExtentCollector {
    /// Runs in order, apart from each other.
    private(set) var extents: [SectorExtent] = []
    /// Sectors that were added; a filled gap does not count.
    private(set) var used: UInt64 = 0
    /// Sectors of the partition: nothing lies behind them.
    private let size: UInt64
    /// Runs that are kept apart at most: 1,048,576 take 16 MiB.
    private let limit: Int
    /// Gaps up to this many sectors are filled; 0 until there are too many runs.
    private var smallestGap: UInt64 = 0

    init(size: UInt64, limit: Int = 1 << 20) { (self.size, self.limit) = (size, limit) }

    /// Adds a run that starts no earlier than the last one; what reaches past the partition is cut off.
    mutating func add(_ offset: UInt64, _ count: UInt64) {
        guard offset < size, count > 0 else { return }
        let end = offset + min(count, size - offset)
        guard let last = extents.last else {
            used += end - offset
            return extents.append(.init(offset: .init(offset), count: .init(end - offset)))
        }
        let (start, previousEnd) = (last.offset.sectors, last.end.sectors)
        guard end > previousEnd else { return }
        used += end - max(offset, previousEnd)
        if offset <= previousEnd || offset - previousEnd <= smallestGap {
            extents[extents.count - 1] = .init(offset: .init(start), count: .init(end - start))
        } else {
            extents.append(.init(offset: .init(offset), count: .init(end - offset)))
            if extents.count > limit { fillSmallGaps() }
        }
    }

    private mutating func fillSmallGaps() {
        while extents.count > limit / 2 {
            smallestGap = max(1, smallestGap * 2)
            var kept: [SectorExtent] = []
            for extent in extents {
                if let last = kept.last, extent.offset.sectors - last.end.sectors <= smallestGap {
                    kept[kept.count - 1] = .init(offset: last.offset, count: extent.end - last.offset)
                } else {
                    kept.append(extent)
                }
            }
            extents = kept
        }
    }
}
