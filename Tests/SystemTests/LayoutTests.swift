import Foundation
import SystemPackage
import TestSupport
import Testing

/// Images that are laid out as published ones: where the partitions start, the same names and files, Debian's kernel in
/// them. virtual_target/images/os-image.bash has the sources of the geometry. The boot script has to find what the Pi's
/// firmware would have found. Raspberry Pi OS Bookworm's is the demo's image, which the whole flow flashes and boots.
private enum Layouts {
    static let bootMiB = 48

    static func image(_ layout: String) -> FilePath { Bench.build.appending("layouts/\(layout).img") }

    static let areThere =
        Bench.environment["CI"] != nil
        || ["pios-2024", "pios-trixie", "debian", "ubuntu", "ubuntu-ab", "buildroot"].allSatisfy {
            FileManager.default.fileExists(atPath: image($0).string)
        }

    /// A virtual target with a card for `layout`'s image.
    static func emptyTarget(
        _ name: String, _ layout: String, board: String = "qemu_arm64"
    ) async throws -> VirtualTarget {
        try await VirtualTarget(
            name, card: OSImageFixture(layout: image(layout), bootMiB: bootMiB), cardSize: "256MiB", board: board)
    }

    /// A virtual target with `layout`'s image on partitions 2 and 3 of its card, laid there as a flash would.
    ///
    /// `edit` is a bash script that may change files of partition 2, which mtools call `$P2`.
    static func target(
        _ name: String, _ layout: String, board: String = "qemu_arm64", edit: String = ""
    ) async throws -> VirtualTarget {
        let target = try await emptyTarget(name, layout, board: board)
        let laid = try await bash(
            """
            START=$(sfdisk --dump $IMAGE | sed -n 's/.*1 : start= *\\([0-9]*\\).*/\\1/p')
            dd if=$IMAGE of=$D/card.img bs=1M iflag=skip_bytes skip=$((START * 512)) seek=68 conv=notrunc status=none
            P2=$D/card.img@@$((68 << 20))
            \(edit)
            """,
            ["IMAGE": image(layout).string, "D": target.directory.string, "MTOOLS_SKIP_CHECK": "1"])
        try #require(laid.status == 0, laid.all)
        return target
    }
}

extension SystemTests.ToLinux {
    /// The boot script on partition 2 of many kinds.
    @Suite(.serialized, .enabled(if: Layouts.areThere, "run make layout-images, which makes what these tests boot"))
    struct ImageLayouts {
        /// Boots until the rootfs is mounted, or the script says why not.
        private func boot(_ target: VirtualTarget) async throws -> String {
            let booted = try await target.exec(
                "$VT reset $D; $VT wait $D 'rpiflash-demo: (up|no root)|rpiflash: cannot boot:' --timeout 900")
            try #require(booted.status == 0, "\(booted.all)\(target.console)")
            return booted.stdout
        }

        /// Each geometry is flashed to a Linux that is up, by plan or in parts; Debian's, which is the older Raspberry Pi
        /// OS's, is laid on the card by hand, which is quicker. Then: what the console says. By plan the words are gone
        /// that repartition.
        @Test(arguments: [
            (
                "pios-2024", 8192, "plan", "/kernel8.img", "/initramfs8",
                "root=PARTUUID=52504946-03 rootfstype=ext4 fsck.repair=yes rootwait"
            ),
            (
                "pios-trixie", 16384, "plan", "/kernel8.img", "/initramfs8",
                "root=PARTUUID=52504946-03 rootfstype=ext4 fsck.repair=yes rootwait ds=nocloud;i=rpiflash-demo"
            ),
            (
                "debian", 8192, "laid", #"/vmlinuz-\S+-arm64"#, #"/initrd.img-\S+-arm64"#,
                "root=PARTUUID=52504946-03 rw fsck.repair=yes net.ifnames=0 cma=64M rootwait"
            ),
            (
                "ubuntu", 2048, "plan", "/vmlinuz", "/initrd.img",
                "root=PARTUUID=52504946-03 rootfstype=ext4 rootwait fixrtc"
            ),
            (
                "ubuntu-ab", 2048, "parts", "/current/vmlinuz", "/current/initrd.img",
                "root=PARTUUID=52504946-03 rootfstype=ext4 rootwait fixrtc"
            ),
            ("buildroot", 1, "plan", "/Image", "/rootfs.cpio.gz", "root=PARTUUID=52504946-03 rootwait console=tty1 "),
        ])
        func `checks, flashes and boots an image that is laid out as`(
            layout: String, start: Int, way: String, kernel: String, initramfs: String, arguments: String
        ) async throws {
            let isLaid = way == "laid"
            let target =
                try await isLaid
                ? Layouts.target("layout-\(layout)", layout) : Layouts.emptyTarget("layout-\(layout)", layout)
            let flash = "$FLASH --protocol \(way) --no-netconsole --store $D/store --wait-timeout 900s $IMAGE vt"
            let flashed = try await target.exec(
                """
                sfdisk --dump $IMAGE | grep '1 : start= *\(start),'
                "$RPIFLASH_GEN" check-image $IMAGE --card $CARD
                "$RPIFLASH" plan $IMAGE --card $CARD --store $D/store
                mkdir -p $TFTP
                \(isLaid ? "$VT reset $D" : flash)
                $VT wait $D 'rpiflash-demo: (up|no root)' --timeout 900
                """)
            try #require(flashed.status == 0, "\(flashed.all)\(target.console)")
            #expect(flashed.stdout.contains("\ncard         fits "), flashed.all)
            #expect(flashed.stdout.contains("flashed and proven, ") != isLaid, flashed.all)
            #expect(try await target.keepsPartition1())
            // The rootfs is the card's partition 3, the boot partition before it the image's.
            #expect(
                flashed.stdout.contains("up, root is /dev/mmcblk0p3 (PARTUUID=52504946-03, ext4)"),
                "\(target.console)")
            #expect(flashed.stdout.contains("/dev/mmcblk0p2 is /boot/firmware"), "\(target.console)")
            let console = target.console
            #expect(try console.contains(Regex("rpiflash: initramfs: \(initramfs); device tree: the one of U-Boot")))
            #expect(try console.contains(Regex("rpiflash: starting \(kernel): ")))
            // Everything else of the command line stays, but root= and the serial console's name.
            #expect(console.contains(" \(arguments)"), "\(console)")
            #expect(console.contains("console=ttyAMA0,115200"))
            #expect(console.firstMatch(of: /Kernel command line:.*serial0/) == nil)
        }

