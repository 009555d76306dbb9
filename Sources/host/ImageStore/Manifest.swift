package import BootFiles
import Crypto
package import DiskLayout
package import FlashPlan
package import OSImage

/// What a prepared image is made of: the text of `manifest.json`. Offsets and counts are in sectors of 512 bytes.
package struct Manifest: Hashable, Sendable, Codable {
    /// The version that this program writes; others are not read.
    package static let currentVersion = 3
    /// The layout's version, 3: since then `root=` names the card's partition.
    package let version: Int
    /// SHA-256 of what follows from the content alone: partitions and chunks. The folder's name.
    package let id: String
    /// The image's file name: of the file that it was asked for by, in the file of the one that was prepared first.
    package private(set) var name: String
    /// Bytes of the raw image, of the same file. Files with the same content in their partitions can differ behind them.
    package private(set) var imageBytes: UInt64
    /// Bytes of the file `pieces`.
    package let piecesBytes: UInt64
    /// The image's first and second partition.
    package let partitions: [PartitionEntry]
    /// In the order in which they are written to a card.
    package let chunks: [Chunk]
    /// What was done to it for a card; nil where it is as its file is.
    package let relocation: RelocationRecord?

    /// What was done to an image so that it works on a card.
    package struct RelocationRecord: Hashable, Sendable, Codable {
        /// Paths of the files that differ from the image's, with the image's partition in front: `1:cmdline.txt`.
        package let changed: [String]
        /// What a user should know: one sentence each, lower case.
        package let notes: [String]
        /// Why it cannot work on a card: one sentence each, lower case.
        package let obstacles: [String]
        /// Whether the rootfs grows to the size of its partition on the first boot.
        package let grows: Bool
        /// The form in which it takes settings for its first boot.
        package let firstBoot: FirstBootMechanism
        /// The settings that it has for its first boot: what they are for; nil where there are none.
        package var customized: String?
        /// The boards that start no kernel of it, by name, and why not; nil where it was prepared before that was looked at.
        package var unstartable: [String: String]?
    }

    /// A partition of the image.
    package struct PartitionEntry: Hashable, Sendable, Codable {
        /// Its number on the card, 2 or 3: the image's number and one.
        package let number: Int
        /// Where it starts in the image.
        package let start: UInt64
        /// Its length in the image.
        package let sectors: UInt64
        /// What it holds.
        package let filesystem: Filesystem
        /// Sectors in use.
        package let usedSectors: UInt64
        /// What a user may want to know of it.
        package let note: String?
    }

    /// A run of sectors.
    package struct Chunk: Hashable, Sendable, Codable {
        /// The partition's number on the card, 2 or 3.
        package let partition: Int
        /// From the partition's start.
        package let offset: UInt64
        /// Its length.
        package let count: UInt64
        /// SHA-256 of the sectors, 64 lower-case hexadecimal digits.
        package let sha256: String
        /// The name of its file in the folder. Chunks with the same content have the same file.
        package let file: String
        /// How the file holds it.
        package let encoding: ChunkEncoding
        /// Bytes of the file.
        package let encodedBytes: UInt64
        /// Where its entries start in the file `pieces`, in bytes.
        package let pieces: UInt64

        /// Bytes of the sectors.
        package var bytes: UInt64 { count * SectorCount.bytesPerSector }

        /// The same with its entries elsewhere.
        fileprivate func with(pieces: UInt64) -> Chunk {
            Chunk(
                partition: partition, offset: offset, count: count, sha256: sha256, file: file, encoding: encoding,
                encodedBytes: encodedBytes, pieces: pieces)
        }
    }

    /// What an image is made of, under the name that follows from it.
    init(
        name: String, imageBytes: UInt64, piecesBytes: UInt64, partitions: [PartitionEntry], chunks: [Chunk],
        relocation: RelocationRecord?
    ) {
        var hash = SHA256()
        // Whether it was looked at for a card: what was found then goes with it.
        hash.update(data: Array("rpiflash image 2\(relocation == nil ? "" : " relocated")\n".utf8))
        for partition in partitions {
            hash.update(data: Array("\(partition.number) \(partition.start) \(partition.sectors)\n".utf8))
        }
        for chunk in chunks {
            hash.update(data: Array("\(chunk.partition) \(chunk.offset) \(chunk.count) \(chunk.sha256)\n".utf8))
        }
        version = Self.currentVersion
        id = hash.finalize().hex
        self.name = name
        self.imageBytes = imageBytes
        self.piecesBytes = piecesBytes
        self.partitions = partitions
        self.chunks = chunks
        self.relocation = relocation
    }

    /// Bytes of all chunks.
    package var bytes: ByteCount { ByteCount(chunks.reduce(0) { $0 + $1.bytes }) }
    /// Bytes of all chunks' files as they are sent, one that is used twice counted twice.
    package var encodedBytes: ByteCount { ByteCount(chunks.reduce(0) { $0 + $1.encodedBytes }) }

    /// The same content as another file has it.
    func named(_ name: String, imageBytes: UInt64) -> Manifest {
        var manifest = self
        (manifest.name, manifest.imageBytes) = (name, imageBytes)
        return manifest
    }

    /// Puts the chunks' entries one behind the other.
    ///
    /// - Returns: the chunks, which say where theirs are, and the content of the file `pieces`.
    static func placed(_ chunks: [(chunk: Chunk, pieces: [UInt8])]) -> (chunks: [Chunk], pieces: [UInt8]) {
        var (placed, pieces): ([Chunk], [UInt8]) = ([], [])
        for (chunk, entries) in chunks {
            placed.append(chunk.with(pieces: UInt64(pieces.count)))
            pieces += entries
        }
        return (placed, pieces)
    }

    /// Whether a manifest that was read says things that can be; it names files.
    var isSound: Bool {
        var pieces: UInt64 = 0
        for chunk in chunks {
            guard chunk.count > 0, chunk.count <= 1 << 32, chunk.offset <= 1 << 32, chunk.pieces == pieces,
                chunk.sha256.count == 64,
                chunk.sha256.allSatisfy({ $0.isASCII && ($0.isNumber || ("a"..."f").contains($0)) }),
                chunk.file == Self.fileName(chunk.sha256, chunk.encoding), chunk.partition == 2 || chunk.partition == 3
            else { return false }
            pieces += PieceTable.size(of: SectorCount(chunk.count)).bytes
        }
        return version == Self.currentVersion && pieces == piecesBytes && partitions.count == 2
    }

    static func fileName(_ sha256: String, _ encoding: ChunkEncoding) -> String {
        sha256 + (encoding == .gzip ? ".gz" : ".raw")
    }
}

/// Which file gave which prepared image: the text of `sources/<key>.json`.
struct SourceRecord: Hashable, Codable {
    static let currentVersion = 4
    var version = currentVersion
    /// Its bytes that are not UTF-8 replaced: the fingerprint tells it from others.
    let path: String
    /// Bytes of the raw image, which is unpacked where the file is compressed.
    let imageBytes: UInt64
    let fingerprint: FileFingerprint
    /// The prepared image.
    let id: String
    /// The file had been changed so shortly before it was read that a later change could have left no trace.
    let isFresh: Bool
}
