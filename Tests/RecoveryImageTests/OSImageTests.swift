import DiskLayout
import FDisk
import Foundation
import SystemPackage
import TestImages
import TestSupport
import Testing

@testable import OSImage

/// An image with these partitions (start and size in sectors), 16 MiB long if not cut.
private func image(_ extents: [(UInt64, UInt64)], size: Int = 16 << 20, in folder: TemporaryFolder) throws -> FilePath {
    try folder.write(Data(), to: "os.img")
    let url = folder.url.appendingPathComponent("os.img")
    let handle = try FileHandle(forWritingTo: url)
    try handle.truncate(atOffset: 16 << 20)
    let partitions = extents.enumerated().map {
        Partition(number: $0 + 1, type: $0 == 0 ? .fat32LBA : .linux, start: LBA($1.0), size: SectorCount($1.1))
    }
    try writeDOSTable(partitions, diskID: 1, to: url.path)
    try handle.truncate(atOffset: UInt64(size))
    try handle.close()
    return FilePath(url.path)
}

@Suite struct OSImageTests {
    @Test func `tells an image's partitions and length, and leaves every byte alone`() throws {
        let folder = try TemporaryFolder()
        let path = try image([(8192, 4096), (16384, 1001)], in: folder)
        let before = try folder.data("os.img")
        let layout = try inspectOSImage(at: path)
        #expect(layout.size == .mebibytes(16))
        #expect(layout.boot.start == LBA(8192))
        #expect(layout.rootfsOffset == SectorCount(8192))
        #expect(layout.content == SectorCount(9193))
        #expect(try folder.data("os.img") == before)
    }

    @Test(arguments: [UInt64(1), 63, 2048, 8192, 16384])
    func `takes an image whose boot partition starts anywhere, as libfdisk reads it`(start: UInt64) throws {
        let folder = try TemporaryFolder()
        let path = try image([(start, 4096), (start + 4096, 1001)], in: folder)
        let layout = try inspectOSImage(at: path)
        #expect(layout.boot.start == LBA(start))
        #expect(layout.content == SectorCount(5097))
    }

    @Test func `refuses an image whose boot partition lies on its partition table`() throws {
        let folder = try TemporaryFolder()
        let path = try image([(0, 4096), (8192, 4096)], in: folder)
        #expect {
            try inspectOSImage(at: path)
        } throws: {
            "\($0)"
                == "\(path): image's boot partition starts at LBA 0, where the partition table is; must start at LBA 1 or later"
        }
    }

    @Test(arguments: [0, 1, 511])
    func `takes an image that ends within the last sector of its rootfs`(cut: Int) throws {
        let folder = try TemporaryFolder()
        let path = try image([(8192, 4096), (16384, 4096)], size: (10 << 20) - cut, in: folder)
        #expect(try inspectOSImage(at: path).content.byteCount == .mebibytes(6))
    }

    @Test func `law 4: works on an image that nobody may write`() throws {
        let folder = try TemporaryFolder()
        let path = try image([(8192, 4096), (16384, 1001)], in: folder)
        #expect(chmod(path.string, 0o400) == 0)
        #expect(try inspectOSImage(at: path).content == SectorCount(9193))
    }

    @Test(
        arguments: [
            ([(8192, 4096)], 16 << 20, "image has one partition, 1; must have two partitions, 1 (boot) and 2 (rootfs)"),
            (
                [(8192, 4096), (12288, 4096), (16384, 4096)], 16 << 20,
                "image has 3 partitions, 1, 2, 3; must have two partitions, 1 (boot) and 2 (rootfs)"
            ),
            (
                [(8192, 4096), (16384, 4096)], (10 << 20) - 512,
                "image is 10485248 bytes, but its partitions end at byte 10485760; the file is cut short"
            ),
        ] as [([(UInt64, UInt64)], Int, String)])
    func `refuses an image that no card takes`(extents: [(UInt64, UInt64)], size: Int, message: String) throws {
        let folder = try TemporaryFolder()
        let path = try image(extents, size: size, in: folder)
        #expect { try inspectOSImage(at: path) } throws: { "\($0)" == "\(path): \(message)" }
    }

    @Test(arguments: [
        ("missing.img", "missing.img: image does not exist"),
        ("folder", "folder: is a directory; must be an image file"),
        ("fifo", "fifo: is a pipe or socket; must be an image file"),
        ("empty.img", "empty.img: image is empty (0 bytes); must have a partition table and two partitions"),
        ("one.img", "one.img: image has no partition table; must have a DOS one (MBR) with two partitions"),
        ("zeros.img", "zeros.img: image has no partition table; must have a DOS one (MBR) with two partitions"),
        ("a.xz", "a.xz: image is compressed (xz); decompress it first: unxz -c <DIR/a.xz >DIR/a"),
        ("a.img", "a.img: image is compressed (gzip); decompress it first: gunzip -c <DIR/a.img >DIR/a.img.unpacked"),
        ("a.zip", "a.zip: image is compressed (zip); decompress it first: unzip DIR/a.zip"),
        ("a.zst", "a.zst: image is compressed (zstd); decompress it first: unzstd -c <DIR/a.zst >DIR/a"),
        (
            "a b's.bz2",
            "a b's.bz2: image is compressed (bzip2); decompress it first: bunzip2 -c <'DIR/a b'\\''s.bz2' >'DIR/a b'\\''s'"
        ),
    ])
    func `says what a file is that is not an image, and what to do`(name: String, message: String) throws {
        let folder = try TemporaryFolder()
        try FileManager.default.createDirectory(
            at: folder.url.appendingPathComponent("folder"), withIntermediateDirectories: false)
        #expect(mkfifo(folder.url.appendingPathComponent("fifo").path, 0o600) == 0)
        try folder.write(Data(), to: "empty.img")
        try folder.write(Data([0]), to: "one.img")
        try folder.write(Data(count: 1 << 20), to: "zeros.img")
        // The first bytes, as the formats' specifications give them.
        try folder.write(Data([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04]), to: "a.xz")
        try folder.write(Data([0x1f, 0x8b, 0x08, 0x00]), to: "a.img")
        try folder.write(Data([0x50, 0x4b, 0x03, 0x04]), to: "a.zip")
        try folder.write(Data([0x28, 0xb5, 0x2f, 0xfd]), to: "a.zst")
        try folder.write(Data([0x42, 0x5a, 0x68, 0x39]), to: "a b's.bz2")
        let path = folder.url.appendingPathComponent(name).path
        #expect {
            try inspectOSImage(at: FilePath(path))
        } throws: {
            "\($0)".replacingOccurrences(of: "\(folder.url.path)/\(name): ", with: "\(name): ")
                .replacingOccurrences(of: folder.url.path, with: "DIR") == message
        }
    }

    @Test func `refuses a GUID partition table, a damaged one's protective MBR too`() throws {
        let folder = try TemporaryFolder()
        let path = folder.url.appendingPathComponent("gpt.img").path
        try folder.write(Data(count: 16 << 20), to: "gpt.img")
        let protective = Partition(
            number: 1, type: PartitionType(code: 0xee), start: LBA(2048), size: SectorCount(1000))
        try writePartitionTable(PartitionTable(diskID: nil, partitions: [protective]), to: path)
        #expect(throws: OSImageError.gpt(path: FilePath(path))) { try inspectOSImage(at: FilePath(path)) }
    }
}
