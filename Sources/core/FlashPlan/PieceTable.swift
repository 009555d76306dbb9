package import DiskLayout

/// The file that lets a target find out what of a chunk differs: CRC-32 of each 32 KiB and each MiB.
///
/// 8 bytes for each 32 KiB: its CRC-32, then that of the whole MiB where it is its first piece, else 0; all big endian.
/// A chunk's entries fill whole MiBs: what is missing is taken for zeros. Each chunk's entries follow the one's before.
package struct PieceTable: Hashable, Sendable {
    /// Length of a piece: 32 KiB.
    package static let pieceSize = 32 << 10
    /// Bytes of the table for each MiB of a chunk that was begun.
    package static let bytesPerMebibyte = 256

    /// The file's content.
    package private(set) var bytes: [UInt8] = []

    /// An empty table.
    package init() {}

    /// Adds a chunk.
    ///
    /// - Parameters:
    ///   - chunk: its content, at most 16 MiB.
    ///   - crc32: the CRC-32 that Ethernet and gzip have, of what it is given.
    /// - Returns: where the chunk's entries start, for ``ChunkPlan/Chunk/pieces``.
    package mutating func append(
        _ chunk: UnsafeRawBufferPointer, crc32: (UnsafeRawBufferPointer) -> UInt32
    ) -> ByteCount {
        let start = ByteCount(UInt64(bytes.count))
        var mebibyte = 0
        while mebibyte < chunk.count {
            let rest = chunk.count - mebibyte
            if rest >= 1 << 20 {
                append(mebibyte: UnsafeRawBufferPointer(rebasing: chunk[mebibyte..<mebibyte + 1 << 20]), crc32)
            } else {
                let padded = Array(chunk[mebibyte...]) + [UInt8](repeating: 0, count: 1 << 20 - rest)
                padded.withUnsafeBytes { append(mebibyte: $0, crc32) }
            }
            mebibyte += 1 << 20
        }
        return start
    }

    private mutating func append(
        mebibyte: UnsafeRawBufferPointer, _ crc32: (UnsafeRawBufferPointer) -> UInt32
    ) {
        var whole = crc32(mebibyte)
        for piece in stride(from: 0, to: mebibyte.count, by: Self.pieceSize) {
            let content = UnsafeRawBufferPointer(rebasing: mebibyte[piece..<piece + Self.pieceSize])
            bytes += crc32(content).bigEndianBytes + whole.bigEndianBytes
            whole = 0
        }
    }

    /// Length of a chunk's entries.
    package static func size(of chunk: SectorCount) -> ByteCount {
        ByteCount((chunk.byteCount.bytes + (1 << 20 - 1)) >> 20 * UInt64(bytesPerMebibyte))
    }
}
