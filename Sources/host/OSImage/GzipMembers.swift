import CZlib
import DiskLayout

/// The content of a gzip file: one member, or several one behind the other (RFC 1952, 2.2).
///
/// zlib compares each member's CRC-32 and length. Behind the last member there may be zeros (tapes) and anything that is
/// not another member's start, as gzip itself has it: OpenWrt appends metadata. What begins as a member does is one, so
/// that a file that ends within it is refused. Memory: two buffers of 128 KiB and zlib's window.
@safe final class GzipMembers: UnpackedBlocks {
    private let source: ImageReader
    /// At one address for its life: zlib's state points back to it.
    private let stream: UnsafeMutablePointer<z_stream>
    private let input: UnsafeMutableRawBufferPointer
    private let output: UnsafeMutableRawBufferPointer
    /// Bytes of the file that are in ``input`` or were.
    private(set) var bytesRead: UInt64 = 0
    private var unpacked: UInt64 = 0
    private var isInMember = true

    private static let bufferSize = 1 << 17
    /// The first two bytes of a member (RFC 1952, 2.3.1).
    private static let magic: [UInt8] = [0x1f, 0x8b]

    /// - Throws: ``OSImageError/cannotUnpack(path:by:reason:)`` where there is no memory.
    init(_ source: ImageReader) throws(OSImageError) {
        self.source = source
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        unsafe input = .allocate(byteCount: Self.bufferSize, alignment: 16)
        unsafe output = .allocate(byteCount: Self.bufferSize, alignment: 16)
        // 15: the longest window; 16 more: gzip's header and trailer around it, and no other. C: inflateInit2.
        let code = unsafe inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard code == Z_OK else { throw failure("out of memory") }
    }

    deinit {
        unsafe inflateEnd(stream)
        unsafe stream.deallocate()
        unsafe input.deallocate()
        unsafe output.deallocate()
    }

    private func failure(_ reason: String) -> OSImageError {
        .cannotUnpack(path: source.path, by: .gzip, reason: reason)
    }

    private var waiting: Int { Int(unsafe stream.pointee.avail_in) }

    /// Reads on where everything that was read is used up; false at the file's end.
    private func fill() throws(OSImageError) -> Bool {
        if waiting > 0 { return true }
        let count = Int(min(UInt64(Self.bufferSize), source.size.bytes - bytesRead))
        guard count > 0 else { return false }
        try unsafe source.read(into: UnsafeMutableRawBufferPointer(rebasing: input[..<count]), at: bytesRead)
        bytesRead += UInt64(count)
        unsafe stream.pointee.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
        unsafe stream.pointee.avail_in = UInt32(count)
        return true
    }

    func copyBlock(to file: SparseFile) throws(OSImageError) -> Bool {
        while true {
            if !isInMember {
                guard try startsMember() else { return false }
                unsafe inflateReset(stream)
                isInMember = true
            }
            unsafe stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
            unsafe stream.pointee.avail_out = UInt32(Self.bufferSize)
            while isInMember, unsafe stream.pointee.avail_out > 0 {
                guard try fill() else { throw failure("truncated gzip input") }
                switch unsafe inflate(stream, Z_NO_FLUSH) {
                case Z_OK, Z_BUF_ERROR: break
                case Z_STREAM_END: isInMember = false
                case Z_MEM_ERROR: throw failure("out of memory")
                default:
                    throw failure(unsafe stream.pointee.msg.map { unsafe String(cString: $0) } ?? "damaged gzip input")
                }
            }
            let count = unsafe Self.bufferSize - Int(stream.pointee.avail_out)
            guard count > 0 else { continue }
            try unsafe file.append(UnsafeRawBufferPointer(rebasing: output[..<count]), at: unpacked)
            unpacked += UInt64(count)
            return true
        }
    }

    /// Whether behind a member another one begins, maybe behind zeros. A single last byte that could begin one is the start
    /// of one that was cut.
    private func startsMember() throws(OSImageError) -> Bool {
        while try fill() {
            let rest = unsafe UnsafeRawBufferPointer(start: stream.pointee.next_in, count: waiting)
            guard let zeros = unsafe rest.firstIndex(where: { $0 != 0 }) else {
                unsafe stream.pointee.avail_in = 0
                continue
            }
            unsafe stream.pointee.next_in += zeros
            unsafe stream.pointee.avail_in -= UInt32(zeros)
            let place = bytesRead - UInt64(waiting)
            let count = Int(min(UInt64(Self.magic.count), source.size.bytes - place))
            return try source.bytes(at: place, count: count) == Self.magic.prefix(count).map(\.self)
        }
        return false
    }
}
