import FlashEvents
import DiskLayout
import FlashPlan
import Foundation
import Inventory
import LinuxHost
import Synchronization
import SystemPackage
import TFTP
import Testing

@testable import Flashing

@Suite struct FlasherTests {
    @Test func `flashes - in this order, and leaves nothing behind`() async throws {
        let world = try FlashFixture().ownServer()
        let seen = Mutex<[String]>([])
        world.resets { world in
            seen.withLock { $0 = (try? names(in: world.folder)) ?? [] }
            #expect(try contents(world.folder.appending("rpi_image_parts")) == Array(try world.plan().manifest.utf8))
            try world.flashWell()
        }
        world.with { $0.answers = { $0.clock.now.offset > .seconds(30) } }
        let result = try await world.flash(world.request(waitPort: 2222))
        #expect(result.proof.written == ByteCount(5 << 20))
        // 10 events a second apart and OK, a second to settle.
        #expect(result.flashTime == .seconds(12))
        #expect(try #require(result.upAfter) > .seconds(18))
        #expect(seen.withLock { $0 } == ["rpi_image_part_0", "rpi_image_part_1", "rpi_image_parts"])
        #expect(world.state.withLock { $0.served } == ["rpi_image_part_0", "rpi_image_part_1", "rpi_image_parts"])
        var calls = world.calls
        #expect(calls.popLast() == "stop")
        calls.removeAll { $0 == "answers 2222" }
        #expect(calls == ["open", "inspect", "checkReset", "claim", "serve", "reset by GPIO line 17"])
        #expect(try names(in: world.root) == [])
    }

    @Test func `what was staged is gone as soon as OK came, before the target boots`() async throws {
        let world = try FlashFixture().ownServer().resets { try $0.flashWell() }
        world.with {
            $0.answers = { world in
                let left = try names(in: world.folder)
                #expect(left == [])
                return true
            }
        }
        _ = try await world.flash(world.request(waitPort: 22))
    }

    // MARK: Law 2, through the whole job

    @Test(
        arguments: [
            ("count off by one", 4) as (String, Int32), ("OK at once", 4), ("7 bytes", 4), ("FAILED", 2),
            ("nothing", 3),
        ])
    func `law 2 - no success without proof`(what: String, code: Int32) async throws {
        let world = try FlashFixture().ownServer().resets { world in
            let count = try world.plan().bytesToWrite.bytes
            switch what {
            case "count off by one": try world.flashWell([.ok(count + 1)])
            case "OK at once": world.happen([.ok(count)])
            case "7 bytes": try world.flashWell([.uploaded(name: "OK", content: .init(repeating: 0, count: 7))])
            case "FAILED": try world.flashWell([.failed(512)])
            default: try world.flashWell([])
            }
        }
        #expect(try await world.fails()?.exitCode == code)
        #expect(world.calls.last == "stop")
    }

    @Test func `law 2 - an OK from before the reset does not count`() async throws {
        let world = try FlashFixture().ownServer().resets { world in
            // It is there when the reset returns: sent by the system that the reset ended.
            world.with { $0.schedule.append((.zero, .ok(5 << 20))) }
            try world.flashWell([])
        }
        #expect(try await world.fails()?.exitCode == 3)
    }

    @Test func `law 2 - FAILED that comes while the target is waited for wins`() async throws {
        let world = try FlashFixture().ownServer().resets { world in
            try world.flashWell([.ok(5 << 20)])
            world.with { $0.schedule.append((.seconds(20), .failed(5 << 20))) }
        }
        world.with { $0.answers = { _ in false } }
        #expect(try await world.fails(world.request(waitPort: 22))?.exitCode == 2)
    }

