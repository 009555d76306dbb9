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

let tools = ["mkfs.ext4", "debugfs", "e2fsck", "mkfs.vfat", "mcopy", "gzip", "sha256sum", "diff", "unshare"]

/// An image with a FAT and an ext4 filesystem, a store, and what they are made of.
final class StoreFixture: Sendable {
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

    /// A fixture with this image.
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

final class Counter: Sendable {
    private let mutex = Mutex(0)
    func count() { mutex.withLock { $0 += 1 } }
    var value: Int { mutex.withLock { $0 } }
}

/// CRC-32 by its definition, bit by bit (IEEE 802.3, reflected).
func plainCRC32(_ bytes: Data) -> UInt32 {
    ~bytes.reduce(UInt32.max) { crc, byte in
        (0..<8).reduce(crc ^ UInt32(byte)) { crc, _ in crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1 }
    }
}

extension StoreFixture {
    static func unreadable(_ path: FilePath) -> Bool {
        (try? FileHandle(forReadingFrom: URL(fileURLWithPath: path.string))) == nil
    }
}

extension ImageStore {
    /// As with an open image.
    func prepare(
        _ image: FilePath, relocation: RelocationRequest? = nil, lockSeconds: Int = 3600,
        progress: @escaping @Sendable (PreparationProgress) -> Void = { _ in }
    ) async throws -> PreparedImage {
        try await prepare(
            ImageReader(image), relocation: relocation, lockSeconds: lockSeconds, progress: progress)
    }

    /// As with an open image.
    func preparedImage(of image: FilePath, relocation: RelocationRequest? = nil) -> PreparedImage? {
        (try? ImageReader(image)).flatMap { preparedImage(of: $0, relocation: relocation) }
    }
}
