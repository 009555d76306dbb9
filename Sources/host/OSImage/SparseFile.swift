import DiskLayout
import Glibc
import SystemPackage

/// A new file that grows; zeros become holes.
final class SparseFile {
    private let file: FileDescriptor
    private let path: FilePath
    private let image: FilePath
    private let limit: UInt64
    private(set) var length: UInt64 = 0
    /// Bytes that were written since the disk's free space was looked at.
    private var unchecked: UInt64 = 0

    /// What holes consist of.
    private static let block = 4096
    /// Left free on the disk: what fills it to the last byte harms others.
    private static let reserve: UInt64 = 64 << 20

    init(_ path: FilePath, image: FilePath, limit: ByteCount) throws(OSImageError) {
        do {
            file = try FileDescriptor.open(
                path, .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec], permissions: [.ownerReadWrite])
        } catch let error as Errno {
            throw .cannotWrite(path: path, errno: error)
        } catch {
            throw .cannotWrite(path: path, errno: .ioError)
        }
        self.path = path
        self.image = image
        self.limit = limit.bytes
    }

    deinit { try? file.close() }

    func append(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(OSImageError) {
        let (end, overflow) = offset.addingReportingOverflow(UInt64(bytes.count))
        guard !overflow, end <= limit, end <= UInt64(Int64.max) else {
            throw .tooLarge(path: image, limit: ByteCount(limit))
        }
        length = max(length, end)
        if unsafe isZero(bytes) { return }
        // Whole blocks of zeros are left out, what lies between is written in one go.
        var (next, start) = (0, 0)
        while next < bytes.count {
            let count = min(Self.block - Int((offset + UInt64(next)) % UInt64(Self.block)), bytes.count - next)
            let piece = unsafe UnsafeRawBufferPointer(rebasing: bytes[next..<next + count])
            if unsafe isZero(piece) {
                try unsafe write(UnsafeRawBufferPointer(rebasing: bytes[start..<next]), at: offset + UInt64(start))
                start = next + count
            }
            next += count
        }
        try unsafe write(UnsafeRawBufferPointer(rebasing: bytes[start...]), at: offset + UInt64(start))
    }

    private func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(OSImageError) {
        guard bytes.count > 0 else { return }
        do {
            _ = try unsafe file.writeAll(toAbsoluteOffset: Int64(offset), bytes)
        } catch {
            throw .cannotWrite(path: path, errno: error as? Errno ?? .ioError)
        }
        unchecked += UInt64(bytes.count)
        guard unchecked >= Self.reserve / 2 else { return }
        unchecked = 0
        var status = statvfs()
        guard unsafe fstatvfs(file.rawValue, &status) == 0 else { return }
        guard UInt64(status.f_bavail) * UInt64(status.f_frsize) >= Self.reserve else {
            throw .cannotWrite(path: path, errno: .noSpace)
        }
    }

    /// Makes it at least so long.
    func extend(to bytes: UInt64) { length = max(length, bytes) }

    /// Gives it its length: the last bytes may be a hole.
    func finish() throws(OSImageError) {
        do { try file.resize(to: Int64(length)) } catch {
            throw .cannotWrite(path: path, errno: error as? Errno ?? .ioError)
        }
    }
}
