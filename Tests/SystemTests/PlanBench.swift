import BootScript
import DiskLayout
import FlashPlan
import Foundation
import SystemPackage
import TestSupport
import Testing

/// The files of a flash plan in a target's TFTP folder.
struct StagedPlan: Sendable {
    let plan: ChunkPlan
    let image: FilePath
    let folder: FilePath
    /// Chunks in the order of the plan, as they shall be on the card.
    let contents: [Data]

    /// Cuts an image and stages its chunks.
    ///
    /// - Parameters:
    ///   - chunkSectors: chunks are cut shorter than 16 MiB, so that a small image has some.
    ///   - withPieces: the table is made too, and the plan says that the server has the image itself.
    ///   - edit: changes the script before it is wrapped.
    init(
        _ image: FilePath, for target: VirtualTarget, mode: ChunkPlan.Mode = .normal, chunkSectors: UInt64 = 0x1000,
        withPieces: Bool = false, edit: (String) -> String = { $0 }
    ) async throws {
        self.image = image
        folder = target.directory.appending("tftp/52:54:00:12:34:56")
        let bytes = try Data(contentsOf: URL(filePath: image.string), options: .alwaysMapped)
        let layout = try Self.layout(of: bytes)
        let places = try cutIntoChunks(
            boot: UsedSectors(all: layout.boot.size), rootfs: UsedSectors(all: layout.rootfs.size)
        ).flatMap { place in
            stride(from: place.offset.sectors, to: place.end.sectors, by: Int(chunkSectors)).map { start in
                ChunkPlace(
                    partition: place.partition, offset: SectorCount(start),
                    size: SectorCount(min(chunkSectors, place.end.sectors - start)))
            }
        }
        contents = places.map { place in
            let start = Int((layout.partition(for: place.partition).start + place.offset).byteOffset.bytes)
            return bytes[start..<start + Int(place.size.byteCount.bytes)]
        }
        try? FileManager.default.removeItem(atPath: folder.string)
        try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: true)
        for (number, content) in contents.enumerated() {
            try content.write(to: URL(filePath: folder.appending("c\(number)").string))
        }
        // The longer of the two files of a chunk goes.
        let made = try await bash(
            """
            cd $FOLDER
            for number in $(seq 0 $LAST); do
                read -r digest _ < <(sha256sum c$number)
                gzip -1 -n -k c$number
                if [ $(stat -c %s c$number.gz) -lt $(stat -c %s c$number) ]; then name=c$number.gz; else name=c$number; fi
                echo $digest $name $(stat -c %s $name)
                rm $(ls c$number c$number.gz | grep -vx $name)
            done
            """, ["FOLDER": folder.string, "LAST": "\(places.count - 1)"])
        try #require(made.status == 0, made.all)
        var table = PieceTable()
        var chunks: [ChunkPlan.Chunk] = []
        for (index, line) in made.stdout.split(separator: "\n").enumerated() {
            let words = line.split(separator: " ").map(String.init)
            let pieces =
                withPieces ? contents[index].withUnsafeBytes { table.append($0, crc32: crc32) } : ByteCount(0)
            chunks.append(
                ChunkPlan.Chunk(
                    place: places[index], digest: try #require(SHA256Digest(hexadecimal: words[0])),
                    file: ChunkPlan.ChunkFile(
                        name: words[1], encoding: words[1].hasSuffix(".gz") ? .gzip : .raw,
                        size: ByteCount(try #require(UInt64(words[2])))),
                    pieces: pieces))
        }
        try Data(table.bytes).write(to: URL(filePath: folder.appending("pieces").string))
        plan = try ChunkPlan(
            job: ChunkPlan.PlanID(UInt64.random(in: 0...UInt64.max)), mode: mode, image: layout, chunks: chunks,
            pieces: withPieces
                ? ChunkPlan.Pieces(
                    imageName: "image", tableName: "pieces", tableSize: ByteCount(UInt64(table.bytes.count))) : nil)
        let templates = Bench.repository.appending("templates")
        let script = try plan.script(
            templates: PlanTemplates { name in
                try Template(String(contentsOfFile: templates.appending(name).string, encoding: .utf8), file: name)
            })
        try Data(ScriptImage.encode(script: edit(script), name: "plan", time: 0))
            .write(to: URL(filePath: folder.appending(ChunkPlan.scriptName).string))
    }

    /// A chunk's file.
    func file(_ chunk: Int) -> FilePath { folder.appending(plan.chunks[chunk].file.name) }

    /// The image's table: start and size of two entries, from byte 446, each of 16 bytes.
    private static func layout(of image: Data) throws -> OSImageLayout {
        func number(_ offset: Int) -> UInt64 {
            image[offset..<offset + 4].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        let partitions = (0..<2).map { index in
            Partition(
                number: index + 1, type: index == 0 ? .fat32LBA : .linux, start: LBA(number(446 + index * 16 + 8)),
                size: SectorCount(number(446 + index * 16 + 12)))
        }
        return try OSImageLayout(
            table: PartitionTable(diskID: DiskID(1), partitions: partitions), size: ByteCount(UInt64(image.count)))
    }
}

private let crcTable: [UInt32] = (0..<256).map { (byte: UInt32) in
    (0..<8).reduce(byte) { value, _ in value & 1 == 1 ? value >> 1 ^ 0xedb8_8320 : value >> 1 }
}

/// CRC-32 as U-Boot has it.
private func crc32(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    crcTable.withUnsafeBufferPointer { table in
        var value = UInt32.max
        for byte in bytes { value = table[Int((value ^ UInt32(byte)) & 0xff)] ^ value >> 8 }
        return ~value
    }
}

/// What one run of a plan left behind.
struct PlanRun: Sendable {
    let report: Report
    let outcome: Outcome
    /// The console of this run alone.
    let console: String
    /// Bytes of each file that the server sent in full.
    let sent: [String: Int]

    /// What went over the wire from the server.
    var wire: Int { sent.values.reduce(0, +) }
    /// First block and length of each write to the card, in order.
    var writes: [(block: Int, count: Int)] { consoleWrites(console) }
    /// Numbers of the chunks of which the console says `what`.
    func chunks(_ what: String) -> [Int] { consoleChunks(console, what) }
}

/// First block and length of each write that a console shows.
func consoleWrites(_ console: String) -> [(block: Int, count: Int)] {
    console.matches(of: /MMC write: dev # 0, block # (\d+), count (\d+) \.\.\. (\d+) blocks written/).compactMap {
        match in
        Int(match.output.1).flatMap { block in Int(match.output.2).map { (block, $0) } }
    }
}

/// Numbers of the chunks of which a console says `what`.
func consoleChunks(_ console: String, _ what: String) -> [Int] {
    console.matches(of: /rpiflash: chunk (\d+) of \d+: (.*)/).filter { $0.output.2.hasPrefix(what) }
        .compactMap { Int($0.output.1) }
}

extension VirtualTarget {
    /// Shell lines that start rpiflash's TFTP server, with the image in ranges where the plan has pieces.
    func server(_ staged: StagedPlan) -> String {
        """
        $SERVER $TFTP 192.168.77.1 $MAC \(staged.plan.pieces == nil ? "" : "image=\(staged.image.string)") \
        >$D/server.log & server=$!
        trap 'kill $server' EXIT
        until grep -q serving $D/server.log; do sleep 0.05; done
        """
    }

    /// Lets the target run a plan until it has booted or given up.
    func carryOut(
        _ staged: StagedPlan, server: String? = nil, seconds: Int = Parts.hangs
    ) async throws -> PlanRun {
        let before = console.utf8.count
        let result = try await exec(
            """
            rm -f $TFTP/$MAC/{OK,FAILED,REPORT}; : >$D/server.log
            SERVER=\(Bench.binaries.appending("rpiflash-test-server").string)
            \(server ?? self.server(staged))
            $VT reset $D
            $VT wait $D 'rpiflash: cannot boot' --timeout \(seconds)
            # The sandbox boots milliseconds after its upload: the server may still have to write it down.
            for _ in {1..600}; do
                [ ! -s $TFTP/$MAC/OK ] && [ ! -s $TFTP/$MAC/FAILED ] || break
                sleep 0.05
            done
            """, seconds: seconds + 60)
        let text = String(decoding: console.utf8.dropFirst(before), as: UTF8.self)
        try #require(result.status == 0, "\(result.all)\(text)")
        let kinds = Outcome.Kind.allCases.filter {
            FileManager.default.fileExists(atPath: staged.folder.appending($0.fileName).string)
        }
        try #require(kinds.count == 1, "\(text)")
        func uploaded(_ name: String) throws -> Data {
            try Data(contentsOf: URL(filePath: staged.folder.appending(name).string))
        }
        var sent: [String: Int] = [:]
        for match in SystemTests.read(directory.appending("server.log")).matches(of: /completed (\S+) (\d+)/) {
            sent[String(match.output.1), default: 0] += Int(match.output.2) ?? 0
        }
        return PlanRun(
            report: try Report(bytes: try uploaded(Report.fileName)),
            outcome: try Outcome(kind: kinds[0], bytes: try uploaded(kinds[0].fileName)), console: text, sent: sent)
    }

    /// The card's file, to be compared before and after.
    func cardDigest() async throws -> String {
        try await bash("sha256sum <$D/card.img", ["D": directory.string]).stdout
    }
}

extension SystemTests {
    fileprivate static func read(_ file: FilePath) -> String { text(of: file) }
}
