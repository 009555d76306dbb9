import BootScript
import DiskLayout
import FlashPlan
import Foundation
import Testing

struct ChunkPlanTests {
    @Test func `renders each chunk with its place on the card, its file and its place in the image`() throws {
        let plan = try ChunkPlan(
            job: ChunkPlan.PlanID(0xbeef), mode: .verify, image: try image(rootfsSectors: 0x1000),
            chunks: [
                ChunkPlan.Chunk(
                    place: ChunkPlace(partition: .rootfs, offset: SectorCount(0x40), size: SectorCount(0x801)),
                    digest: SHA256Digest([UInt8](0..<32))!,  // 32 bytes
                    file: ChunkPlan.ChunkFile(name: "a.gz", encoding: .gzip, size: ByteCount(0x1234)),
                    pieces: ByteCount(0x100)),
                lastChunk,
            ], pieces: ChunkPlan.Pieces(imageName: "image", tableName: "pieces", tableSize: ByteCount(0x300)))
        let script = try plan.script(templates: try planTemplates())
        // Digest: the bytes 00 to 1f. Sector of the image: rootfs at 0x3000, 0x40 on.
        #expect(
            script.contains(
                """
                p_number=1 p_partition=3 p_offset=0x40 p_sectors=0x801 \
                p_sha256=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f \
                p_encoding=gzip p_size=0x1234 p_file=a.gz p_entries=0x100 p_lba=0x3040
                run p_chunk
                p_number=2 p_partition=2 p_offset=0x0 p_sectors=0x1 p_sha256=\(String(repeating: "ee", count: 32)) \
                p_encoding=raw p_size=0x200 p_file=last p_entries=0x0 p_lba=0x2000
                run p_chunk
                """))
        #expect(script.contains("setenv rpi_job 000000000000beef"))
        let lines = try PlanLines(script: script)
        #expect(
            lines.values == [
                "p_plan": "1", "p_job": "000000000000beef", "p_mode": "verify", "p_target": "any", "p_needs_keys": "no",
                "p_console": "no", "p_chunk_count": "2", "p_total_sectors": "0x802", "p_boot_sectors": "0x1000",
                "p_rootfs_sectors": "0x1000", "p_has_pieces": "yes", "p_pieces_file": "pieces",
                "p_pieces_size": "0x300", "p_image_file": "image",
            ])
        #expect(lines.chunks.map { $0["p_lba"] } == ["0x3040", "0x2000"])
        #expect(!script.contains("{{"))
        #expect(plan.totalSectors.sectors == 0x802)
        #expect(plan.fileNames == ["a.gz", "last", "image", "pieces"])
        #expect(plan.encodedSize.bytes == 0x1234 + 0x200)
    }

    @Test func `the lines that are the contract are in every plan, and nothing else looks like them`() throws {
        for mode in ChunkPlan.Mode.allCases {
            let plan = try smallPlan(mode: mode)
            let script = try plan.script(templates: try planTemplates())
            let lines = try PlanLines(script: script)
            #expect(lines.values["p_mode"] == mode.rawValue)
            #expect(lines.values["p_has_pieces"] == "no" && lines.values["p_pieces_file"] == "none")
            #expect(lines.chunks.map { $0["p_file"] } == plan.chunks.map(\.file.name))
            #expect(lines.chunks.map { $0["p_sha256"] } == plan.chunks.map(\.digest.hex))
            // One line too few or too many, or in another order, is not such a plan.
            let count = "setenv p_chunk_count 3\n"
            #expect(throws: PlanLines.Failure.self) { try PlanLines(script: script.replacing(count, with: "")) }
            let twice = script.replacing(count, with: count + count)
            #expect(throws: PlanLines.Failure.self) { try PlanLines(script: twice) }
            #expect(throws: PlanLines.Failure.self) { try PlanLines(script: script + "p_number=4 p_partition=2\n") }
        }
    }

    @Test func `the script has no quote that ends another, and no tab or carriage return`() throws {
        // An apostrophe too many swallows everything behind it; U-Boot would say so only on the console.
        let script = try smallPlan().script(templates: try planTemplates())
        let code = script.split(separator: "\n").filter { !$0.hasPrefix("#") }.joined(separator: "\n")
        #expect(code.filter { $0 == "'" }.count.isMultiple(of: 2))
        #expect(code.filter { $0 == "\"" }.count.isMultiple(of: 2))
        #expect(script.utf8.allSatisfy { $0 == 10 || (32...126).contains($0) })
        // U-Boot ends a list of commands at the end of its line, and skips all of it where && and || are mixed.
        for line in code.split(separator: "\n") {
            #expect(!line.hasSuffix("&&") && !line.hasSuffix("||"), "\(line)")
            for list in line.split(separator: ";") {
                #expect(!list.contains("&&") || !list.contains("||"), "\(line)")
            }
        }
    }

    @Test func `the script image is what mkimage makes, and dumpimage takes it`() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "flash-plan-\(UUID())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let plan = try smallPlan()
        let text = folder.appending(path: "plan.cmd")
        let ours = folder.appending(path: "ours.scr")
        let theirs = folder.appending(path: "theirs.scr")
        try plan.script(templates: try planTemplates()).write(to: text, atomically: true, encoding: .utf8)
        _ = try #require(
            await tool(
                "mkimage", ["-A", "arm", "-T", "script", "-C", "none", "-n", "plan", "-d", text.path, theirs.path]),
            "mkimage is missing; run make deps")
        let expected = [UInt8](try Data(contentsOf: theirs))
        // mkimage's time, ih_time: bytes 8 to 11, big endian.
        let time = expected[8..<12].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        let image = try plan.scriptImage(templates: try planTemplates(), time: time)
        #expect(image == expected)
        try Data(image).write(to: ours)
        let listing = try #require(await tool("dumpimage", ["-l", ours.path]))
        #expect(listing.contains("Image Name:   plan"))
        #expect(listing.contains("Image Type:   ARM Linux Script (uncompressed)"))
    }

    @Test func `refuses a plan that a target could not carry out, or that breaks a law`() throws {
        let layout = try image(rootfsSectors: 0x10000)
        func message(_ chunks: [ChunkPlan.Chunk], _ pieces: ChunkPlan.Pieces? = nil) -> String {
            do throws(ChunkPlanError) {
                _ = try ChunkPlan(job: ChunkPlan.PlanID(1), image: layout, chunks: chunks, pieces: pieces)
                return "accepted"
            } catch {
                return error.description
            }
        }
        let first = ChunkPlan.Chunk(1, .rootfs, 0, 8)
        #expect(message([first, lastChunk]) == "accepted")
        #expect(message([]) == "the plan's last chunk must be the boot partition's first sector, alone")
        #expect(
            message([lastChunk, first]) == "the plan's last chunk must be the boot partition's first sector, alone")
        #expect(
            message([ChunkPlan.Chunk(1, .boot, 0, 8), lastChunk]) == "chunk 2 starts within chunk 1")
        #expect(message([first, ChunkPlan.Chunk(2, .rootfs, 7, 1), lastChunk]) == "chunk 2 starts within chunk 1")
        #expect(
            message([ChunkPlan.Chunk(1, .rootfs, 0, 0x8001), lastChunk])
                == "chunk 1 has 32769 sectors; must have 1 to 32768 (16 MiB)")
        #expect(
            message([ChunkPlan.Chunk(1, .rootfs, 0xffff, 2), lastChunk])
                == "chunk 1 ends behind partition 3, which has 65536 sectors (32 MiB) in the image")
        #expect(message([ChunkPlan.Chunk(1, .rootfs, .max, 2), lastChunk]).hasPrefix("chunk 1 ends behind"))
        for name in ["", "a b", "a;b", "$a", "a/b", "..", "a'b", String(repeating: "a", count: 65)] {
            #expect(
                message([ChunkPlan.Chunk(1, .rootfs, 0, 8, name: name), lastChunk])
                    == "file name \(name.debugDescription) must have 1 to 64 letters, digits and . _ - + @")
        }
        #expect(message([ChunkPlan.Chunk(1, .rootfs, 0, 8, name: "image@2000+8"), lastChunk]) == "accepted")
        let short = ChunkPlan.Chunk(
            place: first.place, digest: first.digest,
            file: ChunkPlan.ChunkFile(name: "a", encoding: .raw, size: ByteCount(511)))
        #expect(message([short, lastChunk]).hasPrefix("file of chunk 1 has 511 bytes"))
        // Two chunks of one begun MiB each need 512 bytes of table; these say that both start at 0, which is theirs to say.
        let table = { (size: UInt64) in
            ChunkPlan.Pieces(imageName: "image", tableName: "pieces", tableSize: ByteCount(size))
        }
        #expect(message([first, lastChunk], table(256)) == "accepted")
        #expect(
            message([first, lastChunk], table(255)).hasPrefix("pieces of chunk 1 start at byte 0 of a table of 255"))
        #expect(message([first, lastChunk], table(64 << 20 + 256)).hasPrefix("table of pieces has 67109120 bytes"))
    }

    @Test func `3000 chunks fit a target's RAM, and far too many are refused with the remedy`() throws {
        let sectors: UInt64 = 0x8000 * 6000
        func plan(_ count: Int) throws -> ChunkPlan {
            let chunks = (0..<count).map {
                ChunkPlan.Chunk(1, .rootfs, UInt64($0) * 0x8000, 0x8000, name: "0123456789abcdef0123456789abcdef.gz")
            }
            return try ChunkPlan(
                job: ChunkPlan.PlanID(1), image: try image(rootfsSectors: sectors), chunks: chunks + [lastChunk])
        }
        let templates = try planTemplates()
        #expect(try plan(3000).scriptImage(templates: templates, time: 0).count < ChunkPlan.longestScript)
        let error = #expect(throws: ChunkPlanError.self) {
            try plan(6000).scriptImage(templates: templates, time: 0)
        }
        #expect(error?.description.hasSuffix("use the parts protocol for this image") == true)
    }

    @Test func `the table of pieces has each 32 KiB, and each MiB with zeros behind the end`() throws {
        // A checksum that shows what it was given: length in the upper bytes, sum of the bytes in the lower.
        func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
            UInt32(bytes.count) << 8 | bytes.reduce(UInt32(0)) { ($0 + UInt32($1)) & 0xff }
        }
        var table = PieceTable()
        var chunk = [UInt8](repeating: 0, count: 1 << 20 + 512)
        chunk[0] = 1
        chunk[32768] = 2
        chunk[1 << 20 + 511] = 4
        let first = chunk.withUnsafeBytes { table.append($0, crc32: checksum) }
        let second = chunk[..<512].withUnsafeBytes { table.append($0, crc32: checksum) }
        #expect(first.bytes == 0)
        #expect(second.bytes == 512)
        #expect(table.bytes.count == 768)
        #expect(PieceTable.size(of: SectorCount(0x801)).bytes == 512)
        #expect(table.bytes[0..<8] == [0x00, 0x80, 0x00, 1, 0x10, 0x00, 0x00, 3])
        #expect(table.bytes[8..<16] == [0x00, 0x80, 0x00, 2, 0, 0, 0, 0])
        #expect(table.bytes[16..<24] == [0x00, 0x80, 0x00, 0, 0, 0, 0, 0])
        #expect(table.bytes[256..<264] == [0x00, 0x80, 0x00, 4, 0x10, 0x00, 0x00, 4])
        #expect(table.bytes[512..<520] == [0x00, 0x80, 0x00, 1, 0x10, 0x00, 0x00, 1])
    }

    @Test func `a digest is 64 hexadecimal digits`() {
        let text = String(repeating: "0aF9", count: 16)
        #expect(SHA256Digest(hexadecimal: text)?.hex == text.lowercased())
        for bad in ["", String(text.dropLast()), text + "0", "g" + text.dropFirst(), "٣" + text.dropFirst()] {
            #expect(SHA256Digest(hexadecimal: bad) == nil, "\(bad)")
        }
    }
}
