internal import Glibc
internal import SystemPackage

/// An image, opened to be read only (law 4), and its data between the holes.
struct ImageFile: ~Copyable {
    private let file: FileDescriptor
    private let path: FilePath
    // lseek(2), Linux; Glibc's headers keep them for GNU sources.
    private static let (seekData, seekHole): (Int32, Int32) = (3, 4)

    init(_ path: FilePath) throws(FlashFailure) {
        self.path = path
        do {
            file = try FileDescriptor.open(path, .readOnly, options: [.closeOnExec])
        } catch {
            throw FlashFailure(.image, "cannot read image \(path): \(error)")
        }
    }

    deinit { try? file.close() }

    /// Calls `body` for each run of data in `range`, in order; holes are left out where the file system tells them.
    func forEachDataRange(
        in range: Range<UInt64>, _ body: (Range<UInt64>) throws -> Void
    ) throws {
        var position = range.lowerBound
        while position < range.upperBound {
            let start = seek(to: position, Self.seekData)
            // ENXIO: nothing but a hole up to the end. Any other error: a file system without holes, all is data.
            if start == nil, errno == ENXIO { return }
            let from = min(start ?? position, range.upperBound)
            let end = start == nil ? nil : seek(to: from, Self.seekHole)
            let to = min(end ?? range.upperBound, range.upperBound)
            if from < to { try body(from..<to) }
            position = max(to, position + 1)
        }
    }

    private func seek(to offset: UInt64, _ whence: Int32) -> UInt64? {
        let result = lseek(file.rawValue, off_t(offset), whence)
        return result < 0 ? nil : UInt64(result)
    }

    /// Copies a range to the start of `target`, holes as holes, in steps between which a cancellation is seen.
    ///
    /// - Throws: ``FlashFailure``; `CancellationError`.
    func copy(_ range: Range<UInt64>, to target: FileDescriptor, name: FilePath) throws {
        var buffer: [UInt8] = []
        try forEachDataRange(in: range) { data in
            if buffer.isEmpty { buffer = [UInt8](repeating: 0, count: 1 << 20) }
            var position = data.lowerBound
            while position < data.upperBound {
                try Task.checkCancellation()
                let count = Int(min(data.upperBound - position, UInt64(buffer.count)))
                position += UInt64(
                    try copyOnce(
                        at: position, count: count, to: target, offset: Int64(position - range.lowerBound),
                        buffer: &buffer, name: name))
            }
        }
    }

    private func copyOnce(
        at position: UInt64, count: Int, to target: FileDescriptor, offset: Int64, buffer: inout [UInt8], name: FilePath
    ) throws -> Int {
        let read: Int
        do {
            read = try buffer.withUnsafeMutableBytes {
                try file.read(
                    fromAbsoluteOffset: Int64(position), into: UnsafeMutableRawBufferPointer(rebasing: $0[..<count]))
            }
        } catch {
            throw FlashFailure(.image, "cannot read image \(path) at byte \(position): \(error)")
        }
        guard read > 0 else {
            throw FlashFailure(.image, "image \(path) became shorter while it was staged; do not change it now")
        }
        do {
            return try target.writeAll(toAbsoluteOffset: offset, buffer[..<read])
        } catch {
            throw Self.failure(error as? Errno ?? .ioError, name)
        }
    }

    static func failure(_ error: Errno, _ name: FilePath) -> FlashFailure {
        if error == .noSpace || error.rawValue == EDQUOT {
            return FlashFailure(.server, "disk full while staging \(name); free space in the TFTP root")
        }
        return FlashFailure(.server, "cannot write \(name): \(error)")
    }
}
