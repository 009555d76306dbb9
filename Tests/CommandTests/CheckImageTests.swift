import Foundation
import TestSupport
import Testing
import TestImages

/// What is changed of images with filesystems: `rpiflash-gen check-image`, and what `rpiflash plan` says of it.
@Suite(.enabled(if: canUse(["mkfs.ext4", "mkfs.vfat", "debugfs", "mcopy", "gzip"]))) struct CheckImageTests {
    /// Runs a command in the image's folder and checks what holds after every one: its exit status, the image as it was
    /// (law 4), nothing left in TMPDIR.
    private static func check(
        _ image: TestImage, _ command: String, exits status: Int32
    ) async throws -> CommandResult {
        let look = "stat -c '%i %a %s %y %z' \"$IMG\"; sha256sum <\"$IMG\""
        let variables = ["D": image.folder.url.path, "IMG": image.path]
        let before = try await runBash(look, variables).stdout
        let result = try await runBash(
            "cd \"$D\"; mkdir -p tmp store; export TMPDIR=$D/tmp\n\(command)", variables)
        #expect(result.status == status, result.all)
        #expect(try await runBash(look, variables).stdout == before, "law 4")
        #expect(try FileManager.default.contentsOfDirectory(atPath: image.folder.path("tmp")) == [])
        return result
    }

    private static func vendors() throws -> TestImage {
        var texts = SystemTexts()
        texts.cmdline = "root=PARTUUID=12345678-02 rootwait init=/usr/lib/raspberrypi-sys-mods/firstboot\n"
        texts.bootFiles["config.txt"] = "dtparam=i2c_arm=on\ndtoverlay=vc4-kms-v3d\n"
        return try TestImage.system(texts)
    }

    @Test(arguments: ["$IMG", "$IMG.gz"])
    func `check-image shows each change as a diff, and what to know`(path: String) async throws {
        let image = try Self.vendors()
        let result = try await Self.check(
            image, "gzip -1 -c \"$IMG\" >\"$IMG.gz\"; \"$GEN\" check-image \"\(path)\"", exits: 0)
        #expect(
            result.stdout.hasPrefix(
                """
                --- a/partition 1/cmdline.txt
                +++ b/partition 1/cmdline.txt
                @@ -1,1 +1,1 @@
                -root=PARTUUID=12345678-02 rootwait init=/usr/lib/raspberrypi-sys-mods/firstboot
                +root=/dev/mmcblk0p3 rootwait
                --- a/partition 2/etc/fstab
                +++ b/partition 2/etc/fstab
                @@ -1,4 +1,4 @@
                 proc                  /proc           proc    defaults          0       0
                 # the card
                -PARTUUID=12345678-01  /boot/firmware  vfat    defaults          0       2
                -PARTUUID=12345678-02  /               ext4    defaults,noatime  0       1
                +UUID=\(SystemTexts.bootUUID)  /boot/firmware  vfat    defaults          0       2
                +UUID=\(SystemTexts.rootUUID)  /               ext4    defaults,noatime,x-systemd.growfs  0       1
                growth: the rootfs grows to partition 3 on the first boot
                first boot settings: /boot/firmware/firstrun.sh
                note: 
                """.replacingOccurrences(of: "@@ -1,1 +1,1 @@", with: "@@ -1 +1 @@")), result.all)
        #expect(result.stdout.contains("note: removed init=/usr/lib/raspberrypi-sys-mods/firstboot, which"), result.all)
        #expect(result.stdout.contains("\nnote: config.txt line 1: dtparam=i2c_arm=on is lost"), result.all)
        #expect(result.stderr == "", result.all)
    }

    @Test func `check-image --no-grow leaves the rootfs as large as it is`() async throws {
        let result = try await Self.check(try Self.vendors(), "\"$GEN\" check-image \"$IMG\" --no-grow", exits: 0)
        #expect(!result.stdout.contains("growfs"), result.all)
        #expect(result.stdout.contains("growth: none\n"), result.all)
    }

    @Test func `check-image - what cannot work is exit status 1 and said`() async throws {
        let image = try Self.vendors()
        try image.debugfs(image.rootfs, ["ssv blocks_count 99999"])
        let result = try await Self.check(image, "\"$GEN\" check-image \"$IMG\"", exits: 1)
        #expect(result.stdout.contains("\ncannot work: rootfs: ext4 filesystem has 99999 blocks"), result.all)
        #expect(
            result.stderr.hasPrefix("rpiflash-gen: \(image.path): cannot work on a card: rootfs: ext4 filesystem has"),
            result.all)
    }

    @Test func `check-image --card - an image that does not fit is said beside its changes`() async throws {
        let image = try Self.vendors()
        let result = try await Self.check(
            image,
            "printf 'card_size: 64 MiB\\nuboot_size: 4 MiB\\nboot_size: 36 MiB\\nrootfs_size: rest\\n' >card.yaml; "
                + "\"$GEN\" check-image \"$IMG\" --card card.yaml", exits: 1)
        #expect(result.stdout.contains("+++ b/partition 2/etc/fstab"), result.all)
        #expect(result.stdout.contains("\ncannot work: "), result.all)
    }

    @Test(arguments: [
        ("\"$GEN\" check-image none.img", "rpiflash-gen: none.img: image does not exist"),
        ("printf x >x.img; \"$GEN\" check-image x.img", "rpiflash-gen: x.img: image has no partition table"),
        (
            "head -c 9000000 \"$IMG\" >cut.img; \"$GEN\" check-image cut.img",
            "rpiflash-gen: cut.img: image is 9000000 bytes"
        ),
    ])
    func `check-image refuses what is not an image`(command: String, message: String) async throws {
        let result = try await Self.check(try Self.vendors(), command, exits: 1)
        #expect(result.errorLines.first?.hasPrefix(message) == true, result.all)
    }

    @Test func `plan says what is changed, what is known, and nothing with --as-is`() async throws {
        let image = try Self.vendors()
        let result = try await Self.check(
            image,
            "\"$RPIFLASH\" plan \"$IMG\" --store store; \"$RPIFLASH\" plan \"$IMG\" --store store --as-is >as-is; "
                + "\"$RPIFLASH\" plan \"$IMG\" --store store --json >json; \"$RPIFLASH\" images --store store", exits: 0
        )
        #expect(result.stdout.contains("\nchanged      1:cmdline.txt, 2:etc/fstab\n"), result.all)
        #expect(result.stdout.contains("\ngrowth       rootfs grows to partition 3 on the first boot\n"), result.all)
        #expect(result.stdout.contains("\nnote         removed init="), result.all)
        let asIs = try String(contentsOfFile: image.folder.path("as-is"), encoding: .utf8)
        #expect(asIs.contains("\nchanged      nothing (--as-is)\n"), Comment(rawValue: asIs))
        let json = try Data(contentsOf: URL(fileURLWithPath: image.folder.path("json")))
        let object = try #require(try JSONSerialization.jsonObject(with: json) as? [String: Any])
        let relocation = try #require(object["relocation"] as? [String: Any])
        #expect(relocation["changed"] as? [String] == ["1:cmdline.txt", "2:etc/fstab"])
        #expect(relocation["grows"] as? Bool == true)
        #expect(relocation["obstacles"] as? [String] == [])
        let unstartable = try #require(relocation["unstartable"] as? [String: String])
        #expect(unstartable["rpi_4_32b"]?.hasPrefix("boot partition has no kernel for th") == true, "\(unstartable)")
    }
}
