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

/// RESET, clean-up, the lock, and other servers.
@Suite struct FlasherLifeTests {
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
        #expect(world.calls == ["open", "inspect", "checkReset", "claim"] + asked)
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
                    == [
                        "CHALLENGE", "FAILED", "OK", "REPORT", "rpi_image_part_0", "rpi_image_part_1",
                        "rpi_image_parts",
                    ])
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
