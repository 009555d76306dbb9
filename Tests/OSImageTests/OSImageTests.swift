import TestSupport
import DiskLayout
import Foundation
import SystemPackage
import Testing
import TestImages

@testable import OSImage

let tools = ["mkfs.ext4", "debugfs", "e2fsck", "dumpe2fs", "mkfs.vfat", "fsck.vfat", "mcopy", "mdel", "diff"]

/// How an ext filesystem is made, and what it must be taken for.
struct ExtKind: Sendable, CustomTestStringConvertible {
    let options: [String]
    var kind = Filesystem.ext4
    var testDescription: String { options.joined(separator: " ") }

    static let all: [ExtKind] = [
        ExtKind(options: ["-t", "ext2", "-b", "1024"], kind: .ext2),
        ExtKind(options: ["-t", "ext2", "-b", "4096"], kind: .ext2),
        ExtKind(options: ["-t", "ext3", "-b", "1024"], kind: .ext3),
        ExtKind(options: ["-b", "1024"]),
        ExtKind(options: ["-b", "2048", "-O", "^has_journal"]),
        ExtKind(options: ["-b", "4096"]),
        ExtKind(options: ["-b", "65536"]),
        ExtKind(options: ["-b", "4096", "-O", "^metadata_csum,^64bit"]),
        ExtKind(options: ["-b", "1024", "-O", "uninit_bg,^metadata_csum"]),
        ExtKind(options: ["-b", "1024", "-O", "^flex_bg,64bit,metadata_csum"]),
        ExtKind(options: ["-b", "1024", "-g", "1024", "-O", "metadata_csum"]),
        ExtKind(options: ["-b", "1024", "-O", "meta_bg,^resize_inode"]),
        ExtKind(options: ["-b", "4096", "-O", "sparse_super2,metadata_csum_seed"]),
        ExtKind(options: ["-b", "4096", "-O", "bigalloc", "-C", "16384"]),
        ExtKind(options: ["-b", "1024", "-O", "bigalloc,^has_journal", "-C", "65536"]),
    ]
}

/// How a FAT is made.
struct FATKind: Sendable, CustomTestStringConvertible {
    let options: [String]
    let mebibytes: UInt64
    let kind: Filesystem
    var testDescription: String { "\(mebibytes) MiB \(options.joined(separator: " "))" }

    static let all: [FATKind] = [
        FATKind(options: ["-F", "12"], mebibytes: 8, kind: .fat12),
        FATKind(options: ["-F", "12", "-s", "8", "-f", "1"], mebibytes: 12, kind: .fat12),
        FATKind(options: ["-F", "16"], mebibytes: 32, kind: .fat16),
        FATKind(options: ["-F", "32", "-s", "1"], mebibytes: 48, kind: .fat32),
        FATKind(options: ["-F", "32", "-s", "2", "-f", "1", "-S", "512"], mebibytes: 80, kind: .fat32),
    ]
}

/// Copies nothing but the extents to a file whose other bytes are neither zeros nor what the image has there.
private func copyUsed(_ usage: PartitionUsage, of partition: Partition, from image: TestImage, to path: String) throws {
    let source = try FileHandle(forReadingFrom: URL(fileURLWithPath: image.path))
    try Data().write(to: URL(fileURLWithPath: path))
    let target = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    let old = Data(repeating: 0xa5, count: 1 << 20)
    for _ in 0..<(partition.size.byteCount.bytes >> 20) { try target.write(contentsOf: old) }
    for extent in usage.extents {
        try source.seek(toOffset: (partition.start + extent.offset).byteOffset.bytes)
        try target.seek(toOffset: extent.offset.byteCount.bytes)
        try target.write(contentsOf: source.read(upToCount: Int(extent.count.byteCount.bytes)) ?? Data())
    }
    try target.close()
}

/// The invariants of every result.
func check(_ usage: PartitionUsage, of partition: Partition, sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(usage.extents.first?.offset == SectorCount(0), sourceLocation: sourceLocation)
    var end = UInt64(0)
    var sum = UInt64(0)
    for (index, extent) in usage.extents.enumerated() {
        #expect(extent.count.sectors > 0, sourceLocation: sourceLocation)
        #expect(index == 0 || extent.offset.sectors > end, sourceLocation: sourceLocation)
        end = extent.end.sectors
        sum += extent.count.sectors
    }
    #expect(end <= partition.size.sectors, sourceLocation: sourceLocation)
    #expect(usage.used.sectors <= sum, sourceLocation: sourceLocation)
}

