import DiskLayout
import Foundation
import TestImages
import TestSupport
import Testing

/// Where images that people have start, as LBA of the boot partition, and who makes them so:
/// - 1: Buildroot. genimage, README: hdimage's `align` is 512 bytes if not given, as in board/raspberrypi/genimage.cfg.in.
/// - 63: fdisk of old, behind the first track of 63 sectors.
/// - 2048: Ubuntu. pi-gadget, branch classic, gadget.yaml.in: no offset, so 1 MiB; 256 MiB up to 22.04's first, then 512 MiB.
/// - 8192: Raspberry Pi OS up to 2024-11 (pi-gen, export-image/prerun.sh before 2025-03-12), Debian (image-specs: 4MiB).
/// - 16384: Raspberry Pi OS since (prerun.sh: ALIGN 8 MiB), rpi-image-gen (image/mbr/simple_dual: `align = 8M`).
private let starts: [UInt64] = [1, 63, 2048, 8192, 16384]

/// The place of an image's partitions within its file plays no part in what a card gets, by plan and in parts.
@Suite struct GeometryTests {
    @Test(
        .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"), arguments: starts)
    func `in parts a target gets the image from its boot partition on`(start: UInt64) async throws {
        let place = try await LoopbackFixture("fetch; put OK \(LoopbackFixture.written)")
        let made = try await place.bash("make_image \(start)")
        try #require(made.status == 0, made.all)
        let result = try await place.run(
            """
            $PARTS --no-wait --part-size 5MiB $IMG cam
            cat $(ls -v $D/got/rpi_image_part_*) | cmp - <(from_boot \(start))
            cat $D/got/rpi_image_parts
            """, exits: 0)
        #expect(result.stdout.contains("flashed and proven, 5242880 bytes in "), result.all)
        #expect(
            result.stdout.hasSuffix(
                "rpi_parts=0x2\nrpi_part_sectors=0x2800\nrpi_total_sectors=0x4800\nrpi_skip_sectors=0x2000\n"
                    + "rpi_rootfs_offset=0x2000\n"), result.all)
        let dry = try await place.run("$PARTS --dry-run --part-size 5MiB $IMG cam", exits: 0)
        #expect(dry.all.rawValue.contains("2 parts, 5242880 bytes to write and 9437184 to send"), dry.all)
    }

    /// A target loads single pieces of a chunk from the raw image, by their sectors in it: the whole chunk, too.
    @Test(
        .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"), arguments: starts)
    func `by plan the sectors that a chunk has in the image hold what the chunk must be`(start: UInt64) async throws {
        let place = try await LoopbackFixture(
            """
            plan
            grep -a '^p_number=' got/flash.scr | while read -r line; do
                eval "$line"
                get "img@${p_lba#0x}+${p_sectors#0x}"
                echo "$p_sha256  got/img@${p_lba#0x}+${p_sectors#0x}" >>digests
            done
            sha256sum -c digests >checked 2>&1
            report $sectors 0; put OK $((sectors * 512))
            """)
        let made = try await place.bash("make_image \(start)")
        try #require(made.status == 0, made.all)
        let result = try await place.run("$FLASH --no-wait --as-is $IMG cam; cat $D/checked", exits: 0)
        #expect(result.stdout.matches(of: /: OK\n/).count == 3 && !result.stdout.contains("FAILED"), result.all)
    }

    @Test(.enabled(if: canUse(["mkfs.ext4", "mkfs.vfat", "debugfs", "mcopy"])))
    func `check-image, plan and layout say the same of an image wherever it starts`() async throws {
        var texts = SystemTexts()
        texts.cmdline = "root=PARTUUID=12345678-02 rootwait init=/usr/lib/raspberrypi-sys-mods/firstboot\n"
        texts.bootFiles["config.txt"] = "dtparam=i2c_arm=on\n"
        let original = try TestImage.system(texts)
        let expected = try await Self.said(of: original)
        #expect(expected.contains("-PARTUUID=12345678-01"), Comment(rawValue: expected))
        #expect(expected.contains("\"cardPartition\"") || expected.contains("\"card_partition\""))
        for start in starts where start != 8192 {
            #expect(try await Self.said(of: original.moved(to: LBA(start))) == expected, "boot at LBA \(start)")
        }
    }

    /// Today's Raspberry Pi OS in its full size: pi-gen, export-image/prerun.sh of 2026-03-27 has 512 MiB of FAT32 with one
    /// sector a cluster at 8 MiB, and sizes that are multiples of 8 MiB. Its files are few here, so the file is sparse.
    @Test(.enabled(if: Programs.canPlayTarget && canUse(["mkfs.ext4", "mkfs.vfat", "mcopy"])))
    func `the default card takes today's Raspberry Pi OS, by plan and in parts`() async throws {
        let image = try TestImage(bootStart: LBA(16384), bootMiB: 512, rootMiB: 2296, filled: false)
        for (name, text) in SystemTexts().bootFiles { try image.folder.write(Data(text.utf8), to: "boot/\(name)") }
        try image.folder.write(
            Data("console=serial0,115200 root=PARTUUID=12345678-02 rootwait resize\n".utf8), to: "boot/cmdline.txt")
        try image.folder.write(
            Data(
                "PARTUUID=12345678-01 /boot/firmware vfat defaults 0 2\nPARTUUID=12345678-02 / ext4 defaults 0 1\n".utf8
            ),
            to: "root/etc/fstab")
        try image.makeFAT(image.boot, ["-F", "32", "-s", "1", "-n", "bootfs"], tree: image.folder.path("boot"))
        try image.makeExt(
            image.rootfs, ["-L", "rootfs", "-O", "^64bit,^huge_file"], tree: image.folder.path("root"))
        let place = try await LoopbackFixture()
        let result = try await place.run(
            """
            CARD=$REPOSITORY/recovery_image/card.yaml
            export TMPDIR=$D
            "$GEN" check-image '\(image.path)' --card $CARD
            "$RPIFLASH" plan '\(image.path)' --card $CARD --store $D/store
            $PARTS --card $CARD --dry-run '\(image.path)' cam
            "$GEN" layout --card $CARD --from-image '\(image.path)' >$D/fitting
            "$GEN" layout --card $CARD | cmp - $D/fitting
            """, exits: 0)
        #expect(result.stdout.contains("\ncard         fits "), result.all)
        #expect(result.stdout.contains("4 parts, 2944401408 bytes to write and 2948595712 to send"), result.all)
    }

    /// What is said of an image: the changes, the chunks with their digests, a card that fits it.
    private static func said(of image: TestImage) async throws -> String {
        let result = try await runBash(
            """
            cd $D; mkdir tmp; export TMPDIR=$D/tmp
            printf 'card_size: 128 MiB\nuboot_size: 4 MiB\nboot_size: 40 MiB\n' >card.yaml
            sha256sum os.img >before
            "$GEN" check-image os.img --card card.yaml
            "$RPIFLASH" plan os.img --card card.yaml --store store --json --chunks 2>log | python3 -c '
            import json, sys
            plan = json.load(sys.stdin)
            # The file is as much longer as it starts later, and its content another one.
            for key in ["image_bytes", "id"]: del plan[key]
            print(json.dumps(plan, indent=1, sort_keys=True))'
            "$GEN" layout --card card.yaml --from-image os.img --format json
            sha256sum --quiet -c before
            """, ["D": image.folder.url.path])
        try #require(result.status == 0, result.all)
        #expect(result.stderr == "rpiflash-gen: using card.yaml\n", result.all)
        return result.stdout
    }
}
