package import DiskLayout
import Glibc
package import SystemPackage

/// What tells a file from another one, and from itself before it was changed. C: `fstat`.
package struct FileFingerprint: Hashable, Sendable, Codable {
    /// The file system's device number.
    package let device: UInt64
    /// The file's number on it.
    package let inode: UInt64
    /// Length in bytes.
    package let size: UInt64
    /// When the content was changed last, in nanoseconds since 1970.
    package let modified: Int64
    /// When anything was changed last, in nanoseconds since 1970; nobody can set it back.
    package let changed: Int64

    init(_ status: stat) {
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        size = UInt64(max(0, status.st_size))
        modified = Self.nanoseconds(status.st_mtim)
        changed = Self.nanoseconds(status.st_ctim)
    }

    private static func nanoseconds(_ time: timespec) -> Int64 {
        // A hostile file system may claim any time: wrap, never trap.
        Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }
}

/// An image, open for reading only (law 4). It may be read from several tasks at once.
package final class ImageReader: Sendable {
    /// Where it was found.
    package let path: FilePath
    /// What it was when it was opened.
    package let fingerprint: FileFingerprint
    private let file: OwnedDescriptor
    /// What is read in place of some of the file's bytes.
    package let overlay: ImageOverlay?

    /// lseek's way to the next data and the next hole. Source: Linux, include/uapi/linux/fs.h; Glibc's own names are not
    /// visible to Swift.
    private static let (seekData, seekHole): (Int32, Int32) = (3, 4)

    /// Opens a regular file.
    ///
    /// - Throws: ``OSImageError/missing(path:)``, ``OSImageError/notAFile(path:kind:)``,
    ///   ``OSImageError/unreadable(path:errno:)``, ``OSImageError/empty(path:)``.
    package init(_ path: FilePath) throws(OSImageError) {
        _ = try imageSize(of: path)
        let file = try OwnedDescriptor(opening: path)
        let status = try file.status(of: path)
        // It may have been replaced since it was looked at.
        guard status.st_mode & S_IFMT == S_IFREG else { throw .notAFile(path: path, kind: .other) }
        guard status.st_size > 0 else { throw .empty(path: path) }
        self.path = path
        self.file = file
        fingerprint = FileFingerprint(status)
        overlay = nil
    }

    /// The same image, as it is open, with changes laid over it: a copy-on-write view.
    ///
    /// - Throws: ``OSImageError/unreadable(path:errno:)``, ``OSImageError/changed(path:)``.
    package init(_ base: ImageReader, overlay: ImageOverlay) throws(OSImageError) {
        let file = try OwnedDescriptor(opening: FilePath(base.descriptorPath))
        let status = FileFingerprint(try file.status(of: base.path))
        guard status.inode == base.fingerprint.inode, status.device == base.fingerprint.device else {
            throw .changed(path: base.path)
        }
        path = base.path
        self.file = file
        fingerprint = base.fingerprint
        self.overlay = overlay
    }

    /// Length in bytes, at least 1.
    package var size: ByteCount { ByteCount(fingerprint.size) }

    /// The open file; reads have their own offsets.
    package var descriptor: FileDescriptor { FileDescriptor(rawValue: file.raw) }

    /// A path that leads to this very file for as long as the reader lives, whatever happens to its name.
    var descriptorPath: String { "/proc/self/fd/\(file.raw)" }

    /// Fills a buffer. What lies behind the file's end reads as zeros, but only in its last sector.
    ///
    /// - Parameters:
    ///   - buffer: of any length.
    ///   - offset: bytes from the file's start.
    /// - Throws: ``OSImageError/unreadable(path:errno:)``, ``OSImageError/changed(path:)`` where the file ends before it
    ///   did.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(OSImageError) {
        let padded = SectorCount(roundingUp: size).byteCount.bytes
        guard offset <= padded, UInt64(buffer.count) <= padded - offset else { throw .changed(path: path) }
        let inFile = Int(min(UInt64(buffer.count), fingerprint.size - min(offset, fingerprint.size)))
        var done = 0
        while done < inFile {
            let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[done..<inFile])
            let count = unsafe pread(file.raw, rest.baseAddress, rest.count, Int(offset) + done)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .unreadable(path: path, errno: Errno(rawValue: errno)) }
            guard count > 0 else { throw .changed(path: path) }
            done += count
        }
        if inFile < buffer.count {
            unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[inFile...]).initializeMemory(
                as: UInt8.self, repeating: 0)
        }
        unsafe overlay?.apply(to: buffer, at: offset)
    }

    /// Changes bytes of the view; the file stays as it is.
    ///
    /// - Returns: false where the view takes no changes, or no more.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(OSImageError) -> Bool {
        guard let overlay else { return false }
        let padded = SectorCount(roundingUp: size).byteCount.bytes
        return try unsafe overlay.write(bytes, at: offset) { start throws(OSImageError) in
            let count = min(ImageOverlay.blockSize, padded - min(start, padded))
            return try self.bytes(at: start, count: Int(count))
                + [UInt8](repeating: 0, count: Int(ImageOverlay.blockSize - count))
        }
    }

    /// Reads as ``read(into:at:)`` does, but leaves the buffer alone where the file has holes.
    ///
    /// - Parameters:
    ///   - buffer: zeros.
    ///   - offset: in bytes.
    package func readData(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(OSImageError) {
        let end = offset + UInt64(buffer.count)
        guard end <= SectorCount(roundingUp: size).byteCount.bytes else { throw .changed(path: path) }
        var next = offset
        while let data = try data(in: next..<end) {
            let part = unsafe UnsafeMutableRawBufferPointer(
                rebasing: buffer[Int(data.lowerBound - offset)..<Int(data.upperBound - offset)])
            try unsafe read(into: part, at: data.lowerBound)
            next = data.upperBound
        }
    }

    /// Some bytes, as ``read(into:at:)`` gives them.
    func bytes(at offset: UInt64, count: Int) throws(OSImageError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        do {
            try unsafe bytes.withUnsafeMutableBytes { try unsafe read(into: $0, at: offset) }
        } catch let error as OSImageError {
            throw error
        } catch {
            throw .unreadable(path: path, errno: .ioError)
        }
        return bytes
    }

    /// The first stretch of data in a range of bytes; nil where the rest is a hole. C: `lseek` with `SEEK_DATA`.
    ///
    /// A file system without holes has data everywhere. What is changed is data.
    package func data(in range: Range<UInt64>) throws(OSImageError) -> Range<UInt64>? {
        let inFile = try fileData(in: range)
        guard let changed = overlay?.block(from: range.lowerBound, to: range.upperBound) else { return inFile }
        guard let inFile, inFile.lowerBound <= changed.lowerBound else { return changed }
        return inFile
    }

    private func fileData(in range: Range<UInt64>) throws(OSImageError) -> Range<UInt64>? {
        let end = min(range.upperBound, fingerprint.size)
        guard range.lowerBound < end else { return nil }
        let data = lseek(file.raw, Int(range.lowerBound), Self.seekData)
        if data < 0 {
            if errno == ENXIO { return nil }
            if errno == EINVAL { return range.lowerBound..<end }
            throw .unreadable(path: path, errno: Errno(rawValue: errno))
        }
        guard UInt64(data) < end else { return nil }
        let hole = lseek(file.raw, data, Self.seekHole)
        guard hole > data else {
            throw .unreadable(path: path, errno: Errno(rawValue: hole < 0 ? errno : EIO))
        }
        return UInt64(data)..<min(UInt64(hole), end)
    }

    /// Bytes of a range that are not holes.
    package func dataBytes(in range: Range<UInt64>) throws(OSImageError) -> ByteCount {
        var (sum, next) = (UInt64(0), range.lowerBound)
        while let data = try data(in: next..<range.upperBound) {
            sum += UInt64(data.count)
            next = data.upperBound
        }
        return ByteCount(sum)
    }

    /// Checks that nobody changed the image since it was opened.
    ///
    /// - Throws: ``OSImageError/changed(path:)``.
    package func checkUnchanged() throws(OSImageError) {
        let now = FileFingerprint(try file.status(of: path))
        // Not the time of the last change of anything: a new hard link or owner does no harm.
        guard now.size == fingerprint.size, now.modified == fingerprint.modified else { throw .changed(path: path) }
    }
}

/// A descriptor that is closed with its owner's life.
struct OwnedDescriptor: ~Copyable {
    let raw: Int32

    init(opening path: FilePath) throws(OSImageError) {
        // Non-blocking: a pipe that took the file's place must not hang us.
        let raw = unsafe path.withPlatformString { unsafe open($0, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
        guard raw >= 0 else { throw .unreadable(path: path, errno: Errno(rawValue: errno)) }
        self.raw = raw
    }

    func status(of path: FilePath) throws(OSImageError) -> stat {
        var status = stat()
        guard unsafe fstat(raw, &status) == 0 else { throw .unreadable(path: path, errno: Errno(rawValue: errno)) }
        return status
    }

    deinit { close(raw) }
}
