import DiskLayout
import FlashPlan
import Foundation
import LinuxHost
import OSImage
import Synchronization
import SystemPackage
import TestImages
import TestSupport
import Testing

@testable import ImageStore
/// What shares files, what is removed, and what goes wrong.
@Suite(.enabled(if: canUse(tools))) struct StoreLifeTests {
    // MARK: Links and removal

    /// /dev/shm is a file system of its own on every Linux.
    @Test(.enabled(if: FileManager.default.isWritableFile(atPath: "/dev/shm")))
    func `copies where there can be no link, readable for every server`() async throws {
        let fixture = try StoreFixture()
        // The umask is all tests': that it does not matter is seen with the built program, in SharedTests.
        let prepared = try await fixture.store.prepare(fixture.path)
        let elsewhere = "/dev/shm/rpiflash-test-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: elsewhere, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: elsewhere) }
        let chunk = prepared.manifest.chunks[0]
        for folder in [elsewhere, fixture.image.folder.path("near")] {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try prepared.link(chunk.file, to: FilePath("\(folder)/chunk"))
            var (status, stored) = (stat(), stat())
            #expect(stat("\(folder)/chunk", &status) == 0)
            #expect(stat(prepared.file(of: chunk).string, &stored) == 0)
            #expect(status.st_mode & 0o777 == 0o644)
            #expect((status.st_dev == stored.st_dev) == (status.st_ino == stored.st_ino))
            #expect(
                try Data(contentsOf: URL(fileURLWithPath: "\(folder)/chunk"))
                    == Data(contentsOf: URL(fileURLWithPath: prepared.file(of: chunk).string)))
        }
        #expect(throws: ImageStoreError.self) { try prepared.link(chunk.file, to: FilePath("\(elsewhere)/chunk")) }
    }

    @Test func `removes an image while a target has links to its files`() async throws {
        let fixture = try StoreFixture()
        let prepared = try await fixture.store.prepare(fixture.path)
        let chunk = prepared.manifest.chunks[0]
        let linked = fixture.image.folder.path("target-file")
        try prepared.link(chunk.file, to: FilePath(linked))
        let content = try Data(contentsOf: URL(fileURLWithPath: linked))
        try await fixture.store.remove(prepared.manifest.id)
        #expect(try Data(contentsOf: URL(fileURLWithPath: linked)) == content)
        #expect(try fixture.store.list() == [])
        #expect(fixture.names("images") == [] && fixture.names("sources") == [] && fixture.names("work") == [])
        #expect(throws: ImageStoreError.unknown(id: prepared.manifest.id, store: fixture.store.path)) {
            try prepared.link(chunk.file, to: FilePath(fixture.image.folder.path("other")))
        }
        await #expect(throws: ImageStoreError.unknown(id: prepared.manifest.id, store: fixture.store.path)) {
            try await fixture.store.remove(prepared.manifest.id)
        }
        await #expect(throws: ImageStoreError.self) { try await fixture.store.remove("../../etc") }
    }

    @Test func `an empty or missing store has nothing in it`() throws {
        let folder = try TemporaryFolder()
        let store = ImageStore(at: FilePath(folder.path("none")))
        #expect(try store.list() == [])
        #expect(try store.size() == ByteCount(0))
    }

    // MARK: Trouble

    @Test func `law 4: only reads the image`() async throws {
        let fixture = try StoreFixture()
        let before = try run("sha256sum", [fixture.image.path]).output
        let status = (try? ImageReader(fixture.path))?.fingerprint
        _ = try await fixture.store.prepare(fixture.path)
        #expect(try run("sha256sum", [fixture.image.path]).output == before)
        #expect((try? ImageReader(fixture.path))?.fingerprint == status)
    }

    @Test func `refuses an image that changes while it is prepared, and leaves nothing`() async throws {
        let fixture = try StoreFixture()
        let path = fixture.image.path
        await #expect(throws: ImageStoreError.image(.changed(path: ImageStore.absolute(fixture.path)))) {
            try await fixture.store.prepare(fixture.path) { step in
                guard case .preparing(let done, _) = step, done.bytes > 0 else { return }
                let handle = FileHandle(forUpdatingAtPath: path)
                try? handle?.seek(toOffset: 30 << 20)
                try? handle?.write(contentsOf: Data([1]))
            }
        }
        #expect(fixture.names("images") == [] && fixture.names("work") == [] && fixture.names("sources") == [])
    }

    @Test func `leaves nothing when it is cancelled`() async throws {
        let fixture = try StoreFixture()
        let job = Task {
            try await fixture.store.prepare(fixture.path) { step in
                if case .preparing(let done, _) = step, done.bytes > 0 { withUnsafeCurrentTask { $0?.cancel() } }
            }
        }
        await #expect(throws: CancellationError.self) { try await job.value }
        #expect(fixture.names("images") == [] && fixture.names("work") == [])
        _ = try await fixture.store.prepare(fixture.path)
    }

    @Test func `clears what a killed preparation left, not what another one works on`() async throws {
        let fixture = try StoreFixture()
        let (dead, alive) = (String(repeating: "d", count: 32), String(repeating: "a", count: 32))
        let work = "work"
        for name in [dead, alive, "removed-x"] {
            try fixture.image.folder.write(Data(count: 10), to: "store/\(work)/\(name)/5.part")
        }
        try fixture.image.folder.write(Data(), to: "store/locks/\(alive).lock")
        let attempt = try StoreLock.attempt(fixture.store.locks.appending("\(alive).lock"), store: fixture.store.path)
        _ = try await fixture.store.prepare(fixture.path)
        #expect(fixture.names("work") == [alive])
        switch consume attempt {
        case .locked: break
        case .held: Issue.record("the lock was not free")
        }
    }

    @Test func `two that prepare the same image do it once`() async throws {
        let fixture = try StoreFixture()
        let (store, path, encoded) = (fixture.store, fixture.path, Counter())
        let results = try await withThrowingTaskGroup(of: PreparedImage.self) { group in
            for _ in 0..<3 {
                group.addTask { try await store.prepare(path) { if $0 == .examining { encoded.count() } } }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(Set(results).count == 1)
        #expect(encoded.value == 1)
    }

    @Test func `says who prepares the same image for too long`() async throws {
        let fixture = try StoreFixture()
        let image = ImageStore.absolute(fixture.path)
        try fixture.image.folder.write(Data(), to: "store/locks/x")
        let lock = fixture.store.locks.appending(ImageStore.key(of: image) + ".lock")
        let attempt = try StoreLock.attempt(lock, store: fixture.store.path)
        let me = LockHolder(process: getpid(), user: Accounts.caller)
        await #expect(throws: ImageStoreError.busy(image: image, holder: me, seconds: 1)) {
            try await fixture.store.prepare(fixture.path, lockSeconds: 1)
        }
        _ = consume attempt
        _ = try await fixture.store.prepare(fixture.path, lockSeconds: 1)
    }

    @Test(arguments: [("missing.img", "image does not exist"), ("folder", "is a directory; must be an image file")])
    func `refuses what is not an image before anything is made`(name: String, message: String) async throws {
        let folder = try TemporaryFolder()
        try folder.write(Data(), to: "folder/x")
        let store = ImageStore(at: FilePath(folder.path("store")))
        let path = FilePath(folder.path(name))
        await #expect {
            try await store.prepare(path)
        } throws: { "\($0)" == "\(path): \(message)" }
        #expect(!FileManager.default.fileExists(atPath: folder.path("store")))
    }
}
