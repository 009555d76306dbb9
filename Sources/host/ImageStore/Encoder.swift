import CDeflate
import Crypto
import DiskLayout
import FlashPlan
import Glibc
import OSImage
import SystemPackage

/// What became of one chunk.
struct EncodedChunk {
    let sha256: String
    let encoding: ChunkEncoding
    let encodedBytes: UInt64
    /// The chunk's entries in the table of pieces.
    let pieces: [UInt8]

    /// For ``Manifest/placed(_:)``: where the entries are in the whole table is not known yet.
    func placed(at place: ChunkPlace) -> (chunk: Manifest.Chunk, pieces: [UInt8]) {
        let chunk = Manifest.Chunk(
            partition: Int(place.partition.rawValue), offset: place.offset.sectors, count: place.size.sectors,
            sha256: sha256, file: Manifest.fileName(sha256, encoding), encoding: encoding, encodedBytes: encodedBytes,
            pieces: 0)
        return (chunk, pieces)
    }
}

/// One worker's buffers and compressor: at most 32 MiB, whatever the image; less where it has holes.
@safe final class ChunkEncoder {
    private let input: UnsafeMutableRawBufferPointer
    private let output: UnsafeMutableRawBufferPointer
    private let compressor: OpaquePointer

    /// Level 1 takes a third of the time of zlib's; higher ones save little of what flashing waits for.
    private static let level: Int32 = 1

    /// - Parameter largest: bytes of the largest chunk.
    init(largest: Int) throws(ImageStoreError) {
        guard let compressor = unsafe libdeflate_alloc_compressor(Self.level) else { throw .outOfMemory }
        unsafe self.compressor = compressor
        let places = try unsafe (Self.pages(largest), Self.pages(Self.room(largest)))
        unsafe (input, output) = unsafe places
    }

    /// Zeros that take memory only where something else is written. C: `mmap`.
    private static func pages(_ bytes: Int) throws(ImageStoreError) -> UnsafeMutableRawBufferPointer {
        let start = unsafe mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let start = unsafe start, unsafe start != MAP_FAILED else { throw .outOfMemory }
        return unsafe UnsafeMutableRawBufferPointer(start: start, count: bytes)
    }

    deinit {
        unsafe libdeflate_free_compressor(compressor)
        unsafe munmap(input.baseAddress, input.count)
        unsafe munmap(output.baseAddress, output.count)
    }

    /// What gzip must stay within to be worth unpacking: 3 % are saved.
    private static func room(_ bytes: Int) -> Int { max(64, bytes - bytes * 3 / 100) }

    /// Reads a chunk and puts its file into a folder, unless it is there or in an image that was prepared before.
    ///
    /// - Parameters:
    ///   - bytes: where the chunk is in the image, a multiple of 512.
    ///   - folder: gets the file.
    ///   - unique: tells this chunk's unfinished file from those of other workers.
    ///   - known: folders of prepared images.
    func encode(
        _ bytes: Range<UInt64>, of image: ImageReader, into folder: FilePath, unique: Int, known: [FilePath],
        store: FilePath
    ) throws(ImageStoreError) -> EncodedChunk {
        let buffer = unsafe UnsafeMutableRawBufferPointer(rebasing: input[..<bytes.count])
        // Zeros again, which take no memory where the image has holes.
        unsafe madvise(input.baseAddress, input.count, MADV_DONTNEED)
        unsafe madvise(output.baseAddress, output.count, MADV_DONTNEED)
        do {
            try unsafe image.readData(into: buffer, at: bytes.lowerBound)
        } catch {
            throw .image(error)
        }
        let content = UnsafeRawBufferPointer(buffer)
        var hash = SHA256()
        unsafe hash.update(bufferPointer: content)
        let sha256 = hash.finalize().hex
        let pieces = unsafe Self.pieces(content)
        let crc = unsafe UInt32(libdeflate_crc32(0, content.baseAddress, content.count))

        for encoding in [ChunkEncoding.gzip, .raw] {
            let name = Manifest.fileName(sha256, encoding)
            let path = folder.appending(name)
            if let size = Self.usable(path, encoding, content.count, crc) {
                return EncodedChunk(sha256: sha256, encoding: encoding, encodedBytes: size, pieces: pieces)
            }
            for other in known {
                guard let size = Self.usable(other.appending(name), encoding, content.count, crc) else { continue }
                // Gone meanwhile, or linked by the other worker: made here, then.
                guard (try? StoreFiles.link(other.appending(name), to: path, store: store)) == true else { break }
                return EncodedChunk(sha256: sha256, encoding: encoding, encodedBytes: size, pieces: pieces)
            }
        }

        let room = Self.room(content.count)
        let count = unsafe libdeflate_gzip_compress(
            compressor, content.baseAddress, content.count, output.baseAddress, min(room, output.count))
        let encoding: ChunkEncoding = count > 0 ? .gzip : .raw
        let encoded = unsafe count > 0 ? UnsafeRawBufferPointer(rebasing: output[..<count]) : content
        let name = Manifest.fileName(sha256, encoding)
        let unfinished = folder.appending("\(unique).part")
        try unsafe StoreFiles.write(encoded, to: unfinished, store: store)
        try StoreFiles.rename(unfinished, to: folder.appending(name), store: store)
        return EncodedChunk(
            sha256: sha256, encoding: encoding, encodedBytes: UInt64(encoded.count), pieces: pieces)
    }

    /// A file's length if it can be the chunk's: one that somebody cut or overwrote is not.
    ///
    /// gzip ends in CRC-32 and length of what it holds, little endian (RFC 1952, 2.3.1).
    private static func usable(
        _ path: FilePath, _ encoding: ChunkEncoding, _ bytes: Int, _ crc: UInt32
    ) -> UInt64? {
        guard let size = StoreFiles.size(of: path) else { return nil }
        guard encoding == .gzip else { return size == UInt64(bytes) ? size : nil }
        guard size > 18, size <= UInt64(room(bytes)) else { return nil }
        let expected = (0..<8).map {
            UInt8(truncatingIfNeeded: ($0 < 4 ? UInt64(crc) : UInt64(bytes)) >> UInt64($0 % 4 * 8))
        }
        return StoreFiles.bytes(of: path, at: size - 8, count: 8) == expected ? size : nil
    }

    /// C: `libdeflate_crc32`; the same as U-Boot's `crc32` prints.
    private static func pieces(_ content: UnsafeRawBufferPointer) -> [UInt8] {
        var table = PieceTable()
        _ = unsafe table.append(content) { unsafe UInt32(libdeflate_crc32(0, $0.baseAddress, $0.count)) }
        return table.bytes
    }
}

extension Sequence<UInt8> {
    /// Lower-case hexadecimal, two digits a byte.
    var hex: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
