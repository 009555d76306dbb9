import DiskLayout
import Glibc
import SystemPackage

extension PartitionArea {
    /// Copies the partition into a new file, holes as holes.
    func copy(to path: FilePath) async throws {
        let file = try SparseFile(path, image: image.path, limit: ByteCount(bytes))
        var next = start
        while let data = try image.data(in: next..<start + bytes) {
            let end = min(data.upperBound, data.lowerBound + 1 << 20)
            let content = try image.bytes(at: data.lowerBound, count: Int(end - data.lowerBound))
            try unsafe content.withUnsafeBytes { try unsafe file.append($0, at: data.lowerBound - start) }
            next = end
            try Task.checkCancellation()
            await Task.yield()
        }
        file.extend(to: bytes)
        try file.finish()
    }

    /// Copies some bytes to where they are in the partition, holes as holes.
    func copy(_ offset: UInt64, _ count: UInt64, to file: SparseFile) throws(OSImageError) {
        var next = start + offset
        let last = min(start + offset + count, start + bytes)
        while next < last, let data = try image.data(in: next..<last) {
            let end = min(data.upperBound, data.lowerBound + 1 << 20)
            let content = try image.bytes(at: data.lowerBound, count: Int(end - data.lowerBound))
            do {
                try unsafe content.withUnsafeBytes { try unsafe file.append($0, at: data.lowerBound - start) }
            } catch let error as OSImageError {
                throw error
            } catch {
                throw .unreadable(path: image.path, errno: .ioError)
            }
            next = end
        }
    }

    /// Takes over what differs in a file that the partition was copied to and that was changed since, as far as it is in
    /// use there: into the image's view.
    ///
    /// - Returns: false where there are more changes than a view can hold; some of them are taken over then.
    func takeChanges(from path: FilePath) throws(OSImageError) -> Bool {
        let changed = try ImageReader(path)
        let all = Partition(number: 1, type: .fat32LBA, start: LBA(0), size: SectorCount(sectors))
        let step: UInt64 = 64 << 10
        for extent in try usedExtents(of: all, in: changed).extents {
            var next = extent.offset.byteCount.bytes
            let end = extent.end.byteCount.bytes
            while next < end {
                let count = min(step, end - next)
                let (old, new) = try (bytes(at: next, count: count), changed.bytes(at: next, count: Int(count)))
                if old != new, try !takeBlocks(old, new, at: next) { return false }
                next += count
            }
        }
        return true
    }

    private func takeBlocks(_ old: [UInt8], _ new: [UInt8], at offset: UInt64) throws(OSImageError) -> Bool {
        var index = 0
        while index < new.count {
            let range = index..<min(index + 4096, new.count)
            if old[range] != new[range], try !write(Array(new[range]), at: offset + UInt64(index)) { return false }
            index = range.upperBound
        }
        return true
    }
}