        @Test func `reads config.txt as the firmware does: a PC's line ends, sections, a kernel that is not there`()
            async throws
        {
            // What counts is the last [all]; the other sections' names, and those in comments, must not.
            let target = try await Layouts.target(
                "layout-config", "ubuntu-ab",
                edit: #"""
                    printf '%s\r\n' '# kernel=comment.img in [pi4]' '[pi4]' kernel=current/state 'initramfs state' \
                      '[all]' os_prefix=current/ kernel=not-there.img 'initramfs  initrd.img  followkernel' \
                      '[tryboot]' os_prefix=new/ '[pi5]' kernel=autoboot.txt >$D/config.txt
                    mcopy -o -i $P2 $D/config.txt ::config.txt
                    mcopy -n -i $P2 ::current/cmdline.txt - | sed 's/$/\r/' >$D/cmdline.txt
                    mcopy -o -i $P2 $D/cmdline.txt ::current/cmdline.txt
                    """#)
            let end = try await boot(target)
            #expect(end.contains("up, root is /dev/mmcblk0p3"), "\(target.console)")
            #expect(target.console.contains("rpiflash: initramfs: /current/initrd.img;"))
            #expect(target.console.contains("rpiflash: starting /current/vmlinuz: "))
        }

        @Test(arguments: [
            ("zimg", 4, "it is compressed for EFI"), (#"\x18\x28\x6f\x01"#, 36, "it is for 32 bits"),
        ])
        func `says what a kernel is that this U-Boot cannot start`(magic: String, offset: Int, reason: String)
            async throws
        {
            let target = try await Layouts.target(
                "layout-kernel-\(offset)", "debian",
                edit: """
                    truncate -s 4096 $D/vmlinuz
                    printf '\(magic)' | dd of=$D/vmlinuz bs=1 seek=\(offset) conv=notrunc status=none
                    mcopy -o -i $P2 $D/vmlinuz ::vmlinuz
                    printf 'kernel=vmlinuz\n' >$D/config.txt
                    mcopy -o -i $P2 $D/config.txt ::config.txt
                    """)
            let end = try await boot(target)
            #expect(end == "rpiflash: cannot boot: /vmlinuz is no kernel that booti starts: \(reason)\n")
        }
    }
}

/// What needs another U-Boot, which takes two minutes to build: `make boot-32`.
@Suite(.enabled(if: Bench.environment["RPIFLASH_BOOT_32"] != nil, "run make boot-32, which builds what this needs"))
struct Boot32 {
    @Test func `a U-Boot with 32 bits flashes over the USB Ethernet of a Pi 3, and the same image again`() async throws
    {
        let target = try await VirtualTarget("pi2", card: OSImageFixture.small.value, machine: .pi2)
        let result = try await target.flash("--no-wait --as-is")
        #expect(result.stdout.contains(/flashed and proven/), result.all)
        #expect(try await target.keepsPartition1())
        let again = try await target.flash("--no-wait --as-is")
        #expect(again.stdout.contains(/flashed and proven, \d+ bytes \(0 written/), again.all)
        #expect(target.console.contains("rpiflash: boot script for rpi_3_32b"), "\(target.console)")
    }

    @Test func `a U-Boot with 32 bits starts a kernel with 32 bits, whose rootfs is partition 3`() async throws {
        let target = try await Layouts.target("layout-32", "debian-armhf", board: "rpi_3_32b")
        let booted = try await bash(
            """
            $VT pi-boot $D --board rpi_3_32b --until 'rpiflash-demo: (up|no root)|rpiflash: cannot boot:' \
              --timeout 900
            """, ["D": target.directory.string])
        let console = text(of: target.directory.appending("pi-console.log"))
        #expect(
            booted.stdout.contains("up, root is /dev/mmcblk0p3 (PARTUUID=52504946-03, ext4)"),
            "\(booted.all)\(console)")
        #expect(console.contains("rpiflash: boot script for rpi_3_32b"))
        #expect(try console.contains(Regex(#"rpiflash: starting /vmlinuz-\S+-armmp: "#)))
        // QEMU's machine is a Pi 2 by its revision, so the image's tree for that is taken; U-Boot then copies the model
        // from the firmware's tree (update_fdt_from_fw), and virtual-target hands over that of the boards this U-Boot is for.
        #expect(console.contains("device tree: /bcm2836-rpi-2-b.dtb"))
        #expect(console.contains("Machine model: Raspberry Pi 3 Model B"))
    }
}
