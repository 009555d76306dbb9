import ArgumentParser
import CommandOutput
import Configuration
import DiskLayout
import Flashing
import Glibc
import HostTools
import ImageStore
import OSImage
import SystemPackage

/// `rpiflash plan`.
struct PlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Show what flashing an image would do: what is used, written and sent.",
        discussion: """
            Prepares the image in the store, or finds it prepared there, as a flash does; a flash after that starts at \
            once. No target is needed and none is touched. 'At most' is a card that holds nothing of the image: what is \
            on a card already is neither sent nor written. An image that does not fit the card ends it with exit status 7.

            EXAMPLES
              rpiflash plan raspios.img.xz
              rpiflash plan raspios.img --card card.yaml --rate 40MiB --chunks
              rpiflash plan raspios.img --json
            """)

    @Argument(help: "The OS image, raw or compressed (xz, gz, zst, bz2, zip).")
    var image: String

    @Option(
        help: ArgumentHelp(
            "The layout of a card that it must fit. Default: \(Installation.hostCard), if there.", valueName: "file"))
    var card: String?

    @OptionGroup var relocation: RelocationOptions

    @OptionGroup var store: StoreOptions

    @Option(
        help: ArgumentHelp(
            "Bytes a second of the network, for the time: a number, or with KiB, MiB, GiB, kB, MB, GB, and /s.",
            valueName: "rate"))
    var rate = RateOption(bytes: 10 << 20)

    @Flag(help: "Each chunk too.")
    var chunks = false

    @Flag(help: "One JSON object, for programs, as docs/json.md describes it.")
    var json = false

    @OptionGroup var log: LogOptions

    func run() async throws {
        log.apply()
        let path = FilePath(image)
        let reporter = FlashLog(target: "")
        // A card that cannot be read is found before minutes of preparation.
        let cardPath =
            card.map { FilePath($0) }
            ?? [Installation.hostCard].first { $0.withPlatformString { access($0, F_OK) } == 0 }
        let layout = try cardPath.map { try loadCard($0) }
        let prepared = try await prepare(path, relocation.request, in: ImageStore(at: store.path)) {
            reporter.report($0)
        }
        Log.shared.finish()
        let record = prepared.manifest.relocation
        let isRaw = try !isCompressed(path)
        var report = PlanReport(prepared, image: image, isRaw: isRaw, rate: rate.bytes, withChunks: chunks)
        var misfit: FlashError?
        if let cardPath, let layout {
            report.card = .init(path: cardPath.string, fits: true)
            do {
                try layout.checkPartitionsFit(try prepared.layout())
            } catch {
                report.card = .init(path: cardPath.string, fits: false, reason: "\(error)")
                misfit = .image("\(image): \(error)")
            }
        }
        print(json ? jsonLine(report) + "\n" : report.text, terminator: "")
        if !json { suggest("rpiflash flash \(image) TARGET") }
        if let misfit { throw misfit }
        if let obstacle = record?.obstacles.first { throw FlashError.image("\(image): \(obstacle)") }
    }
}

/// Bytes a second: `10MiB/s`, `10MiB`, `1000000`.
struct RateOption: ExpressibleByArgument {
    let bytes: UInt64

    init(bytes: UInt64) { self.bytes = bytes }

    init?(argument: String) {
        let text = argument.hasSuffix("/s") ? String(argument.dropLast(2)) : argument
        guard let size = try? ByteCount(parsing: text, as: "rate"), size.bytes > 0 else { return nil }
        bytes = size.bytes
    }

    var defaultValueDescription: String { bytes % (1 << 20) == 0 ? "\(bytes >> 20)MiB/s" : "\(bytes)/s" }
}

/// What `rpiflash plan` shows; as JSON docs/json.md has its fields.
struct PlanReport: Encodable {
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
    }

    struct Card: Encodable {
        let path: String
        let fits: Bool
        var reason: String?
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
    var card: Card?
    let chunks: [Chunk]?

    /// - Parameters:
    ///   - isRaw: ranges of it can be sent, for which the target needs the table of pieces.
    ///   - rate: bytes a second, more than 0.
    init(_ prepared: PreparedImage, image: String, isRaw: Bool, rate: UInt64, withChunks: Bool) {
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
            Relocation(changed: $0.changed, notes: $0.notes, obstacles: $0.obstacles, grows: $0.grows)
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
    var text: String {
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
        let width = (rows.map { $0[0].count }.max() ?? 0) + 2
        var text = rows.map { $0[0] + String(repeating: " ", count: width - $0[0].count) + $0[1] + "\n" }.joined()
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

    enum CodingKeys: String, CodingKey {
        case version, image, id, partitions, chunks, ratio, rate, relocation, card
        case imageBytes = "image_bytes"
        case chunkCount = "chunk_count"
        case writeBytes = "write_bytes"
        case loadBytes = "load_bytes"
        case loadSeconds = "load_seconds"
    }
}

extension PlanReport.Partition {
    enum CodingKeys: String, CodingKey {
        case number, filesystem, bytes, note
        case usedBytes = "used_bytes"
    }
}

extension PlanReport.Chunk {
    enum CodingKeys: String, CodingKey {
        case number, offset, sectors, sha256, encoding
        case cardPartition = "card_partition"
        case encodedBytes = "encoded_bytes"
    }
}
