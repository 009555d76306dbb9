package import DiskLayout
import FlashEvents
import FlashPlan
import Glibc
package import SystemPackage

/// The user's image, open for reading only (law 4). A flash opens it once: all that it reads, sends and proves is this file,
/// whatever its path leads to later. Errors have a description that names the image.
package protocol OpenImage: AnyObject, Sendable {
    /// The open file. Reads have their own offsets, so that any task may use it.
    var descriptor: FileDescriptor { get }
    /// Reads and checks the partition table.
    func layout() throws -> OSImageLayout
    /// The first stretch of data in a range of bytes; nil where the rest is a hole.
    func data(in range: Range<UInt64>) throws -> Range<UInt64>?
    /// Fills a buffer with the bytes from `offset` on.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws
    /// Checks that nobody changed the image since it was opened.
    func checkUnchanged() throws
}

extension OpenImage {
    /// Bytes of `range` that are not holes: what a copy takes on disk.
    func dataBytes(in range: Range<UInt64>) throws(FlashError) -> UInt64 {
        var (sum, next) = (UInt64(0), range.lowerBound)
        while let extent = try ofImage({ try data(in: next..<range.upperBound) }) {
            sum += UInt64(extent.count)
            next = extent.upperBound
        }
        return sum
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
        // A step: cancellation is noticed in between.
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { unsafe buffer.deallocate() }
        var next = part.source.lowerBound
        while let extent = try ofImage({ try data(in: next..<part.source.upperBound) }) {
            next = extent.lowerBound
            while next < extent.upperBound {
                try Task.checkCancellation()
                let step = unsafe UnsafeMutableRawBufferPointer(
                    rebasing: buffer[..<min(buffer.count, Int(extent.upperBound - next))])
                try ofImage { try unsafe read(into: step, at: next) }
                do {
                    _ = try unsafe file.writeAll(
                        toAbsoluteOffset: Int64(part.filler.bytes + next - part.source.lowerBound),
                        UnsafeRawBufferPointer(step))
                } catch let error as Errno {
                    throw FlashError.cannotWrite(name, error)
                }
                next += UInt64(step.count)
                copied(UInt64(step.count))
                await Task.yield()
            }
        }
    }
}

/// Takes an error of an image's for a flash's.
func ofImage<Result>(_ body: () throws -> Result) throws(FlashError) -> Result {
    do {
        return try body()
    } catch {
        throw .image("\(error)")
    }
}
