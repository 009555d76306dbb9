package import DiskLayout

/// Files of a FAT filesystem in an image, read from it and changed in its view, by their path without a slash in front.
///
/// Read as Linux, U-Boot and the Pi's firmware read it: the kind by the boot sector's fields, so a FAT32 may have fewer
/// than 65525 clusters; the first FAT counts, and all of them are written. Names are compared without regard to case, long
/// ones and those of 8.3 alike. Source: Microsoft's FAT specification, 1.03 (fatgen103); Linux, fs/fat.
///
/// Each write happens whole or not at all.
package final class FATFiles {
    /// The image, or its view.
    package var image: ImageReader { area.image }
    let area: PartitionArea
    let geometry: FATGeometry
    let table: FATTable

    /// A file or folder.
    struct Entry {
        var name: String
        /// As the entry has it: 8 and 3 bytes.
        var short: [UInt8]
        var isFolder: Bool
        var cluster: UInt32
        var size: UInt32
        /// Where the entry's 32 bytes are, in bytes from the filesystem's start.
        var offset: UInt64
    }

    /// Bytes of a folder at most: 65536 entries. Source: Linux, fs/fat/fat.h, `FAT_MAX_DIR_SIZE`.
    static let largestFolder = 2 << 20
    /// Files and folders at most; a boot partition has some hundred.
    static let mostEntries = 100_000
    /// A file that is read at most: device trees and configurations have far less.
    package static let largestFile: UInt64 = 16 << 20
    /// The date of what is made, ``SourceDate/standard``: the same image gives the same bytes.
    static let date: [UInt8] = [0x21, 0x56]

    /// - Parameters:
    ///   - image: takes changes where files are written.
    ///   - partition: one of its partitions.
    /// - Throws: ``FATError`` where there is not a FAT filesystem that can be read.
    package convenience init(_ image: ImageReader, _ partition: Partition) throws(FATError) {
        let (area, start) = try imageFailure { () throws(OSImageError) in
            let area = try PartitionArea(partition, image)
            return (area, try area.head())
        }
        switch FATGeometry.probe(start, sectors: area.sectors) {
        case .absent: throw .damaged("there is not a FAT filesystem in it")
        case .doubtful(_, let reason): throw .damaged(reason)
        case .found(let geometry): self.init(area, geometry)
        }
    }

    init(_ area: PartitionArea, _ geometry: FATGeometry) {
        (self.area, self.geometry) = (area, geometry)
        table = FATTable(area: area, geometry: geometry)
    }

    // MARK: Reading

    /// The paths of all files, sorted, without a slash in front, as they are written in the filesystem.
    ///
    /// Names that are not valid UTF-16 are listed with U+FFFD in place of what is not; those files cannot be read or
    /// written.
    ///
    /// - Throws: ``FATError``.
    package func names() throws(FATError) -> [String] {
        var names: [String] = []
        try walk { path, entry, _ throws(FATError) in
            if !entry.isFolder { names.append(path) }
        }
        return names.sorted()
    }

    /// A file's content.
    ///
    /// - Throws: ``FATError``: there is no such file, it is longer than 16 MiB, or its chain of clusters is damaged.
    package func read(_ path: String) throws(FATError) -> [UInt8] {
        let (entry, _) = try find(path)
        guard let entry else { throw .noFile(path) }
        guard !entry.isFolder else { throw .isFolder(path) }
        guard UInt64(entry.size) <= Self.largestFile else {
            throw .tooLong(path, bytes: UInt64(entry.size), limit: Self.largestFile)
        }
        return try content(of: entry, path)
    }

    func content(of entry: Entry, _ path: String) throws(FATError) -> [UInt8] {
        guard entry.size > 0 else { return [] }
        let needed = clusters(for: UInt64(entry.size))
        let chain = try table.chain(from: entry.cluster, atMost: needed, of: path)
        guard UInt64(chain.count) == needed else { throw .damaged("\(path) ends before its length") }
        var content: [UInt8] = []
        content.reserveCapacity(Int(needed * geometry.clusterBytes))
        for run in runs(chain) {
            let (offset, count) = (geometry.offset(of: run.lowerBound), UInt64(run.count) * geometry.clusterBytes)
            content += try area.fatBytes(at: offset, count: count)
        }
        content.removeLast(content.count - Int(entry.size))
        return content
    }

    /// Bytes of free clusters.
    ///
    /// - Throws: ``FATError``.
    package func freeBytes() throws(FATError) -> UInt64 { try table.countFree() * geometry.clusterBytes }

    func clusters(for bytes: UInt64) -> UInt64 { (bytes + geometry.clusterBytes - 1) / geometry.clusterBytes }

    /// Neighbours in a chain, joined.
    func runs(_ chain: [UInt32]) -> [Range<UInt32>] {
        var runs: [Range<UInt32>] = []
        for cluster in chain {
            if let last = runs.last, last.upperBound == cluster {
                runs[runs.count - 1] = last.lowerBound..<cluster + 1
            } else {
                runs.append(cluster..<cluster + 1)
            }
        }
        return runs
    }
}
