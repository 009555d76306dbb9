import BootFiles
import TestSupport
import Testing

/// The server's reader against the table that U-Boot is tested with too (SystemTests, BootCasesTests).
struct BootSettingsTests {
    @Test(arguments: try BootCase.all())
    func `the table of both readers`(testCase: BootCase) throws {
        let configuration = testCase.files["config.txt"].map { FirmwareConfiguration($0.bytes) }
        let tree = testCase.board.isEmpty ? nil : testCase.board
        let settings = (configuration ?? FirmwareConfiguration("")).settings(deviceTree: tree)
        let board = BootBoard.rpiArm64
        let selection = settings.selection(for: board, among: Array(testCase.files.keys))
        let arguments = selection.commandLine.flatMap { path in
            testCase.files[String(path.drop { $0 == "/" })].flatMap {
                KernelCommandLine($0.bytes).bootArguments(root: "{root}", serial: ("ttyS0", "ttyAMA0"))
            }
        }
        guard let state = testCase.expected.state else {
            #expect(configuration?.refusal == nil)
            #expect(selection.kernel == testCase.expected.kernel)
            #expect(selection.initramfs ?? "none" == testCase.expected.initramfs)
            #expect(arguments == testCase.expected.bootargs?.bytes)
            return
        }
        switch state {
        case _ where state.hasPrefix("config.txt has"):
            #expect(configuration?.refusal?.hasPrefix("config.txt ") == true)
        case _ where state.hasPrefix("no cmdline.txt"): #expect(selection.commandLine == nil)
        case _ where state.hasPrefix("the first line of"): #expect(selection.commandLine != nil && arguments == nil)
        default:
            #expect(state == "no kernel on partition 2")
            #expect(selection.kernel == nil)
        }
    }

    @Test func `the table is whole`() throws {
        let cases = try BootCase.all()
        #expect(cases.count >= 280 && Set(cases.map(\.name)).count == cases.count)
    }

    /// First bytes of real kernels; Documentation/arch/arm64/booting.rst, arch/arm/boot/compressed/head.S, and the formats'
    /// own descriptions.
    @Test(
        arguments: [
            ([UInt8](repeating: 0, count: 0x38) + [0x41, 0x52, 0x4d, 0x64], KernelKind.arm64, nil, "a 64-bit Image"),
            ([UInt8](repeating: 0, count: 0x24) + [0x18, 0x28, 0x6f, 0x01], .arm, "a 32-bit zImage", nil),
            ([0x1f, 0x8b, 8, 0], .gzip, nil, "compressed with gzip"),
            (
                Array("MZ\0\0zimg".utf8), .other("compressed for EFI (zboot)"), "compressed for EFI (zboot)",
                "compressed for EFI (zboot)"
            ),
            ([0x28, 0xb5, 0x2f, 0xfd], .other("compressed with zstd"), "compressed with zstd", "compressed with zstd"),
            // An EFI stub's own two letters say nothing.
            (Array("MZ".utf8), .unknown, nil, nil), ([UInt8](repeating: 0, count: 4096), .unknown, nil, nil),
            ([], .unknown, nil, nil),
        ] as [([UInt8], KernelKind, String?, String?)])
    func `a kernel is known by its first bytes`(start: [UInt8], kind: KernelKind, arm64: String?, arm: String?) {
        #expect(KernelKind(start) == kind)
        #expect(kind.obstacle(on: .arm64) == arm64)
        #expect(kind.obstacle(on: .arm) == arm)
    }

    private func outlook(
        _ config: String?, _ files: [String], kernels: [String: KernelKind] = [:], commandLines: [String: String] = [:]
    ) -> BootOutlook {
        let configuration = config.map { FirmwareConfiguration($0) }
        return BootOutlook(
            configuration, choices: BootOutlook.choices(configuration, among: files), kernels: kernels,
            commandLines: commandLines)
    }

