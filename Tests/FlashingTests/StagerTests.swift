import DiskLayout
import FlashPlan
import Foundation
import Synchronization
import SystemPackage
import TestSupport
import Testing

import FlashEvents

@testable import Flashing

/// What lies in the target's folder when the target is reset.
@Suite struct StagingTests {
    /// Flashes, and tells the content of the parts, in the order of their numbers.
    private func staged(_ world: FlashFixture, partSize: ByteCount) async throws -> [Data] {
        let parts = Mutex<[Data]>([])
        world.ownServer().resets { world in
            let plan = try world.plan(partSize: partSize)
            let read = try plan.parts.map { try data(world.folder.appending($0.name)) }
            parts.withLock { $0 = read }
            #expect(try names(in: world.folder).count == Int(plan.partCount) + 1)
            try world.flashWell(partSize: partSize)
        }
        _ = try await world.flash(world.request(partSize: partSize))
        return parts.withLock { $0 }
    }

    private func joined(_ parts: [Data]) -> Data { parts.reduce(into: Data()) { $0.append($1) } }

    /// What a target writes of the parts, from the start of its partition 2 on; what it skips is zeros.
    private func written(_ parts: [Data]) -> Data {
        let all = joined(parts)
        #expect(all.prefix(4 << 20) == Data(count: 4 << 20))
        return all.dropFirst(4 << 20)
    }

    /// What it must be: the image from its boot partition on.
    private func content(of world: FlashFixture) throws -> Data {
        try data(world.image).dropFirst(Int(world.layout.boot.start.byteOffset.bytes))
    }

    @Test(
        arguments: [
            (5_242_880, [5_242_880, 4_194_304]), (9_437_184, [9_437_184]), (9_436_672, [9_436_672, 512]),
            (3_221_225_472, [9_437_184]),
        ] as [(UInt64, [Int])])
    func `parts together are 4 MiB to skip and the image, byte for byte`(partSize: UInt64, sizes: [Int]) async throws {
        let world = try FlashFixture()
        let parts = try await staged(world, partSize: ByteCount(partSize))
        #expect(parts.map(\.count) == sizes)
        #expect(try written(parts) == content(of: world))
    }

    @Test(arguments: [UInt64(1), 63, 2048, 8191, 8193, 16384], [UInt64(0), 511])
    func `wherever the image's boot partition starts, a target gets the image from there on`(
        start: UInt64, cut: UInt64
    ) async throws {
        let world = try FlashFixture(cut: cut, bootStart: start)
        let parts = try await staged(world, partSize: .mebibytes(5))
        #expect(parts.map(\.count) == [5 << 20, 4 << 20])
        #expect(try written(parts) == content(of: world) + Data(count: Int(cut)))
        // How far it is counts what is copied, which the filler is not.
        let staging = world.progress.compactMap { progress -> [UInt64]? in
            if case .staging(let bytes, let total) = progress { [bytes, total] } else { nil }
        }
        #expect(staging.last == [5 << 20 - cut, 5 << 20 - cut])
    }

    @Test func `more than 10 parts are staged - the original stopped at 10`() async throws {
        let world = try FlashFixture(rootfsSectors: 81920)
        let parts = try await staged(world, partSize: PartsPlan.smallestPart.byteCount)
        #expect(parts.count == 12)
        #expect(try written(parts) == content(of: world))
    }

    @Test(arguments: [1, 100, 511] as [UInt64])
    func `a size that is not a multiple of 512 is padded with zeros - the original cut it`(cut: UInt64) async throws {
        let world = try FlashFixture(cut: cut)
        let parts = try await staged(world, partSize: .mebibytes(5))
        #expect(parts.map(\.count) == [5 << 20, 4 << 20])
        #expect(try written(parts) == content(of: world) + Data(count: Int(cut)))
    }

    @Test func `what lies behind the rootfs is not staged`() async throws {
        let world = try FlashFixture()
        let handle = try FileHandle(forWritingTo: URL(filePath: world.image.string))
        try handle.seekToEnd()
        try handle.write(contentsOf: Data(repeating: 7, count: 1 << 20))
        try handle.close()
        let parts = try await staged(world, partSize: .mebibytes(5))
        #expect(try written(parts) == content(of: world).dropLast(1 << 20))
    }

    @Test func `holes stay holes`() async throws {
        // 1 GiB of rootfs with data in three places only.
        let world = try FlashFixture(rootfsSectors: 8)
        let large = try layout(rootfsSectors: 2_097_152)
        let handle = try FileHandle(forWritingTo: URL(filePath: world.image.string))
        try handle.truncate(atOffset: 0)
        try handle.truncate(atOffset: large.size.bytes)
        for offset in [4 << 20, 600 << 20, large.size.bytes - 5] {
            try handle.seek(toOffset: offset)
            try handle.write(contentsOf: Data("abcde".utf8))
        }
        try handle.close()
        world.ownServer().with { $0.inspect = { _ in large } }
        world.with { state in
            state.resets = [
                { world in
                    var (bytes, blocks) = (0, 0)
                    for name in try names(in: world.folder) {
                        var status = stat()
                        #expect(stat(world.folder.appending(name).string, &status) == 0)
                        bytes += status.st_size
                        blocks += Int(status.st_blocks)
                    }
                    #expect(bytes > 1 << 30)
                    #expect(blocks * 512 < 1 << 20, "\(blocks * 512) bytes on disk")
                    let second = try FileHandle(
                        forReadingFrom: URL(filePath: world.folder.appending("rpi_image_part_1").string))
                    try second.seek(toOffset: (600 - 512) << 20)
                    #expect(try second.read(upToCount: 6) == Data("abcde\0".utf8))
                    throw Trouble("seen")
                }
            ]
        }
        var request = try world.request(partSize: .mebibytes(512))
        request.card = try CardLayout(
            cardSize: .mebibytes(2048), ubootSize: .mebibytes(4), bootSize: .mebibytes(4),
            diskID: CardLayout.defaultDiskID)
        #expect(try await world.fails(request)?.description == "cannot reset target camera: seen")
    }

    @Test func `the manifest comes last and whole`() async throws {
        let world = try FlashFixture().ownServer()
        world.with {
            $0.onProgress = { progress, world in
                guard case .staging = progress else { return }
                #expect((try? names(in: world.folder).contains("rpi_image_parts")) == false)
            }
        }
        world.resets { try $0.flashWell() }
        _ = try await world.flash()
    }

    @Test func `folder and files can be read by the user of another server, whatever the umask is`() async throws {
        let world = try FlashFixture().ownServer().resets { world in
            for (path, mode) in [(world.folder, 0o755), (world.folder.appending("rpi_image_part_0"), 0o644)] {
                var status = stat()
                #expect(stat(path.string, &status) == 0)
                #expect(status.st_mode & 0o777 == mode_t(mode))
            }
            try world.flashWell()
        }
        _ = try await world.flash()
    }

    @Test func `law 7 - a link in the place of an upload is not followed, a pipe does not hang`() throws {
        let home = try TemporaryFolder()
        #expect(symlink("/etc/passwd", home.path.appending("OK").string) == 0)
        #expect(mkfifo(home.path.appending("FAILED").string, 0o600) == 0)
        #expect(readUpload(home.path.appending("OK")) == nil)
        #expect(readUpload(home.path.appending("FAILED")) == nil)
        try write(Array(repeating: 1, count: 70000), to: home.path.appending("REPORT"))
        #expect(readUpload(home.path.appending("REPORT"))?.count == 65537)
    }
}
