package import BootScript
package import Configuration
package import DiskLayout

/// Everything a target has to do in one job, and what it must report in the end.
///
/// Source: docs/plan-protocol.md. ``script(templates:)`` renders it; ``judge(report:outcome:)`` says whether it was done.
package struct ChunkPlan: Hashable, Sendable {
    /// A number that a job gives itself, so that no other job's report is taken for its own.
    package struct PlanID: Hashable, Sendable {
        /// Any number.
        package let value: UInt64
        /// As given; random is right.
        package init(_ value: UInt64) { self.value = value }
        /// 16 hexadecimal digits, lower case.
        package var hex: String {
            let digits = String(value, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }
    }

    /// How the card is compared.
    package enum Mode: String, Hashable, Sendable, CaseIterable {
        /// What is there already is left as it is.
        case normal
        /// Everything is written.
        case full
        /// Nothing is written: any difference is a failure.
        case verify
    }

    /// A chunk's file on the server.
    package struct ChunkFile: Hashable, Sendable {
        /// Its name in the target's folder, 1 to 64 letters, digits and `. _ - + @`; `image@2000+8000` is a range.
        package let name: String
        /// How the chunk's bytes lie in it.
        package let encoding: ChunkEncoding
        /// Its length, 1 byte to 16 MiB.
        package let size: ByteCount

        package init(name: String, encoding: ChunkEncoding, size: ByteCount) {
            (self.name, self.encoding, self.size) = (name, encoding, size)
        }
    }

    /// A run of sectors, and where its content comes from.
    package struct Chunk: Hashable, Sendable {
        /// Where it goes.
        package let place: ChunkPlace
        /// Of its bytes as they are on the card.
        package let digest: SHA256Digest
        /// The file that has them.
        package let file: ChunkFile
        /// Where its entries start in the table of pieces, a multiple of 256 bytes; 0 where there is no table.
        package let pieces: ByteCount

        package init(place: ChunkPlace, digest: SHA256Digest, file: ChunkFile, pieces: ByteCount = ByteCount(0)) {
            (self.place, self.digest, self.file, self.pieces) = (place, digest, file, pieces)
        }
    }

    /// What a target needs to load single pieces of a chunk: the image, raw, in ranges, and the table.
    package struct Pieces: Hashable, Sendable {
        /// The image's name in the target's folder; asked for as `<name>@<start>+<count>`, hexadecimal sectors.
        package let imageName: String
        /// The name of ``PieceTable``'s file.
        package let tableName: String
        /// The length of that file, at most 64 MiB (RAM on the target: 256 GiB of image).
        package let tableSize: ByteCount

        package init(imageName: String, tableName: String, tableSize: ByteCount) {
            (self.imageName, self.tableName, self.tableSize) = (imageName, tableName, tableSize)
        }
    }

    /// The job's own number.
    package let job: PlanID
    /// How the card is compared.
    package let mode: Mode
    /// Where the image's partitions lie, and how long they are.
    package let image: OSImageLayout
    /// In the order in which they are written; the last is the boot partition's first sector, alone.
    package let chunks: [Chunk]
    /// nil: chunks are always loaded whole.
    package let pieces: Pieces?
    /// Whether the target sends its console to the server meanwhile, by netconsole.
    package let sendsConsole: Bool
    /// The one target that may run it; nil: any.
    package let target: MACAddress?
    /// Whether only a card that knows a key may run it.
    package let needsKeys: Bool

    /// The most bytes of a script image, header included: what lies between a target's `scriptaddr` and the next 1 MiB.
    package static let longestScript = 1000 << 10
    /// The most bytes of the table of pieces.
    package static let largestTable = ByteCount.mebibytes(64)

    /// Takes a plan and checks it: what a target could not do, or what would break a law, is an error.
    ///
    /// - Throws: ``ChunkPlanError``.
    package init(
        job: PlanID, mode: Mode = .normal, image: OSImageLayout, chunks: [Chunk], pieces: Pieces? = nil,
        sendsConsole: Bool = false, target: MACAddress? = nil, needsKeys: Bool = false
    ) throws(ChunkPlanError) {
        guard let last = chunks.last?.place,
            last == ChunkPlace(partition: .boot, offset: SectorCount(0), size: SectorCount(1))
        else { throw .firstSectorNotLast }
        for (index, chunk) in chunks.enumerated() {
            try Self.check(chunk, number: index + 1, image: image, pieces: pieces)
        }
        for partition in CardPartition.allCases {
            let places = chunks.map(\.place).enumerated().filter { $0.element.partition == partition }
                .sorted { $0.element.offset < $1.element.offset }
            for (before, after) in zip(places, places.dropFirst())
            where before.element.end > after.element.offset {
                throw .overlap(chunk: after.offset + 1, with: before.offset + 1)
            }
        }
        if let pieces {
            for name in [pieces.imageName, pieces.tableName] where !Self.isName(name) { throw .badName(name) }
            guard pieces.tableSize <= Self.largestTable else { throw .tableTooLarge(pieces.tableSize) }
        }
        self.job = job
        self.mode = mode
        self.image = image
        self.chunks = chunks
        self.pieces = pieces
        self.sendsConsole = sendsConsole
        self.target = target
        self.needsKeys = needsKeys
    }

    private static func check(
        _ chunk: Chunk, number: Int, image: OSImageLayout, pieces: Pieces?
    ) throws(ChunkPlanError) {
        let place = chunk.place
        guard place.size.sectors > 0, place.size <= ChunkPlace.longest else {
            throw .badSize(chunk: number, place.size)
        }
        let partition = image.partition(for: place.partition)
        guard place.offset.sectors <= partition.size.sectors, place.size <= partition.size - place.offset else {
            throw .outside(chunk: number, place.partition, size: partition.size)
        }
        guard isName(chunk.file.name) else { throw .badName(chunk.file.name) }
        guard chunk.file.size.bytes > 0, chunk.file.size <= ChunkPlace.longest.byteCount else {
            throw .badFileSize(chunk: number, chunk.file.size)
        }
        if chunk.file.encoding == .raw, chunk.file.size != place.size.byteCount {
            throw .badFileSize(chunk: number, chunk.file.size)
        }
        if let pieces {
            guard chunk.pieces.bytes % UInt64(PieceTable.bytesPerMebibyte) == 0,
                chunk.pieces.bytes <= pieces.tableSize.bytes,
                PieceTable.size(of: place.size).bytes <= pieces.tableSize.bytes - chunk.pieces.bytes
            else { throw .outsideTable(chunk: number, chunk.pieces, table: pieces.tableSize) }
        }
    }

    /// Letters, digits and `. _ - + @`, 1 to 64 of them, and no outcome's name.
    private static func isName(_ name: String) -> Bool {
        (1...64).contains(name.utf8.count) && name != "." && name != ".."
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"):
                    true
                default: "._-+@".utf8.contains(byte)
                }
            }
    }

    /// All chunks' sectors together: what a target must have proven.
    package var totalSectors: SectorCount { chunks.reduce(SectorCount(0)) { $0 + $1.place.size } }

    /// All chunks' files together: what an empty card costs on the wire, less the protocol's own bytes.
    package var encodedSize: ByteCount { chunks.reduce(ByteCount(0)) { $0 + $1.file.size } }

    /// Names of the files that the target may ask for, `flash.scr` aside; the image's in ranges, too.
    package var fileNames: Set<String> {
        Set(chunks.map(\.file.name)).union(pieces.map { [$0.imageName, $0.tableName] } ?? [])
    }
}

