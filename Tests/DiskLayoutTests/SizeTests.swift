import DiskLayout
import Testing

@Suite struct SizeTests {
    @Test(
        arguments: [
            ("0", 0), ("512", 512), ("8000000000", 8_000_000_000), ("1KiB", 1024), ("4 MiB", 4_194_304),
            ("8 GB", 8_000_000_000), ("8GB", 8_000_000_000), ("3 kB", 3000), ("2 GiB", 2_147_483_648),
            ("5MB", 5_000_000),
            ("18446744073709551615", UInt64.max), ("17179869183 GiB", 18_446_744_072_635_809_792), ("007", 7),
        ] as [(String, UInt64)])
    func `reads whole numbers with and without a unit`(text: String, bytes: UInt64) throws {
        #expect(try ByteCount(parsing: text, as: "card size").bytes == bytes)
    }

    @Test(arguments: [
        "", " ", "GB", "8 G", "8g", "8gb", "8 KB", "8Gb", "-1", "+1", "1.5 GB", "1e9", "0x10", "8  GB", "8 ", " 8",
        "8 GB ",
        "8\tGB", "٣", "1_000", "8 GBs", "8\n",
    ])
    func `refuses any other text`(text: String) {
        #expect(throws: SizeError.malformed(name: "card size", text: text)) {
            try ByteCount(parsing: text, as: "card size")
        }
    }

    @Test(arguments: ["18446744073709551616", "17179869184 GiB", "18446744073709552 kB", "99999999999999999999999 KiB"])
    func `refuses what does not fit 64 bits`(text: String) {
        #expect(throws: SizeError.tooLarge(name: "card size", text: text)) {
            try ByteCount(parsing: text, as: "card size")
        }
    }

    @Test func `names the size, its text and the rule`() {
        #expect(
            SizeError.malformed(name: "boot size", text: "5 M").description
                == "boot size is '5 M'; must be a whole number of bytes, or of KiB, MiB, GiB, kB, MB or GB")
        #expect(
            SizeError.tooLarge(name: "boot size", text: "20000000000 GiB").description
                == "boot size is 20000000000 GiB; must be at most 18446744073709551615 bytes")
    }
}

@Suite struct UnitTests {
    @Test(
        arguments: [
            (0, 0), (1, 1), (511, 1), (512, 1), (513, 2), (UInt64.max, 36_028_797_018_963_968),
        ] as [(UInt64, UInt64)])
    func `pads bytes to whole sectors`(bytes: UInt64, sectors: UInt64) {
        #expect(SectorCount(roundingUp: ByteCount(bytes)).sectors == sectors)
    }

    @Test func `reports overflow instead of trapping where input is added`() {
        #expect(LBA(UInt64.max).advanced(by: SectorCount(1)) == nil)
        #expect(LBA(UInt64.max - 1).advanced(by: SectorCount(1)) == LBA(UInt64.max))
        #expect(SectorCount(1 << 55).byteCountIfRepresentable == nil)
        #expect(SectorCount((1 << 55) - 1).byteCountIfRepresentable == ByteCount(UInt64.max - 511))
    }

    @Test(
        arguments: [
            (0, "0 bytes"), (1, "1 bytes"), (1000, "1000 bytes"), (1024, "1 KiB"), (1536, "1536 bytes"),
            (4_194_304, "4 MiB"), (8_000_000_000, "7812500 KiB"), (1 << 30, "1 GiB"),
        ] as [(UInt64, String)])
    func `shows a byte count in the largest unit that divides it`(bytes: UInt64, text: String) {
        #expect(ByteCount(bytes).description == text)
    }

    @Test func `writes U-Boot's numbers in hexadecimal with 0x`() {
        #expect(LBA(139_264).hex == "0x22000")
        #expect(SectorCount(0).hex == "0x0")
        #expect(ByteCount(255).hex == "0xff")
        #expect(LoadAddress(0x0008_0000).description == "0x80000")
    }

    @Test(
        arguments: [("0x52504946", 0x5250_4946), ("0x00000001", 1), ("0xFFFFFFFF", 0xffff_ffff)] as [(String, UInt32)])
    func `reads disk ids`(text: String, value: UInt32) {
        #expect(DiskID(parsing: text)?.value == value)
    }

    @Test(arguments: ["", "0x", "0x00000000", "52504946", "0x5250494", "0x525049460", "0X52504946", "0x5250494g", "1"])
    func `refuses texts that are no disk id`(text: String) {
        #expect(DiskID(parsing: text) == nil)
    }
}
