import DiskLayout
import Foundation
import SystemPackage
import TestImages
import TestSupport
import Testing

@testable import OSImage

/// A copy-on-write view of an image: its filesystems are changed, its file is not (law 4).
@Suite(.enabled(if: canUse(["mkfs.ext4", "mkfs.vfat", "debugfs", "e2fsck", "fsck.vfat", "mcopy"])))
struct ViewTests {
    private static let extKinds: [[String]] = [
        ["-t", "ext4"], ["-t", "ext4", "-b", "1024"], ["-t", "ext4", "-O", "^metadata_csum,^64bit"], ["-t", "ext2"],
        ["-t", "ext3"], ["-t", "ext4", "-O", "inline_data"], ["-t", "ext4", "-O", "bigalloc,^resize_inode"],
    ]

    /// An image whose rootfs has a few files and links.
    private static func makeImage(_ options: [String], rootMiB: UInt64 = 24) throws -> TestImage {
        let image = try TestImage(bootMiB: 8, rootMiB: rootMiB, filled: true)
        try image.folder.write(Data("/dev/mmcblk0p2 / ext4 defaults 0 1\n".utf8), to: "tree/etc/fstab")
        try image.folder.write(Data("x".utf8), to: "tree/etc/units/keep.service")
        try image.folder.write(noise(1, count: 700_000), to: "tree/usr/bin/large")
        try FileManager.default.createSymbolicLink(
            atPath: image.folder.path("tree/etc/units/away.service"), withDestinationPath: "/etc/x.service")
        try FileManager.default.createSymbolicLink(
            atPath: image.folder.path("tree/etc/units/far.service"),
            withDestinationPath: "/" + String(repeating: "long/", count: 60) + "name")
        try FileManager.default.createSymbolicLink(
            atPath: image.folder.path("tree/etc/mtab"), withDestinationPath: "fstab")
        try image.makeExt(image.rootfs, options, tree: image.folder.path("tree"))
        return image
    }

    @Test(arguments: extKinds) func `ext files are replaced and removed in the view alone, and e2fsck finds it clean`(
        options: [String]
    ) throws {
        let image = try Self.makeImage(options)
        let before = try digest(image.path)
        let modes = try run("debugfs", ["-R", "stat /etc/fstab", image.ext(image.rootfs)]).output.firstMatch(
            of: /Mode: *[0-7]+/)
        let base = try ImageReader(FilePath(image.path))
        let view = try ImageReader(base, overlay: ImageOverlay())
        let area = try PartitionArea(image.rootfs, view)
        // Longer than a block, so that blocks must be found for it.
        let text = Array(String(repeating: "UUID=1234 /boot/firmware vfat defaults 0 2\n", count: 300).utf8)
        var files = try ExtFiles(area, isWritable: true)
        #expect(try files.names(in: "/etc/units") == ["away.service", "far.service", "keep.service"])
        try files.replace("/etc/fstab", with: text)
        try files.remove("away.service", in: "/etc/units")
        try files.remove("far.service", in: "/etc/units")
        try files.finish()

        let again = try ExtFiles(area, isWritable: false)
        #expect(try again.read("/etc/fstab") == text)
        #expect(try again.read("/etc/mtab") == text)
        #expect(try again.names(in: "/etc/units") == ["keep.service"])
        #expect(try again.read("/no/such/file") == nil)

        let copy = try materialise(view, image.folder)
        let place = "\(copy)?offset=\(image.rootfs.start.byteOffset.bytes)"
        try run("e2fsck", ["-fn", place])
        #expect(try run("debugfs", ["-R", "cat /etc/fstab", place]).output == String(decoding: text, as: UTF8.self))
        let status = try run("debugfs", ["-R", "stat /etc/fstab", place]).output
        #expect(try status.contains(#require(modes).output))
        #expect(try digest(image.path) == before)
        // What is unused is still told, by the changed bitmaps.
        let usage = try usedExtents(of: image.rootfs, in: view)
        #expect(usage.note == nil)
        #expect(usage.filesystem != .unknown)
    }

    @Test func `a shorter file keeps nothing of the longer one, and the same change gives the same bytes`() throws {
        let image = try Self.makeImage(["-t", "ext4"])
        let views = try (0..<2).map { _ in
            let view = try ImageReader(try ImageReader(FilePath(image.path)), overlay: ImageOverlay())
            let area = try PartitionArea(image.rootfs, view)
            var files = try ExtFiles(area, isWritable: true)
            try files.replace("/usr/bin/large", with: Array("short\n".utf8))
            try files.finish()
            #expect(try ExtFiles(area, isWritable: false).read("/usr/bin/large") == Array("short\n".utf8))
            return try digest(materialise(view, image.folder))
        }
        #expect(views[0] == views[1])
        try run(
            "e2fsck",
            ["-fn", "\(image.folder.path("view.img"))?offset=\(image.rootfs.start.byteOffset.bytes)"])
    }

