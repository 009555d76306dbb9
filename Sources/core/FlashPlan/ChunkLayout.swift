package import DiskLayout

/// A partition of the card that a plan writes.
package enum CardPartition: UInt64, Hashable, Sendable, CaseIterable {
    /// Number 2, for the image's first partition.
    case boot = 2
    /// Number 3, for the image's second partition.
    case rootfs = 3
}

/// A run of sectors that a plan makes equal to the image's.
package struct ChunkPlace: Hashable, Sendable {
    /// The most sectors of a chunk: 16 MiB, the RAM that the boot script keeps to read back into.
    package static let longest = SectorCount(0x8000)

    /// Where it goes.
    package let partition: CardPartition
    /// From the partition's start, on the card as in the image.
    package let offset: SectorCount
    /// Length, 1 to ``longest``.
    package let size: SectorCount

    package init(partition: CardPartition, offset: SectorCount, size: SectorCount) {
        (self.partition, self.offset, self.size) = (partition, offset, size)
    }

    /// Where it ends, from the partition's start.
    package var end: SectorCount { offset + size }
}

/// What of an image's partition is in use.
package struct UsedSectors: Hashable, Sendable {
    /// Length of the partition.
    package let partition: SectorCount
    /// Sectors in use, counted from the partition's start; in any order, may overlap, none behind its end.
    package let extents: [Range<UInt64>]

    package init(partition: SectorCount, extents: [Range<UInt64>]) {
        (self.partition, self.extents) = (partition, extents)
    }

    /// All of a partition.
    package init(all partition: SectorCount) { self.init(partition: partition, extents: [0..<partition.sectors]) }
}

/// Cuts what is in use into chunks.
///
/// A chunk never crosses a multiple of `longest` from its partition's start, so that a small change of an image changes few
/// chunks. Gaps between used sectors within the same such stretch are filled, the smallest first, while all that was filled is
/// at most 4 % of what is used; then, where there still are more than ``mostChunks``, on until there are not, or nothing
/// is left to fill. The boot partition's first sector always is the last chunk, alone (law 3).
///
/// - Parameters:
///   - boot: the image's first partition.
///   - rootfs: its second.
///   - longest: a chunk at most, at most ``ChunkPlace/longest``.
///   - mostChunks: how many chunks there may be before more gaps are filled.
/// - Returns: the chunks in the order in which they are written.
/// - Throws: ``ChunkError`` where an extent ends behind its partition, or the boot partition is empty.
package func cutIntoChunks(
    boot: UsedSectors, rootfs: UsedSectors, longest: SectorCount = ChunkPlace.longest, mostChunks: Int = 3000
) throws(ChunkError) -> [ChunkPlace] {
    guard boot.partition.sectors > 0 else { throw .emptyBootPartition }
    var segments: [ChunkPlace] = []
    for (partition, used) in [(CardPartition.boot, boot), (.rootfs, rootfs)] {
        for extent in try merged(used, partition) {
            // The sector that makes the card bootable comes last.
            let start = partition == .boot ? max(extent.lowerBound, 1) : extent.lowerBound
            guard start < extent.upperBound else { continue }
            segments += pieces(of: start..<extent.upperBound, partition, longest)
        }
    }
    let used = segments.reduce(0) { $0 + $1.size.sectors }

    // Filling a gap makes one chunk of two; so the smallest gaps first is the best for any budget.
    let gaps = segments.indices.dropFirst().compactMap { index -> (size: UInt64, index: Int)? in
        let (before, after) = (segments[index - 1], segments[index])
        guard before.partition == after.partition, window(before.offset, longest) == window(after.offset, longest)
        else { return nil }
        return (after.offset.sectors - before.end.sectors, index)
    }.sorted { ($0.size, $0.index) < ($1.size, $1.index) }
    var joined = Set<Int>()
    var filled: UInt64 = 0
    for gap in gaps {
        guard (filled + gap.size) * 25 <= used || segments.count - joined.count + 1 > mostChunks else { break }
        filled += gap.size
        joined.insert(gap.index)
    }

    var chunks: [ChunkPlace] = []
    for (index, segment) in segments.enumerated() {
        if joined.contains(index), let last = chunks.popLast() {
            chunks.append(
                ChunkPlace(partition: last.partition, offset: last.offset, size: segment.end - last.offset))
        } else {
            chunks.append(segment)
        }
    }
    chunks.append(ChunkPlace(partition: .boot, offset: SectorCount(0), size: SectorCount(1)))
    return chunks
}

private func window(_ offset: SectorCount, _ longest: SectorCount) -> UInt64 { offset.sectors / longest.sectors }

private func merged(_ used: UsedSectors, _ partition: CardPartition) throws(ChunkError) -> [Range<UInt64>] {
    var result: [Range<UInt64>] = []
    for extent in used.extents.sorted(by: { $0.lowerBound < $1.lowerBound }) where !extent.isEmpty {
        guard extent.upperBound <= used.partition.sectors else {
            throw .outside(partition, end: SectorCount(extent.upperBound), size: used.partition)
        }
        if let last = result.last, extent.lowerBound <= last.upperBound {
            result[result.count - 1] = last.lowerBound..<max(last.upperBound, extent.upperBound)
        } else {
            result.append(extent)
        }
    }
    return result
}

private func pieces(
    of extent: Range<UInt64>, _ partition: CardPartition, _ longest: SectorCount
) -> [ChunkPlace] {
    var result: [ChunkPlace] = []
    var start = extent.lowerBound
    while start < extent.upperBound {
        let end = min(extent.upperBound, (window(SectorCount(start), longest) + 1) * longest.sectors)
        result.append(ChunkPlace(partition: partition, offset: SectorCount(start), size: SectorCount(end - start)))
        start = end
    }
    return result
}

/// Why used sectors cannot be cut into chunks.
package enum ChunkError: Error, Hashable, Sendable {
    /// The boot partition has no sectors.
    case emptyBootPartition
    /// An extent ends behind its partition.
    case outside(CardPartition, end: SectorCount, size: SectorCount)
}

extension ChunkError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .emptyBootPartition: "image's boot partition has 0 sectors; must have at least one"
        case .outside(let partition, let end, let size):
            "used sectors of image's partition \(partition.rawValue - 1) end at sector \(end.sectors) of it; "
                + "it has only \(size)"
        }
    }
}
