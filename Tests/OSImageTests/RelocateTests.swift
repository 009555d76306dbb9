import TestSupport
import BootFiles
import DiskLayout
import Foundation
import HostTools
import LinuxHost
import SystemPackage
import TestImages
import Testing

@testable import OSImage

/// Images as vendors lay them out are changed so far, and no further, that they work on a card.
@Suite(.enabled(if: canUse(["mkfs.ext4", "mkfs.vfat", "debugfs", "e2fsck", "fsck.vfat", "mcopy", "mdir"])))
struct RelocateTests {
    private static func relocate(_ image: TestImage, _ growth: RootfsGrowth = .automatic) async throws -> Relocation {
        let work = FilePath(image.folder.path("work"))
        try FileManager.default.createDirectory(atPath: work.string, withIntermediateDirectories: true)
        let reader = try ImageReader(FilePath(image.path))
        return try await relocateOSImage(
            reader, layout: try inspectOSImage(at: reader.path), work: work, growth: growth, tools: toolRunner)
    }

    /// What independent tools find in the view: both filesystems clean, and these files.
    private static func check(_ relocation: Relocation, _ image: TestImage) throws -> (fstab: String, cmdline: String) {
        let path = try materialise(relocation.view, image.folder)
        let ext = "\(path)?offset=\(image.rootfs.start.byteOffset.bytes)"
        try run("e2fsck", ["-fn", ext])
        let alone = image.folder.path("alone")
        try run(
            "dd",
            [
                "if=\(path)", "of=\(alone)", "bs=512", "skip=\(image.boot.start.sector)",
                "count=\(image.boot.size.sectors)",
            ])
        try run("fsck.vfat", ["-n", alone])
        return (
            try run("debugfs", ["-R", "cat /etc/fstab", ext]).output,
            try run("mtype", ["-i", alone, "::/cmdline.txt"], accept: [0, 1]).output
        )
    }