extension OSImageLayout {
    /// The image's partition that goes to this one of the card.
    package func partition(for partition: CardPartition) -> Partition {
        switch partition {
        case .boot: boot
        case .rootfs: rootfs
        }
    }
}

/// The templates of flash plans.
package struct PlanTemplates: Hashable, Sendable {
    /// The files that become one script, in this order; paths in the folder of templates.
    package static let files = [
        "plan/start.cmd", BootScriptFiles.netconsole, "plan/permission.cmd",
        "plan/data.cmd", "plan/checks.cmd", "plan/load.cmd", "plan/pieces.cmd",
        "plan/chunks.cmd", "plan/report.cmd",
    ]
    /// Rendered once for each chunk, for the value `chunks` of the others.
    package static let chunkFile = "plan/chunk.cmd"

    let plan: Template
    let chunk: Template

    /// Reads each file by its path in the folder of templates.
    package init<Failure: Error>(read: (_ path: String) throws(Failure) -> Template) throws(Failure) {
        plan = try Template(joining: Self.files, read: read)
        chunk = try read(Self.chunkFile)
    }
}

extension ChunkPlan {
    /// The file that a target asks for: the script as U-Boot's `source` takes it.
    package static let scriptName = "flash.scr"

    /// The plan as a script.
    ///
    /// - Throws: ``BootScript/TemplateError`` where a template does not fit this program.
    package func script(templates: PlanTemplates) throws(TemplateError) -> String {
        var lines: [[String: TemplateValue]] = []
        for (index, chunk) in chunks.enumerated() {
            let start = image.partition(for: chunk.place.partition).start + chunk.place.offset
            lines.append([
                "number": .word("\(index + 1)"),
                "partition": .word("\(chunk.place.partition.rawValue)"),
                "offset": .hexadecimal(chunk.place.offset.sectors),
                "sectors": .hexadecimal(chunk.place.size.sectors),
                "sha256": .word(chunk.digest.hex),
                "encoding": .word(chunk.file.encoding.rawValue),
                "size": .hexadecimal(chunk.file.size.bytes),
                "name": .word(chunk.file.name),
                "pieces": .hexadecimal(chunk.pieces.bytes),
                "image": .hexadecimal(start.sector),
            ])
        }
        return try templates.plan.renderScript([
            "job": .word(job.hex),
            "mode": .word(mode.rawValue),
            "netconsole": .flag(sendsConsole),
            "target": .word(target?.description ?? "any"),
            "needs_keys": .flag(needsKeys),
            "chunk_count": .word("\(chunks.count)"),
            "total_sectors": .hexadecimal(totalSectors.sectors),
            "boot_sectors": .hexadecimal(image.boot.size.sectors),
            "rootfs_sectors": .hexadecimal(image.rootfs.size.sectors),
            "hashes_kept": .hexadecimal(UInt64(chunks.count) * 2),
            "pieces": .flag(pieces != nil),
            "pieces_file": .word(pieces?.tableName ?? "none"),
            "pieces_size": .hexadecimal(pieces?.tableSize.bytes ?? 0),
            "image_file": .word(pieces?.imageName ?? "none"),
            "chunks": .rendered(try templates.chunk.render(each: lines)),
        ])
    }

