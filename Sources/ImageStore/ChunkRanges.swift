public import DiskLayout
public import OSImage

/// What of one partition a card must get.
public struct UsedPartition: Hashable, Sendable {
    /// Its number in the image, 1 or 2.
    public let number: Int
    /// Sorted, apart from each other, in sectors from the partition's start.
    public let extents: [SectorExtent]

    /// A partition as given.
    public init(number: Int, extents: [SectorExtent]) {
        self.number = number
        self.extents = extents
    }
}

/// A run of sectors that is sent, checked and written as one.
public struct ChunkRange: Hashable, Sendable {
    /// The partition's number in the image, 1 or 2.
    public let partition: Int
    /// Where it lies in the partition.
    public let extent: SectorExtent

    /// A run as given.
    public init(partition: Int, extent: SectorExtent) {
        self.partition = partition
        self.extent = extent
    }
}

/// Cuts used extents into chunks, few of them and in the order in which they are written.
///
/// Small gaps between extents are filled, the smallest first, as long as all that is filled stays within a share of what
/// is used. The chunk with the first sector of partition 1 comes last (law 3).
///
/// - Parameters:
///   - partitions: in the image's order.
///   - largest: sectors of a chunk at most, at least 1; 16 MiB by default.
///   - gapPercent: what may be filled, of the used sectors.
public func chunkRanges(
    of partitions: [UsedPartition], largest: SectorCount = SectorCount(roundingUp: .mebibytes(16)),
    gapPercent: UInt64 = 4
) -> [ChunkRange] {
    var gaps: [(size: UInt64, partition: Int, behind: Int)] = []
    var used: UInt64 = 0
    for (index, partition) in partitions.enumerated() {
        for (number, extent) in partition.extents.enumerated() {
            used += extent.count.sectors
            guard number > 0 else { continue }
            gaps.append((extent.offset.sectors - partition.extents[number - 1].end.sectors, index, number - 1))
        }
    }
    // By place where they are equal: the same image gives the same chunks.
    gaps.sort { ($0.size, $0.partition, $0.behind) < ($1.size, $1.partition, $1.behind) }
    var filled = partitions.map { [Bool](repeating: false, count: $0.extents.count) }
    var left = used / 100 * gapPercent + used % 100 * gapPercent / 100
    for gap in gaps {
        guard gap.size <= left else { break }
        left -= gap.size
        filled[gap.partition][gap.behind] = true
    }
    var chunks: [ChunkRange] = []
    var last: ChunkRange?
    for (index, partition) in partitions.enumerated() {
        var start: UInt64?
        for (number, extent) in partition.extents.enumerated() {
            var from = start ?? extent.offset.sectors
            start = from
            if filled[index][number] { continue }
            start = nil
            while from < extent.end.sectors {
                let count = min(largest.sectors, extent.end.sectors - from)
                let chunk = ChunkRange(
                    partition: partition.number, extent: .init(offset: .init(from), count: .init(count)))
                if partition.number == 1, from == 0 { last = chunk } else { chunks.append(chunk) }
                from += count
            }
        }
    }
    return chunks + (last.map { [$0] } ?? [])
}