@Suite(.enabled(if: canUse(tools))) struct UsedExtentsTests {
    @Test(arguments: ExtKind.all)
    func `takes of ext what its bitmaps say, and that makes the same filesystem`(kind: ExtKind) throws {
        let image = try TestImage(bootMiB: 1, rootMiB: 64, filled: true)
        let tree = try makeTree(in: image.folder, seed: 7, files: 60)
        try image.makeExt(image.rootfs, kind.options, tree: tree)
        // Gaps between files.
        let gone = (0..<60).filter { $0 % 3 == 1 }.map {
            $0 % 4 == 0 ? "/file\($0).bin" : "/folder\($0 % 5)/file\($0).bin"
        }
        try image.debugfs(image.rootfs, gone.map { "rm \($0)" })
        for name in gone { try FileManager.default.removeItem(atPath: tree + name) }
        try run("e2fsck", ["-fn", image.ext(image.rootfs)])

        let usage = try usedExtents(of: image.rootfs, in: ImageReader(FilePath(image.path)))
        check(usage, of: image.rootfs)
        #expect(usage.filesystem == kind.kind)
        #expect(usage.note == nil)

        // The second opinion: dumpe2fs's free blocks and ours make the whole.
        let dump = try run("dumpe2fs", [image.copy(of: image.rootfs)]).output
        let blockSize = try #require(number(after: "Block size:", in: dump))
        let blocks = try #require(number(after: "Block count:", in: dump))
        let free = freeBlocks(dump)
        var expected = ExtentCollector(size: image.rootfs.size.sectors)
        // With clusters the last number is that of a cluster's first block (e2fsprogs 1.47.0), or its last (1.47.2).
        let ratio = (number(after: "Cluster size:", in: dump) ?? blockSize) / blockSize
        var next: UInt64 = 0
        for range in free {
            expected.add(next * blockSize / 512, (range.lowerBound - next) * blockSize / 512)
            next = min(blocks, (range.upperBound / ratio + 1) * ratio)
        }
        expected.add(next * blockSize / 512, (blocks - next) * blockSize / 512)
        #expect(free.count > 3)
        #expect(usage.extents == expected.extents)
        #expect(usage.used.sectors == usage.extents.reduce(0) { $0 + $1.count.sectors })

        // The proof: a card with other content and nothing but the used blocks.
        let card = image.folder.path("card")
        try copyUsed(usage, of: image.rootfs, from: image, to: card)
        try run("e2fsck", ["-fn", card])
        let copy = image.folder.path("copy")
        try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: true)
        try run("debugfs", ["-R", "rdump / \(copy)", card])
        try run("diff", ["-r", "--exclude=lost+found", tree, copy])
    }

    private func number(after label: String, in text: String) -> UInt64? {
        text.split(separator: "\n").first { $0.hasPrefix(label) }
            .flatMap { UInt64($0.dropFirst(label.count).trimmingCharacters(in: .whitespaces)) }
    }

    /// `Free blocks: 1-2, 5` of each group.
    private func freeBlocks(_ dump: String) -> [ClosedRange<UInt64>] {
        dump.split(separator: "\n").filter { $0.hasPrefix("  Free blocks: ") }
            .flatMap { $0.dropFirst("  Free blocks: ".count).split(separator: ",") }
            .compactMap { part in
                let ends = part.split(separator: "-").compactMap {
                    UInt64($0.trimmingCharacters(in: .whitespaces))
                }
                return ends.isEmpty ? nil : ends[0]...ends[ends.count - 1]
            }
    }

    @Test(arguments: FATKind.all)
    func `takes of FAT what its table says, and that makes the same filesystem`(kind: FATKind) throws {
        let image = try TestImage(bootMiB: kind.mebibytes, rootMiB: 1, filled: true)
        let tree = try makeTree(in: image.folder, seed: 3, files: 40)
        try image.makeFAT(image.boot, kind.options, tree: tree)
        for number in [4, 16, 28] {
            try run("mdel", ["-i", image.fat(image.boot), "::/file\(number).bin"])
            try FileManager.default.removeItem(atPath: "\(tree)/file\(number).bin")
        }
        let usage = try usedExtents(of: image.boot, in: ImageReader(FilePath(image.path)))
        check(usage, of: image.boot)
        #expect(usage.filesystem == kind.kind)
        #expect(usage.note == nil)

        let card = image.folder.path("card")
        try copyUsed(usage, of: image.boot, from: image, to: card)
        // The second opinion: fsck.vfat's count of clusters.
        let fsck = try run("fsck.vfat", ["-n", "-v", card]).output
        let counts = try #require(fsck.firstMatch(of: #/files?, (\d+)\/(\d+) clusters/#))
        let start = try #require(fsck.firstMatch(of: #/Data area starts at byte (\d+)/#))
        let cluster = try #require(fsck.firstMatch(of: #/(\d+) bytes per cluster/#))
        let (used, all) = (try #require(UInt64(counts.1)), try #require(UInt64(counts.2)))
        #expect(
            try usage.used.byteCount.bytes == #require(UInt64(start.1)) + used * #require(UInt64(cluster.1)))
        #expect(used < all)
        let copy = image.folder.path("copy")
        try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: true)
        try run("mcopy", ["-s", "-n", "-i", card, "::/", copy])
        try run("diff", ["-r", tree, copy])
    }

    @Test func `leaves out bad clusters`() throws {
        let image = try TestImage(bootMiB: 32, rootMiB: 1, filled: true)
        let tree = try makeTree(in: image.folder, seed: 3, files: 1)
        try image.makeFAT(image.boot, ["-F", "16", "-s", "4"], tree: tree)
        let before = try usedExtents(of: image.boot, in: ImageReader(FilePath(image.path)))
        // Cluster 1000 of both FATs: 4 reserved sectors, 64 per FAT as mkfs.vfat makes it.
        let boot = try FileHandle(forReadingFrom: URL(fileURLWithPath: image.path))
        try boot.seek(toOffset: image.boot.start.byteOffset.bytes)
        let sector = [UInt8](try #require(try boot.read(upToCount: 512)))
        let (reserved, size) = (sector.u16(14), sector.u16(22))
        for fat in 0..<2 as Range<UInt64> {
            try image.poke(image.boot, at: (reserved + fat * size) * 512 + 2000, [0xf7, 0xff, 0x01, 0x00])
        }
        let after = try usedExtents(of: image.boot, in: ImageReader(FilePath(image.path)))
        // Cluster 1001 has an entry, cluster 1000 is bad.
        #expect(after.used.sectors == before.used.sectors + 4)
    }

    @Test func `takes clusters that only one of two FATs has`() throws {
        let image = try TestImage(bootMiB: 32, rootMiB: 1, filled: true)
        let tree = try makeTree(in: image.folder, seed: 3, files: 1)
        try image.makeFAT(image.boot, ["-F", "16", "-s", "4", "-R", "4"], tree: tree)
        let before = try usedExtents(of: image.boot, in: ImageReader(FilePath(image.path)))
        try image.poke(image.boot, at: 4 * 512 + 4000, [0xff, 0xff])
        #expect(
            try usedExtents(of: image.boot, in: ImageReader(FilePath(image.path))).used.sectors == before.used.sectors
                + 4)
    }

    // MARK: What is not trusted

    /// One thing that is wrong with an ext filesystem.
    struct Doubt: Sendable, CustomTestStringConvertible {
        let testDescription: String
        var options: [String] = []
        var commands: [String] = []
        var poke: (UInt64, [UInt8])?
        let note: String
    }

    static let doubts: [Doubt] = [
        Doubt(
            testDescription: "journal", commands: ["feature needs_recovery"],
            note: "ext4 filesystem needs journal recovery"),
        Doubt(testDescription: "mounted", commands: ["ssv state 0"], note: "ext4 filesystem was not unmounted cleanly"),
        Doubt(testDescription: "errors", commands: ["ssv state 3"], note: "ext4 filesystem is marked as having errors"),
        Doubt(
            testDescription: "bitmap with a block too few", commands: ["freeb 100"],
            note: "ext4 filesystem has "),
        Doubt(
            testDescription: "bitmap with blocks too many", options: ["-O", "^metadata_csum"],
            commands: ["setb 30000 3"], note: "ext4 filesystem has "),
        Doubt(
            testDescription: "descriptor's checksum", options: ["-b", "4096", "-O", "metadata_csum,^flex_bg"],
            commands: ["set_block_group 0 bg_block_bitmap_csum_lo 0x1234"],
            note: "ext4 filesystem has a wrong checksum in the descriptor of group 0"),
        Doubt(
            testDescription: "superblock's checksum", options: ["-O", "metadata_csum"], poke: (1024 + 0x78, [0x55]),
            note: "ext4 filesystem cannot be opened (superblock checksum does not match superblock)"),
        Doubt(
            testDescription: "unknown feature", options: ["-O", "^metadata_csum"], poke: (1024 + 0x63, [0x40]),
            note: "ext4 filesystem cannot be opened (filesystem has unsupported feature(s))"),
        Doubt(
            testDescription: "larger than its partition", options: ["-O", "^metadata_csum"],
            poke: (1024 + 4, [0xff, 0xff, 0xff, 0x00]), note: "ext4 filesystem has 16777215 blocks of "),
        Doubt(
            testDescription: "block size", options: ["-O", "^metadata_csum"], poke: (1024 + 0x18, [7]),
            note: "ext4 filesystem has a block size over 64 KiB; is damaged"),
    ]

    @Test(arguments: doubts)
    func `takes all of an ext filesystem that cannot be trusted`(doubt: Doubt) throws {
        let image = try TestImage(bootMiB: 1, rootMiB: 40, filled: false)
        let tree = try makeTree(in: image.folder, seed: 5, files: 10)
        try image.makeExt(image.rootfs, doubt.options, tree: tree)
        #expect(try usedExtents(of: image.rootfs, in: ImageReader(FilePath(image.path))).note == nil)
        try image.debugfs(image.rootfs, doubt.commands)
        if let poke = doubt.poke { try image.poke(image.rootfs, at: poke.0, poke.1) }
        let usage = try usedExtents(of: image.rootfs, in: ImageReader(FilePath(image.path)))
        #expect(usage.filesystem == .ext4)
        #expect(usage.note?.hasPrefix(doubt.note) == true, "\(usage.note ?? "no note")")
        #expect(usage.note?.hasSuffix("; all of it is taken") == true)
        #expect(usage.extents == [SectorExtent(offset: SectorCount(0), count: image.rootfs.size)])
    }

    @Test func `takes all of what it does not know, holes too unless told otherwise`() throws {
        let image = try TestImage(bootMiB: 1, rootMiB: 8, filled: false)
        try image.poke(image.rootfs, at: 3 << 20, [1])
        let reader = try ImageReader(FilePath(image.path))
        let usage = try usedExtents(of: image.rootfs, in: reader)
        #expect(usage.filesystem == .unknown)
        #expect(usage.used == image.rootfs.size)
        let data = try usedExtents(of: image.rootfs, in: reader, holes: .unused)
        check(data, of: image.rootfs)
        #expect(data.extents.contains { $0.offset.sectors <= 6144 && $0.end.sectors > 6144 })
        #expect(data.used.sectors <= 1 + 64)
        #expect(data.note?.hasSuffix("all of it that is not a hole is taken") == true)
    }

    @Test(arguments: [
        (Filesystem.exfat, UInt64(3), "EXFAT   "), (.ntfs, 3, "NTFS    "), (.xfs, 0, "XFSB"), (.squashfs, 0, "hsqs"),
        (.btrfs, 65600, "_BHRfS_M"),
    ])
    func `names the filesystems that it takes whole`(kind: Filesystem, offset: UInt64, magic: String) throws {
        let image = try TestImage(bootMiB: 1, rootMiB: 8, filled: false)
        try image.poke(image.rootfs, at: offset, Array(magic.utf8))
        let usage = try usedExtents(of: image.rootfs, in: ImageReader(FilePath(image.path)))
        #expect(usage.filesystem == kind)
        #expect(usage.used == image.rootfs.size)
    }

    @Test func `says what lies behind a filesystem that is smaller than its partition`() throws {
        let image = try TestImage(bootMiB: 32, rootMiB: 40, filled: true)
        let tree = try makeTree(in: image.folder, seed: 5, files: 3)
        try image.makeExt(image.rootfs, [], tree: tree, kibibytes: 20 << 10)
        try image.makeFAT(image.boot, ["-F", "16", "-s", "2"], tree: tree, kibibytes: 16 << 10)
        let reader = try ImageReader(FilePath(image.path))
        for (partition, bytes) in [(image.rootfs, 20 << 20), (image.boot, 16 << 20)] as [(Partition, UInt64)] {
            let usage = try usedExtents(of: partition, in: reader)
            check(usage, of: partition)
            #expect(usage.extents.allSatisfy { $0.end.byteCount.bytes <= bytes })
            #expect(
                usage.note == "filesystem has \(bytes) bytes, its partition \(partition.size.byteCount.bytes) bytes; "
                    + "what lies behind the filesystem is left out")
        }
    }

    @Test func `keeps few runs of a filesystem that has too many, with more sectors and never fewer`() throws {
        let image = try TestImage(bootMiB: 32, rootMiB: 1, filled: true)
        let tree = try makeTree(in: image.folder, seed: 5, files: 1)
        try image.makeFAT(image.boot, ["-F", "16", "-s", "2", "-R", "4"], tree: tree)
        // Every other cluster of the table.
        let pattern = [UInt8](repeating: 0, count: 4000).enumerated().map { $0.offset % 4 < 2 ? UInt8(0xff) : 0 }
        try image.poke(image.boot, at: 4 * 512 + 1000, pattern)
        let reader = try ImageReader(FilePath(image.path))
        let all = try usedExtents(of: image.boot, in: reader, holes: .zeros, limit: 1 << 20)
        let few = try usedExtents(of: image.boot, in: reader, holes: .zeros, limit: 100)
        #expect(all.extents.count > 900)
        #expect(few.extents.count <= 100)
        check(few, of: image.boot)
        #expect(few.used == all.used)
        #expect(all.extents.allSatisfy { run in few.extents.contains { $0.offset <= run.offset && run.end <= $0.end } })
    }

    // MARK: Hostile images

    @Test(arguments: ["ext", "fat12", "fat16", "fat32"])
    func `never traps on a mutated filesystem, nor leaves its partition`(kind: String) throws {
        let image = try TestImage(bootMiB: 40, rootMiB: 24, filled: false)
        let tree = try makeTree(in: image.folder, seed: 5, files: 12)
        let partition = kind == "ext" ? image.rootfs : image.boot
        switch kind {
        case "ext": try image.makeExt(partition, ["-b", "1024", "-O", "^metadata_csum,^uninit_bg"], tree: tree)
        case "fat12": try image.makeFAT(partition, ["-F", "12", "-s", "64"], tree: tree)
        case "fat16": try image.makeFAT(partition, ["-F", "16"], tree: tree)
        default: try image.makeFAT(partition, ["-F", "32", "-s", "1"], tree: tree)
        }
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: image.path))
        let start = partition.start.byteOffset.bytes
        try handle.seek(toOffset: start)
        let original = try #require(try handle.read(upToCount: 16 << 10))
        var generator = SeededGenerator(seed: UInt64(kind.utf8.reduce(0) { $0 &* 31 &+ Int($1) }))
        let interesting: [UInt8] = [0, 1, 2, 0x7f, 0x80, 0xff]
        var whole = 0
        for _ in 0..<500 {
            var mutated = original
            // Where the numbers are, as a rule; else anywhere.
            let area =
                kind == "ext" ? (Bool.random(using: &generator) ? 1024..<1400 : 1024..<4096) : 11..<64
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let range = Int.random(in: 0..<8, using: &generator) == 0 ? 0..<mutated.count : area
                mutated[Int.random(in: range, using: &generator)] =
                    Bool.random(using: &generator)
                    ? interesting.randomElement(using: &generator) ?? 0 : UInt8.random(in: 0...255, using: &generator)
            }
            try handle.seek(toOffset: start)
            try handle.write(contentsOf: mutated)
            let usage = try usedExtents(of: partition, in: ImageReader(FilePath(image.path)))
            check(usage, of: partition)
            if usage.note?.hasSuffix("; all of it is taken") == true { whole += 1 }
        }
        #expect(whole > 50)
    }

    @Test func `refuses a partition that reaches past the image`() throws {
        let image = try TestImage(bootMiB: 1, rootMiB: 8, filled: false)
        let reader = try ImageReader(FilePath(image.path))
        for (start, size) in [(image.rootfs.start.sector, UInt64(16385)), (UInt64.max, 1), (1, UInt64.max), (0, 0)] {
            let partition = Partition(number: 2, type: .linux, start: LBA(start), size: SectorCount(size))
            #expect(throws: OSImageError.changed(path: FilePath(image.path))) {
                try usedExtents(of: partition, in: reader)
            }
        }
    }
}

@Suite struct ImageReaderTests {
    @Test func `law 4: sees that an image is written to or cut short while it is read`() throws {
        let image = try TestImage(bootMiB: 1, rootMiB: 1, filled: false)
        let path = FilePath(image.path)
        let reader = try ImageReader(path)
        try reader.checkUnchanged()
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: image.path))
        try handle.truncate(atOffset: 512)
        #expect(throws: OSImageError.changed(path: path)) { try reader.checkUnchanged() }
        #expect(throws: OSImageError.changed(path: path)) { try reader.bytes(at: 512, count: 512) }
    }

    @Test func `fills the last sector with zeros, and reads nothing behind it`() throws {
        let folder = try TemporaryFolder()
        try folder.write(Data(repeating: 7, count: 700), to: "os.img")
        let reader = try ImageReader(FilePath(folder.path("os.img")))
        #expect(
            try reader.bytes(at: 512, count: 512)
                == [UInt8](repeating: 7, count: 188) + [UInt8](repeating: 0, count: 324))
        #expect(throws: OSImageError.self) { try reader.bytes(at: 512, count: 513) }
        #expect(throws: OSImageError.self) { try reader.bytes(at: UInt64.max, count: 2) }
    }
}
