public import DiskLayout
public import OSImage

/// What a prepared image is made of: the text of `manifest.json`. Offsets and counts are in sectors of 512 bytes.
public struct Manifest: Hashable, Sendable, Codable {
    /// The version that this program writes; others are not read.
    public static let currentVersion = 1
    /// Bytes that one CRC-32 in `pieces` covers.
    public static let pieceBytes = 32768

    /// The layout's version, 1.
    public let version: Int
    /// SHA-256 of what follows from the content alone: partitions and chunks. The folder's name.
    public let id: String
    /// The image's file name when it was prepared first.
    public let name: String
    /// Bytes of the raw image.
    public let imageBytes: UInt64
    /// Bytes that one CRC-32 in `pieces` covers, 32,768.
    public let pieceBytes: Int
    /// All CRCs in `pieces`.
    public let pieces: Int
    /// The image's first and second partition.
    public let partitions: [PartitionEntry]
    /// In the order in which they are written to a card.
    public let chunks: [Chunk]

    /// A partition of the image.
    public struct PartitionEntry: Hashable, Sendable, Codable {
        /// Its number on the card, 2 or 3: the image's number and one.
        public let number: Int
        /// Its length in the image.
        public let sectors: UInt64
        /// What it holds.
        public let filesystem: Filesystem
        /// Sectors in use.
        public let usedSectors: UInt64
        /// What a user may want to know of it.
        public let note: String?
    }

    /// How a chunk's file holds it.
    public enum Encoding: String, Hashable, Sendable, Codable {
        /// As it is.
        case raw
        /// One gzip member (RFC 1952).
        case gzip
    }

    /// A run of sectors.
    public struct Chunk: Hashable, Sendable, Codable {
        /// The partition's number on the card, 2 or 3.
        public let partition: Int
        /// From the partition's start.
        public let offset: UInt64
        /// Its length.
        public let count: UInt64
        /// SHA-256 of the sectors, 64 lower-case hexadecimal digits.
        public let sha256: String
        /// The name of its file in the folder. Chunks with the same content have the same file.
        public let file: String
        /// How the file holds it.
        public let encoding: Encoding
        /// Bytes of the file.
        public let encodedBytes: UInt64
        /// The number of its first CRC in `pieces`, which holds 4 bytes, big endian, for each.
        public let firstPiece: Int

        /// Bytes of the sectors.
        public var bytes: UInt64 { count * SectorCount.bytesPerSector }
    }

    /// Bytes of all chunks.
    public var bytes: ByteCount { ByteCount(chunks.reduce(0) { $0 + $1.bytes }) }
    /// Bytes of all chunks' files as they are sent, one that is used twice counted twice.
    public var encodedBytes: ByteCount { ByteCount(chunks.reduce(0) { $0 + $1.encodedBytes }) }

    /// CRCs that a chunk of this many bytes has.
    static func pieceCount(_ bytes: UInt64) -> Int { (Int(bytes) + pieceBytes - 1) / pieceBytes }

    /// Whether a manifest that was read says things that can be; it names files.
    var isSound: Bool {
        var pieces = 0
        for chunk in chunks {
            guard chunk.count > 0, chunk.count <= 1 << 32, chunk.offset <= 1 << 32, chunk.firstPiece == pieces,
                chunk.sha256.count == 64,
                chunk.sha256.allSatisfy({ $0.isASCII && ($0.isNumber || ("a"..."f").contains($0)) }),
                chunk.file == Self.fileName(chunk.sha256, chunk.encoding), chunk.partition == 2 || chunk.partition == 3
            else { return false }
            pieces += Self.pieceCount(chunk.bytes)
        }
        return version == Self.currentVersion && pieceBytes == Self.pieceBytes && pieces == self.pieces
    }

    static func fileName(_ sha256: String, _ encoding: Encoding) -> String {
        sha256 + (encoding == .gzip ? ".gz" : ".raw")
    }
}

/// Which file gave which prepared image: the text of `sources/<key>.json`.
struct SourceRecord: Hashable, Codable {
    var version = 1
    let path: String
    let fingerprint: FileFingerprint
    /// The prepared image.
    let id: String
    /// The file had been changed so shortly before it was read that a later change could have left no trace.
    let isFresh: Bool
}
