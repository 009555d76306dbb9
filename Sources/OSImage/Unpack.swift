internal import CArchive
internal import CDeflate
public import DiskLayout
internal import Glibc
public import SystemPackage

/// How far the unpacking of an image is.
public struct UnpackProgress: Hashable, Sendable {
    /// Bytes of the compressed file that were read.
    public let read: ByteCount
    /// Bytes of the compressed file.
    public let total: ByteCount
    /// Bytes of the raw image so far.
    public let unpacked: ByteCount
}

/// Unpacks a compressed image into a new sparse file: zeros become holes.
///
/// xz, gzip, zstd and bzip2 by libarchive; of a zip archive its only entry whose name ends in `.img`. The formats' own
/// checksums are checked. The compressed file is only read (law 4). Memory is what the format's window takes: 65 MiB for
/// `xz -9`, 128 MiB at most for zstd.
///
/// - Parameters:
///   - source: the compressed file.
///   - target: does not exist yet. What was written stays there after an error.
///   - limit: bytes of the raw image at most.
///   - start: ends once this much is unpacked, where nothing of the rest is looked at; nil: unpacks all.
///   - progress: called about every MiB of the raw image.
/// - Throws: ``OSImageError``, `CancellationError`.
public func unpackOSImage(
    _ source: ImageReader, to target: FilePath, limit: ByteCount, start: ByteCount? = nil,
    progress: (UnpackProgress) -> Void
) async throws {
    guard let compression = try Compression(of: source.path) else {
        throw OSImageError.cannotUnpack(path: source.path, by: nil, reason: "is not compressed")
    }
    let archive = try ArchiveReference(source, compression)
    let file = try SparseFile(target, image: source.path, limit: limit)
    var found: String?
    while let entry = try archive.nextEntry() {
        if compression == .zip {
            guard entry.isFile, entry.name.lowercased().hasSuffix(".img") else { continue }
            if let found { throw OSImageError.otherEntries(path: source.path, names: [found, entry.name]) }
        }
        found = entry.name
        var reported: UInt64 = 0
        while try archive.copyBlock(to: file) {
            if let start, file.length >= start.bytes {
                // What a zip archive holds else is known without unpacking it.
                if compression != .zip { return try file.finish() }
                break
            }
            guard file.length - reported >= 1 << 20 else { continue }
            reported = file.length
            progress(
                .init(read: ByteCount(archive.bytesRead), total: source.size, unpacked: ByteCount(file.length)))
            try Task.checkCancellation()
            await Task.yield()
        }
    }
    guard found != nil else { throw OSImageError.otherEntries(path: source.path, names: []) }
    if start == nil { try archive.checkTrailer() }
    try file.finish()
    try source.checkUnchanged()
    progress(.init(read: source.size, total: source.size, unpacked: ByteCount(file.length)))
}

/// Owns an archive that is being read. C: `archive_read_new`, `archive_read_free`.
@safe private final class ArchiveReference {
    private let raw: OpaquePointer
    private let source: ImageReader
    private let compression: Compression
    /// CRC-32 and length of what was unpacked: libarchive does not compare them with gzip's trailer.
    private var (checksum, length): (UInt32, UInt64) = (0, 0)

    private static let blockSize = 1 << 17

    init(_ source: ImageReader, _ compression: Compression) throws(OSImageError) {
        guard let raw = unsafe archive_read_new() else {
            throw .cannotUnpack(path: source.path, by: compression, reason: "out of memory")
        }
        unsafe self.raw = raw
        self.source = source
        self.compression = compression
        // Nothing but what the first bytes say: no format inside a format. A zip archive without its directory is cut short.
        let code =
            switch compression {
            case .zip: unsafe archive_read_support_format_zip_seekable(raw)
            case .xz: unsafe archive_read_support_filter_xz(raw)
            case .gzip: unsafe archive_read_support_filter_gzip(raw)
            case .zstd: unsafe archive_read_support_filter_zstd(raw)
            case .bzip2: unsafe archive_read_support_filter_bzip2(raw)
            }
        try check(code)
        if compression != .zip { try check(unsafe archive_read_support_format_raw(raw)) }
        try check(unsafe archive_read_open_filename(raw, source.descriptorPath, Self.blockSize))
    }

    deinit { unsafe archive_read_free(raw) }

    /// Bytes of the file that were read. C: `archive_filter_bytes`.
    var bytesRead: UInt64 { UInt64(max(0, unsafe archive_filter_bytes(raw, -1))) }

    /// The one place where a return code becomes an error; a warning is one too: it may mean damaged data.
    private func check(_ code: Int32) throws(OSImageError) {
        guard code != ARCHIVE_OK else { return }
        let text = unsafe archive_error_string(raw).map { unsafe String(cString: $0) } ?? "code \(code)"
        // liblzma's way to say that the file ends too early.
        let line =
            text.contains("No progress is possible")
            ? "truncated xz input" : text.split(whereSeparator: \.isNewline).joined(separator: " ")
        throw .cannotUnpack(
            path: source.path, by: compression, reason: String(line.prefix(1).lowercased() + line.dropFirst()))
    }

    /// C: `archive_read_next_header`.
    func nextEntry() throws(OSImageError) -> (name: String, isFile: Bool)? {
        var entry: OpaquePointer?
        let code = unsafe archive_read_next_header(raw, &entry)
        if code == ARCHIVE_EOF { return nil }
        try check(code)
        // Untrusted, for messages and its ending only. No UTF-8 in it: no name.
        let name = unsafe archive_entry_pathname_utf8(entry).map { unsafe String(cString: $0) } ?? ""
        let type = unsafe archive_entry_filetype(entry)
        return (String(name.filter { !$0.isNewline }.prefix(200)), compression != .zip || type & 0o170000 == 0o100000)
    }

    /// Copies a block of the entry's data; false at its end. C: `archive_read_data_block`.
    func copyBlock(to file: SparseFile) throws(OSImageError) -> Bool {
        var (buffer, count, offset): (UnsafeRawPointer?, Int, la_int64_t) = (nil, 0, 0)
        let code = unsafe archive_read_data_block(raw, &buffer, &count, &offset)
        if code == ARCHIVE_EOF { return false }
        try check(code)
        guard offset >= 0 else {
            throw .cannotUnpack(path: source.path, by: compression, reason: "its data is out of order")
        }
        let block = unsafe UnsafeRawBufferPointer(start: buffer, count: count)
        try unsafe file.append(block, at: UInt64(offset))
        if compression == .gzip {
            unsafe checksum = UInt32(libdeflate_crc32(checksum, block.baseAddress, block.count))
            length = file.length
        }
        return true
    }

    /// Compares gzip's trailer: CRC-32 and length, little endian (RFC 1952, 2.3.1).
    func checkTrailer() throws(OSImageError) {
        guard compression == .gzip else { return }
        guard source.size.bytes >= 18 else {
            throw .cannotUnpack(path: source.path, by: compression, reason: "truncated gzip input")
        }
        let trailer = try source.bytes(at: source.size.bytes - 8, count: 8)
        guard trailer.u32(0) == UInt64(checksum), trailer.u32(4) == length & 0xffff_ffff else {
            throw .cannotUnpack(
                path: source.path, by: compression,
                reason: "its checksum is wrong, or it has more than one gzip member")
        }
    }
}
