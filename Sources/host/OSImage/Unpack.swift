import CArchive
package import DiskLayout
import Glibc
package import SystemPackage

/// How far the unpacking of an image is.
package struct UnpackProgress: Hashable, Sendable {
    /// Bytes of the compressed file that were read.
    package let read: ByteCount
    /// Bytes of the compressed file.
    package let total: ByteCount
    /// Bytes of the raw image so far.
    package let unpacked: ByteCount
}

/// Unpacks a compressed image into a new sparse file: zeros become holes.
///
/// gzip by zlib, xz, zstd and bzip2 by libarchive, each with several members, frames or streams one behind the other; of a
/// zip archive its only image (``ZipEntry``). The formats' own checksums are checked. What unpacks to something else than a
/// raw image is refused from its first bytes. The compressed file is only read (law 4). Memory is what the format's window
/// takes: 65 MiB for `xz -9`, 128 MiB at most for zstd.
///
/// A file that was cut exactly between two members is a whole one for every reader; its image is then too short for its
/// partition table, which ``inspectOSImage(at:)`` finds.
///
/// - Parameters:
///   - source: the compressed file.
///   - target: does not exist yet. What was written stays there after an error.
///   - limit: bytes of the raw image at most.
///   - start: ends once this much is unpacked, where nothing of the rest is looked at; nil: unpacks all.
///   - progress: called about every MiB of the raw image.
/// - Throws: ``OSImageError``, `CancellationError`.
package func unpackOSImage(
    _ source: ImageReader, to target: FilePath, limit: ByteCount, start: ByteCount? = nil,
    progress: (UnpackProgress) -> Void
) async throws {
    guard let compression = try Compression(of: source) else {
        throw OSImageError.cannotUnpack(path: source.path, by: nil, reason: "is not compressed")
    }
    let blocks: any UnpackedBlocks
    switch compression {
    case .gzip: blocks = try GzipMembers(source)
    case .zip: blocks = try ArchiveReference(source, .zip, entry: try findImage(in: source))
    case .xz, .zstd, .bzip2: blocks = try ArchiveReference(source, compression, entry: 0)
    }
    let file = try SparseFile(target, image: source.path, limit: limit)
    var (reported, isChecked) = (UInt64(0), false)
    while try blocks.copyBlock(to: file) {
        if !isChecked, file.length >= FileStart.length {
            try checkContent(of: target, from: source.path, by: compression)
            isChecked = true
        }
        if let start, file.length >= start.bytes { return try file.finish() }
        guard file.length - reported >= 1 << 20 else { continue }
        reported = file.length
        progress(
            .init(read: ByteCount(blocks.bytesRead), total: source.size, unpacked: ByteCount(file.length)))
        try Task.checkCancellation()
        await Task.yield()
    }
    if !isChecked { try checkContent(of: target, from: source.path, by: compression) }
    try file.finish()
    try source.checkUnchanged()
    progress(.init(read: source.size, total: source.size, unpacked: ByteCount(file.length)))
}

/// Refuses what is compressed once more, or an archive: there is not an image in it that could be flashed.
private func checkContent(
    of unpacked: FilePath, from path: FilePath, by compression: Compression
) throws(OSImageError) {
    let inner: PackedContent?
    do throws(OSImageError) {
        inner = try Compression(of: try ImageReader(unpacked)).map { .compressed($0) }
    } catch .otherFormat(_, let format) {
        inner = .other(format)
    } catch .empty {
        // Nothing but holes so far.
        inner = nil
    }
    if let inner { throw .packedTwice(path: path, by: compression, inner) }
}

/// What a compressed file unpacks to, a piece at a time.
protocol UnpackedBlocks: AnyObject {
    /// Bytes of the compressed file that were read.
    var bytesRead: UInt64 { get }
    /// Appends the next piece; false at the end.
    func copyBlock(to file: SparseFile) throws(OSImageError) -> Bool
}

/// An entry of a zip archive.
struct ZipEntry {
    /// Its path in the archive, of untrusted bytes; for messages and for what is told from its ending. Nil where libarchive
    /// has none, because its bytes are not what the archive says that they are.
    let path: String?
    /// Whether it is a file, and no folder or link.
    let isFile: Bool

    /// Whether it is an OS image: a file whose name ends in `.img`, and not what macOS keeps beside one, in a folder
    /// `__MACOSX` or as `._name` (AppleDouble, RFC 1740).
    var isImage: Bool {
        let parts = (path ?? "").split(separator: "/")
        guard isFile, let name = parts.last, !parts.dropLast().contains("__MACOSX") else { return false }
        return name.lowercased().hasSuffix(".img") && !name.hasPrefix("._")
    }
}

/// The number of a zip archive's only image. Only the archive's directory is read.
private func findImage(in source: ImageReader) throws(OSImageError) -> Int {
    let archive = try ArchiveReference(source, .zip)
    var (images, nameless): ([(number: Int, name: String)], [(number: Int, name: String)]) = ([], [])
    var others: [String] = []
    var number = 0
    while let entry = try archive.nextEntry() {
        if entry.isImage {
            images.append((number, entry.path ?? ""))
        } else if entry.isFile {
            if entry.path == nil { nameless.append((number, "?")) }
            others.append(entry.path ?? "?")
        }
        number += 1
    }
    // What it is called is not known then; its content tells what it is.
    if images.isEmpty { images = nameless }
    guard let only = images.first else { throw .noImageEntry(path: source.path, names: others) }
    guard images.count == 1 else { throw .otherEntries(path: source.path, names: images.map(\.name)) }
    return only.number
}