    @Test func `what is known not to boot is an obstacle, what boots on some boards is none`() {
        #expect(outlook(nil, ["cmdline.txt", "kernel8.img"]).obstacles == [])
        #expect(Set(outlook(nil, ["cmdline.txt", "kernel8.img"]).unstartable.keys) == ["rpi_3_32b", "rpi_4_32b"])
        #expect(outlook(nil, ["cmdline.txt", "kernel8.img"]).notes == [])
        #expect(
            outlook(nil, ["kernel8.img", "kernel7.img", "kernel7l.img"]).obstacles
                == ["boot partition has no cmdline.txt; the boot script starts no kernel without it"])
        #expect(
            outlook("kernel=none", ["cmdline.txt", "other"]).obstacles == [
                "boot partition has no kernel: none that config.txt names, and none of kernel8.img, vmlinuz, Image, "
                    + "kernel7.img, zImage, kernel7l.img"
            ])
        let zboot = outlook(
            nil, ["cmdline.txt", "vmlinuz"], kernels: ["/vmlinuz": .other("compressed for EFI (zboot)")])
        #expect(
            zboot.obstacles.first
                == "vmlinuz is compressed for EFI (zboot), which the U-Boot of the board rpi_arm64 does not start")
        let arm = outlook(nil, ["cmdline.txt", "vmlinuz"], kernels: ["/vmlinuz": .arm])
        #expect(arm.obstacles == [])
        #expect(
            arm.notes == [
                "the image starts on cards of rpi_3_32b and rpi_4_32b only: vmlinuz is a 32-bit zImage, which the U-Boot of the "
                    + "board rpi_arm64 does not start"
            ])
        #expect(
            outlook("kernel=k.img", ["cmdline.txt", "kernel8.img"]).notes == [
                "config.txt names the kernel k.img, which is not there; the boot script starts kernel8.img instead"
            ])
        #expect(
            outlook("kernel=a\n#\(String(repeating: "x", count: 7700))", ["cmdline.txt", "kernel8.img"]).obstacles.count
                == 1)
        #expect(
            outlook("[pi4]\nkernel=z.img", ["cmdline.txt", "kernel8.img", "z.img"], kernels: ["/z.img": .arm]).notes
                .first
                == "on bcm2711-rpi-4-b.dtb nothing is started: z.img is a 32-bit zImage, which the U-Boot of the board "
                + "rpi_arm64 does not start")
    }

    @Test(arguments: [
        ("root=a dyndbg='file x +p'\n", "has an apostrophe (')"), ("root=a x\\y\n", "has a backslash (\\)"),
        ("\u{feff}root=a\n", "begins with a byte order mark"), ("root=a\0x", "has a zero byte"),
        ("root=a " + String(repeating: "x", count: 1100), "has 1127 bytes on a card"),
    ])
    func `what a command line has that some readers do not take is said`(text: String, note: String) {
        let notes = KernelCommandLine(text).textNotes(name: "cmdline.txt")
        #expect(notes.count == 1 && notes[0].contains("cmdline.txt") && notes[0].contains(note), "\(notes)")
        #expect(KernelCommandLine(text).obstacle(name: "cmdline.txt") == nil)
    }

    @Test func `root behind what the kernel takes, and an empty first line, start nothing`() {
        // 2047 bytes: a blank, 2025 of the word, a blank and root= with a PARTUUID of 20.
        func line(_ count: Int) -> KernelCommandLine {
            KernelCommandLine(String(repeating: "x", count: count) + " root=a\n")
        }
        #expect(line(2020).obstacle(name: "cmdline.txt") == nil)
        #expect(
            line(2021).obstacle(name: "cmdline.txt")?.hasPrefix("root= of cmdline.txt lies behind the 2047 bytes")
                == true)
        #expect(
            KernelCommandLine("\nroot=a").obstacle(name: "cmdline.txt")
                == "the first line of cmdline.txt is empty; must be the kernel's command line")
    }

    @Test func `units that name the image's partitions are said`() {
        let unit = Array("# /dev/mmcblk0p9\n[Mount]\nWhat=/dev/mmcblk0p1\nWhere=/boot/firmware\n".utf8)
        #expect(
            partitionNotes(unit, path: "/etc/systemd/system/boot-firmware.mount", diskID: nil) == [
                "/etc/systemd/system/boot-firmware.mount line 3: /dev/mmcblk0p1 stays and names a partition by the image's own "
                    + "table; on the card partition 1 is U-Boot's and the image's partitions are 2 and 3: use UUID= or LABEL="
            ])
        let table = Array("a UUID=1 none\nb PARTUUID=0000abcd-02 none luks\nc /dev/sda1\n".utf8)
        #expect(partitionNotes(table, path: "/etc/crypttab", diskID: 0xabcd).count == 1)
        #expect(partitionNotes(table, path: "/etc/crypttab", diskID: 0xabce).isEmpty)
    }
}
