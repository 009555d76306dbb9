import FlashEvents
import DiskLayout
import FlashPlan
import Glibc
import SystemPackage

/// The user's image, open for reading only (law 4).
final class ImageFile: Sendable {
    private let path: FilePath
    private let descriptor: Int32
    private let before: State

    /// Bytes that are copied at a time: cancellation is noticed in between.
    private static let chunk = 1 << 20
    /// lseek's way to the next data and the next hole. Source: Linux, include/uapi/linux/fs.h; Glibc's own names are not
    /// visible to Swift.
    private static let (seekData, seekHole): (Int32, Int32) = (3, 4)

    /// What a file was like at some time; it changes with every write, and when another file takes its place.
    struct State: Equatable {
        private let values: [Int]

        fileprivate init(_ status: stat) {
            values = [
                Int(bitPattern: UInt(status.st_dev)), Int(bitPattern: UInt(status.st_ino)), status.st_size,
                status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
            ]
        }
    }

    /// The file's state now; nil where there is none.
    static func state(of path: FilePath) -> State? {
        var status = stat()
        return unsafe path.withPlatformString { unsafe stat($0, &status) } == 0 ? State(status) : nil
    }

    /// Opens the file.
    ///
    /// - Parameter state: what it was like when it was looked at; another one is an error.
    init(_ path: FilePath, in state: State?) throws(FlashError) {
        let descriptor = unsafe path.withPlatformString { unsafe open($0, O_RDONLY | O_CLOEXEC) }
        guard descriptor >= 0 else { throw .image("cannot read image \(path): \(Errno(rawValue: errno))") }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else {
            let code = errno
            close(descriptor)
            throw .image("cannot read image \(path): \(Errno(rawValue: code))")
        }
        guard State(status) == state else {
            close(descriptor)
            throw Self.changed(path)
        }
        self.path = path
        self.descriptor = descriptor
        before = State(status)
    }

    private static func changed(_ path: FilePath) -> FlashError {
        .image("image \(path) changed while it was read; wait until it is complete")
    }

    deinit { close(descriptor) }

    /// Bytes of `range` that are not holes: what a copy takes on disk.
    func dataBytes(in range: Range<UInt64>) throws(FlashError) -> UInt64 {
        var sum: UInt64 = 0
        var next = range.lowerBound
        while let extent = try extent(from: next, to: range.upperBound) {
            sum += UInt64(extent.count)
            next = extent.upperBound
        }
        return sum
    }

    /// The first stretch of data in a range; nil where the rest is a hole.
    private func extent(from start: UInt64, to end: UInt64) throws(FlashError) -> Range<UInt64>? {
        guard start < end else { return nil }
        let data = lseek(descriptor, Int(start), Self.seekData)
        if data < 0 {
            if errno == ENXIO { return nil }
            // A file system without holes.
            if errno == EINVAL { return start..<end }
            throw .image("cannot read image \(path): \(Errno(rawValue: errno))")
        }
        guard UInt64(data) < end else { return nil }
        let hole = lseek(descriptor, data, Self.seekHole)
        guard hole > data else { throw .image("cannot read image \(path): \(Errno(rawValue: errno))") }
        return UInt64(data)..<min(UInt64(hole), end)
    }

    /// Copies a part to a new file, holes and filler as holes.
    ///
    /// - Parameters:
    ///   - file: empty, open for writing.
    ///   - name: its path, for messages.
    ///   - copied: called with the bytes of each step.
    func copy(
        _ part: PartsPlan.Part, to file: FileDescriptor, name: FilePath, copied: (UInt64) -> Void
    ) async throws {
        guard ftruncate(file.rawValue, Int(part.size.bytes)) == 0 else {
            throw FlashError.cannotWrite(name, Errno(rawValue: errno))
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.chunk, alignment: 4096)
        defer { unsafe buffer.deallocate() }
        var next = part.source.lowerBound
        while let extent = try extent(from: next, to: part.source.upperBound) {
            next = extent.lowerBound
            while next < extent.upperBound {
                try Task.checkCancellation()
                let count = unsafe try copy(
                    next, min(buffer.count, Int(extent.upperBound - next)), through: buffer, to: file,
                    at: part.filler.bytes + next - part.source.lowerBound, name: name)
                next += UInt64(count)
                copied(UInt64(count))
                await Task.yield()
            }
        }
    }

    /// One step; returns the bytes that were copied, at least 1.
    private func copy(
        _ offset: UInt64, _ count: Int, through buffer: UnsafeMutableRawBufferPointer, to file: FileDescriptor,
        at target: UInt64, name: FilePath
    ) throws(FlashError) -> Int {
        let count = unsafe pread(descriptor, buffer.baseAddress, count, Int(offset))
        guard count >= 0 else { throw .image("cannot read image \(path): \(Errno(rawValue: errno))") }
        guard count > 0 else { throw .image("image \(path) was cut short while it was read") }
        let written = unsafe pwrite(file.rawValue, buffer.baseAddress, count, Int(target))
        guard written > 0 else { throw .cannotWrite(name, Errno(rawValue: errno)) }
        return written
    }

    /// Checks that nobody changed the image since it was opened.
    func checkUnchanged() throws(FlashError) {
        var now = stat()
        guard unsafe fstat(descriptor, &now) == 0, State(now) == before else { throw Self.changed(path) }
    }
}
