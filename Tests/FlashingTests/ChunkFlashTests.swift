import FlashEvents
import DiskLayout
import FlashPlan
import Foundation
import Synchronization
import SystemPackage
import TFTP
import Testing

@testable import Flashing

/// Flashes by plan: what is staged, served and cleaned up, and which reports are proof.
@Suite struct ChunkFlashTests {
    private static let chunkFiles = ["aa.gz", "bb.raw", "aa.gz", "cc.raw"]

    /// Four chunks, of which the first and the third are equal, the last partition 2's first sector alone.
    private static func prepared(_ world: FlashFixture, raw: Bool = true) throws -> ChunkedImage {
        let store = world.home.path.appending("store")
        try FileManager.default.createDirectory(atPath: store.string, withIntermediateDirectories: true)
        for name in Set(chunkFiles + ["pieces"]) where !FileManager.default.fileExists(atPath: "\(store)/\(name)") {
            try write(Array(name.utf8), to: store.appending(name))
        }
        let places = [
            ChunkPlace(partition: .boot, offset: SectorCount(1), size: SectorCount(8)),
            ChunkPlace(partition: .boot, offset: SectorCount(100), size: SectorCount(16)),
            ChunkPlace(partition: .rootfs, offset: SectorCount(0), size: SectorCount(8)),
            ChunkPlace(partition: .boot, offset: SectorCount(0), size: SectorCount(1)),
        ]
        let digest = try #require(SHA256Digest([UInt8](repeating: 7, count: 32)))
        let chunks = zip(places, chunkFiles).enumerated().map { index, pair in
            ChunkedImage.Chunk(
                place: pair.0, digest: digest, encoding: pair.1.hasSuffix(".gz") ? .gzip : .raw,
                encodedSize: pair.1.hasSuffix(".gz") ? ByteCount(5) : pair.0.size.byteCount, file: pair.1,
                pieces: ByteCount(UInt64(index * 256)))
        }
        return ChunkedImage(
            id: String(repeating: "a", count: 64), layout: world.layout, chunks: chunks,
            table: ("pieces", ByteCount(1024)), raw: raw ? try ImageDouble(world.image) { world.layout } : nil
        ) { file, path, _ in
            try FileManager.default.linkItem(atPath: "\(store)/\(file)", toPath: path.string)
        }
    }

    static func world(raw: Bool = true) throws -> FlashFixture {
        try FlashFixture().with { $0.prepare = { try prepared($0, raw: raw) } }
    }

    static let total: UInt64 = 33

    /// What the target uploads in the end.
    static func report(
        _ world: FlashFixture, state: String = "ok", written: UInt64 = 0, same: UInt64 = total, chunks: Int = 4,
        job: String? = nil, bad: Int? = nil, more: String = ""
    ) throws -> TransferEvent {
        let plan = try #require(world.state.withLock { $0.plan })
        let text = """
            rpi_report=1
            rpi_job=\(job ?? plan.job.hex)
            rpi_state=\(state)
            rpi_chunks=\(String(chunks, radix: 16))
            rpi_written=\(String(written, radix: 16))
            rpi_same=\(String(same, radix: 16))
            rpi_fetched=10
            rpi_retries=1
            rpi_bad_count=\(bad ?? (state == "ok" ? 0 : 1))
            \(more)
            """
        return .uploaded(name: "REPORT", content: Array(text.utf8))
    }

    static let asked: [TransferEvent] = [.opened(file: "flash.scr"), .sent(file: "flash.scr")]

    static func request(_ world: FlashFixture, _ mode: ChunkPlan.Mode = .normal) throws -> FlashRequest {
        try world.request(delivery: .plan(mode))
    }

