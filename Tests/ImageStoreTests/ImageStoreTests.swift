import DiskLayout
import FlashPlan
import Foundation
import LinuxHost
import OSImage
import Synchronization
import SystemPackage
import TestImages
import Testing

@testable import ImageStore

let tools = ["mkfs.ext4", "debugfs", "e2fsck", "mkfs.vfat", "mcopy", "gzip", "sha256sum", "diff", "unshare"]

/// An image with a FAT and an ext4 filesystem, a store, and what they are made of.
final class Bench: Sendable {
    let image: TestImage
    let trees: [String]
    let store: ImageStore
    var path: FilePath { FilePath(image.path) }
    var storeURL: URL { URL(fileURLWithPath: store.path.string) }

    /// - Parameter fresh: nanoseconds in which a change may leave no trace; 0 lets a new file be known again at once.
    init(fresh: Int64 = 0, rootMiB: UInt64 = 48) throws {
        image = try TestImage(bootMiB: 40, rootMiB: rootMiB, filled: true)
        trees = [
            try makeTree(in: image.folder, name: "boot", seed: 1, files: 10),
            try makeTree(in: image.folder, name: "rootfs", seed: 2, files: 60),
        ]
        try image.makeFAT(image.boot, ["-F", "32", "-s", "1"], tree: trees[0])
        try image.makeExt(image.rootfs, ["-b", "1024"], tree: trees[1])
        store = ImageStore(at: FilePath(image.folder.path("store")), freshNanoseconds: fresh)
    }

    /// A bench with this image.
    init(_ image: TestImage) {
        self.image = image
        trees = []
        store = ImageStore(at: FilePath(image.folder.path("store")), freshNanoseconds: 0)
    }

    func names(_ folder: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: storeURL.appendingPathComponent(folder).path)) ?? [])
            .sorted()
    }

    /// Lays a prepared image down on two card partitions that have other content, by gzip and not by our library.
    func layDown(_ prepared: PreparedImage) throws -> [String] {
        var cards: [String] = []
        for partition in [image.boot, image.rootfs] {
            let path = image.folder.path("card\(partition.number + 1)")
            try Data(repeating: 0x5a, count: Int(partition.size.byteCount.bytes)).write(to: URL(fileURLWithPath: path))
            cards.append(path)
        }
        for chunk in prepared.manifest.chunks {
            let card = try FileHandle(forWritingTo: URL(fileURLWithPath: cards[chunk.partition - 2]))
            try card.seek(toOffset: chunk.offset * 512)
            try card.write(contentsOf: content(of: chunk, in: prepared))
            try card.close()
        }
        return cards
    }

    func content(of chunk: Manifest.Chunk, in prepared: PreparedImage) throws -> Data {
        let file = URL(fileURLWithPath: prepared.file(of: chunk).string)
        guard chunk.encoding == .gzip else { return try Data(contentsOf: file) }
        let raw = image.folder.path("raw")
        try run("sh", ["-c", "gzip -dc < '\(file.path)' > '\(raw)'"])
        return try Data(contentsOf: URL(fileURLWithPath: raw))
    }
}

private final class Counter: Sendable {
    private let mutex = Mutex(0)
    func count() { mutex.withLock { $0 += 1 } }
    var value: Int { mutex.withLock { $0 } }
}

/// CRC-32 by its definition, bit by bit (IEEE 802.3, reflected).
private func plainCRC32(_ bytes: Data) -> UInt32 {
    ~bytes.reduce(UInt32.max) { crc, byte in
        (0..<8).reduce(crc ^ UInt32(byte)) { crc, _ in crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1 }
    }
}