    @Test func `Raspberry Pi OS: fstab by UUID, no first boot that repartitions, the rootfs grows`() async throws {
        var texts = SystemTexts()
        texts.cmdline =
            "console=serial0,115200 console=tty1 root=PARTUUID=12345678-02 rootfstype=ext4 fsck.repair=yes rootwait "
            + "quiet init=/usr/lib/raspberrypi-sys-mods/firstboot systemd.run=/boot/firmware/firstrun.sh\n"
        let image = try TestImage.system(texts)
        let before = try digest(image.path)
        let relocation = try await Self.relocate(image)
        let found = try Self.check(relocation, image)
        #expect(
            found.fstab == """
                proc                  /proc           proc    defaults          0       0
                # the card
                UUID=\(SystemTexts.bootUUID)  /boot/firmware  vfat    defaults          0       2
                UUID=\(SystemTexts.rootUUID)  /               ext4    defaults,noatime,x-systemd.growfs  0       1

                """)
        #expect(
            found.cmdline
                == "console=serial0,115200 console=tty1 root=/dev/mmcblk0p3 rootfstype=ext4 fsck.repair=yes rootwait "
                + "quiet systemd.run=/boot/firmware/firstrun.sh\n")
        #expect(relocation.grows && relocation.obstacles.isEmpty)
        #expect(relocation.firstBoot == .firstrun(bootMountPoint: "/boot/firmware"))
        #expect(relocation.changes.map(\.path) == ["cmdline.txt", "etc/fstab"])
        #expect(relocation.changes.map(\.partition) == [1, 2])
        #expect(try digest(image.path) == before, "law 4: the image is only read")
        // Nothing is left but what was there.
        #expect(try FileManager.default.contentsOfDirectory(atPath: image.folder.path("work")).isEmpty)
    }

    @Test func `the same image gives the same bytes each time`() async throws {
        let image = try TestImage.system(SystemTexts())
        let views = [try await Self.relocate(image, .always), try await Self.relocate(image, .always)]
        let digests = try views.map { try digest(materialise($0.view, image.folder)) }
        #expect(digests[0] == digests[1])
    }

    @Test func `Debian: the unit that would repartition is not started, LABEL stays`() async throws {
        var texts = SystemTexts()
        texts.cmdline =
            "console=tty0 console=ttyS1,115200 root=LABEL=RASPIROOT rw fsck.repair=yes net.ifnames=0 rootwait\n"
        texts.fstab = "LABEL=RASPIROOT / ext4 rw 0 1\nLABEL=RASPIFIRM /boot/firmware vfat rw 0 2\n"
        texts.others["etc/systemd/system/rpi-resizerootfs.service"] = "[Service]\n"
        texts.others["usr/sbin/rpi-set-sysconf"] = "#!/bin/sh\n"
        texts.links["etc/systemd/system/local-fs-pre.target.requires/rpi-resizerootfs.service"] =
            "/etc/systemd/system/rpi-resizerootfs.service"
        let image = try TestImage.system(texts)
        let relocation = try await Self.relocate(image)
        let found = try Self.check(relocation, image)
        #expect(
            found.fstab
                == "LABEL=RASPIROOT / ext4 rw,x-systemd.growfs 0 1\nLABEL=RASPIFIRM /boot/firmware vfat rw 0 2\n")
        #expect(found.cmdline == texts.cmdline)
        #expect(
            relocation.changes.map(\.path) == [
                "etc/fstab", "etc/systemd/system/local-fs-pre.target.requires/rpi-resizerootfs.service",
            ])
        #expect(relocation.firstBoot == .sysconf)
        #expect(relocation.grows)
    }

    @Test(arguments: ["multi-user.target.wants", "systemd-remount-fs.service.requires"])
    func `a unit that resizes is not started, wherever it is wanted, and others are`(folder: String) async throws {
        var texts = SystemTexts()
        texts.links["etc/systemd/system/\(folder)/rpi-resize.service"] = "/usr/lib/systemd/system/rpi-resize.service"
        texts.links["etc/systemd/system/\(folder)/ssh.service"] = "/usr/lib/systemd/system/ssh.service"
        let image = try TestImage.system(texts)
        let relocation = try await Self.relocate(image)
        #expect(relocation.grows)
        #expect(try Self.check(relocation, image).fstab.contains("x-systemd.growfs"))
        let units = try run(
            "debugfs",
            [
                "-R", "ls -p /etc/systemd/system/\(folder)",
                "\(image.folder.path("view.img"))?offset=\(image.rootfs.start.byteOffset.bytes)",
            ]
        ).output
        #expect(units.contains("/ssh.service/") && !units.contains("rpi-resize"), "\(units)")
    }

    @Test func `Ubuntu: every command line that a board may take is looked at, and no other`() async throws {
        var texts = SystemTexts()
        texts.fstab =
            "LABEL=writable / ext4 discard,errors=remount-ro 0 1\nLABEL=system-boot /boot/firmware vfat defaults 0 1\n"
        texts.cmdline = nil
        texts.others["usr/bin/cloud-init"] = "x"
        texts.bootFiles = [
            "config.txt":
                "[all]\nos_prefix=current/\n[tryboot]\nos_prefix=new/\n[all]\n[pi4]\nos_prefix=four/\n[all]\nkernel=vmlinuz\n",
            "current/cmdline.txt": "root=LABEL=writable resize\n",
            "four/cmdline.txt": "root=LABEL=writable resize quiet\n",
            "new/cmdline.txt": "resize\n", "user-data": "#cloud-config\n",
        ]
        let image = try TestImage.system(texts)
        let relocation = try await Self.relocate(image)
        _ = try Self.check(relocation, image)
        #expect(
            relocation.changes.map(\.path) == ["current/cmdline.txt", "four/cmdline.txt", "etc/fstab"])
        #expect(relocation.changes[1].after == Array("root=LABEL=writable quiet\n".utf8))
        #expect(relocation.firstBoot == .cloudInit && relocation.grows)
    }

    @Test func `an image that needs nothing is not changed at all`() async throws {
        var texts = SystemTexts()
        texts.cmdline = "console=serial0,115200 root=LABEL=rootfs rootwait quiet\n"
        texts.fstab =
            "UUID=\(SystemTexts.rootUUID) / ext4 defaults 0 1\nUUID=\(SystemTexts.bootUUID) /boot/firmware vfat defaults 0 2\n"
        let image = try TestImage.system(texts)
        let relocation = try await Self.relocate(image)
        #expect(relocation.changes.isEmpty)
        #expect(relocation.view.overlay?.isEmpty == true)
        #expect(try digest(materialise(relocation.view, image.folder)) == digest(image.path))
    }

    @Test(arguments: [(RootfsGrowth.never, false), (.automatic, false), (.always, true)])
    func `the rootfs grows where it is asked for`(growth: RootfsGrowth, grows: Bool) async throws {
        let image = try TestImage.system(SystemTexts())
        let relocation = try await Self.relocate(image, growth)
        #expect(relocation.grows == grows)
        #expect(try Self.check(relocation, image).fstab.contains("x-systemd.growfs") == grows)
    }

    @Test func `without systemd nothing grows, and that is said`() async throws {
        var texts = SystemTexts()
        texts.others = ["etc/hostname": "x\n"]
        let image = try TestImage.system(texts)
        let relocation = try await Self.relocate(image, .always)
        #expect(!relocation.grows)
        #expect(relocation.notes.contains { $0.contains("needs systemd") })
        #expect(relocation.firstBoot == FirstBootMechanism.none)
    }

    @Test(arguments: ["defaults,ro", "noauto", "nofail"])
    func `no script runs at the first boot where it could not take itself away`(options: String) async throws {
        var texts = SystemTexts()
        texts.fstab =
            "PARTUUID=12345678-02 / ext4 defaults 0 1\nPARTUUID=12345678-01 /boot/firmware vfat \(options) 0 2\n"
        let image = try TestImage.system(texts)
        #expect(try await Self.relocate(image).firstBoot == FirstBootMechanism.none)
    }

    // MARK: Broken images

    @Test func `broken: without fstab it is said, and the rest is done`() async throws {
        var texts = SystemTexts()
        texts.fstab = nil
        texts.cmdline = "root=PARTUUID=12345678-02 rootwait resize\n"
        let image = try TestImage.system(texts)
        let relocation = try await Self.relocate(image)
        #expect(relocation.notes.contains("rootfs has no /etc/fstab; the boot partition is not mounted by it"))
        #expect(try Self.check(relocation, image).cmdline == "root=/dev/mmcblk0p3 rootwait\n")
        #expect(relocation.obstacles.isEmpty)
    }

    @Test func `broken: a command line of two lines is said, and both stay`() async throws {
        var texts = SystemTexts()
        texts.cmdline = "root=PARTUUID=12345678-02 resize\nquiet resize\n"
        let image = try TestImage.system(texts)
        let relocation = try await Self.relocate(image)
        #expect(relocation.notes.contains { $0.contains("only the first counts") })
        #expect(try Self.check(relocation, image).cmdline == "root=/dev/mmcblk0p3\nquiet resize\n")
    }

    @Test func `broken: without cmdline.txt it is said`() async throws {
        var texts = SystemTexts()
        texts.cmdline = nil
        let image = try TestImage.system(texts)
        let relocation = try await Self.relocate(image)
        #expect(relocation.obstacles.contains { $0.contains("no cmdline.txt") }, "\(relocation.obstacles)")
        #expect(try Self.check(relocation, image).fstab.contains("UUID=\(SystemTexts.bootUUID)"))
    }

    @Test func `broken: a FAT that was not unmounted is repaired in the view`() async throws {
        let image = try TestImage.system(SystemTexts())
        try image.poke(image.boot, at: 65, [1])
        let before = try digest(image.path)
        let relocation = try await Self.relocate(image)
        #expect(relocation.notes.contains { $0.hasPrefix("boot partition was not unmounted cleanly") })
        _ = try Self.check(relocation, image)
        #expect(try relocation.view.bytes(at: image.boot.start.byteOffset.bytes + 65, count: 1) == [0])
        #expect(try digest(image.path) == before)
    }

    @Test func `broken: a rootfs with a dirty journal is recovered, and then changed`() async throws {
        let image = try TestImage.system(SystemTexts())
        // A transaction that was committed and not yet written to its place: it changes a block of a file.
        let block = try run("debugfs", ["-R", "blocks /etc/hostname", image.ext(image.rootfs)]).output
            .trimmingCharacters(in: .whitespacesAndNewlines)
        try image.folder.write(Data("recovered\n".utf8) + Data(count: 4096 - 10), to: "block")
        try image.folder.write(Data("jo\njw -b \(block) \(image.folder.path("block"))\njc\n".utf8), to: "commands")
        try run("debugfs", ["-w", "-f", image.folder.path("commands"), image.ext(image.rootfs)])
        let before = try digest(image.path)
        let relocation = try await Self.relocate(image)
        #expect(relocation.notes.contains { $0.contains("journal was replayed") })
        #expect(try Self.check(relocation, image).fstab.contains("UUID=\(SystemTexts.bootUUID)"))
        let view = image.folder.path("view.img")
        let hostname = try run(
            "debugfs", ["-R", "cat /etc/hostname", "\(view)?offset=\(image.rootfs.start.byteOffset.bytes)"])
        #expect(hostname.output.hasPrefix("recovered\n"))
        #expect(try usedExtents(of: image.rootfs, in: relocation.view).note == nil)
        #expect(try digest(image.path) == before)
    }

    @Test func `broken: a rootfs that is larger than its partition cannot work`() async throws {
        let image = try TestImage.system(SystemTexts())
        // Blocks of the superblock, 32 bits at 4: more than there are.
        let blocks = try run("debugfs", ["-R", "stats -h", image.ext(image.rootfs)]).output
        #expect(blocks.contains("Block count:"))
        try image.debugfs(image.rootfs, ["ssv blocks_count 99999"])
        let relocation = try await Self.relocate(image)
        #expect(relocation.obstacles.count == 1)
        #expect(relocation.obstacles.first?.contains("must fit it") == true, "\(relocation.obstacles)")
    }

    @Test(arguments: [
        ("btrfs", UInt64(65536 + 64), Array("_BHRfS_M".utf8)), ("f2fs", 1024, [0x10, 0x20, 0xf5, 0xf2]),
    ])
    func `a rootfs that is neither ext nor FAT stays as it is, which is said`(
        name: String, offset: UInt64, magic: [UInt8]
    ) async throws {
        let image = try TestImage.system(SystemTexts())
        try image.poke(image.rootfs, at: 0, [UInt8](repeating: 0, count: 131_072))
        try image.poke(image.rootfs, at: offset, magic)
        let relocation = try await Self.relocate(image, .always)
        #expect(relocation.notes.contains { $0.hasPrefix("rootfs is \(name);") })
        #expect(relocation.obstacles.isEmpty)
        #expect(!relocation.grows)
    }

    @Test func `a boot partition without FAT is said, and the rootfs is done`() async throws {
        let image = try TestImage.system(SystemTexts())
        try image.poke(image.boot, at: 0, [UInt8](repeating: 0, count: 512))
        let relocation = try await Self.relocate(image)
        #expect(relocation.notes.contains { $0.hasPrefix("boot partition has no FAT") })
        // It has no UUID any more; the rootfs has.
        #expect(
            relocation.changes.first?.after.map { String(decoding: $0, as: UTF8.self).contains(SystemTexts.rootUUID) }
                == true)
    }

    @Test(arguments: 0..<10) func `noise in a filesystem's records never traps`(seed: UInt64) async throws {
        let image = try TestImage.system(SystemTexts())
        var random = SeededGenerator(seed: seed)
        for _ in 0..<40 {
            let partition = Bool.random(using: &random) ? image.boot : image.rootfs
            let offset = UInt64.random(in: 0..<300_000, using: &random)
            try image.poke(partition, at: offset, [UInt8.random(in: 0...255, using: &random)])
        }
        let before = try digest(image.path)
        _ = try? await Self.relocate(image)
        #expect(try digest(image.path) == before)
    }
}
