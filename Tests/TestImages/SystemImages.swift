internal import DiskLayout
internal import Foundation

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
        for (name, text) in texts.others { try image.folder.write(Data(text.utf8), to: "root/\(name)") }
        if let fstab = texts.fstab { try image.folder.write(Data(fstab.utf8), to: "root/etc/fstab") }
        for (name, target) in texts.links {
            let path = image.folder.url.appendingPathComponent("root/\(name)")
            try FileManager.default.createDirectory(
                at: path.deletingLastPathComponent(), withIntermediateDirectories: true)
            try FileManager.default.createSymbolicLink(atPath: path.path, withDestinationPath: target)
        }
        for (name, text) in texts.bootFiles { try image.folder.write(Data(text.utf8), to: "boot/\(name)") }
        if let cmdline = texts.cmdline { try image.folder.write(Data(cmdline.utf8), to: "boot/cmdline.txt") }
        try image.makeFAT(image.boot, ["-F", "32", "-s", "1", "-i", "CAFE0123"], tree: image.folder.path("boot"))
        try image.makeExt(
            image.rootfs, ["-t", "ext4", "-U", SystemTexts.rootUUID], tree: image.folder.path("root"))
        return image
    }
}
