import Configuration
import DiskLayout
import FlashPlan
package import ImageStore
import OSImage

/// What `rpiflash plan` shows; as JSON docs/json.md has its fields.
package struct PlanReport: Encodable {
    struct Partition: Encodable {
        let number: Int
        let filesystem: String
        let bytes: UInt64
        let usedBytes: UInt64
        let note: String?
    }

    struct Chunk: Encodable {
        let number: Int
        let cardPartition: Int
        let offset: UInt64
        let sectors: UInt64
        let sha256: String
        let encoding: String
        let encodedBytes: UInt64
    }

    struct Relocation: Encodable {
        let changed: [String]
        let notes: [String]
        let obstacles: [String]
        let grows: Bool
        /// Why a board cannot start it, by the board's name; empty where all can.
        let unstartable: [String: String]
    }

    package struct Card: Encodable {
        let path: String
        let fits: Bool
        var reason: String?

        /// - Parameter reason: why the image does not fit; nil where it does.
        package init(path: String, reason: String? = nil) {
            (self.path, fits, self.reason) = (path, reason == nil, reason)
        }
    }

    /// Grows when a field changes its meaning or goes.
    let version = 1
    let image: String
    let id: String
    let imageBytes: UInt64
    let partitions: [Partition]
    let chunkCount: Int
    let writeBytes: UInt64
    let loadBytes: UInt64
    /// Of what is loaded to what is written.
    let ratio: Double
    let rate: UInt64
    let loadSeconds: Double
    let relocation: Relocation?
    package var card: Card?
    let chunks: [Chunk]?

    /// - Parameters:
    ///   - isRaw: ranges of it can be sent, for which the target needs the table of pieces.
    ///   - rate: bytes a second, more than 0.
    package init(_ prepared: PreparedImage, image: String, isRaw: Bool, rate: UInt64, withChunks: Bool) {
        let manifest = prepared.manifest
        self.image = image
        id = manifest.id
        imageBytes = manifest.imageBytes
        partitions = manifest.partitions.map { entry in
            // In the image they are one less: its first is the card's second.
            Partition(
                number: entry.number - 1, filesystem: entry.filesystem.rawValue,
                bytes: entry.sectors * SectorCount.bytesPerSector,
                usedBytes: entry.usedSectors * SectorCount.bytesPerSector, note: entry.note)
        }
        chunkCount = manifest.chunks.count
        writeBytes = manifest.bytes.bytes
        loadBytes = manifest.encodedBytes.bytes + (isRaw ? manifest.piecesBytes : 0)
        ratio = writeBytes > 0 ? (Double(loadBytes) / Double(writeBytes) * 1000).rounded() / 1000 : 0
        self.rate = rate
        loadSeconds = (Double(loadBytes) / Double(rate) * 10).rounded(.up) / 10
        relocation = manifest.relocation.map {
            Relocation(
                changed: $0.changed, notes: $0.notes, obstacles: $0.obstacles, grows: $0.grows,
                unstartable: $0.unstartable ?? [:])
        }
        chunks =
            !withChunks
            ? nil
            : manifest.chunks.enumerated().map { index, chunk in
                Chunk(
                    number: index + 1, cardPartition: chunk.partition, offset: chunk.offset, sectors: chunk.count,
                    sha256: chunk.sha256, encoding: chunk.encoding.rawValue, encodedBytes: chunk.encodedBytes)
            }
    }

    /// For a person.
    package var text: String {
        func size(_ bytes: UInt64) -> String { "\(bytes) bytes (\(Figures.mebibytes(bytes)))" }
        var rows = [
            ["image", sanitized(image) + ", " + size(imageBytes)], ["id", id],
        ]
        for partition in partitions {
            rows.append([
                "partition \(partition.number)",
                "\(partition.filesystem), \(size(partition.usedBytes)) of \(Figures.mebibytes(partition.bytes)) used",
            ])
            if let note = partition.note { rows.append(["", sanitized(note)]) }
        }
        rows.append(["chunks", "\(chunkCount)"])
        rows.append(["written", "at most \(size(writeBytes))"])
        rows.append(["sent", "at most \(size(loadBytes)), \(ratio) of what is written"])
        rows.append([
            "time",
            "sending takes at most \(loadSeconds) s at \(Figures.mebibytes(rate))/s; "
                + "what the card takes to write and read it comes on top",
        ])
        if let relocation {
            let files = relocation.changed.isEmpty ? "nothing" : relocation.changed.joined(separator: ", ")
            rows.append(["changed", sanitized(files)])
            rows.append(["growth", relocation.grows ? "rootfs grows to partition 3 on the first boot" : "none"])
            for note in relocation.notes { rows.append(["note", sanitized(note)]) }
            for obstacle in relocation.obstacles { rows.append(["obstacle", sanitized(obstacle)]) }
        } else {
            rows.append(["changed", "nothing (--as-is)"])
        }
        if let card {
            rows.append(["card", (card.fits ? "fits " : "does not fit ") + sanitized(card.path)])
        }
        var text = textTable(rows, empty: "")
        if let chunks {
            let header = ["CHUNK", "CARD PARTITION", "OFFSET", "SECTORS", "BYTES SENT", "ENCODING", "SHA-256"]
            let lines = chunks.map { chunk in
                [
                    "\(chunk.number)", "\(chunk.cardPartition)", "\(chunk.offset)", "\(chunk.sectors)",
                    "\(chunk.encodedBytes)", chunk.encoding, chunk.sha256,
                ]
            }
            text += "\n" + textTable([header] + lines)
        }
        return text
    }
}