    @Test func `stages links, serves the image's ranges, and gives the numbers of the report`() async throws {
        let world = try Self.world().ownServer()
        world.resets { world in
            #expect(
                try names(in: world.folder) == [
                    ".rpiflash-plan", "chunk-1.gz", "chunk-2", "chunk-4", "flash.scr", "pieces",
                ])
            #expect(try contents(world.folder.appending("chunk-1.gz")) == Array("aa.gz".utf8))
            // A link, not a copy.
            var status = stat()
            #expect(stat(world.folder.appending("chunk-2").string, &status) == 0 && status.st_nlink == 2)
            let plan = try #require(world.state.withLock { $0.plan })
            #expect(plan.chunks.map(\.file.name) == ["chunk-1.gz", "chunk-2", "chunk-1.gz", "chunk-4"])
            world.happen(
                Self.asked + [
                    .opened(file: "chunk-2"), .sent(file: "chunk-2"), .opened(file: "img@2000-8000"),
                    .progress(file: "img@2000-8000", bytes: 100), .sent(file: "img@2000-8000"),
                    try Self.report(world, written: 16, same: 17), .ok(Self.total * 512),
                ])
        }
        let result = try await world.flash(try Self.request(world))
        #expect(
            result.proof
                == FlashProof(
                    bytes: ByteCount(Self.total * 512), written: ByteCount(16 * 512), loaded: ByteCount(16 * 512),
                    retries: 1))
        let (served, ranged) = world.state.withLock { ($0.served, $0.ranged) }
        #expect(served == ["flash.scr", "chunk-1.gz", "chunk-2", "chunk-4", "pieces"])
        #expect(ranged?.name == "img" && ranged?.image is ImageDouble)
        #expect(try names(in: world.root) == [])
        #expect(world.progress.contains { if case .chunk(2, 4, _, _, _) = $0 { true } else { false } })
    }

    @Test(arguments: [(ChunkPlan.Mode.full, true), (.verify, true), (.normal, false)])
    func `offers no ranges where they are of no use, or the image is compressed`(
        mode: ChunkPlan.Mode, raw: Bool
    ) async throws {
        let world = try Self.world(raw: raw).ownServer()
        world.resets { world in
            let (written, same) = mode == .full ? (Self.total, 0) : (0, Self.total)
            world.happen(Self.asked + [try Self.report(world, written: written, same: same), .ok(Self.total * 512)])
        }
        _ = try await world.flash(try Self.request(world, mode))
        #expect(world.state.withLock { $0.ranged?.name } == nil)
        #expect(world.state.withLock { $0.plan?.pieces } == nil)
        #expect(world.state.withLock { $0.plan?.mode } == mode)
    }

    @Test(arguments: [
        ("no report", "proves nothing: it uploaded no REPORT"),
        ("another job", "is about job 0123456789abcdef"), ("a sector less", "sectors"), ("a chunk less", "chunks"),
        ("no text", "REPORT"), ("OK of 7 bytes", "7 bytes"), ("another count in OK", "bytes in OK"),
        ("failed", "contradict"),
    ])
    func `law 2 - OK without a report that fits is not proof`(what: String, message: String) async throws {
        let world = try Self.world().ownServer()
        world.resets { world in
            let report: TransferEvent? =
                switch what {
                case "no report": nil
                case "another job": try Self.report(world, job: "0123456789abcdef")
                case "a sector less": try Self.report(world, same: Self.total - 1)
                case "a chunk less": try Self.report(world, chunks: 3)
                case "no text": .uploaded(name: "REPORT", content: [0xff, 0x00, 0x0a])
                case "failed": try Self.report(world, state: "failed")
                default: try Self.report(world)
                }
            let ok: TransferEvent =
                switch what {
                case "OK of 7 bytes": .uploaded(name: "OK", content: [0, 0, 0, 0, 0, 0, 0])
                case "another count in OK": .ok(Self.total * 512 - 512)
                default: .ok(Self.total * 512)
                }
            world.happen(Self.asked + [report, ok].compactMap { $0 })
        }
        let error = try await world.fails(try Self.request(world))
        guard case .notProven(let text)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(what == "failed" || text.contains(message), "\(text)")
        #expect(error?.exitCode == 4)
    }

    @Test func `law 2 - a report from before the target started over does not count`() async throws {
        let world = try Self.world().ownServer()
        world.resets { world in
            world.happen(
                Self.asked + [try Self.report(world), .opened(file: "chunk-2")] + Self.asked + [.ok(Self.total * 512)])
        }
        let error = try await world.fails(try Self.request(world))
        #expect(error?.description.contains("it uploaded no REPORT") == true)
        #expect(world.warnings.contains("the target started over"))
    }

    @Test func `a target that fails is quoted with chunk and LBA`() async throws {
        let world = try Self.world().ownServer()
        world.resets { world in
            let report = try Self.report(
                world, state: "failed", same: 9, chunks: 1,
                more: "rpi_bad_chunk=2\nrpi_bad_lba=22064\nrpi_code=lost_write\n"
                    + "rpi_reason=the card does not hold what was written")
            world.happen(Self.asked + [report, .failed(9 * 512)])
        }
        let error = try await world.fails(try Self.request(world))
        #expect(
            error?.description
                == "target camera reported FAILED, 4608 of 16896 bytes are on its card: chunk 2 of 4 at LBA 139364: "
                + "the card does not hold what was written")
        #expect(error?.exitCode == 2)
        #expect(error?.reportCode == .lostWrite)
    }

    @Test(arguments: [
        (
            1, "differs", "0x1 chunks differ, the first is 2 at sector 0x22064",
            "1 of 4 chunks differs from the image: chunk 2 at LBA 139364"
        ),
        (
            3, "differs", "0x3 chunks differ, the first is 2 at sector 0x22064",
            "3 of 4 chunks differ from the image, the first is chunk 2 at LBA 139364"
        ),
        // Another reason stays, with the place; by its code, whatever it says.
        (1, "not_loaded", "the card has gone", "chunk 2 of 4 at LBA 139364: the card has gone"),
        (1, "made_up", "no chunks differ", "chunk 2 of 4 at LBA 139364: no chunks differ"),
    ])
    func `a card that differs is told in decimal numbers, once`(
        count: Int, code: String, reason: String, told: String
    ) async throws {
        let world = try Self.world().ownServer()
        world.resets { world in
            let report = try Self.report(
                world, state: "failed", same: 9, chunks: 4 - count, bad: count,
                more: "rpi_bad_chunk=2\nrpi_bad_lba=22064\nrpi_code=\(code)\nrpi_reason=\(reason)")
            world.happen(Self.asked + [report, .failed(9 * 512)])
        }
        let error = try await world.fails(try Self.request(world, .verify))
        #expect(
            error?.description
                == "target camera reported FAILED, 4608 of 16896 bytes are on its card: \(told)")
    }

    @Test func `through another server the target reports in files, and has no ranges`() async throws {
        let world = try Self.world()
        world.with { $0.claim = { .foreign(ForeignDouble(world: $0, serves: $0.root, takes: $0.root)) } }
        world.resets { world in
            #expect(
                try names(in: world.folder) == [
                    ".rpiflash-plan", "CHALLENGE", "FAILED", "OK", "REPORT", "chunk-1.gz", "chunk-2", "chunk-4",
                    "flash.scr",
                ])
            world.happen(Self.asked + [try Self.report(world), .ok(Self.total * 512)])
        }
        _ = try await world.flash(try Self.request(world))
        #expect(world.state.withLock { $0.plan?.pieces } == nil)
        #expect(try names(in: world.root) == [])
    }

    @Test func `clears the plan of a job that was killed, and leaves one that is none of ours`() async throws {
        for isOurs in [true, false] {
            let world = try Self.world().ownServer()
            try FileManager.default.createDirectory(atPath: world.folder.string, withIntermediateDirectories: true)
            if isOurs { try write([], to: world.folder.appending(".rpiflash-plan")) }
            for name in ["flash.scr", "chunk-17.gz", "pieces"] { try write([1], to: world.folder.appending(name)) }
            if isOurs {
                world.resets { world in
                    #expect(!(try names(in: world.folder)).contains("chunk-17.gz"))
                    world.happen(Self.asked + [try Self.report(world), .ok(Self.total * 512)])
                }
                _ = try await world.flash(try Self.request(world))
                #expect(try names(in: world.root) == [])
            } else {
                // A user's own plan: it is neither replaced nor removed.
                await #expect(throws: FlashError.self) { try await world.flash(try Self.request(world)) }
                #expect(try contents(world.folder.appending("flash.scr")) == [1])
            }
        }
    }

    @Test func `law 6 - an image whose partitions do not fit is refused before anything is claimed`() async throws {
        let world = try FlashFixture().with {
            $0.prepare = { world in
                var image = try Self.prepared(world)
                image.layout = try layout(rootfsSectors: 2048, span: 16384)
                return image
            }
        }
        let error = try await world.fails(try Self.request(world))
        #expect(error?.exitCode == 7)
        #expect(error?.description.contains("boot partition has 16384 sectors") == true, "\(String(describing: error))")
        #expect(world.calls == ["checkReset", "prepare"])
    }

    @Test func `a server that ends is trouble here, at once`() async throws {
        let world = try Self.world().ownServer()
        world.resets { $0.happen(Self.asked + [.lost("the rpiflash service ended; see its log")]) }
        let error = try await world.fails(try Self.request(world))
        #expect(error == .server("the rpiflash service ended; see its log"))
    }
}
