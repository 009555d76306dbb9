package import DiskLayout
import SystemPackage

/// What a partition of an image holds.
package enum Filesystem: String, Hashable, Sendable, Codable {
    case ext2, ext3, ext4
    case fat12, fat16, fat32
    case exfat, ntfs, btrfs, xfs, f2fs, squashfs, erofs
    case unknown

    /// Whether its unused sectors can be told.
    package var tellsUnused: Bool {
        switch self {
        case .ext2, .ext3, .ext4, .fat12, .fat16, .fat32: true
        default: false
        }
    }
}

/// What of a partition a card must get.
package struct PartitionUsage: Hashable, Sendable {
    /// What was found.
    package let filesystem: Filesystem
    /// Sorted, apart from each other, within the partition; always with its first sector.
    package let extents: [SectorExtent]
    /// Sectors in use. The extents may have more where there were too many gaps to keep (over 1,048,576).
    package let used: SectorCount
    /// Why more was taken than the filesystem says, or what was left out: lower case, one sentence.
    package let note: String?
}

/// What holes of an image file mean where the filesystem does not tell what is unused.
package enum Holes: Hashable, Sendable {
    /// They are zeros that the card must have. Copying and unpacking programs make holes of any zeros, a filesystem's own
    /// among them: left out, the card would keep what it had there.
    case zeros
    /// Nobody wrote there and nothing is expected there: only for a file known never to have been copied.
    case unused
}

/// Finds what of a partition is in use, so that the rest is neither sent nor written.
///
/// ext2, ext3 and ext4 by their block bitmaps (libext2fs), FAT12, FAT16 and FAT32 by their table. Everything else, and a
/// filesystem that is damaged, was not unmounted, or is larger than its partition, is taken whole: its own records of
/// what is unused cannot be trusted.
///
/// - Parameters:
///   - partition: one of the image's, within it.
///   - image: the raw image. Untrusted: no content makes this trap.
///   - holes: what holes of the file mean in a partition that is taken whole.
/// - Throws: ``OSImageError`` where the image cannot be read.
package func usedExtents(
    of partition: Partition, in image: ImageReader, holes: Holes = .zeros
) throws(OSImageError) -> PartitionUsage {
    try usedExtents(of: partition, in: image, holes: holes, limit: 1 << 20)
}

/// - Parameter limit: runs that are kept apart at most.
package func usedExtents(
    of partition: Partition, in image: ImageReader, holes: Holes, limit: Int
) throws(OSImageError) -> PartitionUsage {
    let area = try PartitionArea(partition, image)
    let start = try area.head()
    let (fat, ext) = (FATGeometry.probe(start, sectors: area.sectors), ExtSuperblock.probe(start, bytes: area.bytes))
    var collector = ExtentCollector(size: area.sectors, limit: limit)
    // Law 3 needs it: the first sector is what makes a card boot, and is written last.
    collector.add(0, 1)
    let records: any FilesystemRecords
    switch (fat, ext) {
    case (.absent, .absent):
        let other = try otherFilesystem(start, area)
        let name = other == .unknown ? "filesystem is not known" : "filesystem is \(other.rawValue)"
        return try whole(
            area, other, holes, collector, "\(name); must be ext2, ext3, ext4 or FAT to tell what is unused")
    case (.found, .found), (.found, .doubtful), (.doubtful, .found), (.doubtful, .doubtful):
        return try whole(area, .unknown, holes, collector, "partition looks like FAT and like ext at once")
    case (.doubtful(let kind, let reason), .absent), (.absent, .doubtful(let kind, let reason)):
        return try whole(area, kind, holes, collector, reason)
    case (.found(let geometry), .absent): records = geometry
    case (.absent, .found(let superblock)): records = superblock
    }
    do {
        let note = try records.collect(from: area, into: &collector)
        return .init(filesystem: records.kind, extents: collector.extents, used: .init(collector.used), note: note)
    } catch {
        switch error {
        case .image(let error): throw error
        case .doubtful(let reason):
            return try whole(area, records.kind, holes, ExtentCollector(size: area.sectors, limit: limit), reason)
        }
    }
}

/// A filesystem's own records of what is in use.
protocol FilesystemRecords {
    var kind: Filesystem { get }
    /// Adds what is in use.
    ///
    /// - Returns: a note for the user, if there is something to say.
    func collect(from area: PartitionArea, into collector: inout ExtentCollector) throws(UsageError) -> String?
}

/// What a look at the first sectors tells of one kind of filesystem.
enum Probe<Found> {
    case absent
    case found(Found)
    /// It is one, but its records cannot be trusted, and why.
    case doubtful(Filesystem, String)
}

