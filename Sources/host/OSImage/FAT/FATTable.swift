/// The FATs: read from the first, written to all.
final class FATTable {
    private let area: PartitionArea
    private let geometry: FATGeometry
    /// What was read last of the first FAT.
    private var window: (start: UInt64, bytes: [UInt8]) = (0, [])

    /// Whole entries of 16 and 32 bits; a FAT12 is shorter than that.
    private static let windowBytes: UInt64 = 8192

    init(area: PartitionArea, geometry: FATGeometry) { (self.area, self.geometry) = (area, geometry) }

    /// Bytes of the table that hold entries.
    private var length: UInt64 { ((geometry.clusters + 2) * geometry.entryBits + 7) / 8 }

    private func read(_ fat: UInt64, at start: UInt64) throws(FATError) -> [UInt8] {
        let offset = (geometry.reserved + fat * geometry.fatSectors) * 512
        let count = min(Self.windowBytes, length - start)
        return try area.fatBytes(at: offset + start, count: count)
    }

    private static func value(_ bytes: [UInt8], _ index: Int, _ kind: Filesystem) -> UInt32 {
        switch kind {
        case .fat12:
            let pair = bytes.u16(index + index / 2)
            return UInt32(index % 2 == 0 ? pair & 0xfff : pair >> 4)
        case .fat16: return UInt32(bytes.u16(index * 2))
        default: return UInt32(bytes.u32(index * 4)) & 0x0fff_ffff
        }
    }

    private static func set(_ value: UInt32, _ bytes: inout [UInt8], _ index: Int, _ kind: Filesystem) {
        switch kind {
        case .fat12:
            let at = index + index / 2
            let pair = bytes.u16(at)
            bytes.set(index % 2 == 0 ? pair & 0xf000 | UInt64(value) : pair & 0xf | UInt64(value) << 4, 2, at: at)
        case .fat16: bytes.set(UInt64(value), 2, at: index * 2)
        // The upper 4 bits are somebody else's.
        default: bytes.set(bytes.u32(index * 4) & 0xf000_0000 | UInt64(value), 4, at: index * 4)
        }
    }

    /// The window of an entry and its number there.
    private func place(_ cluster: UInt32) -> (start: UInt64, index: Int) {
        guard geometry.kind != .fat12 else { return (0, Int(cluster)) }
        let byte = UInt64(cluster) * geometry.entryBits / 8
        let start = byte / Self.windowBytes * Self.windowBytes
        return (start, Int((byte - start) * 8 / geometry.entryBits))
    }

    private func entry(_ cluster: UInt32) throws(FATError) -> UInt32 {
        let (start, index) = place(cluster)
        if window.start != start || window.bytes.isEmpty { window = (start, try read(0, at: start)) }
        return Self.value(window.bytes, index, geometry.kind)
    }

    /// The clusters of a chain, and no more than `most` of them.
    func chain(from first: UInt32, atMost most: UInt64, of path: String) throws(FATError) -> [UInt32] {
        window = (0, [])
        var chain: [UInt32] = []
        var next = first
        while UInt64(chain.count) < most {
            guard geometry.holds(next) else { throw .damaged("\(path) has a cluster \(next) that there is not") }
            chain.append(next)
            let value = try entry(next)
            if value >= geometry.endOfChain { break }
            // A loop is longer than all clusters.
            guard UInt64(chain.count) <= geometry.clusters else { throw .damaged("\(path) has no end") }
            next = value
        }
        return chain
    }

    /// Calls with each entry of each window of the first FAT, and of the last one.
    private func scan(_ body: (_ cluster: UInt32, _ value: UInt32, _ last: UInt32) -> Bool) throws(FATError) {
        var cluster: UInt32 = 0
        var start: UInt64 = 0
        while start < length {
            let one = try read(0, at: start)
            let other = geometry.fats > 1 ? try read(geometry.fats - 1, at: start) : one
            let all = UInt32(geometry.clusters + 2)
            let entries = min(UInt32(UInt64(one.count) * 8 / geometry.entryBits), all - cluster)
            for index in 0..<Int(entries) {
                let (value, last) = (
                    Self.value(one, index, geometry.kind), Self.value(other, index, geometry.kind)
                )
                if cluster >= 2, !body(cluster, value, last) { return }
                cluster += 1
            }
            start += Self.windowBytes
        }
    }

    /// Free clusters, as many as are wanted, the lowest first; and how many were seen.
    func findFree(_ count: Int) throws(FATError) -> (found: [UInt32], free: UInt64) {
        var found: [UInt32] = []
        try scan { cluster, value, last in
            if value == 0, last == 0 { found.append(cluster) }
            return found.count < count
        }
        return (found, UInt64(found.count))
    }

    func countFree() throws(FATError) -> UInt64 {
        var count: UInt64 = 0
        try scan { _, value, _ in
            if value == 0 { count += 1 }
            return true
        }
        return count
    }

    func countBad() throws(FATError) -> UInt64 {
        let bad = geometry.endOfChain - 1
        var count: UInt64 = 0
        try scan { _, value, _ in
            if value == bad { count += 1 }
            return true
        }
        return count
    }

    func checkCopies() throws(FATError) {
        var start: UInt64 = 0
        while start < length {
            let one = try read(0, at: start)
            guard start > 0 || one.first == geometry.media else {
                throw .damaged("its FAT does not start with its media byte \(geometry.media)")
            }
            for fat in 1..<max(1, geometry.fats) where try read(fat, at: start) != one {
                throw .damaged("its FATs differ")
            }
            start += Self.windowBytes
        }
    }

    /// Makes a chain of clusters, and others free.
    ///
    /// - Parameter isNew: how many of the chain, its last ones, were free.
    func link(_ chain: [UInt32], freeing: [UInt32], isNew: Int) throws(FATError) {
        window = (0, [])
        var changes: [(cluster: UInt32, value: UInt32)] = freeing.map { ($0, 0) }
        for (index, cluster) in chain.enumerated() {
            // The highest number that ends a chain, as others write it.
            let end = geometry.endOfChain | 7
            changes.append((cluster, index + 1 < chain.count ? chain[index + 1] : end))
        }
        changes.sort { $0.cluster < $1.cluster }
        var next = 0
        while next < changes.count {
            let start = place(changes[next].cluster).start
            let group = changes[next...].prefix { place($0.cluster).start == start }
            for fat in 0..<geometry.fats {
                let old = try read(fat, at: start)
                var bytes = old
                for change in group {
                    Self.set(change.value, &bytes, place(change.cluster).index, geometry.kind)
                }
                if bytes != old {
                    try area.put(bytes, at: (geometry.reserved + fat * geometry.fatSectors) * 512 + start)
                }
            }
            next += group.count
        }
        try count(Int64(freeing.count) - Int64(isNew))
    }

    /// Brings the number of free clusters up to date where FAT32 keeps one. Source: fatgen103, FSInfo.
    private func count(_ more: Int64) throws(FATError) {
        guard more != 0, let sector = geometry.infoSector else { return }
        var info = try area.fatBytes(at: sector * 512, count: 512)
        guard info.u32(0) == 0x4161_5252, info.u32(484) == 0x6141_7272, info.u32(488) <= geometry.clusters else {
            return
        }
        let free = Int64(info.u32(488)) + more
        info.set(UInt64(max(0, min(free, Int64(geometry.clusters)))), 4, at: 488)
        try area.put(info, at: sector * 512)
    }
}