/// Owns an archive that is being read. C: `archive_read_new`, `archive_read_free`.
@safe private final class ArchiveReference: UnpackedBlocks {
    private let raw: OpaquePointer
    private let source: ImageReader
    private let compression: Compression

    private static let blockSize = 1 << 17

    init(_ source: ImageReader, _ compression: Compression) throws(OSImageError) {
        guard let raw = unsafe archive_read_new() else {
            throw .cannotUnpack(path: source.path, by: compression, reason: "out of memory")
        }
        unsafe self.raw = raw
        self.source = source
        self.compression = compression
        // Nothing but what the first bytes say: no format inside a format, and libarchive is not asked whether it agrees: it
        // would take the first bytes of a stream that was cut for a raw file. A zip archive without its directory is cut
        // short.
        switch compression {
        case .zip: try check(unsafe archive_read_support_format_zip_seekable(raw))
        case .xz: try check(unsafe archive_read_append_filter(raw, ARCHIVE_FILTER_XZ))
        case .zstd: try check(unsafe archive_read_append_filter(raw, ARCHIVE_FILTER_ZSTD))
        case .bzip2: try check(unsafe archive_read_append_filter(raw, ARCHIVE_FILTER_BZIP2))
        case .gzip: preconditionFailure("libarchive does not compare gzip's checksums: GzipMembers does")
        }
        if compression != .zip { try check(unsafe archive_read_support_format_raw(raw)) }
        try check(unsafe archive_read_open_filename(raw, source.descriptorPath, Self.blockSize))
    }

    /// At an entry: what is copied is its content.
    ///
    /// - Parameter number: 0 for the first.
    convenience init(_ source: ImageReader, _ compression: Compression, entry number: Int) throws(OSImageError) {
        try self.init(source, compression)
        for _ in 0...number where try nextEntry() == nil {
            throw .cannotUnpack(path: source.path, by: compression, reason: "it has nothing in it")
        }
    }

    deinit { unsafe archive_read_free(raw) }

    /// Bytes of the file that the format has taken. C: `archive_filter_bytes`.
    var bytesRead: UInt64 { UInt64(max(0, unsafe archive_filter_bytes(raw, -1))) }

    /// The one place where a return code becomes an error; a warning is one too: it may mean damaged data.
    private func check(_ code: Int32) throws(OSImageError) {
        guard code != ARCHIVE_OK else { return }
        let text = unsafe archive_error_string(raw).map { unsafe String(cString: $0) } ?? "code \(code)"
        // liblzma's way to say that the file ends too early.
        let line =
            text.contains("No progress is possible")
            ? "truncated xz input" : text.split(whereSeparator: \.isNewline).joined(separator: " ")
        throw failure(String(line.prefix(1).lowercased() + line.dropFirst()))
    }

    private func failure(_ reason: String) -> OSImageError {
        .cannotUnpack(path: source.path, by: compression, reason: reason)
    }

    /// C: `archive_read_next_header`.
    func nextEntry() throws(OSImageError) -> ZipEntry? {
        var entry: OpaquePointer?
        let code = unsafe carchive_read_next_header(raw, &entry)
        if code == ARCHIVE_EOF { return nil }
        // A warning is about names and times; sizes and the checksum are compared with the content.
        if code != ARCHIVE_WARN || compression != .zip { try check(code) }
        let name = unsafe archive_entry_pathname(entry).map { unsafe String(cString: $0) }
        let type = unsafe archive_entry_filetype(entry)
        return ZipEntry(path: name?.shown, isFile: compression != .zip || type & 0o170000 == 0o100000)
    }

    func copyBlock(to file: SparseFile) throws(OSImageError) -> Bool {
        var (buffer, count, offset): (UnsafeRawPointer?, Int, la_int64_t) = (nil, 0, 0)
        let code = unsafe archive_read_data_block(raw, &buffer, &count, &offset)
        if code == ARCHIVE_EOF {
            try checkRest()
            return false
        }
        try check(code)
        guard offset >= 0 else { throw failure("its data is out of order") }
        try unsafe file.append(UnsafeRawBufferPointer(start: buffer, count: count), at: UInt64(offset))
        return true
    }

    /// Refuses a bzip2 file that ends within the header of a further stream, of which libarchive wants 14 bytes to take it
    /// for one. Anything else behind a stream is ignored, as bzip2 itself does.
    private func checkRest() throws(OSImageError) {
        guard compression == .bzip2, bytesRead < source.size.bytes else { return }
        guard bytesRead > 0 else { throw failure("truncated or damaged bzip2 input") }
        let header = "BZh".utf8
        let rest = try source.bytes(at: bytesRead, count: Int(min(UInt64(header.count), source.size.bytes - bytesRead)))
        guard !header.starts(with: rest) else { throw failure("truncated bzip2 input") }
    }
}

extension String {
    /// For a message: without control characters, at most 200 characters.
    var shown: String {
        let kept = unicodeScalars.prefix(200).map { scalar in
            scalar.properties.generalCategory == .control || scalar.properties.generalCategory == .format
                ? "?" : Character(scalar)
        }
        return String(kept)
    }
}
