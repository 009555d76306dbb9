import BootFiles
import Testing

struct FstabTests {
    static let identity = ImageIdentity(
        diskID: 0x4e63_9091, bootUUID: "4EF5-6F55", rootfsUUID: "ce208fd3-38a8-424a-87a2-cd44114eb820")
    static let boot = "UUID=4EF5-6F55"
    static let root = "UUID=ce208fd3-38a8-424a-87a2-cd44114eb820"

    /// The entry less its notes; it has none.
    private func relocated(_ line: String, grow: Bool = false) -> String {
        let result = Fstab(line).relocated(Self.identity, grow: grow)
        #expect(result.notes == [])
        return result.text
    }

    @Test func `raspberry pi os's entries are found by the file systems' uuids`() {
        let result = Fstab(
            """
            proc            /proc           proc    defaults          0       0
            PARTUUID=4e639091-01  /boot/firmware  vfat    defaults          0       2
            PARTUUID=4e639091-02  /               ext4    defaults,noatime  0       1
            # a swapfile is not a swap partition, no line here

            """
        ).relocated(Self.identity, grow: true)
        #expect(
            result.text == """
                proc            /proc           proc    defaults          0       0
                UUID=4EF5-6F55  /boot/firmware  vfat    defaults          0       2
                UUID=ce208fd3-38a8-424a-87a2-cd44114eb820  /               ext4    defaults,noatime,x-systemd.growfs  0       1
                # a swapfile is not a swap partition, no line here

                """)
        #expect(result.notes == [])
    }

    @Test(arguments: [
        ("PARTUUID=4E639091-02 / ext4 defaults 0 1", "\(root) / ext4 defaults 0 1"),
        ("partuuid=4e639091-01 /boot vfat defaults 0 2", "\(boot) /boot vfat defaults 0 2"),
        ("PARTUUID=\"4e639091-02\" / ext4 ro 0 1", "\(root) / ext4 ro 0 1"),
        ("PARTUUID='4e639091-02' / ext4 ro 0 1", "\(root) / ext4 ro 0 1"),
        ("/dev/disk/by-partuuid/4e639091-02 / ext4 ro 0 1", "\(root) / ext4 ro 0 1"),
        ("/dev/mmcblk0p1 /mnt/firmware vfat ro 0 0", "\(boot) /mnt/firmware vfat ro 0 0"),
        ("/dev/mmcblk1p2 / ext4 ro", "\(root) / ext4 ro"),
        ("/dev/sda1 /boot/ vfat ro", "\(boot) /boot/ vfat ro"),
        ("/dev/nvme0n1p2 / ext4", "\(root) / ext4"),
        ("/dev/disk/by-path/platform-3f202000.mmc-part2 / ext4", "\(root) / ext4"),
    ]) func `an entry of the image's partitions gets their uuids`(line: String, expected: String) {
        #expect(relocated(line) == expected)
    }

    @Test(arguments: [
        "UUID=ce208fd3-38a8-424a-87a2-cd44114eb820 / ext4 defaults 0 1",
        "LABEL=writable / ext4 defaults 0 1",
        "LABEL=system-boot /boot/firmware vfat defaults 0 1",
        "/dev/sda1 /srv ext4 defaults 0 2",
        "/dev/sda /boot vfat defaults 0 2",
        "/dev/mmcblk1p2 /srv ext4 defaults 0 2",
        "/dev/mmcblk0 /boot vfat ro",
        "/dev/mmcblkp2 / ext4 ro",
        "/dev/sd1 / ext4 ro",
        "PARTUUID=11112222-01 /srv ext4 defaults 0 2",
        "# PARTUUID=4e639091-02 / ext4 defaults 0 1",
        "  # /dev/mmcblk0p2 / ext4",
        "/dev/mmcblk0p2",
        "tmpfs /tmp tmpfs size=10% 0 0",
        "//server/share /mnt cifs guest 0 0",
    ]) func `an entry that holds on any card, of another disk, or is none stays`(line: String) {
        #expect(relocated(line) == line)
    }

    @Test(arguments: ["\n", "\r\n", ""])
    func `white space, order, comments and line ends stay`(end: String) {
        let text =
            "\t# first\(end == "" ? "\n" : end)  /dev/mmcblk0p2 \t /  ext4\tnoatime ,x 0   1\t \(end)"
        #expect(relocated(text) == text.replacing("/dev/mmcblk0p2", with: Self.root))
    }

    @Test func `bytes that are no utf-8 stay`() {
        let bytes: [UInt8] = Array("# caf".utf8) + [0xe9, 0x0a, 0xff, 0x20] + Array("/x y\n\0 / \n".utf8)
        #expect(Fstab(bytes).relocated(Self.identity, grow: false).bytes == bytes)
    }

    @Test func `a line of absurd length stays`() {
        let line = "/dev/mmcblk0p2 / ext4 " + String(repeating: "x", count: 5000) + "\n"
        #expect(relocated(line) == line)
    }

    @Test(arguments: [
        (
            "PARTUUID=deadbeef-02 / ext4 ro",
            "fstab line 1: PARTUUID=deadbeef-02 stays, for it names no partition of this image, its disk id is 4e639091"
        ),
        (
            "PARTUUID=4e639091-2 /boot vfat ro",
            "fstab line 1: PARTUUID=4e639091-2 stays, for it names no partition of this image, its disk id is 4e639091"
        ),
        (
            "/dev/mmcblk0p3 /data ext4 ro",
            "fstab line 1: /dev/mmcblk0p3 stays, for the image has no partition 3: it has 1 and 2, which become 2 and 3 of the card"
        ),
        (
            "PARTUUID=4e639091-0a /data ext4 ro",
            "fstab line 1: PARTUUID=4e639091-0a stays, for the image has no partition 10: it has 1 and 2, which become 2 and 3 of the card"
        ),
        (
            "PARTLABEL=root\u{1b} / ext4 ro",
            "fstab line 1: PARTLABEL=root\\x1b stays, for partitions have no labels in the card's DOS partition table"
        ),
    ]) func `what the card does not have is said`(line: String, note: String) {
        let result = Fstab(line).relocated(Self.identity, grow: false)
        #expect(result.text == line)
        #expect(result.notes == [note])
    }

    @Test(arguments: [nil, "", "a b", "x\n/dev/sda1 / ext4"])
    func `a file system without a uuid keeps its entry`(uuid: String?) {
        var identity = Self.identity
        identity.rootfsUUID = uuid
        let line = "/dev/mmcblk0p2 / ext4 defaults 0 1\n"
        let result = Fstab(line).relocated(identity, grow: false)
        #expect(result.text == line)
        #expect(
            result.notes == [
                "fstab line 1: /dev/mmcblk0p2 stays, for the file system on the image's partition 2 has no UUID that could take its place"
            ])
    }

    @Test(arguments: [
        ("LABEL=x / ext4 defaults 0 1", "LABEL=x / ext4 defaults,x-systemd.growfs 0 1"),
        ("LABEL=x / btrfs ro,rw", "LABEL=x / btrfs ro,rw,x-systemd.growfs"),
        ("LABEL=x / xfs\n", "LABEL=x / xfs defaults,x-systemd.growfs\n"),
        ("LABEL=x / ext4 x-systemd.growfs,noatime", "LABEL=x / ext4 x-systemd.growfs,noatime"),
        ("LABEL=x / ext4 ro\n", nil), ("LABEL=x / f2fs rw", nil), ("LABEL=x /\n", nil),
    ]) func `the root file system is to grow where it can`(line: String, expected: String?) {
        let result = Fstab(line).relocated(Self.identity, grow: true)
        #expect(result.text == expected ?? line)
        #expect(result.notes.count == (expected == nil ? 1 : 0))
        // Done again, nothing changes.
        #expect(Fstab(result.bytes).relocated(Self.identity, grow: true).text == result.text)
    }

    @Test func `without an entry for the root nothing grows, and that is said`() {
        let text = "proc /proc proc defaults 0 0\n"
        let result = Fstab(text).relocated(Self.identity, grow: true)
        #expect(result.text == text)
        #expect(result.notes.map { $0.prefix(25) } == ["fstab has no entry for /,"])
    }

    @Test(arguments: [
        ("PARTUUID=4e639091-01 /boot/firmware vfat defaults 0 2", "/boot/firmware", false),
        ("/dev/mmcblk0p1 /boot vfat defaults,nofail 0 2", "/boot", true),
        ("UUID=4ef5-6f55 /efi vfat noauto", "/efi", true),
        ("/dev/disk/by-uuid/4EF5-6F55 /boot\\040x vfat", "/boot x", false),
        ("LABEL=system-boot /boot/firmware vfat defaults 0 1", "/boot/firmware", false),
        ("LABEL=x /boot ext4 defaults 0 1", nil, true),
        ("/dev/mmcblk0p2 / ext4 defaults 0 1", nil, true),
        ("/dev/mmcblk0p1 none swap sw", nil, true),
    ]) func `the boot partition's mount point is found`(line: String, place: String?, optional: Bool) {
        #expect(Fstab(line).bootMountPoint(Self.identity) == place)
        #expect(Fstab(line).bootIsOptional(Self.identity) == optional)
    }
}
