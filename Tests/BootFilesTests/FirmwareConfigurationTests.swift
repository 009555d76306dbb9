import BootFiles
import Testing

struct FirmwareConfigurationTests {
    /// As Raspberry Pi OS has it.
    static let piOS = """
        # Enable audio
        dtparam=audio=on
        camera_auto_detect=1
        auto_initramfs=1
        dtoverlay=vc4-kms-v3d
        max_framebuffers=2
        arm_64bit=1
        [cm4]
        otg_mode=1

        [cm5]
        dtoverlay=dwc2,dr_mode=host

        [all]
        """

    @Test func `what raspberry pi os would lose is said, for our boards only`() {
        let configuration = FirmwareConfiguration(Self.piOS)
        #expect(
            configuration.lost == [
                "config.txt line 2: dtparam=audio=on is lost, for U-Boot loads the device tree without parameters",
                "config.txt line 3: camera_auto_detect=1 is lost, for only the firmware looks for cameras and displays "
                    + "and adds their overlays",
                "config.txt line 5: dtoverlay=vc4-kms-v3d is lost, for U-Boot loads the device tree without overlays",
                "max_framebuffers, otg_mode: settings of the firmware, which reads config.txt of the card's partition 1 "
                    + "and not the image's",
            ])
        #expect(configuration.overlaysWithoutParameters == ["vc4-kms-v3d"])
        #expect(configuration.lost(applied: ["vc4-kms-v3d"]).count == 3)
        #expect(configuration.kernel == nil)
    }

    @Test func `ubuntu's kernel, prefix and initramfs are found`() {
        let configuration = FirmwareConfiguration(
            "[all]\nkernel=vmlinuz\r\ncmdline=cmdline.txt\ninitramfs initrd.img followkernel\n[pi4]\nos_prefix=current/\n"
        )
        #expect(configuration.kernel == "vmlinuz")
        // Behind a board's filter, it is that board's.
        #expect(configuration.osPrefix == nil)
        #expect(
            configuration.commandLinePaths == [
                ["cmdline.txt", "cmdline.txt"],
                ["current/cmdline.txt", "cmdline.txt", "current/cmdline.txt", "cmdline.txt"],
            ])
        #expect(configuration.initramfs == "initrd.img")
        #expect(configuration.lost == [])
    }

    @Test func `of filters only those of boards count, as for the boot script`() {
        let configuration = FirmwareConfiguration(
            "[all]\nos_prefix=current/\n[tryboot]\nos_prefix=new/\n[pi5]\nos_prefix=five/\n[all]\ncmdline=Other.txt\n")
        #expect(configuration.osPrefix == "current/")
        #expect(
            configuration.commandLinePaths == [
                ["current/other.txt", "other.txt", "current/cmdline.txt", "cmdline.txt"]
            ])
        #expect(
            configuration.lost == [
                "config.txt line 4, [tryboot]: os_prefix=new/ is lost, for U-Boot knows no filters but those of boards"
            ])
    }

    @Test(arguments: [
        ("device_tree=x.dtb", "device_tree=x.dtb is lost, for U-Boot takes"),
        ("overlay_prefix=o/", "overlay_prefix=o/ is lost"),
        ("display_auto_detect=1", "display_auto_detect=1 is lost"),
        ("dtoverlay=i2c-gpio,bus=3", "dtoverlay=i2c-gpio,bus=3 is lost"),
        ("dtoverlay=a\u{7}b", "dtoverlay=a\\x07b is lost"),
        (
            "initramfs a.gz,b.gz 0x800000",
            "initramfs=a.gz,b.gz 0x800000 is lost in part, for U-Boot loads one file and not 2"
        ),
        ("include none.txt", "include none.txt is not there, too deep or one of too many"),
    ]) func `what u-boot does not do is said`(line: String, message: String) {
        let lost = FirmwareConfiguration("\n\(line)\n").lost
        #expect(lost.count == 1)
        #expect(lost.first?.hasPrefix("config.txt line 2: \(message)") == true)
    }

    @Test(arguments: [
        "", "# dtoverlay=x", "dtoverlay=", "camera_auto_detect=0", "cmdline=other.txt", "kernel=k", "[pi4]\nkernel=k",
        "upstream_kernel=1",
        "[none]\ndtoverlay=x",
        "[pi5]\ndtparam=x", "[pi4]\n[PI5]\ndtoverlay=x", "initramfs i followkernel", "nonsense", "[pi0]\ninclude x",
    ]) func `what means nothing on our boards is not said`(text: String) {
        #expect(FirmwareConfiguration(text).lost == [])
    }

    @Test(arguments: [
        ("dtoverlay=a\ndtoverlay=b,x=1\ndtoverlay=c", ["a", "c"]), ("dtoverlay=a\ndtparam=x=1\ndtoverlay=c", ["c"]),
        ("dtparam=x\ndtoverlay=a\ndtoverlay=\ndtparam=y", ["a"]), ("[pi4]\ndtoverlay=a\n[all]\ndtoverlay=b", ["b"]),
        ("[EDID=VSC]\n[gpio4=1]\ndtoverlay=a\n[board-type=0x11]\ndtoverlay=b", []), ("dtoverlay=../x/y", []),
        ("[pi4]\n[EDID=x]\n[all]\ndtoverlay=a", ["a"]),
    ]) func `overlays that always apply, without parameters, are named`(text: String, names: [String]) {
        #expect(FirmwareConfiguration(text).overlaysWithoutParameters == names)
    }

    /// Eight deep and ten times in each, that would be 100 million files.
    @Test(.timeLimit(.minutes(1))) func `files that include themselves many times are read 64 times at most`() {
        let text = Array(String(repeating: "include config.txt\n", count: 10).utf8)
        var count = 0
        let configuration = FirmwareConfiguration(text) { _ in
            count += 1
            return text
        }
        #expect(count == 64)
        #expect(configuration.lost.contains { $0.contains("one of too many") })
    }

    @Test func `included files are read, and u-boot does not see them`() {
        let configuration = FirmwareConfiguration(Array("include user.txt\n".utf8)) { name in
            name == "user.txt" ? Array("dtoverlay=a\nkernel=k\ninclude user.txt\n".utf8) : nil
        }
        #expect(configuration.kernel == nil)
        #expect(configuration.overlaysWithoutParameters.first == "a")
        #expect(configuration.lost.contains { $0.hasPrefix("user.txt line 2: kernel=k is lost, for U-Boot reads") })
        #expect(
            configuration.lost.last
                == "user.txt line 3: include user.txt is not there, too deep or one of too many, what it says is lost")
    }

    @Test func `the last kernel counts, and an empty one is none`() {
        #expect(FirmwareConfiguration("kernel=a\nkernel=b").kernel == "b")
        #expect(FirmwareConfiguration("kernel=a\nkernel=").kernel == nil)
    }
}