    @Test func `a target that does not come up is status 1, after the time that it has`() async throws {
        let world = try FlashFixture().ownServer().resets { try $0.flashWell() }
        world.with { $0.answers = { _ in false } }
        #expect(
            try await world.fails(world.request(waitPort: 80))
                == .notUp(target: "camera", port: 80, within: .seconds(180)))
        #expect(world.clock.now.offset >= .seconds(192) && world.clock.now.offset < .seconds(194))
    }

    @Test func `a slow card has two minutes and a second for each MiB of a part`() async throws {
        let world = try FlashFixture().ownServer().resets { $0.happen([.opened(file: PartsPlan.manifestName)]) }
        #expect(try await world.fails(world.request(outcomeTimeout: nil))?.exitCode == 3)
        #expect(world.clock.now.offset >= .seconds(126) && world.clock.now.offset < .seconds(127))
    }

    @Test(arguments: [("192.0.2.51", 0), ("192.0.2.77", 1)])
    func `a target that asks from another address than its row's is flashed, and that is said once`(
        address: String, warnings: Int
    ) async throws {
        let world = try FlashFixture().ownServer().resets { world in
            world.happen([.opened(file: PartsPlan.manifestName, address: address)])
            try world.flashWell()
        }
        _ = try await world.flash(world.request())
        #expect(
            world.warnings
                == Array(
                    repeating: "target camera asked from \(address), but its row has 192.0.2.51: correct the row "
                        + "or what gives the address; its system is waited for at the row's", count: warnings))
    }

    // MARK: Law 4

    private struct Fingerprint: Equatable {
        let content: Data
        let numbers: [Int]

        init(_ path: FilePath) throws {
            content = try data(path)
            var status = stat()
            #expect(stat(path.string, &status) == 0)
            numbers = [
                Int(status.st_ino), Int(status.st_mode), Int(status.st_nlink), Int(status.st_uid), status.st_size,
                status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec,
            ]
        }
    }

    @Test(arguments: ["success", "failure", "cancelled"])
    func `law 4 - the image is the same file with the same bytes and times`(how: String) async throws {
        let world = try FlashFixture().ownServer()
        #expect(chmod(world.image.string, 0o444) == 0)
        let before = try Fingerprint(world.image)
        world.resets { world in
            switch how {
            case "success": try world.flashWell()
            case "failure": try world.flashWell([.failed(0)])
            default: cancelThisTask()
            }
        }
        let task = Task { try await world.flash() }
        switch how {
        case "success": _ = try await task.value
        case "failure": await #expect(throws: FlashError.self) { try await task.value }
        default: await #expect(throws: CancellationError.self) { try await task.value }
        }
        #expect(try Fingerprint(world.image) == before)
    }

    // MARK: Law 6

    @Test(
        arguments: [
            ("inspection", 7, "x.img: image is empty"),
            ("other span", 7, "IMAGE: image's rootfs starts 16384 sectors (8 MiB) behind its boot partition's start"),
            (
                "large rootfs", 7,
                "IMAGE: image's rootfs has 999999 sectors (511999488 bytes), the card's partition 3 has"
            ),
            ("part size", 7, "IMAGE: part size is 4194304 bytes; must be at least 4195328 bytes"),
            ("no root", 9, "TFTP root ROOT: No such file or directory; make it or give another --tftp-root"),
            ("root is a file", 9, "TFTP root ROOT is not a folder"),
            ("line", 9, "cannot reset target camera: line 17 is used by 'spi0'"),
            ("claim", 9, "another program has it"),
            ("image replaced", 7, "IMAGE: image changed while it was read; wait until it is complete"),
        ] as [(String, Int32, String)])
    func `law 6 - what cannot work is refused before the target is touched`(
        what: String, code: Int32, message: String
    ) async throws {
        // Without resets: one fails the test.
        let world = try FlashFixture().ownServer()
        var request = try world.request()
        switch what {
        case "inspection": world.with { $0.inspect = { _ in throw Trouble("x.img: image is empty") } }
        case "other span": world.with { $0.inspect = { _ in try layout(rootfsSectors: 8, span: 16384) } }
        case "large rootfs": world.with { $0.inspect = { _ in try layout(rootfsSectors: 999_999) } }
        case "part size": request.delivery = .parts(.mebibytes(4))
        case "no root": request.root = world.home.path.appending("nowhere")
        case "root is a file":
            request.root = world.home.path.appending("file")
            try write([], to: request.root)
        case "line": world.with { $0.checkReset = { throw Trouble("line 17 is used by 'spi0'") } }
        case "claim": world.with { $0.claim = { _ in throw Trouble("another program has it") } }
        default:
            world.with {
                $0.inspect = { world in
                    try data(world.image).write(to: URL(filePath: world.image.string))
                    return world.layout
                }
            }
        }
        let error = try #require(try await world.fails(request))
        #expect(error.exitCode == code)
        let expected = message.replacing("IMAGE", with: world.image.string).replacing("ROOT", with: request.root.string)
        #expect(error.description.hasPrefix(expected), "\(error)")
        #expect(!error.description.contains("\n"))
        #expect(!world.calls.contains("serve"))
    }

    @Test func `law 6 - an image that changes while it is staged is refused, and so is one that is cut`() async throws {
        for length: off_t in [10 << 20, 3 << 20] {
            let world = try FlashFixture().ownServer()
            world.with {
                $0.onProgress = { progress, world in
                    guard case .staging(let bytes, _) = progress, bytes == 1 << 20 else { return }
                    #expect(truncate(world.image.string, length) == 0)
                }
            }
            let error = try #require(try await world.fails(world.request(partSize: .mebibytes(9))))
            #expect(error == .image("\(world.image): image changed while it was read; wait until it is complete"))
            #expect(!world.calls.contains("serve"))
        }
    }

    @Test func `law 6 - a folder that is a link or a file is refused`() async throws {
        for isLink in [false, true] {
            let world = try FlashFixture().ownServer()
            if isLink {
                #expect(symlink("/", world.folder.string) == 0)
            } else {
                try write([], to: world.folder)
            }
            let error = await #expect(throws: FlashError.self) { try await world.flash() }
            #expect(error == .server("\(world.folder) is not a folder; remove it"))
            #expect(try names(in: world.root) == [FlashFixture.mac])
        }
    }
}