    /// `flash.scr`: ``script(templates:)`` as a script image.
    ///
    /// - Parameter time: seconds since 1970, shown by tools only.
    /// - Throws: ``BootScript/TemplateError``, and ``ChunkPlanError`` where the script is too long for a target's RAM.
    package func scriptImage(templates: PlanTemplates, time: UInt32) throws -> [UInt8] {
        let image = ScriptImage.encode(script: try script(templates: templates), name: "plan", time: time)
        try check(image)
        return image
    }

    /// Checks that an image of the script fits a target's RAM.
    ///
    /// - Throws: ``ChunkPlanError/scriptTooLong(bytes:chunks:)``.
    package func check(_ image: [UInt8]) throws(ChunkPlanError) {
        guard image.count <= Self.longestScript else {
            throw .scriptTooLong(bytes: image.count, chunks: chunks.count)
        }
    }
}

/// Why something is not a plan that a target can carry out.
package enum ChunkPlanError: Error, Hashable, Sendable {
    /// The last chunk is not the boot partition's first sector alone (law 3).
    case firstSectorNotLast
    /// The chunk has 0 sectors or more than 16 MiB.
    case badSize(chunk: Int, SectorCount)
    /// The chunk ends behind its partition.
    case outside(chunk: Int, CardPartition, size: SectorCount)
    /// Two chunks have a sector in common.
    case overlap(chunk: Int, with: Int)
    /// A file's name has characters that a script could misunderstand.
    case badName(String)
    /// The chunk's file is empty, longer than 16 MiB, or raw and not as long as the chunk.
    case badFileSize(chunk: Int, ByteCount)
    /// The chunk's entries are not within the table of pieces.
    case outsideTable(chunk: Int, ByteCount, table: ByteCount)
    /// The table of pieces does not fit the target's RAM.
    case tableTooLarge(ByteCount)
    /// The script does not fit the target's RAM.
    case scriptTooLong(bytes: Int, chunks: Int)
}

extension ChunkPlanError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .firstSectorNotLast:
            "the plan's last chunk must be the boot partition's first sector, alone"
        case .badSize(let chunk, let size):
            "chunk \(chunk) has \(size.sectors) sectors; must have 1 to \(ChunkPlace.longest.sectors) (16 MiB)"
        case .outside(let chunk, let partition, let size):
            "chunk \(chunk) ends behind partition \(partition.rawValue), which has \(size) in the image"
        case .overlap(let chunk, let other): "chunk \(chunk) starts within chunk \(other)"
        case .badName(let name):
            "file name \(name.debugDescription) must have 1 to 64 letters, digits and . _ - + @"
        case .badFileSize(let chunk, let size):
            "file of chunk \(chunk) has \(size.bytes) bytes; must have 1 byte to 16 MiB, and the chunk's length if raw"
        case .outsideTable(let chunk, let offset, let table):
            "pieces of chunk \(chunk) start at byte \(offset.bytes) of a table of \(table.bytes) bytes; "
                + "must be a multiple of \(PieceTable.bytesPerMebibyte) within it"
        case .tableTooLarge(let size):
            "table of pieces has \(size.bytes) bytes; must be at most \(ChunkPlan.largestTable) (a target's RAM)"
        case .scriptTooLong(let bytes, let chunks):
            "flash plan of \(chunks) chunks has \(bytes) bytes; must be at most \(ChunkPlan.longestScript) "
                + "(a target's RAM): use the parts protocol for this image"
        }
    }
}
