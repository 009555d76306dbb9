import BootFiles
import Testing

struct KernelCommandLineTests {
    @Test(arguments: [
        "init=/usr/lib/raspberrypi-sys-mods/firstboot", "init=/lib/raspberrypi-sys-mods/firstboot",
        "init=/usr/lib/raspi-config/init_resize.sh",
        "init=/usr/lib/raspi-config/init_resize2.sh", "resize",
    ]) func `what would change the card's partition table is removed`(word: String) {
        let result = KernelCommandLine("console=tty1 root=PARTUUID=4e639091-02 rootwait quiet \(word)\n").relocated()
        #expect(result.text == "console=tty1 root=/dev/mmcblk0p3 rootwait quiet\n")
        #expect(result.wouldHaveGrown)
        #expect(result.notes.count == 1)
        #expect(result.notes.first?.hasPrefix("removed \(word), which ") == true)
    }

    @Test func `the card's slow mode goes with the first boot that wanted it, and not without`() {
        let with = KernelCommandLine("root=x init=/usr/lib/raspi-config/init_resize.sh sdhci.debug_quirks2=4 quiet")
        #expect(with.relocated().text == "root=x quiet")
        #expect(with.relocated().notes.count == 2)
        let without = KernelCommandLine("root=x sdhci.debug_quirks2=4")
        #expect(without.relocated().text == without.text)
        #expect(!without.relocated().wouldHaveGrown)
    }

    @Test(arguments: [
        "root=/dev/mmcblk0p3 systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot rootwait\n",
        "root=PARTUUID=4e639091-01", "root=PARTUUID=4e63909-02", "root=PARTUUID=0b8e2a52-6f4e-4c44-9b43-5b1f0c5e2a11",
        "root=/dev/sda2",
        "  root=x   a=\"b  resize c\"\tquiet  \r\n", "root=LABEL=writable init=/bin/sh resize=no noresize",
        "root=x \"never closed resize\n", "root=x init=/lib/firstboot\n",
    ]) func `all else stays as it is`(text: String) {
        let result = KernelCommandLine(text).relocated()
        #expect(result.text == text)
        #expect(result.notes == [])
        #expect(!result.wouldHaveGrown)
    }

    /// What Raspberry Pi OS (pi-gen, stage1/00-boot-files/files/cmdline.txt) and Buildroot (board/raspberrypi/cmdline.txt) have.
    @Test(arguments: ["root=PARTUUID=4e639091-02", "root=PARTUUID=4E639091-02", "root=/dev/mmcblk0p2"])
    func `root names the card's partition where it named the image's by its number`(word: String) {
        let result = KernelCommandLine("console=tty1  \(word) rootwait\r\nroot=/dev/mmcblk0p2\n").relocated()
        #expect(result.text == "console=tty1  root=/dev/mmcblk0p3 rootwait\r\nroot=/dev/mmcblk0p2\n")
        #expect(result.notes == ["cmdline.txt has 1 more line behind its first; only the first counts"])
    }

    @Test func `only the first line counts, later lines stay`() {
        let result = KernelCommandLine("root=x resize\r\nroot=y resize\n\nz").relocated()
        #expect(result.text == "root=x\r\nroot=y resize\n\nz")
        #expect(result.notes.last == "cmdline.txt has 2 more lines behind its first; only the first counts")
    }

    @Test(arguments: ["", "\n", " \t\r\n", "\nroot=x\n"])
    func `an empty command line is said`(text: String) {
        let result = KernelCommandLine(text).relocated()
        #expect(result.text == text)
        #expect(
            KernelCommandLine(text).obstacle(name: "cmdline.txt")
                == "the first line of cmdline.txt is empty; must be the kernel's command line")
    }

    @Test func `a command line without root, and other words that name partitions, are said`() {
        let result = KernelCommandLine("quiet resume=/dev/mmcblk0p3").relocated()
        #expect(
            result.notes == [
                "resume=/dev/mmcblk0p3 stays and names a partition by the image's own table; on the card partition 1 is "
                    + "U-Boot's and the image's partitions are 2 and 3",
                "cmdline.txt has no root=; the boot script adds one, the card's partition 3",
            ])
    }

    @Test(arguments: [
        ("a b", ["c=\"d e\"", "a"], "a b c=\"d e\""), ("a\nb", ["c"], "a c\nb"), ("", ["a", "b"], "a b"),
        ("a \r\n", ["b"], "a b \r\n"), ("\n", ["a"], "a\n"), ("a", [], "a"),
    ]) func `words are added once, before the line end`(text: String, words: [String], expected: String) {
        #expect(KernelCommandLine(text).adding(words).text == expected)
    }

    @Test(arguments: [
        ("x a  b\n", "a  b\n"), ("a x b", "a b"), ("a b x", "a b"), ("x", ""), ("x x x a", "a"), (" x a ", " a "),
    ]) func `a removed word takes its white space along`(text: String, expected: String) {
        let result = KernelCommandLine(text).removing { $0 == "x" }
        #expect(result.text == expected)
        #expect(!result.words.contains("x"))
    }

    @Test func `words are as the kernel splits them`() {
        #expect(KernelCommandLine("a=\"b c\" d\t\"e f\"=g\n h").words == ["a=\"b c\"", "d", "\"e f\"=g"])
    }
}
