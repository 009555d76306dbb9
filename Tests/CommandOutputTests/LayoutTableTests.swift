import DiskLayout
import Testing

@testable import CommandOutput

@Suite struct LayoutTableTests {
    @Test func `shows people aligned columns and the numbers that a flash uses`() throws {
        #expect(
            try CardConfiguration(yaml: "", file: "card.yaml").layout().table == """
                #  name    type  active  start LBA   sectors  byte offset       bytes      size
                1  u-boot  0x0c  yes          8192    131072      4194304    67108864    64 MiB
                2  boot    0x0c             139264   1048576     71303168   536870912   512 MiB
                3  rootfs  0x83            1187840  14041088    608174080  7189037056  6856 MiB

                card size             7800000000 bytes  15234375 sectors
                disk id               0x52504946
                written to MMC block  0x22000           LBA 139264
                boot to rootfs        536870912 bytes   1048576 sectors
                room for an image     7725907968 bytes  15089664 sectors

                """)
    }
}
