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
@Suite(.enabled(if: canUse(tools))) struct ImageStoreTests {
    @Test func `prepares chunks that make the image's filesystems on a card with other content`() async throws {
        let fixture = try StoreFixture()
        let steps = Mutex<[PreparationProgress]>([])
        let prepared = try await fixture.store.prepare(fixture.path) { step in steps.withLock { $0.append(step) } }
        let manifest = prepared.manifest
        #expect(manifest.partitions.map(\.number) == [2, 3])
        #expect(manifest.partitions.map(\.filesystem) == [.fat32, .ext4])
        #expect(manifest.chunks.allSatisfy { $0.bytes <= 12 << 20 })
        // Law 3: partition 2's first sector is written last.
        #expect(manifest.chunks.last?.partition == 2 && manifest.chunks.last?.offset == 0)
        #expect(Set(manifest.chunks.map(\.encoding)) == [.gzip] || Set(manifest.chunks.map(\.encoding)).count == 2)
        let used = manifest.partitions.reduce(0) { $0 + $1.usedSectors } * 512
        #expect(manifest.bytes.bytes >= used && manifest.bytes.bytes <= used + used * 4 / 100)

        let cards = try fixture.layDown(prepared)
        try run("e2fsck", ["-fn", cards[1]])
        try run("fsck.vfat", ["-n", cards[0]])
        for (index, command) in ["mcopy", "debugfs"].enumerated() {
            let copy = fixture.image.folder.path("copy-\(command)")
            try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: true)
            try run(
                command, index == 0 ? ["-s", "-n", "-i", cards[0], "::/", copy] : ["-R", "rdump / \(copy)", cards[1]])
            try run("diff", ["-r", "--exclude=lost+found", fixture.trees[index], copy])
        }

        let seen = steps.withLock { $0 }
        #expect(seen.first == .examining && seen.last == .finishing)
        #expect(seen.contains(.preparing(done: manifest.bytes, total: manifest.bytes)))
        #expect(fixture.names("work") == [])
    }

    @Test func `writes hashes and pieces that other programs compute alike`() async throws {
        let fixture = try StoreFixture()
        let prepared = try await fixture.store.prepare(fixture.path)
        let pieces = try Data(contentsOf: URL(fileURLWithPath: prepared.pieces.string))
        #expect(UInt64(pieces.count) == prepared.manifest.piecesBytes)
        var first = 0
        for chunk in prepared.manifest.chunks {
            let content = try fixture.content(of: chunk, in: prepared)
            try fixture.image.folder.write(content, to: "content")
            #expect(try run("sha256sum", [fixture.image.folder.path("content")]).output.hasPrefix(chunk.sha256 + " "))
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
        let fixture = try StoreFixture(rootMiB: 24)
        let raw = try await fixture.store.prepare(fixture.path)
        let folder = fixture.image.folder
        let suffix = ["xz": "xz", "gz": "gz", "zs": "zst", "bz": "bz2", "zi": "zip"][
            String(packer.replacingOccurrences(of: "gzip", with: "gz").prefix(2))]
        let keep = packer.hasPrefix("zip") ? "" : "-k"
        try run("sh", ["-c", "cd '\(folder.url.path)' && \(packer) \(keep) os.img"])
        let packed = FilePath(folder.path("os.img.\(try #require(suffix))"))
        let unpacked = Counter()
        let prepared = try await fixture.store.prepare(packed) { if case .unpacking = $0 { unpacked.count() } }
        let size = try #require((try? ImageReader(fixture.path))?.fingerprint).size
        #expect(prepared == raw.named("os.img.\(suffix ?? "")", imageBytes: size))
        #expect(unpacked.value > 10)
        #expect(fixture.names("work") == [])
        #expect(fixture.store.preparedImage(of: packed) == prepared)
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
        let fixture = try StoreFixture()
        #expect(fixture.store.preparedImage(of: fixture.path) == nil)
        let prepared = try await fixture.store.prepare(fixture.path)
        // Nobody can read it: found all the same, by a link to it too.
        #expect(chmod(fixture.image.path, 0) == 0)
        let again = StoreFixture.unreadable(fixture.path)
        #expect(again || geteuid() == 0)
        let link = fixture.image.folder.path("link.img")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: fixture.image.path)
        // chmod changes ctime: it is another file now, for all that can be told.
        #expect(fixture.store.preparedImage(of: fixture.path) == nil)
        #expect(chmod(fixture.image.path, 0o644) == 0)
        #expect(try await fixture.store.prepare(fixture.path) == prepared)
        let progress = Mutex(0)
        let linked = try await fixture.store.prepare(FilePath(link)) { _ in progress.withLock { $0 += 1 } }
        #expect(linked.manifest.id == prepared.manifest.id)
        #expect(progress.withLock { $0 } == 0)
    }

    @Test func `does not trust the times of a file that had just been written`() async throws {
        let fixture = try StoreFixture(fresh: 3_600_000_000_000)
        let prepared = try await fixture.store.prepare(fixture.path)
        #expect(fixture.store.preparedImage(of: fixture.path) == nil)
        #expect(try await fixture.store.prepare(fixture.path) == prepared)
    }

    @Test func `a file with known content keeps its own name and size`() async throws {
        let fixture = try StoreFixture()
        let first = try await fixture.store.prepare(fixture.path)
        let folder = fixture.image.folder
        try run("sh", ["-c", "cd '\(folder.url.path)' && cp os.img other.img && truncate -s +3333333 other.img"])
        let other = FilePath(folder.path("other.img"))
        let sizes = try [fixture.path, other].map { try #require((try? ImageReader($0))?.fingerprint).size }
        let second = try await fixture.store.prepare(other)
        #expect(second.manifest.id == first.manifest.id && sizes[1] == sizes[0] + 3_333_333)
        // Prepared just now, and found prepared.
        for (path, name, size, prepared) in [
            (fixture.path, "os.img", sizes[0], first), (other, "other.img", sizes[1], second),
        ] {
            #expect(prepared.manifest.name == name && prepared.manifest.imageBytes == size)
            #expect(fixture.store.preparedImage(of: path) == prepared)
            #expect(try prepared.layout().size.bytes == size)
        }
        // Where the first one is gone from the list, the other one gives its name.
        #expect(try fixture.store.list().map(\.manifest?.name) == ["os.img"])
        try FileManager.default.removeItem(
            atPath: folder.path("store/sources/\(ImageStore.key(of: ImageStore.absolute(fixture.path))).json"))
        let listed = try fixture.store.list()
        #expect(listed.map(\.manifest?.name) == ["other.img"] && listed[0].manifest?.imageBytes == sizes[1])
    }

    @Test func `names an image as it was given, through a link too`() async throws {
        let fixture = try StoreFixture()
        let folder = fixture.image.folder
        try run("sh", ["-c", "cd '\(folder.url.path)' && ln -s os.img latest.img && : >empty && ln -s empty bad.img"])
        let prepared = try await fixture.store.prepare(FilePath(folder.path("latest.img")))
        #expect(prepared.manifest.name == "latest.img")
        let bad = FilePath(folder.path("bad.img"))
        await #expect(throws: OSImageError.empty(path: bad)) { try await fixture.store.prepare(bad) }
    }

    @Test func `takes an image whose path is not UTF-8, and tells it from one with another such name`() async throws {
        let fixture = try StoreFixture()
        let folder = fixture.image.folder
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
            let made = fixture.path.withPlatformString { old in image.withPlatformString { link(old, $0) } }
            #expect(made == 0)
            let prepared = try await fixture.store.prepare(image)
            #expect(fixture.store.preparedImage(of: image) == prepared)
        }
        #expect(fixture.names("sources").count == 2)
        #expect(ImageStore.key(of: paths[0]) != ImageStore.key(of: paths[1]))
    }

    @Test func `shares the files of what is the same in a changed image, and knows a copy of the same`() async throws {
        let fixture = try StoreFixture()
        let first = try await fixture.store.prepare(fixture.path)
        let copy = fixture.image.folder.path("copy.img")
        try FileManager.default.copyItem(atPath: fixture.image.path, toPath: copy)
        #expect(try await fixture.store.prepare(FilePath(copy)).manifest.id == first.manifest.id)
        #expect(fixture.names("images").count == 1)
        let listed = try fixture.store.list()
        #expect(
            Set(listed[0].sources)
                == Set([fixture.path, FilePath(copy)].map { ImageStore.absolute($0) }))

        // Another byte in the boot partition's first sector: one chunk changes.
        try fixture.image.poke(fixture.image.boot, at: 100, [0xee])
        let before = try fixture.store.size()
        let second = try await fixture.store.prepare(fixture.path)
        let (old, new) = (Set(first.manifest.chunks.map(\.file)), Set(second.manifest.chunks.map(\.file)))
        #expect(new.subtracting(old).count == 1)
        for name in old.intersection(new) {
            #expect(inode(first.folder.appending(name)) == inode(second.folder.appending(name)))
        }
        let grown = try fixture.store.size().bytes - before.bytes
        let changed = try #require(second.manifest.chunks.last).encodedBytes
        #expect(grown < changed + 400_000)
    }

    @Test func `makes a damaged prepared image anew`() async throws {
        let fixture = try StoreFixture()
        let prepared = try await fixture.store.prepare(fixture.path)
        let file = prepared.file(of: prepared.manifest.chunks[0])
        let good = try Data(contentsOf: URL(fileURLWithPath: file.string))
        #expect(truncate(file.string, 1000) == 0)
        #expect(fixture.store.preparedImage(of: fixture.path) == nil)
        let again = try await fixture.store.prepare(fixture.path)
        #expect(again == prepared)
        #expect(try Data(contentsOf: URL(fileURLWithPath: file.string)) == good)
        #expect(fixture.names("work") == [])
    }

    @Test(arguments: [
        #"{"version": 2}"#, "", "[]", "{", #"{"version":1,"id":"x"}"#,
    ])
    func `takes no manifest that is not its own`(text: String) async throws {
        let fixture = try StoreFixture()
        let prepared = try await fixture.store.prepare(fixture.path)
        try Data(text.utf8).write(to: URL(fileURLWithPath: prepared.folder.appending("manifest.json").string))
        #expect(fixture.store.preparedImage(of: fixture.path) == nil)
        #expect(try fixture.store.list().map(\.manifest) == [nil])
        #expect(try await fixture.store.prepare(fixture.path) == prepared)
    }

    @Test func `takes no file name from a manifest that leads elsewhere`() async throws {
        let fixture = try StoreFixture()
        let prepared = try await fixture.store.prepare(fixture.path)
        let path = prepared.folder.appending("manifest.json").string
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let name = prepared.manifest.chunks[0].file
        try text.replacingOccurrences(of: "\"\(name)\"", with: "\"../\(name)\"")
            .write(toFile: path, atomically: true, encoding: .utf8)
        #expect(fixture.store.preparedImage(of: fixture.path) == nil)
    }

    private func inode(_ path: FilePath) -> UInt64? { (try? ImageReader(path))?.fingerprint.inode }
}
