import DiskLayout
import Foundation
import Testing

private func standard() throws -> CardLayout { try CardConfiguration(yaml: "", file: "card.yaml").layout() }

@Suite struct RenderingTests {
    @Test(arguments: UInt64(0)..<20)
    func `gives programs one object of a known version with the same numbers`(seed: UInt64) throws {
        let card = try CardLayout.random(seed: seed)
        let parsed = try JSONSerialization.jsonObject(with: Data(card.json.utf8))
        let object = try #require(parsed as? [String: Any])
        #expect(Set(object.keys) == ["version", "sector_bytes", "card", "partitions", "flash"])
        #expect(object["version"] as? Int == 2)
        #expect(object["sector_bytes"] as? Int == 512)
        let whole = try #require(object["card"] as? [String: Any])
        #expect(whole["bytes"] as? UInt64 == card.cardSize.byteCount.bytes)
        #expect(whole["sectors"] as? UInt64 == card.cardSize.sectors)
        #expect(whole["disk_id"] as? String == card.diskID.description)
        let partitions = try #require(object["partitions"] as? [[String: Any]])
        #expect(partitions.count == 3)
        for (entry, (name, partition)) in zip(partitions, zip(["u-boot", "boot", "rootfs"], card.table.partitions)) {
            #expect(entry.count == 8)
            #expect(entry["number"] as? Int == partition.number)
            #expect(entry["name"] as? String == name)
            #expect(entry["type"] as? String == (name == "rootfs" ? "0x83" : "0x0c"))
            #expect(entry["active"] as? Bool == (name == "u-boot"))
            #expect(entry["start_lba"] as? UInt64 == partition.start.sector)
            #expect(entry["sectors"] as? UInt64 == partition.size.sectors)
            #expect(entry["start_byte"] as? UInt64 == partition.start.sector * 512)
            #expect(entry["bytes"] as? UInt64 == partition.size.sectors * 512)
        }
        let flash = try #require(object["flash"] as? [String: Any])
        #expect(flash["parts_skip_bytes"] as? Int == 4_194_304)
        #expect(flash["mmc_block"] as? String == "0x" + String(card.boot.start.sector, radix: 16))
        #expect(flash["rootfs_offset_sectors"] as? UInt64 == card.boot.size.sectors)
        #expect(flash["largest_content_bytes"] as? UInt64 == (card.boot.size + card.rootfs.size).sectors * 512)
        #expect(flash.count == 4)
    }

    @Test func `writes sfdisk's dump`() throws {
        #expect(
            try standard().sfdiskDump(device: "build/recovery-rpi_arm64.img") == """
                label: dos
                label-id: 0x52504946
                device: build/recovery-rpi_arm64.img
                unit: sectors
                sector-size: 512

                build/recovery-rpi_arm64.img1 : start=        8192, size=      131072, type=c, bootable
                build/recovery-rpi_arm64.img2 : start=      139264, size=     1048576, type=c
                build/recovery-rpi_arm64.img3 : start=     1187840, size=    14041088, type=83

                """)
    }
}
