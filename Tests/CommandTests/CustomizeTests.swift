import Foundation
import SystemPackage
import TestImages
import TestSupport
import Testing

/// `rpiflash flash` of images with filesystems: what a target gets of them, and settings for its first boot.
@Suite(
    .serialized,
    .enabled(
        if: Programs.canPlayTarget && canUse(["mkfs.ext4", "mkfs.vfat", "debugfs", "mcopy"]),
        "run make deps, which installs what these tests need"))
struct CustomizeTests {
    /// A bench whose image has filesystems, and a card that it fits.
    private static func place(_ behaviour: String, _ change: (TestImage) throws -> Void = { _ in }) async throws
        -> LoopbackFixture
    {
        try await giveImage(to: try await LoopbackFixture(behaviour), change)
    }

    static func giveImage(
        to place: LoopbackFixture, _ change: (TestImage) throws -> Void = { _ in }
    ) async throws -> LoopbackFixture {
        let image = try TestImage.system(SystemTexts())
        try change(image)
        let copied = try await place.bash("cp --sparse=always '\(image.path)' $IMG")
        try #require(copied.status == 0, copied.all)
        try place.write(
            "card.yaml", "card_size: 128 MiB\nuboot_size: 4 MiB\nboot_size: 40 MiB\nrootfs_size: rest\n")
        return place
    }

    /// Makes the card's partitions 2 and 3 of what the target fetched, with other programs than ours.
    private static let layDown = """
        for number in 2 3; do truncate -s 48M $D/p$number; done
        grep -a '^p_number=' $D/got/flash.scr | while read -r line; do
            eval "$line"
            case $p_encoding in gzip) gunzip <$D/got/$p_file ;; raw) cat $D/got/$p_file ;; esac |
                dd of=$D/p$p_partition bs=512 seek=$((p_offset)) conv=notrunc status=none
        done

        """