    @Test func `what cannot be changed says why, and changes nothing`() throws {
        let image = try Self.makeImage(["-t", "ext4"])
        let view = try ImageReader(try ImageReader(FilePath(image.path)), overlay: ImageOverlay())
        let area = try PartitionArea(image.rootfs, view)
        var files = try ExtFiles(area, isWritable: true)
        #expect(throws: ExtError.self) { try files.replace("/etc/none", with: []) }
        #expect(throws: ExtError.self) { try files.replace("/etc", with: []) }
        #expect(throws: ExtError.self) { try files.remove("units", in: "/etc") }
        #expect(throws: ExtError.self) { try files.remove("none", in: "/etc") }
        #expect(throws: ExtError.self) { try files.read("/usr/bin/large", limit: 1000) }
        #expect(view.overlay?.isEmpty == true)
        // A partition that is read only takes no change even where libext2fs would write.
        var reading = try ExtFiles(PartitionArea(image.rootfs, try ImageReader(FilePath(image.path))), isWritable: true)
        #expect(throws: ExtError.self) {
            try reading.replace("/etc/fstab", with: [1])
            try reading.finish()
        }
    }

    @Test func `a full filesystem refuses a longer file, and the view stays as it was`() throws {
        let image = try Self.makeImage(["-t", "ext4", "-m", "0"], rootMiB: 8)
        let fill = image.folder.path("fill")
        try noise(5, count: 5 << 20).write(to: URL(fileURLWithPath: fill))
        _ = try? image.debugfs(image.rootfs, ["write \(fill) fill"])
        let view = try ImageReader(try ImageReader(FilePath(image.path)), overlay: ImageOverlay())
        let area = try PartitionArea(image.rootfs, view)
        var files = try ExtFiles(area, isWritable: true)
        #expect(throws: ExtError.self) { try files.replace("/etc/fstab", with: [UInt8](repeating: 10, count: 8 << 20)) }
    }

    @Test(arguments: [["-F", "32", "-s", "1"], ["-F", "16", "-s", "4"], ["-F", "12", "-s", "16"]])
    func `FAT files are written in the view alone, and fsck finds it clean`(options: [String]) throws {
        let image = try TestImage(bootMiB: 48, rootMiB: 8, filled: true)
        let tree = try makeTree(in: image.folder, seed: 3, files: 12)
        try image.folder.write(Data("console=tty1 root=PARTUUID=1-02\n".utf8), to: "tree/cmdline.txt")
        try image.makeFAT(image.boot, options, tree: tree, kibibytes: options.contains("12") ? 16384 : nil)
        let before = try digest(image.path)
        let view = try ImageReader(try ImageReader(FilePath(image.path)), overlay: ImageOverlay())
        let files = try FATFiles(view, image.boot)
        #expect(try files.names().contains("cmdline.txt"))
        #expect(try files.read("cmdline.txt") == Array("console=tty1 root=PARTUUID=1-02\n".utf8))
        let text = [UInt8](noise(7, count: 100_000))
        try files.write(text, to: "cmdline.txt")
        try files.write(Array("a\n".utf8), to: "deep/er/Long name, with blanks.txt")
        try files.check()

        let raw = try materialise(view, image.folder)
        let place = "\(raw)@@\(image.boot.start.byteOffset.bytes)"
        #expect(try run("mtype", ["-i", place, "::/deep/er/Long name, with blanks.txt"]).output == "a\n")
        let out = image.folder.path("out")
        try run("mcopy", ["-n", "-i", place, "::/cmdline.txt", out])
        #expect(try Data(contentsOf: URL(fileURLWithPath: out)) == Data(text))
        let alone = image.folder.path("alone")
        try run(
            "dd",
            [
                "if=\(raw)", "of=\(alone)", "bs=512", "skip=\(image.boot.start.sector)",
                "count=\(image.boot.size.sectors)",
            ])
        try run("fsck.vfat", ["-n", alone])
        #expect(try digest(image.path) == before)
        #expect(try usedExtents(of: image.boot, in: view).filesystem.tellsUnused)
    }
}