/// Why a filesystem's own records are not used.
enum UsageError: Error {
    case image(OSImageError)
    case doubtful(String)
}

/// A partition's bytes within the image.
struct PartitionArea {
    let image: ImageReader
    /// Bytes from the image's start.
    let start: UInt64
    let sectors: UInt64
    var bytes: UInt64 { sectors * SectorCount.bytesPerSector }

    init(_ partition: Partition, _ image: ImageReader) throws(OSImageError) {
        let last = partition.start.advanced(by: partition.size)
        guard let last, last.sector <= SectorCount(roundingUp: image.size).sectors, partition.size.sectors > 0 else {
            throw .changed(path: image.path)
        }
        self.image = image
        start = partition.start.byteOffset.bytes
        sectors = partition.size.sectors
    }

    func bytes(at offset: UInt64, count: UInt64) throws(OSImageError) -> [UInt8] {
        try image.bytes(at: start + offset, count: Int(count))
    }

    /// Changes bytes of the view.
    ///
    /// - Returns: false where the view takes no changes, or no more.
    func write(_ bytes: [UInt8], at offset: UInt64) throws(OSImageError) -> Bool {
        do {
            return try unsafe bytes.withUnsafeBytes { try unsafe image.write($0, at: start + offset) }
        } catch let error as OSImageError {
            throw error
        } catch {
            throw .unreadable(path: image.path, errno: .ioError)
        }
    }

    /// Its first bytes, as many as the probes want.
    func head() throws(OSImageError) -> [UInt8] { try bytes(at: 0, count: min(bytes, 4096)) }
}

/// All of a partition, or all of it that is data.
private func whole(
    _ area: PartitionArea, _ filesystem: Filesystem, _ holes: Holes, _ collector: ExtentCollector, _ reason: String
) throws(OSImageError) -> PartitionUsage {
    var collector = collector
    collector.add(0, 1)
    switch holes {
    case .zeros:
        collector.add(0, area.sectors)
    case .unused:
        let sector = SectorCount.bytesPerSector
        var next = area.start
        while let data = try area.image.data(in: next..<area.start + area.bytes) {
            let (first, end) = (
                (data.lowerBound - area.start) / sector, (data.upperBound - area.start + sector - 1) / sector
            )
            collector.add(first, end - first)
            next = data.upperBound
        }
    }
    let taken = holes == .zeros ? "all of it is taken" : "all of it that is not a hole is taken"
    return .init(
        filesystem: filesystem, extents: collector.extents, used: .init(collector.used), note: "\(reason); \(taken)")
}

/// By their magic numbers. Sources: Linux, include/uapi/linux/magic.h, fs/*/; the exFAT specification, 3.1.
func otherFilesystem(_ start: [UInt8], _ area: PartitionArea) throws(OSImageError) -> Filesystem {
    func has(_ magic: [UInt8], at offset: Int) -> Bool {
        offset + magic.count <= start.count && Array(start[offset..<offset + magic.count]) == magic
    }
    if has(Array("EXFAT   ".utf8), at: 3) { return .exfat }
    if has(Array("NTFS    ".utf8), at: 3) { return .ntfs }
    if has(Array("XFSB".utf8), at: 0) { return .xfs }
    if has(Array("hsqs".utf8), at: 0) { return .squashfs }
    if has([0x10, 0x20, 0xf5, 0xf2], at: 1024) { return .f2fs }
    if has([0xe2, 0xe1, 0xf5, 0xe0], at: 1024) { return .erofs }
    let (offset, magic) = (UInt64(65536 + 64), Array("_BHRfS_M".utf8))
    if area.bytes >= offset + 8, try area.bytes(at: offset, count: 8) == magic { return .btrfs }
    return .unknown
}

/// A sentence on what lies behind a filesystem that is smaller than its partition; nil where it is next to nothing.
func noteOnTail(_ filesystemBytes: UInt64, of area: PartitionArea) throws(OSImageError) -> String? {
    // mkfs rounds down to its blocks and clusters.
    guard area.bytes - filesystemBytes > 1 << 20 else { return nil }
    let data = try area.image.dataBytes(in: area.start + filesystemBytes..<area.start + area.bytes)
    guard data.bytes > 0 else { return nil }
    return
        "filesystem has \(filesystemBytes) bytes, its partition \(area.bytes) bytes; what lies behind the filesystem is left out"
}

extension [UInt8] {
    /// Little endian; the caller knows that the bytes are there.
    func u16(_ offset: Int) -> UInt64 { UInt64(self[offset]) | UInt64(self[offset + 1]) << 8 }
    func u32(_ offset: Int) -> UInt64 { u16(offset) | u16(offset + 2) << 16 }
}