@Suite(.enabled(if: canUse(tools))) struct ImageStoreTests {
    @Test func `prepares chunks that make the image's filesystems on a card with other content`() async throws {
        let bench = try Bench()
        let steps = Mutex<[PreparationProgress]>([])
        let prepared = try await bench.store.prepare(bench.path) { step in steps.withLock { $0.append(step) } }
        let manifest = prepared.manifest
        #expect(manifest.partitions.map(\.number) == [2, 3])
        #expect(manifest.partitions.map(\.filesystem) == [.fat32, .ext4])
        #expect(manifest.chunks.allSatisfy { $0.bytes <= 12 << 20 })
        // Law 3: partition 2's first sector is written last.
        #expect(manifest.chunks.last?.partition == 2 && manifest.chunks.last?.offset == 0)
        #expect(Set(manifest.chunks.map(\.encoding)) == [.gzip] || Set(manifest.chunks.map(\.encoding)).count == 2)
        let used = manifest.partitions.reduce(0) { $0 + $1.usedSectors } * 512
        #expect(manifest.bytes.bytes >= used && manifest.bytes.bytes <= used + used * 4 / 100)

        let cards = try bench.layDown(prepared)
        try run("e2fsck", ["-fn", cards[1]])
        try run("fsck.vfat", ["-n", cards[0]])
        for (index, command) in ["mcopy", "debugfs"].enumerated() {
            let copy = bench.image.folder.path("copy-\(command)")
            try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: true)
            try run(
                command, index == 0 ? ["-s", "-n", "-i", cards[0], "::/", copy] : ["-R", "rdump / \(copy)", cards[1]])
            try run("diff", ["-r", "--exclude=lost+found", bench.trees[index], copy])
        }

        let seen = steps.withLock { $0 }
        #expect(seen.first == .examining && seen.last == .finishing)
        #expect(seen.contains(.preparing(done: manifest.bytes, total: manifest.bytes)))
        #expect(bench.names("work") == [])
    }

    @Test func `writes hashes and pieces that other programs compute alike`() async throws {
        let bench = try Bench()
        let prepared = try await bench.store.prepare(bench.path)
        let pieces = try Data(contentsOf: URL(fileURLWithPath: prepared.pieces.string))
        #expect(UInt64(pieces.count) == prepared.manifest.piecesBytes)
        var first = 0
        for chunk in prepared.manifest.chunks {
            let content = try bench.content(of: chunk, in: prepared)
            try bench.image.folder.write(content, to: "content")
            #expect(try run("sha256sum", [bench.image.folder.path("content")]).output.hasPrefix(chunk.sha256 + " "))
            #expect(content.count == chunk.bytes)
            #expect(chunk.pieces == UInt64(first))
            // Whole MiBs: what is missing counts as zeros.
            let count = (content.count + (1 << 20) - 1) >> 20 * 32
            let padded = content + Data(count: count * 32768 - content.count)
            // The first and the last: bit by bit takes long.
            for piece in Set([0, count - 1]) {
                let bytes = padded[(piece * 32768)..<(piece * 32768 + 32768)]
                let stored = pieces[(first + piece * 8)..<(first + piece * 8 + 4)].reduce(UInt32(0)) {
                    $0 << 8 | UInt32($1)
                }
                #expect(stored == plainCRC32(bytes))
            }
            first += count * 8
        }
        #expect(plainCRC32(Data("123456789".utf8)) == 0xcbf4_3926)
        #expect(UInt64(first) == prepared.manifest.piecesBytes)
    }

    @Test func `keeps as it is what gzip makes no smaller, and holds zeros in next to nothing`() async throws {
        // An unknown filesystem: all of it, noise and one large hole.
        let image = try TestImage(bootMiB: 12, rootMiB: 48, filled: false)
        for (index, partition) in [image.boot, image.rootfs].enumerated() {
            try image.poke(partition, at: 0, Array(noise(UInt64(index), count: 12 << 20)))
        }
        let store = ImageStore(at: FilePath(image.folder.path("store")))
        let prepared = try await store.prepare(FilePath(image.path))
        let chunks = prepared.manifest.chunks
        // Boot but for its first sector, the rootfs's noise and its hole, the first sector.
        #expect(chunks.map(\.encoding) == [.raw, .raw, .gzip, .gzip, .gzip, .raw])
        #expect(Set(chunks[2...4].map(\.file)).count == 1)
        #expect(chunks[2].encodedBytes < 20_000)
        #expect(chunks[1].encodedBytes == 12 << 20)
        #expect(prepared.manifest.partitions[1].note?.contains("all of it is taken") == true)
    }

    @Test(arguments: ["xz -0", "gzip -1", "zstd -q", "bzip2 -1", "zip -q os.img.zip"])
    func `prepares of a compressed image what it prepares of the raw one`(packer: String) async throws {
        let bench = try Bench(rootMiB: 24)
        let raw = try await bench.store.prepare(bench.path)
        let folder = bench.image.folder
        let suffix = ["xz": "xz", "gz": "gz", "zs": "zst", "bz": "bz2", "zi": "zip"][
            String(packer.replacingOccurrences(of: "gzip", with: "gz").prefix(2))]
        let keep = packer.hasPrefix("zip") ? "" : "-k"
        try run("sh", ["-c", "cd '\(folder.url.path)' && \(packer) \(keep) os.img"])
        let packed = FilePath(folder.path("os.img.\(try #require(suffix))"))
        let unpacked = Counter()
        let prepared = try await bench.store.prepare(packed) { if case .unpacking = $0 { unpacked.count() } }
        let size = try #require(FileFingerprint(of: bench.path)).size
        #expect(prepared == raw.named("os.img.\(suffix ?? "")", imageBytes: size))
        #expect(unpacked.value > 10)
        #expect(bench.names("work") == [])
        #expect(bench.store.preparedImage(of: packed) == prepared)
    }

    @Test func `says of a compressed image what is wrong with it, and leaves nothing`() async throws {
        let folder = try TemporaryFolder()
        try folder.write(noise(1, count: 5 << 20), to: "os.img")
        try run("gzip", ["-k", folder.path("os.img")])
        let path = FilePath(folder.path("os.img.gz"))
        let store = ImageStore(at: FilePath(folder.path("store")))
        await #expect {
            try await store.prepare(path)
        } throws: {
            "\($0)" == "\(path): image has no partition table; must have a DOS one (MBR) with two partitions"
        }
        #expect(truncate(path.string, 1 << 20) == 0)
        await #expect {
            try await store.prepare(path)
        } throws: { "\($0)" == "\(path): image cannot be unpacked (gzip): truncated gzip input" }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path("store/work")) == [])
    }

    // MARK: Identity

    @Test func `finds a prepared image again without reading it`() async throws {
        let bench = try Bench()
        #expect(bench.store.preparedImage(of: bench.path) == nil)
        let prepared = try await bench.store.prepare(bench.path)
        // Nobody can read it: found all the same, by a link to it too.
        #expect(chmod(bench.image.path, 0) == 0)
        let again = Bench.unreadable(bench.path)
        #expect(again || geteuid() == 0)
        let link = bench.image.folder.path("link.img")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: bench.image.path)
        // chmod changes ctime: it is another file now, for all that can be told.
        #expect(bench.store.preparedImage(of: bench.path) == nil)
        #expect(chmod(bench.image.path, 0o644) == 0)
        #expect(try await bench.store.prepare(bench.path) == prepared)
        let progress = Mutex(0)
        let linked = try await bench.store.prepare(FilePath(link)) { _ in progress.withLock { $0 += 1 } }
        #expect(linked.manifest.id == prepared.manifest.id)
        #expect(progress.withLock { $0 } == 0)
    }

    @Test func `does not trust the times of a file that had just been written`() async throws {
        let bench = try Bench(fresh: 3_600_000_000_000)
        let prepared = try await bench.store.prepare(bench.path)
        #expect(bench.store.preparedImage(of: bench.path) == nil)
        #expect(try await bench.store.prepare(bench.path) == prepared)
    }

    @Test func `a file with known content keeps its own name and size`() async throws {
        let bench = try Bench()
        let first = try await bench.store.prepare(bench.path)
        let folder = bench.image.folder
        try run("sh", ["-c", "cd '\(folder.url.path)' && cp os.img other.img && truncate -s +3333333 other.img"])
        let other = FilePath(folder.path("other.img"))
        let sizes = try [bench.path, other].map { try #require(FileFingerprint(of: $0)).size }
        let second = try await bench.store.prepare(other)
        #expect(second.manifest.id == first.manifest.id && sizes[1] == sizes[0] + 3_333_333)
        // Prepared just now, and found prepared.
        for (path, name, size, prepared) in [
            (bench.path, "os.img", sizes[0], first), (other, "other.img", sizes[1], second),
        ] {
            #expect(prepared.manifest.name == name && prepared.manifest.imageBytes == size)
            #expect(bench.store.preparedImage(of: path) == prepared)
            #expect(try prepared.layout().size.bytes == size)
        }
        // Where the first one is gone from the list, the other one gives its name.
        #expect(try bench.store.list().map(\.manifest?.name) == ["os.img"])
        try FileManager.default.removeItem(
            atPath: folder.path("store/sources/\(ImageStore.key(of: ImageStore.absolute(bench.path))).json"))
        let listed = try bench.store.list()
        #expect(listed.map(\.manifest?.name) == ["other.img"] && listed[0].manifest?.imageBytes == sizes[1])
    }

    @Test func `names an image as it was given, through a link too`() async throws {
        let bench = try Bench()
        let folder = bench.image.folder
        try run("sh", ["-c", "cd '\(folder.url.path)' && ln -s os.img latest.img && : >empty && ln -s empty bad.img"])
        let prepared = try await bench.store.prepare(FilePath(folder.path("latest.img")))
        #expect(prepared.manifest.name == "latest.img")
        let bad = FilePath(folder.path("bad.img"))
        await #expect(throws: ImageStoreError.image(.empty(path: bad))) { try await bench.store.prepare(bad) }
    }

    @Test func `takes an image whose path is not UTF-8, and tells it from one with another such name`() async throws {
        let bench = try Bench()
        let folder = bench.image.folder
        var paths: [FilePath] = []
        for byte in [UInt8(0xf6), 0xfc] {
            let bytes = Array("\(folder.url.path)/gr".utf8CString.dropLast()) + [CChar(bitPattern: byte), 0]
            let path = FilePath(platformString: bytes)
            #expect(path.withPlatformString { mkdir($0, 0o755) } == 0)
            paths.append(path)
        }
        try #require(paths[0] != paths[1] && paths[0].string == paths[1].string)
        for path in paths {
            let image = path.appending("a.img")
            let made = bench.path.withPlatformString { old in image.withPlatformString { link(old, $0) } }
            #expect(made == 0)
            let prepared = try await bench.store.prepare(image)
            #expect(bench.store.preparedImage(of: image) == prepared)
        }
        #expect(bench.names("sources").count == 2)
        #expect(ImageStore.key(of: paths[0]) != ImageStore.key(of: paths[1]))
    }

    @Test func `shares the files of what is the same in a changed image, and knows a copy of the same`() async throws {
        let bench = try Bench()
        let first = try await bench.store.prepare(bench.path)
        let copy = bench.image.folder.path("copy.img")
        try FileManager.default.copyItem(atPath: bench.image.path, toPath: copy)
        #expect(try await bench.store.prepare(FilePath(copy)).manifest.id == first.manifest.id)
        #expect(bench.names("images").count == 1)
        let listed = try bench.store.list()
        #expect(
            Set(listed[0].sources)
                == Set([bench.path, FilePath(copy)].map { ImageStore.absolute($0) }))

        // Another byte in the boot partition's first sector: one chunk changes.
        try bench.image.poke(bench.image.boot, at: 100, [0xee])
        let before = try bench.store.size()
        let second = try await bench.store.prepare(bench.path)
        let (old, new) = (Set(first.manifest.chunks.map(\.file)), Set(second.manifest.chunks.map(\.file)))
        #expect(new.subtracting(old).count == 1)
        for name in old.intersection(new) {
            #expect(inode(first.folder.appending(name)) == inode(second.folder.appending(name)))
        }
        let grown = try bench.store.size().bytes - before.bytes
        let changed = try #require(second.manifest.chunks.last).encodedBytes
        #expect(grown < changed + 400_000)
    }

    @Test func `makes a damaged prepared image anew`() async throws {
        let bench = try Bench()
        let prepared = try await bench.store.prepare(bench.path)
        let file = prepared.file(of: prepared.manifest.chunks[0])
        let good = try Data(contentsOf: URL(fileURLWithPath: file.string))
        #expect(truncate(file.string, 1000) == 0)
        #expect(bench.store.preparedImage(of: bench.path) == nil)
        let again = try await bench.store.prepare(bench.path)
        #expect(again == prepared)
        #expect(try Data(contentsOf: URL(fileURLWithPath: file.string)) == good)
        #expect(bench.names("work") == [])
    }

    @Test(arguments: [
        #"{"version": 2}"#, "", "[]", "{", #"{"version":1,"id":"x"}"#,
    ])
    func `takes no manifest that is not its own`(text: String) async throws {
        let bench = try Bench()
        let prepared = try await bench.store.prepare(bench.path)
        try Data(text.utf8).write(to: URL(fileURLWithPath: prepared.folder.appending("manifest.json").string))
        #expect(bench.store.preparedImage(of: bench.path) == nil)
        #expect(try bench.store.list().map(\.manifest) == [nil])
        #expect(try await bench.store.prepare(bench.path) == prepared)
    }

    @Test func `takes no file name from a manifest that leads elsewhere`() async throws {
        let bench = try Bench()
        let prepared = try await bench.store.prepare(bench.path)
        let path = prepared.folder.appending("manifest.json").string
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let name = prepared.manifest.chunks[0].file
        try text.replacingOccurrences(of: "\"\(name)\"", with: "\"../\(name)\"")
            .write(toFile: path, atomically: true, encoding: .utf8)
        #expect(bench.store.preparedImage(of: bench.path) == nil)
    }

    // MARK: Links and removal

    /// /dev/shm is a file system of its own on every Linux.
    @Test(.enabled(if: FileManager.default.isWritableFile(atPath: "/dev/shm")))
    func `copies where there can be no link, readable for every server`() async throws {
        let bench = try Bench()
        // The umask is all tests': that it does not matter is seen with the built program, in SharedTests.
        let prepared = try await bench.store.prepare(bench.path)
        let elsewhere = "/dev/shm/rpiflash-test-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: elsewhere, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: elsewhere) }
        let chunk = prepared.manifest.chunks[0]
        for folder in [elsewhere, bench.image.folder.path("near")] {
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
        let bench = try Bench()
        let prepared = try await bench.store.prepare(bench.path)
        let chunk = prepared.manifest.chunks[0]
        let linked = bench.image.folder.path("target-file")
        try prepared.link(chunk.file, to: FilePath(linked))
        let content = try Data(contentsOf: URL(fileURLWithPath: linked))
        try await bench.store.remove(prepared.manifest.id)
        #expect(try Data(contentsOf: URL(fileURLWithPath: linked)) == content)
        #expect(try bench.store.list() == [])
        #expect(bench.names("images") == [] && bench.names("sources") == [] && bench.names("work") == [])
        #expect(throws: ImageStoreError.unknown(id: prepared.manifest.id, store: bench.store.path)) {
            try prepared.link(chunk.file, to: FilePath(bench.image.folder.path("other")))
        }
        await #expect(throws: ImageStoreError.unknown(id: prepared.manifest.id, store: bench.store.path)) {
            try await bench.store.remove(prepared.manifest.id)
        }
        await #expect(throws: ImageStoreError.self) { try await bench.store.remove("../../etc") }
    }

    @Test func `an empty or missing store has nothing in it`() throws {
        let folder = try TemporaryFolder()
        let store = ImageStore(at: FilePath(folder.path("none")))
        #expect(try store.list() == [])
        #expect(try store.size() == ByteCount(0))
    }

    // MARK: Trouble

    @Test func `law 4: only reads the image`() async throws {
        let bench = try Bench()
        let before = try run("sha256sum", [bench.image.path]).output
        let status = FileFingerprint(of: bench.path)
        _ = try await bench.store.prepare(bench.path)
        #expect(try run("sha256sum", [bench.image.path]).output == before)
        #expect(FileFingerprint(of: bench.path) == status)
    }

    @Test func `refuses an image that changes while it is prepared, and leaves nothing`() async throws {
        let bench = try Bench()
        let path = bench.image.path
        await #expect(throws: ImageStoreError.image(.changed(path: ImageStore.absolute(bench.path)))) {
            try await bench.store.prepare(bench.path) { step in
                guard case .preparing(let done, _) = step, done.bytes > 0 else { return }
                let handle = FileHandle(forUpdatingAtPath: path)
                try? handle?.seek(toOffset: 30 << 20)
                try? handle?.write(contentsOf: Data([1]))
            }
        }
        #expect(bench.names("images") == [] && bench.names("work") == [] && bench.names("sources") == [])
    }

    @Test func `leaves nothing when it is cancelled`() async throws {
        let bench = try Bench()
        let job = Task {
            try await bench.store.prepare(bench.path) { step in
                if case .preparing(let done, _) = step, done.bytes > 0 { withUnsafeCurrentTask { $0?.cancel() } }
            }
        }
        await #expect(throws: CancellationError.self) { try await job.value }
        #expect(bench.names("images") == [] && bench.names("work") == [])
        _ = try await bench.store.prepare(bench.path)
    }

    @Test func `clears what a killed preparation left, not what another one works on`() async throws {
        let bench = try Bench()
        let (dead, alive) = (String(repeating: "d", count: 32), String(repeating: "a", count: 32))
        let work = "work"
        for name in [dead, alive, "removed-x"] {
            try bench.image.folder.write(Data(count: 10), to: "store/\(work)/\(name)/5.part")
        }
        try bench.image.folder.write(Data(), to: "store/locks/\(alive).lock")
        let attempt = try StoreLock.attempt(bench.store.locks.appending("\(alive).lock"), store: bench.store.path)
        _ = try await bench.store.prepare(bench.path)
        #expect(bench.names("work") == [alive])
        switch consume attempt {
        case .locked: break
        case .held: Issue.record("the lock was not free")
        }
    }

    @Test func `two that prepare the same image do it once`() async throws {
        let bench = try Bench()
        let (store, path, encoded) = (bench.store, bench.path, Counter())
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
        let bench = try Bench()
        let image = ImageStore.absolute(bench.path)
        try bench.image.folder.write(Data(), to: "store/locks/x")
        let lock = bench.store.locks.appending(ImageStore.key(of: image) + ".lock")
        let attempt = try StoreLock.attempt(lock, store: bench.store.path)
        let me = LockHolder(process: getpid(), user: Accounts.caller)
        await #expect(throws: ImageStoreError.busy(image: image, holder: me, seconds: 1)) {
            try await bench.store.prepare(bench.path, lockSeconds: 1)
        }
        _ = consume attempt
        _ = try await bench.store.prepare(bench.path, lockSeconds: 1)
    }

    @Test(arguments: [("missing.img", "image does not exist"), ("folder", "is a directory; must be an image file")])
    func `refuses what is no image before anything is made`(name: String, message: String) async throws {
        let folder = try TemporaryFolder()
        try folder.write(Data(), to: "folder/x")
        let store = ImageStore(at: FilePath(folder.path("store")))
        let path = FilePath(folder.path(name))
        await #expect {
            try await store.prepare(path)
        } throws: { "\($0)" == "\(path): \(message)" }
        #expect(!FileManager.default.fileExists(atPath: folder.path("store")))
    }

    private func inode(_ path: FilePath) -> UInt64? { FileFingerprint(of: path)?.inode }
}

extension Bench {
    fileprivate static func unreadable(_ path: FilePath) -> Bool {
        (try? FileHandle(forReadingFrom: URL(fileURLWithPath: path.string))) == nil
    }
}