    @Test func `what the target gets is made ready for its card, with its settings`() async throws {
        let place = try await Self.place("flash")
        try place.write(
            "settings.yaml",
            "hostname: 'lab-{{name}}'\nboot_files:\n  - path: where.txt\n    source: where\ncmdline:\n  add: [quiet2]\n"
        )
        try place.write("where", "rack 3\n")
        let result = try await place.run(
            "$FLASH --no-wait --grow --customize $D/settings.yaml $IMG cam; "
                + Self.layDown + """
                    fsck.vfat -n $D/p2 >&2
                    e2fsck -fn $D/p3 >&2
                    for file in cmdline.txt where.txt firstrun.sh; do mtype -i $D/p2 ::/$file; done
                    debugfs -R 'cat /etc/fstab' $D/p3 2>/dev/null
                    """, exits: 0)
        #expect(result.stdout.contains("root=/dev/mmcblk0p3 rootwait quiet"), result.all)
        #expect(result.stdout.contains(" quiet2"), result.all)
        #expect(result.stdout.contains("systemd.run=/boot/firmware/firstrun.sh"), result.all)
        #expect(result.stdout.contains("rack 3\n"), result.all)
        #expect(result.stdout.contains("'lab-cam'"), result.all)
        #expect(
            result.stdout.contains(
                "UUID=\(SystemTexts.rootUUID)  /               ext4    defaults,noatime,x-systemd.growfs"),
            result.all)
        #expect(result.stderr.contains("rpiflash: changed for the card: cmdline.txt, etc/fstab\n"), result.all)
    }

    @Test func `one image with settings has three host names on three targets at once`() async throws {
        let place = try await Self.giveImage(to: try await SeveralTests.place("flash"))
        try place.write("settings.yaml", "hostname: 'lab-{{name}}'\n")
        let result = try await place.run(
            """
            sha256sum $IMG >$D/before
            $FLASH --no-wait --customize $D/settings.yaml $IMG cam dog elk >&2
            sha256sum --quiet -c $D/before
            all=$D
            for target in . dog elk; do
                D=$all/$target
                \(Self.layDown)
                fsck.vfat -n $D/p2 >&2
                e2fsck -fn $D/p3 >&2
                mtype -i $D/p2 ::/firstrun.sh | grep -o "lab-[a-z]*" | sort -u
            done
            """, exits: 0)
        #expect(result.stdout == "lab-cam\nlab-dog\nlab-elk\n", result.all)
        #expect(result.stderr.contains("3 of 3 proven"), result.all)
        // The image once, and three that share its rootfs.
        let stored = try await place.bash("$RPIFLASH images list --store $D/store | grep -c settings")
        #expect(stored.stdout == "3\n", stored.all)
    }

    @Test func `law 4, --as-is - the target gets the image as it is`() async throws {
        let place = try await Self.place("flash")
        let result = try await place.run(
            "$FLASH --no-wait --as-is $IMG cam; " + Self.layDown + "debugfs -R 'cat /etc/fstab' $D/p3 2>/dev/null",
            exits: 0)
        #expect(result.stdout.contains("PARTUUID=12345678-02  /               ext4    defaults,noatime  0"), result.all)
        #expect(!result.stderr.contains("changed for the card"), result.all)
    }

    @Test func `law 6 - an image that cannot work is refused, and taken with --as-is`() async throws {
        let place = try await Self.place("flash") { try $0.debugfs($0.rootfs, ["ssv blocks_count 99999"]) }
        try await place.refuses(
            "$FLASH --no-wait $IMG cam", status: 7,
            "D/os.img: rootfs: ext4 filesystem has 99999 blocks of 1024 bytes, its partition 16777216 bytes; must fit it; "
                + "--as-is flashes it all the same")
        try await place.run("$FLASH --no-wait --as-is $IMG cam", exits: 0)
    }

    @Test(
        arguments: [
            (
                "none.yaml", "",
                "D/none.yaml: settings cannot be read; must be a text file of at most 1 MiB, and no link"
            ),
            ("s.yaml", "hostnam: x\n", "D/s.yaml:1:1: unknown key"),
            ("s.yaml", "hostname: '{{rack}}'\n", "D/s.yaml:1:11: "),
            ("s.yaml", "hostname: two words\n", "D/s.yaml:1:11: "),
            ("s.yaml", "boot_files:\n  - path: x\n    source: none\n", "D/s.yaml: D/none cannot be read"),
        ])
    func `law 6 - settings that cannot be used are refused before anything is prepared`(
        file: String, text: String, message: String
    ) async throws {
        let place = try await Self.place("flash")
        if !text.isEmpty { try place.write(file, text) }
        let result = try await place.run("$FLASH --no-wait --customize $D/\(file) $IMG cam", exits: 7)
        #expect(place.stable(result.stderr).hasPrefix("rpiflash: \(message)"), result.all)
        #expect(result.errorLines.count == 1 && place.resets == 0, result.all)
        #expect(!FileManager.default.fileExists(atPath: place.folder.appending("store").string))
    }

    @Test(arguments: ["3500k", "9m"])
    func `law 2, law 6 - a store that gets full while settings are put in is status 9, and leaves nothing`(
        size: String
    ) async throws {
        let place = try await Self.place("flash")
        try place.write(
            "s.yaml", "boot_files:\n  - path: one\n    source: large\n  - path: two\n    source: large\n")
        let result = try await place.run(
            """
            head -c 4000000 /dev/urandom >$D/large
            mkdir $D/store; mount -t tmpfs -o size=\(size) none $D/store
            status=0; $FLASH --no-wait --customize $D/s.yaml $IMG cam || status=$?
            ls -A $D/store/work
            exit $status
            """, exits: 9, prefix: ["unshare", "-rm"])
        #expect(result.stdout == "", "nothing is left on the full disk")
        #expect(
            place.stable(result.errorLines.last ?? "").hasPrefix(
                "rpiflash: the disk with the image store D/store is full; free some space"), result.all)
        #expect(place.resets == 0)
    }

    @Test func `law 6 - settings that the image does not take are refused by name`() async throws {
        let place = try await Self.place("flash")
        try place.write("s.yaml", "hostname: x\n")
        // As it is nothing is known of the image.
        let result = try await place.run("$FLASH --no-wait --as-is --customize $D/s.yaml $IMG cam", exits: 7)
        #expect(place.stable(result.stderr).contains("rpiflash: D/s.yaml:1:11: hostname cannot be set"), result.all)
        #expect(place.resets == 0)
    }
}
