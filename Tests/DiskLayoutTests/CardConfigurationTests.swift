import DiskLayout
import Foundation
import Testing

@Suite struct CardConfigurationTests {
    @Test func `reads the product's own card yaml, which says what the defaults are`() throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../recovery_image/card.yaml")
        let own = try CardConfiguration(yaml: String(contentsOf: file, encoding: .utf8), file: "card.yaml").layout()
        let standard = try CardConfiguration(yaml: "", file: "card.yaml").layout()
        #expect(own == standard)
        #expect(own.cardSize.byteCount == CardLayout.smallestCommonCard)
        #expect(own.diskID == CardLayout.defaultDiskID)
    }

    @Test func `takes every key`() throws {
        let yaml = """
            card_size: 1 GiB
            disk_id: 0x0000000A
            uboot_size: 32 MiB
            boot_size: 8388608
            rootfs_size: 5000 KiB
            """
        let card = try CardConfiguration(yaml: yaml, file: "card.yaml").layout()
        #expect(card.cardSize.byteCount == .mebibytes(1024))
        #expect(card.diskID == DiskID(10))
        #expect(card.uboot.size.byteCount == .mebibytes(32))
        #expect(card.boot.size.byteCount == .mebibytes(8))
        #expect(card.rootfs.size.sectors == 10000)
    }

    @Test(arguments: [
        (
            "card_size: 8 GB\nboot: 3\n",
            "card.yaml:2:1: unknown key 'boot'; must be one of card_size, disk_id, uboot_size, boot_size, rootfs_size"
        ),
        ("card_size: 8 GB\n\n\ncard_size: 9 GB\n", "card.yaml:1:1: key 'card_size' is there more than once"),
        (
            "boot_size: 512\u{20}M\n",
            "card.yaml:1:12: boot size is '512 M'; must be a whole number of bytes, or of KiB, MiB, GiB, kB, MB or GB"
        ),
        (
            "# c\n  uboot_size:   99999999999 GiB\n",
            "card.yaml:2:17: u-boot size is 99999999999 GiB; must be at most 18446744073709551615 bytes"
        ),
        ("disk_id: 0\n", "card.yaml:1:10: disk id is '0'; must be 0x and eight hexadecimal digits, not 0"),
        (
            "disk_id: 0x00000000\n",
            "card.yaml:1:10: disk id is '0x00000000'; must be 0x and eight hexadecimal digits, not 0"
        ),
        ("boot_size: [4 MiB]\n", "card.yaml:1:12: boot_size is a list; must be one value"),
        ("boot_size: {a: 1}\n", "card.yaml:1:12: boot_size must be one value, or a list in [ ]"),
        ("- 8 GB\n", "card.yaml:1:1: file must be a mapping, lines of 'key: value'"),
        ("8 GB\n", "card.yaml:1:1: file must be a mapping, lines of 'key: value'"),
        (
            "boot_size:\n",
            "card.yaml:1:11: boot size is ''; must be a whole number of bytes, or of KiB, MiB, GiB, kB, MB or GB"
        ),
        ("uboot_size: 4 MiB\n boot_size: 4 MiB\n", "card.yaml:2:11: mapping values are not allowed in this context"),
    ])
    func `names line and column of a mistake`(yaml: String, message: String) {
        #expect { try CardConfiguration(yaml: yaml, file: "card.yaml") } throws: { "\($0)" == message }
    }

    @Test(arguments: [
        (
            "uboot_size: 5 MiB\n",
            "card.yaml:1:13: u-boot size is 5242880 bytes; must be a multiple of 4194304 bytes (4 MiB)"
        ),
        (
            "\nboot_size: 5 MiB\n",
            "card.yaml:2:12: boot size is 5242880 bytes; must be a multiple of 4194304 bytes (4 MiB)"
        ),
        ("rootfs_size: 1\n", "card.yaml:1:14: rootfs size is 1 bytes; must be a multiple of 512 bytes (one sector)"),
        (
            "card_size: 1 MiB\n",
            "card.yaml:1:12: card size is 1048576 bytes; must be at least 612368384 bytes for these partitions"
        ),
        (
            "boot_size: 8 GiB\n",
            "card.yaml: card size is 7800000000 bytes; must be at least 8665432064 bytes for these partitions"
        ),
    ])
    func `names the size that breaks a layout rule`(yaml: String, message: String) throws {
        let configuration = try CardConfiguration(yaml: yaml, file: "card.yaml")
        #expect { try configuration.layout() } throws: { "\($0)" == message }
    }

    @Test func `does not blame the file for an option's card size`() throws {
        let configuration = try CardConfiguration(yaml: "card_size: 8 GB\n", file: "card.yaml")
        #expect {
            try configuration.layout(cardSize: ByteCount(1_000_000))
        } throws: {
            "\($0)" == "card size is 1000000 bytes; must be a multiple of 512 bytes (one sector)"
        }
        #expect(try configuration.layout(cardSize: ByteCount(16_000_000_000)).cardSize.sectors == 31_250_000)
    }

    /// An image of 8 MiB and 4 MiB, its boot at LBA 63 and its rootfs right behind or one sector later.
    private func image(gap: UInt64) throws -> OSImageLayout {
        let table = PartitionTable(
            diskID: nil,
            partitions: [
                Partition(number: 1, type: .fat32LBA, start: LBA(63), size: SectorCount(16384)),
                Partition(number: 2, type: .linux, start: LBA(63 + 16384 + gap), size: SectorCount(8192)),
            ])
        return try OSImageLayout(table: table, size: SectorCount(63 + 16384 + gap + 8192).byteCount)
    }

    @Test(arguments: [UInt64(0), 1])
    func `fits an image that starts anywhere, in parts where a card can have its span`(gap: UInt64) throws {
        let configuration = try CardConfiguration(yaml: "boot_size: 4 MiB\n", file: "card.yaml")
        let card = try configuration.layout(fitting: image(gap: gap), cardSize: .mebibytes(128))
        #expect(card.boot.size.byteCount == .mebibytes(8))
        #expect(card.rootfs.size.byteCount == .mebibytes(128 - 4 - 64 - 8))
        #expect(throws: Never.self) { try card.checkPartitionsFit(image(gap: gap)) }
        let inParts = (try? card.checkFit(image(gap: gap))) != nil
        #expect(inParts == (gap == 0))
        // What neither the option nor the file leaves room for is an error of the card's size.
        #expect {
            try configuration.layout(fitting: image(gap: gap), cardSize: .mebibytes(64))
        } throws: {
            "\($0)" == "card size is 67108864 bytes; must be at least 83886080 bytes for these partitions"
        }
    }
}
