package import DiskLayout

/// How a FAT filesystem of a given length is laid out, so that every tool takes it for the same kind.
///
/// The kind follows from the number of clusters alone (Microsoft's fatgen103, 3.5): under 65,525 FAT16, else FAT32.
package struct FATFormat: Hashable, Sendable {
    /// 16 or 32.
    package let bits: Int
    /// A power of two.
    package let sectorsPerCluster: Int

    /// FAT32 where the length allows it, FAT16 below 36 MiB.
    ///
    /// - Parameter size: a multiple of 4 MiB, at least 4 MiB: room for 4,085 clusters, so never FAT12.
    package init(size: SectorCount) {
        switch size.sectors {
        case ..<65536: (bits, sectorsPerCluster) = (16, 1)
        case 65536..<73728: (bits, sectorsPerCluster) = (16, 2)
        case ...524288: (bits, sectorsPerCluster) = (32, 1)  // 256 MiB
        default: (bits, sectorsPerCluster) = (32, 8)
        }
    }
}

/// What of a FAT filesystem is in use, read from its boot sector and its first FAT.
struct FATUsage {
    /// Bytes in a cluster.
    let clusterSize: ByteCount
    /// Clusters for files and folders.
    let clusterCount: UInt64
    /// Byte ranges in use, from the filesystem's start: boot sector, FATs and top folder in one, then used clusters.
    let ranges: [Range<UInt64>]

    /// - Parameters:
    ///   - bits: the FAT's kind, 16 or 32.
    ///   - read: bytes of the filesystem from an offset.
    /// - Throws: what `read` throws; ``RecoveryImageError/malformedFAT(_:)``.
    init(bits: Int, read: (_ offset: UInt64, _ count: Int) throws -> [UInt8]) throws {
        let boot = try read(0, 512)
        func number(_ offset: Int, _ bytes: Int) -> UInt64 {
            boot[offset..<offset + bytes].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        guard boot[510] == 0x55, boot[511] == 0xaa else { throw RecoveryImageError.malformedFAT("no boot sector") }
        let sectorSize = number(11, 2)
        let cluster = number(13, 1) * sectorSize
        let fatSectors = number(22, 2) != 0 ? number(22, 2) : number(36, 4)
        let sectors = number(19, 2) != 0 ? number(19, 2) : number(32, 4)
        let fatStart = number(14, 2) * sectorSize
        let dataStart = fatStart + number(16, 1) * fatSectors * sectorSize + number(17, 2) * 32
        guard sectorSize == 512, cluster > 0, dataStart < sectors * sectorSize else {
            throw RecoveryImageError.malformedFAT("boot sector has impossible sizes")
        }
        clusterSize = ByteCount(cluster)
        clusterCount = (sectors * sectorSize - dataStart) / cluster

        var ranges = [0..<dataStart]
        let entryBytes = bits / 8
        var index: UInt64 = 2  // the first two entries are not clusters
        while index < clusterCount + 2 {
            let entries = min(clusterCount + 2 - index, 65536 / UInt64(entryBytes))
            let bytes = try read(fatStart + index * UInt64(entryBytes), Int(entries) * entryBytes)
            // Most of a FAT is unused.
            guard bytes.contains(where: { $0 != 0 }) else {
                index += entries
                continue
            }
            for entry in 0..<Int(entries) {
                let value = bytes[entry * entryBytes..<(entry + 1) * entryBytes]
                guard value.contains(where: { $0 != 0 }) else { continue }
                let start = dataStart + (index - 2 + UInt64(entry)) * cluster
                if let last = ranges.last, last.upperBound == start {
                    ranges[ranges.count - 1] = last.lowerBound..<start + cluster
                } else {
                    ranges.append(start..<start + cluster)
                }
            }
            index += entries
        }
        self.ranges = ranges
    }
}
