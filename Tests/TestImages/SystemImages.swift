internal import DiskLayout
internal import Foundation
package import TestSupport

/// What an OS image says in its texts. nil: there is no such file.
package struct SystemTexts: Sendable {
    package var cmdline: String? = "console=serial0,115200 root=PARTUUID=12345678-02 rootwait quiet\n"
    package var fstab: String? = """
        proc                  /proc           proc    defaults          0       0
        # the card
        PARTUUID=12345678-01  /boot/firmware  vfat    defaults          0       2
        PARTUUID=12345678-02  /               ext4    defaults,noatime  0       1

        """
    /// Other files of the rootfs.
    package var others: [String: String] = ["usr/lib/systemd/systemd": "x", "etc/hostname": "raspberrypi\n"]
    /// Other files of the boot partition.
    package var bootFiles: [String: String] = ["kernel8.img": "k", "config.txt": "arm_64bit=1\n"]
    /// Symbolic links of the rootfs, and what they say.
    package var links: [String: String] = [:]

    package static let (bootUUID, rootUUID) = ("CAFE-0123", "0f6b8a0e-9c1d-4d53-8d83-8d4f2f3c5a11")

    package init() {}
}

extension TestImage {
    /// An image of 40 MiB FAT32 and 16 MiB ext4 with these texts, its disk id 12345678.
    package static func system(_ texts: SystemTexts, in folder: TemporaryFolder? = nil) throws -> TestImage {
        let image = try TestImage(bootMiB: 40, rootMiB: 16, filled: true, in: folder)
        try image.lay(texts, fat: ["-F", "32", "-s", "1"], ext: ["-t", "ext4"])
        return image
    }

    /// An image that is quickly made and read: 4 MiB of FAT, 36 MiB where it is FAT32, and 4 MiB of ext4 in holes.
    ///
    /// - Parameters:
    ///   - fat: mkfs.vfat's options.
    ///   - ext: mkfs.ext4's options.
    package static func small(
        _ texts: SystemTexts, fat: [String] = ["-F", "16", "-s", "1"], ext: [String] = [], rootMiB: UInt64 = 4,
        in folder: TemporaryFolder? = nil
    ) throws -> TestImage {
        let image = try TestImage(bootMiB: fat.contains("32") ? 36 : 4, rootMiB: rootMiB, filled: false, in: folder)
        try image.lay(texts, fat: fat, ext: ext)
        return image
    }

    /// Fills both partitions.
    package func lay(_ texts: SystemTexts, fat: [String], ext: [String]) throws {
        for (name, text) in texts.others { try folder.write(Data(text.utf8), to: "root/\(name)") }
        if let fstab = texts.fstab { try folder.write(Data(fstab.utf8), to: "root/etc/fstab") }
        for (name, target) in texts.links {
            let path = folder.url.appendingPathComponent("root/\(name)")
            try FileManager.default.createDirectory(
                at: path.deletingLastPathComponent(), withIntermediateDirectories: true)
            try FileManager.default.createSymbolicLink(atPath: path.path, withDestinationPath: target)
        }
        for (name, text) in texts.bootFiles { try folder.write(Data(text.utf8), to: "boot/\(name)") }
        if let cmdline = texts.cmdline { try folder.write(Data(cmdline.utf8), to: "boot/cmdline.txt") }
        try makeFAT(boot, fat + ["-i", "CAFE0123"], tree: folder.path("boot"))
        try makeExt(rootfs, ext + ["-U", SystemTexts.rootUUID], tree: folder.path("root"))
    }
}
