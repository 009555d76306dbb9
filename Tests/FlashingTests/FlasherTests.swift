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
        #expect(calls == ["inspect", "checkReset", "claim", "serve", "reset by GPIO line 17"])
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
            ("image replaced", 7, "image IMAGE changed while it was read; wait until it is complete"),
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
        for cut in [false, true] {
            let world = try FlashFixture().ownServer()
            world.with {
                $0.onProgress = { progress, world in
                    guard case .staging(let bytes, _) = progress, bytes == 1 << 20 else { return }
                    #expect(truncate(world.image.string, cut ? 3 << 20 : 10 << 20) == 0)
                }
            }
            let error = try #require(try await world.fails(world.request(partSize: .mebibytes(9))))
            #expect(
                error
                    == .image(
                        cut
                            ? "image \(world.image) was cut short while it was read"
                            : "image \(world.image) changed while it was read; wait until it is complete"))
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

    // MARK: Law 5 and clean-up

    @Test(arguments: ["claim", "staging", "reset", "following", "fetching", "waiting"])
    func `law 5 - cancelled at any stage it removes what it staged and frees the port`(stage: String) async throws {
        let world = try FlashFixture().ownServer()
        switch stage {
        case "claim":
            world.with {
                $0.claim = { _ in
                    cancelThisTask()
                    throw CancellationError()
                }
            }
        case "staging":
            world.with {
                $0.onProgress = { progress, _ in
                    if case .staging(let bytes, _) = progress, bytes == 2 << 20 { cancelThisTask() }
                }
            }
        case "reset":
            world.resets { _ in
                cancelThisTask()
                throw CancellationError()
            }
        case "following":
            world.resets { _ in cancelThisTask() }
        case "fetching":
            world.resets { try $0.flashWell() }
            world.with {
                $0.onProgress = { progress, _ in if case .transfer(2, _, _, _, _) = progress { cancelThisTask() } }
            }
        default:
            world.resets { try $0.flashWell() }
            world.with {
                $0.answers = { _ in
                    cancelThisTask()
                    return false
                }
            }
        }
        let task = Task { try await world.flash(world.request(waitPort: 22)) }
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(try names(in: world.root) == [])
        #expect(stage == "claim" || world.calls.last == "stop" || world.calls.last == "answers 22", "\(world.calls)")
        #expect(world.calls.contains("stop") == (stage != "claim"))
        let warning =
            "target camera may have begun to write; a card that is half written does not boot, flash it again"
        #expect(world.warnings == (stage == "fetching" ? [warning] : []))
    }

    @Test func `a reset that fails is status 9, and nothing is left`() async throws {
        let world = try FlashFixture().ownServer().resets { _ in throw Trouble("'false' ended with exit status 1") }
        #expect(
            try await world.fails() == .server("cannot reset target camera: 'false' ended with exit status 1"))
        #expect(world.calls.last == "stop")
    }

    @Test func `a reset that says it was cancelled when nobody did is an error, not an interruption`() async throws {
        let world = try FlashFixture().ownServer().resets { _ in throw CancellationError() }
        #expect(try await world.fails()?.exitCode == 9)
    }

    @Test func `what a killed job left is removed, other files stay`() async throws {
        let world = try FlashFixture().ownServer().resets { try $0.flashWell() }
        try FileManager.default.createDirectory(atPath: world.folder.string, withIntermediateDirectories: true)
        let stale = [
            "rpi_image_part_0", "rpi_image_part_77", "rpi_image_parts", ".rpiflash-new", "OK", "FAILED",
            "REPORT", "rpiflash-probe",
        ]
        let others = ["rpi_image_part_", "rpi_image_part_1.bak", "notes.txt"]
        for name in stale + others { try write([1, 2, 3], to: world.folder.appending(name)) }
        try write([], to: world.root.appending(".rpiflash-\(FlashFixture.mac).lock"))
        _ = try await world.flash()
        #expect(world.notes.contains("removed what an earlier job left in \(world.folder)"))
        #expect(try names(in: world.folder) == others.sorted())
        #expect(try names(in: world.root) == [FlashFixture.mac])
    }

    // MARK: The lock

    @Test func `a target that another process flashes is refused, and its files are left alone`() async throws {
        let world = try FlashFixture().ownServer()
        let lock = world.root.appending(".rpiflash-\(FlashFixture.mac).lock")
        let staged = world.folder.appending("rpi_image_part_0")
        try FileManager.default.createDirectory(atPath: world.folder.string, withIntermediateDirectories: true)
        try write([1], to: staged)
        let holder = Process()
        holder.executableURL = URL(filePath: "/bin/sh")
        holder.arguments = ["-c", "exec 9<>'\(lock)'; flock 9; echo 4711 >&9; echo locked; exec cat"]
        let (input, output) = (Pipe(), Pipe())
        (holder.standardInput, holder.standardOutput) = (input, output)
        let (ended, end) = AsyncStream.makeStream(of: Void.self)
        holder.terminationHandler = { _ in end.finish() }
        try holder.run()
        #expect(output.fileHandleForReading.availableData == Data("locked\n".utf8))
        let error = await #expect(throws: FlashError.self) { try await world.flash() }
        #expect(error == .server("target camera is being flashed by process 4711; wait for it"))
        #expect(try contents(staged) == [1])
        #expect(!world.calls.contains("claim"))
        try input.fileHandleForWriting.close()
        for await _ in ended {}
    }

    @Test func `a lock is free again when its job is over, and its file is gone`() throws {
        let world = try FlashFixture()
        do {
            let lock = try FolderLock(root: world.root, target: try target())
            #expect(
                throws: FlashError.server(
                    "target camera is being flashed by process \(getpid()) of \(Accounts.caller); wait for it")
            ) {
                _ = try FolderLock(root: world.root, target: try target())
            }
            _ = consume lock
        }
        #expect(try names(in: world.root) == [])
        _ = try FolderLock(root: world.root, target: try target())
    }

    // MARK: Resets

    private static let ask: @Sendable (FlashFixture) async throws -> Void = { try $0.flashWell() }
    private static let silent: @Sendable (FlashFixture) async throws -> Void = { _ in }

    @Test(
        arguments: [
            ("17,", ["GPIO line 17", "GPIO line 17"], "each of 2 resets (GPIO line 17 twice)"),
            (",true", ["reset_command", "reset_command"], "each of 2 resets (reset_command twice)"),
            (
                "GPIO4,true", ["GPIO line GPIO4", "GPIO line GPIO4", "reset_command"],
                "each of 3 resets (GPIO line GPIO4 twice, then reset_command)"
            ),
        ])
    func `a target that never asks is reset in every way that there is`(
        columns: String, methods: [String], tried: String
    ) async throws {
        let world = try FlashFixture().ownServer()
        world.with { $0.resets = Array(repeating: Self.silent, count: methods.count) }
        let error = try #require(try await world.fails(world.request(target: target(columns))))
        #expect(error.exitCode == 5)
        #expect(
            error.description
                == "target camera did not ask for its image within 45 s after \(tried); check its card, "
                + "network cable and RESET wire, and the serverip in its rpiflash.env")
        #expect(world.calls.filter { $0.hasPrefix("reset") } == methods.map { "reset by \($0)" })
        #expect(world.clock.now.offset == .seconds(45 * methods.count))
        #expect(
            world.warnings
                == methods.dropFirst().map {
                    "target camera did not ask for its image within 45 s; resetting it again (\($0))"
                })
    }

    @Test(arguments: [1, 2])
    func `a target that asks after a later reset is flashed`(missed: Int) async throws {
        let world = try FlashFixture().ownServer()
        world.with { $0.resets = Array(repeating: Self.silent, count: missed) + [Self.ask] }
        let result = try await world.flash(world.request(target: target("17,true")))
        #expect(result.flashTime == .seconds(45 * missed + 12))
        #expect(world.calls.filter { $0.hasPrefix("reset") }.count == missed + 1)
        #expect(try names(in: world.root) == [])
    }

    @Test func `a target that asked is not reset again, however long it is silent`() async throws {
        let world = try FlashFixture().ownServer().resets { world in
            world.with { $0.schedule.append((.milliseconds(44_900), .opened(file: PartsPlan.manifestName))) }
        }
        #expect(try await world.fails()?.exitCode == 3)
    }

    @Test func `other signs of life than a request do not put off the next reset`() async throws {
        let world = try FlashFixture().ownServer().resets(
            { $0.happen(Array(repeating: .activity, count: 200)) }, { _ in })
        #expect(try await world.fails()?.exitCode == 5)
        #expect(world.clock.now.offset == .seconds(90))
    }

    @Test func `a later reset that fails is status 9`() async throws {
        let world = try FlashFixture().ownServer().resets({ _ in }, { _ in throw Trouble("line 17 is gone") })
        #expect(try await world.fails() == .server("cannot reset target camera: line 17 is gone"))
    }

    // MARK: Another server

    @Test(
        arguments: [
            (
                "silence", "another program has UDP 192.0.2.1:69 and does not answer TFTP; end it or use --listen",
                ["read"]
            ),
            (
                "refuses", "the TFTP server on 192.0.2.1:69 does not serve ROOT (it says: File not found); ",
                ["read"]
            ),
            ("other folder", "the TFTP server on 192.0.2.1:69 serves another folder than ROOT; ", ["read"]),
            (
                "no uploads",
                "the TFTP server on 192.0.2.1:69 takes no uploads (it says: Access violation), so the target",
                ["read", "write"]
            ),
            (
                "silent uploads", "the TFTP server on 192.0.2.1:69 takes no uploads, so the target could not report",
                ["read", "write"]
            ),
            (
                "uploads elsewhere", "the TFTP server on 192.0.2.1:69 takes uploads, but not into ROOT; ",
                ["read", "write"]
            ),
            ("plan", "FOLDER/flash.scr is there; the target would run it instead of taking the image: remove it", []),
        ])
    func `law 6 - another server that cannot do it is refused before the target is touched`(
        what: String, message: String, asked: [String]
    ) async throws {
        let world = try FlashFixture()
        let elsewhere = world.home.path.appending("elsewhere")
        try FileManager.default.createDirectory(
            atPath: elsewhere.appending(FlashFixture.mac).string, withIntermediateDirectories: true)
        var server = ForeignDouble(world: world, serves: world.root, takes: world.root)
        switch what {
        case "silence": server.readAnswer = .silence
        case "refuses": server.serves = elsewhere
        case "other folder": server.readAnswer = .content(Array("something".utf8))
        case "no uploads": server.takes = nil
        case "silent uploads": server.writeAnswer = .silence
        case "uploads elsewhere": server.takes = elsewhere
        default: break
        }
        let answer = server
        world.with { $0.claim = { _ in .foreign(answer) } }
        let plan = world.folder.appending("flash.scr")
        if what == "plan" {
            try FileManager.default.createDirectory(atPath: world.folder.string, withIntermediateDirectories: true)
            try write([1], to: plan)
        }
        let error = try #require(await #expect(throws: FlashError.self) { try await world.flash() })
        #expect(error.exitCode == 9)
        let expected = message.replacing("ROOT", with: world.root.string)
            .replacing("FOLDER", with: world.folder.string)
        #expect(error.description.hasPrefix(expected), "\(error)")
        #expect(world.calls == ["inspect", "checkReset", "claim"] + asked)
        #expect(try names(in: world.root) == (what == "plan" ? [FlashFixture.mac] : []))
        if what == "plan" { #expect(try names(in: world.folder) == ["flash.scr"]) }
    }

    @Test func `another server that can do it is used, with files that it may write to`() async throws {
        let world = try FlashFixture().resets { world in
            for name in ["OK", "FAILED"] {
                var status = stat()
                #expect(stat(world.folder.appending(name).string, &status) == 0)
                #expect(status.st_mode & 0o777 == 0o666 && status.st_size == 0)
            }
            #expect(
                try names(in: world.folder)
                    == ["FAILED", "OK", "REPORT", "rpi_image_part_0", "rpi_image_part_1", "rpi_image_parts"])
            try world.flashWell()
        }
        world.with { $0.claim = { .foreign(ForeignDouble(world: $0, serves: $0.root, takes: $0.root)) } }
        let result = try await world.flash()
        #expect(result.proof.written == ByteCount(5 << 20))
        #expect(world.calls.suffix(4) == ["read", "write", "watch", "reset by GPIO line 17"])
        #expect(world.notes.first == "using the TFTP server that is there, on 192.0.2.1:69")
        #expect(try names(in: world.root) == [])
    }

    @Test func `law 2 - an OK that lay in another server's folder before does not count`() async throws {
        let world = try FlashFixture().resets { try $0.flashWell([]) }
        try FileManager.default.createDirectory(atPath: world.folder.string, withIntermediateDirectories: true)
        try write(Outcome(kind: .ok, written: ByteCount(5 << 20)).encoded, to: world.folder.appending("OK"))
        world.with { $0.claim = { .foreign(ForeignDouble(world: $0, serves: $0.root, takes: $0.root)) } }
        #expect(try await world.fails()?.exitCode == 3)
    }

    @Test(arguments: ["read", "write"])
    func `cancelled while another server is tried it leaves nothing`(at call: String) async throws {
        let world = try FlashFixture()
        world.with {
            $0.claim = { world in
                .foreign(
                    CancellingServer(
                        inner: ForeignDouble(world: world, serves: world.root, takes: world.root), at: call))
            }
        }
        let task = Task { try await world.flash() }
        await #expect(throws: CancellationError.self) { try await task.value }
        #expect(try names(in: world.root) == [])
    }
}

private struct CancellingServer: ForeignServer {
    let inner: ForeignDouble
    let at: String
    var address: String { inner.address }

    func read(_ path: String) async -> ProbeAnswer {
        if at == "read" { cancelThisTask() }
        return await inner.read(path)
    }

    func write(_ path: String, content: [UInt8]) async -> ProbeAnswer {
        if at == "write" { cancelThisTask() }
        return await inner.write(path, content: content)
    }

    func watch(_ folder: FilePath) throws -> any TransferEvents { try inner.watch(folder) }
}
