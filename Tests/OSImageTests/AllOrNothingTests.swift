import BootFiles
import DiskLayout
import Foundation
import HostTools
import LinuxHost
import SystemPackage
import TestImages
import TestSupport
import Testing

@testable import OSImage

/// A partition that is full to the last block is changed whole and is sound then, or stays as it is, byte for byte; and what
/// is told is what the view holds.
@Suite(
    .enabled(if: canUse(["mkfs.ext4", "mkfs.vfat", "debugfs", "e2fsck", "fsck.vfat", "mcopy", "dtc", "fdtoverlay"])))
struct AllOrNothingTests {
    /// How an ext filesystem is made, and a kind of change.
    struct Rootfs: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var options: [String] = []
        /// Bytes of /etc/fstab; its change makes it longer.
        var fstabBytes = 1020
        /// /etc/fstab needs no change.
        var isFit = false
        /// Units that are to go, and where their links lead; nil: a file.
        var units: [String: String?] = [:]
        /// It needs a block that is not there.
        var needsBlock = true
    }

    private static let unit = "sysinit.target.wants/rpi-resize.service"
    static let kinds: [Rootfs] = [
        Rootfs(testDescription: "extents"),
        Rootfs(testDescription: "extents without checksums", options: ["-O", "^metadata_csum,^64bit"]),
        Rootfs(testDescription: "indirect blocks", options: ["-t", "ext2"]),
        // 12 blocks are direct: the thirteenth needs one for its number as well.
        Rootfs(testDescription: "indirect block of its own", options: ["-t", "ext2"], fstabBytes: 12 * 1024 - 4),
        Rootfs(testDescription: "in the inode", options: ["-O", "inline_data"], fstabBytes: 60, needsBlock: false),
        Rootfs(
            testDescription: "in the inode, and too long for it then", options: ["-O", "inline_data"], fstabBytes: 124),
        Rootfs(
            testDescription: "bigalloc", options: ["-O", "bigalloc,^resize_inode", "-C", "16384"], fstabBytes: 16380),
        Rootfs(testDescription: "within its block", fstabBytes: 200, needsBlock: false),
        Rootfs(
            testDescription: "unit, a short link", fstabBytes: 200, isFit: true,
            units: [unit: "/usr/lib/systemd/system/rpi-resize.service"], needsBlock: false),
        Rootfs(
            testDescription: "unit, a long link", fstabBytes: 200, isFit: true,
            units: [unit: "/usr/lib/" + String(repeating: "long/", count: 30) + "rpi-resize.service"], needsBlock: false
        ),
        Rootfs(
            testDescription: "unit, a file in a folder with checksums", options: ["-O", "metadata_csum"],
            fstabBytes: 200,
            isFit: true, units: [unit: nil, "local-fs-pre.target.requires/rpi-resizerootfs.service": nil],
            needsBlock: false),
        Rootfs(
            testDescription: "unit, in a folder that is in its inode", options: ["-O", "inline_data"], fstabBytes: 60,
            isFit: true, units: [unit: "/x"], needsBlock: false),
        // The unit goes, which frees a block for /etc/fstab.
        Rootfs(testDescription: "unit and fstab", units: [unit: nil], needsBlock: false),
    ]

    enum Fill: CaseIterable { case nothing, blocks, inodes, both }

    private static func makeImage(_ kind: Rootfs, _ fill: Fill) throws -> TestImage {
        var texts = SystemTexts()
        var fstab =
            kind.isFit
            ? "UUID=\(SystemTexts.rootUUID) / ext4 defaults,x-systemd.growfs 0 1\n"
            : "PARTUUID=12345678-02 / ext4 defaults 0 1\n"
        if fstab.utf8.count + 2 < kind.fstabBytes {
            fstab = "#" + String(repeating: "x", count: kind.fstabBytes - fstab.utf8.count - 2) + "\n" + fstab
        }
        texts.fstab = fstab
        for (name, target) in kind.units {
            if let target {
                texts.links["etc/systemd/system/\(name)"] = target
            } else {
                texts.others["etc/systemd/system/\(name)"] = "[Service]\n"
            }
        }
        let image = try TestImage.small(texts, ext: ["-b", "1024", "-m", "0", "-N", "64"] + kind.options)
        func number(_ label: String) throws -> Int {
            let dump = try run("debugfs", ["-R", "stats -h", image.ext(image.rootfs)]).output
            let line = try #require(dump.split(separator: "\n").first { $0.hasPrefix(label) })
            return try #require(Int(line.drop { $0 != ":" }.dropFirst().trimmingCharacters(in: .whitespaces)))
        }
        func makeNodes(leaving rest: Int, _ letter: String) throws {
            let count = try number("Free inodes:") - rest
            let commands = (0..<max(0, count)).map { "mknod \(letter)\($0) p\n" }.joined()
            try image.folder.write(Data(commands.utf8), to: "commands")
            try run("debugfs", ["-w", "-f", image.folder.path("commands"), image.ext(image.rootfs)])
        }
        if fill == .inodes || fill == .both { try makeNodes(leaving: fill == .both ? 12 : 0, "n") }
        if fill == .blocks || fill == .both {
            // Half first: what the rest needs for its own blocks is not known before.
            var step = 0
            while try number("Free blocks:") > 0, step < 12 {
                let count = try number("Free blocks:") * 1024
                try image.folder.write(Data(repeating: 0x79, count: step < 2 ? count / 2 : count), to: "fill")
                _ = try? image.debugfs(image.rootfs, ["write \(image.folder.path("fill")) f\(step)"])
                step += 1
            }
            #expect(try number("Free blocks:") == 0)
        }
        if fill == .both { try makeNodes(leaving: 0, "m") }
        if fill == .inodes || fill == .both { #expect(try number("Free inodes:") == 0) }
        try run("e2fsck", ["-fn", image.ext(image.rootfs)])
        return image
    }

    @Test(arguments: kinds, Fill.allCases)
    func `a rootfs is changed whole or not at all`(kind: Rootfs, fill: Fill) async throws {
        let image = try Self.makeImage(kind, fill)
        let relocation = try await relocate(image, .automatic)
        let isChanged = try checkWholeOrUnchanged(relocation, image)
        let isFull = kind.needsBlock && (fill == .blocks || fill == .both)
        #expect(isChanged.rootfs == !isFull)
        if isFull {
            #expect(relocation.changes.allSatisfy { $0.partition == 1 })
            #expect(relocation.notes.isEmpty, "\(relocation.notes)")
            #expect(!relocation.grows)
            let obstacle = try #require(relocation.obstacles.first)
            #expect(
                obstacle.contains("it has no free block")
                    && obstacle.contains("free some space in the image's partition 2"), "\(obstacle)")
        } else {
            #expect(relocation.obstacles.isEmpty)
        }
    }

    @Test func `a rootfs that only cannot grow is flashed, and that is said`() async throws {
        let fit = "UUID=\(SystemTexts.rootUUID) / ext4 defaults 0 1\n"
        var texts = SystemTexts()
        texts.cmdline = "root=LABEL=rootfs rootwait\n"
        texts.fstab = "#" + String(repeating: "x", count: 1022 - fit.utf8.count) + "\n" + fit
        let image = try TestImage.small(texts, ext: ["-b", "1024", "-m", "0"])
        try image.folder.write(Data(repeating: 0x79, count: 6 << 20), to: "fill")
        _ = try? image.debugfs(image.rootfs, ["write \(image.folder.path("fill")) fill"])
        let relocation = try await relocate(image, .always)
        #expect(relocation.obstacles.isEmpty && !relocation.grows)
        #expect(relocation.changes.isEmpty)
        #expect(
            relocation.notes == [
                "the rootfs does not grow at the first boot: file /etc/fstab cannot be written: it has no free block"
            ])
        #expect(relocation.view.overlay?.isEmpty == true)
    }

    // MARK: The boot partition

    private static let trees = ["bcm2710-rpi-3-b.dtb", "bcm2711-rpi-4-b.dtb"]

    /// - Parameter free: clusters.
    private static func makeBoot(_ options: [String], free: UInt64?, _ cmdline: String) throws -> TestImage {
        var texts = SystemTexts()
        texts.cmdline = cmdline
        texts.bootFiles = ["config.txt": "dtoverlay=big\n", "kernel8.img": "no kernel that is known"]
        let image = try TestImage.small(texts, fat: options)
        func compile(_ source: String, _ name: String) throws {
            try image.folder.write(Data("/dts-v1/;\n\(source)".utf8), to: "source.dts")
            try run(
                "dtc",
                ["-q", "-@", "-I", "dts", "-O", "dtb", "-o", image.folder.path(name), image.folder.path("source.dts")])
        }
        let cells = (0..<3000).map { "\($0 &* 40503 % 65521)" }.joined(separator: " ")
        try compile("/ { soc: soc { status = \"okay\"; }; };\n", "tree.dtb")
        try compile(
            "/plugin/;\n/ { fragment@0 { target = <&soc>; __overlay__ { big = <\(cells)>; }; }; };\n", "big.dtbo")
        for name in trees {
            try run("mcopy", ["-i", image.fat(image.boot), image.folder.path("tree.dtb"), "::/\(name)"])
        }
        try run("mmd", ["-i", image.fat(image.boot), "::/overlays"])
        try run("mcopy", ["-i", image.fat(image.boot), image.folder.path("big.dtbo"), "::/overlays/big.dtbo"])
        if let free {
            let files = try FATFiles(try ImageReader(FilePath(image.path)), image.boot)
            let count = try files.freeBytes() - free * files.geometry.clusterBytes
            try image.folder.write(Data(repeating: 0x66, count: Int(count)), to: "fill")
            try run("mcopy", ["-i", image.fat(image.boot), image.folder.path("fill"), "::/FILL"])
            let full = try FATFiles(try ImageReader(FilePath(image.path)), image.boot)
            #expect(try full.freeBytes() == free * full.geometry.clusterBytes)
        }
        return image
    }

    @Test(
        arguments: [
            ["-F", "12", "-s", "8"], ["-F", "16", "-s", "1"], ["-F", "32", "-s", "1"],
        ], [nil, 0, 1, 13, 24] as [UInt64?])
    func `a boot partition keeps a device tree that there is no room for, and the rest is changed`(
        options: [String], free: UInt64?
    ) async throws {
        let image = try Self.makeBoot(options, free: free, "root=PARTUUID=12345678-02 resize\n")
        let relocation = try await relocate(image, .never)
        #expect(try checkWholeOrUnchanged(relocation, image).boot)
        #expect(relocation.obstacles.isEmpty)
        let changed = relocation.changes.filter { $0.partition == 1 }.map(\.path)
        #expect(changed.contains("cmdline.txt"))
        for tree in Self.trees {
            #expect(
                relocation.notes.contains {
                    $0.hasPrefix(
                        "\(tree) stays as the image has it, without dtoverlay=big: boot partition has no room for \(tree): "
                    )
                }
                    == !changed.contains(tree), "\(relocation.notes)")
        }
        #expect(changed.count == 3 || free != nil)
        #expect(free != 0 || changed.count == 1)
        #expect(relocation.notes.contains { $0.contains("dtoverlay=big is lost") } == (changed.count < 3))
    }

    @Test(arguments: [("root=x resize\n", true), ("root=x quiet\n", false)])
    func `a boot partition that is damaged stays as it is, and is refused where it must change`(
        cmdline: String, isRefused: Bool
    ) async throws {
        let image = try Self.makeBoot(["-F", "16", "-s", "1"], free: nil, cmdline)
        let files = try FATFiles(try ImageReader(FilePath(image.path)), image.boot)
        // A cluster of nobody, in both FATs.
        for fat in 0..<2 as Range<UInt64> {
            try image.poke(
                image.boot, at: (files.geometry.reserved + fat * files.geometry.fatSectors) * 512 + 6000, [0xff, 0xff])
        }
        let relocation = try await relocate(image, .never)
        #expect(try !checkWholeOrUnchanged(relocation, image).boot)
        let sentence = "boot partition is damaged: 1 clusters belong to no file"
        #expect(relocation.obstacles.contains { $0.hasPrefix(sentence) } == isRefused, "\(relocation.obstacles)")
        #expect(
            relocation.notes.contains { $0 == sentence + "; it stays as it is" } == !isRefused, "\(relocation.notes)")
        #expect(!relocation.notes.contains { $0.contains("removed resize") })
    }

    // MARK: Judged afterwards

    @Test func `a view that is not found sound is taken back, and nothing of it is told`() async throws {
        var texts = SystemTexts()
        texts.cmdline = "root=PARTUUID=12345678-02 resize\n"
        texts.links["etc/systemd/system/sysinit.target.wants/rpi-resize.service"] = "/x"
        let image = try TestImage.small(texts)
        let base = image.path
        // The image itself is sound, whatever differs from it is not.
        let checks = FilesystemChecks(
            isSoundFAT: { view, _ in view.overlay?.isEmpty != false },
            isSoundExt: { view, _ in view.overlay?.isEmpty != false })
        let relocation = try await relocate(image, .automatic, checks)
        #expect(relocation.view.overlay?.isEmpty == true)
        #expect(relocation.changes.isEmpty && !relocation.grows)
        #expect(relocation.notes.allSatisfy { !$0.contains("removed") && !$0.contains("is not started") })
        #expect(relocation.obstacles.count == 2, "\(relocation.obstacles)")
        #expect(try digest(materialise(relocation.view, image.folder)) == digest(base))
    }

    @Test func `a rootfs with errors is repaired where e2fsck does it without asking`() async throws {
        let image = try TestImage.small(SystemTexts())
        // A count of links that is wrong: e2fsck -p sets it right.
        try image.debugfs(image.rootfs, ["sif /etc/hostname links_count 3"])
        #expect(try run("e2fsck", ["-fn", image.ext(image.rootfs)], accept: [0, 4]).status == 4)
        let relocation = try await relocate(image, .automatic)
        #expect(relocation.obstacles.isEmpty)
        #expect(relocation.notes.contains("rootfs had errors; e2fsck repaired them in the view of the image"))
        #expect(try checkWholeOrUnchanged(relocation, image).rootfs)
    }

    @Test func `a rootfs with errors that e2fsck asks about stays as it is, and is refused`() async throws {
        let image = try TestImage.small(SystemTexts())
        // Two files in one block.
        try image.debugfs(
            image.rootfs, ["copy_inode /etc/hostname /usr/lib/systemd/systemd"])
        #expect(try run("e2fsck", ["-fn", image.ext(image.rootfs)], accept: [0, 4]).status == 4)
        let relocation = try await relocate(image, .automatic)
        #expect(try !checkWholeOrUnchanged(relocation, image).rootfs)
        #expect(
            relocation.obstacles == [
                "rootfs has errors that e2fsck cannot repair without asking, so that /etc/fstab cannot be changed for the "
                    + "card; run e2fsck -f on the image's partition 2, or take another image"
            ])
    }

    // MARK: Help

    private func relocate(
        _ image: TestImage, _ growth: RootfsGrowth, _ checks: FilesystemChecks? = nil
    ) async throws -> Relocation {
        let work = FilePath(image.folder.path("work"))
        try FileManager.default.createDirectory(atPath: work.string, withIntermediateDirectories: true)
        let reader = try ImageReader(FilePath(image.path))
        let relocation = try await relocateOSImage(
            reader, layout: try inspectOSImage(at: reader.path), work: work, growth: growth, tools: toolRunner,
            checks: checks ?? .programs(toolRunner, work: work))
        #expect(try FileManager.default.contentsOfDirectory(atPath: work.string) == [], "nothing is left")
        return relocation
    }

    /// Checks by independent tools that each partition is as the image has it, with no change told, or sound with just the
    /// changes that are told.
    private func checkWholeOrUnchanged(
        _ relocation: Relocation, _ image: TestImage
    ) throws -> (boot: Bool, rootfs: Bool) {
        let raw = URL(fileURLWithPath: try materialise(relocation.view, image.folder))
        let old = URL(fileURLWithPath: image.path)
        var isChanged: [Bool] = []
        for partition in [image.boot, image.rootfs] {
            let parts = try [raw, old].map { url in
                let handle = try FileHandle(forReadingFrom: url)
                try handle.seek(toOffset: partition.start.byteOffset.bytes)
                return try #require(try handle.read(upToCount: Int(partition.size.byteCount.bytes)))
            }
            isChanged.append(parts[0] != parts[1])
            let changes = relocation.changes.filter { $0.partition == partition.number }
            #expect(changes.isEmpty == (parts[0] == parts[1]))
            let alone = image.folder.path("alone")
            try parts[0].write(to: URL(fileURLWithPath: alone))
            let fsck = partition.number == 1 ? ("fsck.vfat", ["-n", alone]) : ("e2fsck", ["-fn", alone])
            if !changes.isEmpty { try run(fsck.0, fsck.1) }
            for change in changes {
                let out = image.folder.path("out")
                try? FileManager.default.removeItem(atPath: out)
                if partition.number == 1 {
                    try run("mcopy", ["-n", "-i", alone, "::/\(change.path)", out])
                } else {
                    try run("debugfs", ["-R", "dump /\(change.path) \(out)", alone])
                }
                let found = try? Data(contentsOf: URL(fileURLWithPath: out))
                #expect(found.map { [UInt8]($0) } == change.after)
            }
            if partition.number == 2 {
                let fstab = try run("debugfs", ["-R", "cat /etc/fstab", alone]).output
                #expect(relocation.grows == fstab.contains("x-systemd.growfs"))
            }
        }
        return (isChanged[0], isChanged[1])
    }
}
