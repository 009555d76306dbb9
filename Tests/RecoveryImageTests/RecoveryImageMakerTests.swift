import BootScript
import DiskLayout
import FDisk
import Foundation
import SystemPackage
import TestSupport
import Testing

@testable import RecoveryImage

/// Writes what it is given and tells something else.
private struct LyingTables: PartitionTableStore {
    let lie: @Sendable (PartitionTable) -> PartitionTable

    func write(_ table: PartitionTable, to path: FilePath) throws { try writePartitionTable(table, to: path.string) }
    func read(from path: FilePath) throws -> PartitionTable { lie(try readPartitionTable(of: path.string)) }
}

/// Stand-ins for the host's programs: an empty FAT16's first sectors, and nothing else.
private struct SilentTools: CardTools {
    func exportPublicKey(_ name: String, of keys: CardKeys, to file: String, folder: FilePath) async throws {}
    func makeFAT(
        in image: String, folder: FilePath, partition: Partition, format: FATFormat, volumeID: UInt32, label: String
    ) async throws {
        let file = try FileDescriptor.open(folder.appending(image), .writeOnly)
        defer { try? file.close() }
        _ = try file.writeAll(toAbsoluteOffset: Int64(partition.start.byteOffset.bytes), bootSector(partition))
    }
    func copyIntoFAT(_ files: [FilePath], image: String, folder: FilePath, start: LBA) async throws {}
    func makeScriptImage(
        of script: String, to image: String, folder: FilePath, architecture: String, name: String
    ) async throws {
        let file = try FileDescriptor.open(
            folder.appending(image), .writeOnly, options: .create, permissions: .ownerReadWrite)
        try file.close()
    }
    func makeSignedScriptImage(
        of script: String, to image: String, folder: FilePath, name: String, keys: CardKeys
    ) async throws { Issue.record("not asked for") }
    func addKeys(_ keys: CardKeys, to tree: String, folder: FilePath) async throws { Issue.record("not asked for") }
    func makeEmptyTree(_ tree: String, folder: FilePath) async throws { Issue.record("not asked for") }
    func compress(_ file: String, folder: FilePath) async throws { Issue.record("not asked for") }
    func sha256(of path: FilePath, from offset: ByteCount, count: ByteCount) async throws -> String {
        String(repeating: "0", count: 64)
    }

    private func bootSector(_ partition: Partition) -> [UInt8] {
        var sector = [UInt8](repeating: 0, count: 512)
        func put(_ value: UInt64, _ offset: Int, _ count: Int) {
            for index in 0..<count { sector[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(index))) }
        }
        put(512, 11, 2)  // bytes per sector
        put(1, 13, 1)  // sectors per cluster
        put(1, 14, 2)  // reserved sectors
        put(2, 16, 1)  // FATs
        put(512, 17, 2)  // entries of the top folder
        put(partition.size.sectors, 19, 2)  // sectors
        put(32, 22, 2)  // sectors per FAT
        put(0xaa55, 510, 2)
        return sector
    }
}

private func card() throws -> CardLayout {
    try CardLayout(
        cardSize: .mebibytes(64), ubootSize: .mebibytes(4), bootSize: .mebibytes(4), diskID: CardLayout.defaultDiskID)
}

@Suite struct RecoveryImageMakerTests {
    @Test(
        arguments: [
            { PartitionTable(diskID: DiskID(1), partitions: $0.partitions) },
            { PartitionTable(diskID: $0.diskID, partitions: $0.partitions.dropLast()) },
            { table in
                let first = table.partitions[0]
                let other = Partition(
                    number: 1, type: first.type, isActive: true, start: first.start, size: first.size - SectorCount(1))
                return PartitionTable(diskID: table.diskID, partitions: [other] + table.partitions.dropFirst())
            },
            { table in
                let first = table.partitions[0]
                let other = Partition(
                    number: 1, type: first.type, isActive: false, start: first.start, size: first.size)
                return PartitionTable(diskID: table.diskID, partitions: [other] + table.partitions.dropFirst())
            },
        ] as [@Sendable (PartitionTable) -> PartitionTable])
    func `a table that reads back differently is an error, and leaves nothing`(
        lie: @escaping @Sendable (PartitionTable) -> PartitionTable
    ) async throws {
        let folder = try TemporaryFolder()
        try folder.write("an older image", to: "card.img")
        let maker = RecoveryImageMaker(tables: LyingTables(lie: lie), tools: SilentTools())
        let card = try card()
        let output = FilePath(folder.url.appendingPathComponent("card.img").path)
        await #expect(throws: RecoveryImageError.tableDiffers(written: card.table, read: lie(card.table))) {
            try await maker.make(
                card: card, contents: [], board: profile("qemu_arm64"), output: output, compress: false)
        }
        #expect(throws: RecoveryImageError.tableDiffers(written: card.table, read: lie(card.table))) {
            try maker.check(card, in: FilePath(folder.url.path))
        }
        #expect(try folder.names() == ["card.img"])
        #expect(try folder.data("card.img") == Data("an older image".utf8))
    }

    @Test func `an honest table makes an image of exactly the length that is needed`() async throws {
        let folder = try TemporaryFolder()
        let maker = RecoveryImageMaker(tables: LyingTables { $0 }, tools: SilentTools())
        let card = try card()
        let output = FilePath(folder.url.appendingPathComponent("card.img").path)
        let result = try await maker.make(
            card: card, contents: [.text(name: "a", "b"), .script(name: "boot.scr", "echo")],
            board: profile("qemu_arm64"), output: output, compress: false)
        #expect(result.size == .mebibytes(13))
        #expect(try folder.data("card.img").count == 13 << 20)
        #expect(try folder.names() == ["card.bmap", "card.img"])
        try maker.check(card, in: FilePath(folder.url.path))
        #expect(try folder.names() == ["card.bmap", "card.img"])
    }

    @Test func `a rootfs of less than a MiB is covered whole`() async throws {
        let folder = try TemporaryFolder()
        let maker = RecoveryImageMaker(tables: LyingTables { $0 }, tools: SilentTools())
        let card = try CardLayout(
            cardSize: .mebibytes(64), ubootSize: .mebibytes(4), bootSize: .mebibytes(4),
            rootfsSize: ByteCount(1536), diskID: CardLayout.defaultDiskID)
        let output = FilePath(folder.url.appendingPathComponent("card.img").path)
        let result = try await maker.make(
            card: card, contents: [], board: profile("qemu_arm64"), output: output, compress: false)
        #expect(result.size == ByteCount((12 << 20) + 1536))
    }

    @Test(arguments: [
        (["a": "192.168.1.256"], "address is '192.168.1.256'; must be four numbers from 0 to 255, as 192.168.1.10"),
        (["s": "1.2.3"], "server address is '1.2.3'; must be four numbers from 0 to 255, as 192.168.1.10"),
        (["s": "1.2.3.04"], "server address is '1.2.3.04'; must be four numbers from 0 to 255, as 192.168.1.10"),
        (["s": "server"], "server address is 'server'; must be four numbers from 0 to 255, as 192.168.1.10"),
        (["s": "1.2.3.4.5"], "server address is '1.2.3.4.5'; must be four numbers from 0 to 255, as 192.168.1.10"),
        (["s": ""], "server address is ''; must be four numbers from 0 to 255, as 192.168.1.10"),
        (["s": "0.0.0.0"], "server address is 0.0.0.0; must be a host's, from 1.0.0.0 to 223.255.255.255"),
        (
            ["s": "255.255.255.255"],
            "server address is 255.255.255.255; must be a host's, from 1.0.0.0 to 223.255.255.255"
        ),
        (["s": "239.1.2.3"], "server address is 239.1.2.3; must be a host's, from 1.0.0.0 to 223.255.255.255"),
        (
            ["s": "127.0.0.1"],
            "server address is 127.0.0.1, a loopback address; must be one that other hosts can reach"
        ),
        (
            ["a": "127.0.0.1", "m": "255.0.0.0"],
            "address is 127.0.0.1, a loopback address; must be one that other hosts can reach"
        ),
        (
            ["a": "10.0.0.2", "m": "255.255.255.0", "s": "10.0.0.2"],
            "server address is 10.0.0.2, the target's own address; must be another host's"
        ),
        (
            ["a": "10.0.0.2", "m": "255.255.255.0", "g": "10.0.0.2"],
            "gateway is 10.0.0.2, the target's own address; must be another host's"
        ),
        (
            ["a": "10.0.0.255", "m": "255.255.255.0"],
            "address is 10.0.0.255, the last address of the target's network 10.0.0.0 with netmask 255.255.255.0; "
                + "must be a host's, from 10.0.0.1 to 10.0.0.254"
        ),
        (
            ["a": "10.0.0.64", "m": "255.255.255.192"],
            "address is 10.0.0.64, the first address of the target's network 10.0.0.64 with netmask 255.255.255.192; "
                + "must be a host's, from 10.0.0.65 to 10.0.0.126"
        ),
        (
            ["a": "10.0.0.2", "m": "255.255.255.0", "s": "10.0.0.255"],
            "server address is 10.0.0.255, the last address of the target's network 10.0.0.0 with netmask 255.255.255.0; "
                + "must be a host's, from 10.0.0.1 to 10.0.0.254"
        ),
        (
            ["a": "10.0.0.2", "m": "0.0.0.0"], "netmask is 0.0.0.0; must be ones followed by zeros, as 255.255.255.0"
        ),
        (["a": "10.0.0.2"], "target has the fixed address 10.0.0.2 but no netmask; give both or none"),
        (
            ["m": "255.0.0.0"],
            "target has a netmask or gateway but no fixed address; give the address too, or none of them"
        ),
        (
            ["a": "10.0.0.2", "m": "255.0.255.0"],
            "netmask is 255.0.255.0; must be ones followed by zeros, as 255.255.255.0"
        ),
        (
            ["a": "10.0.0.2", "m": "255.255.255.0", "g": "10.0.1.1"],
            "gateway is 10.0.1.1, outside of the target's network 10.0.0.0 with netmask 255.255.255.0; must be in it"
        ),
        (
            ["a": "10.0.0.2", "m": "255.255.255.0", "s": "10.0.1.1"],
            "server address is 10.0.1.1, outside of the target's network 10.0.0.0 with netmask 255.255.255.0; give a gateway"
        ),
    ])
    func `refuses network settings that cannot work`(settings: [String: String], message: String) {
        #expect {
            try NetworkSettings(
                serverAddress: settings["s"], address: settings["a"], netmask: settings["m"], gateway: settings["g"])
        } throws: {
            "\($0)" == message
        }
    }

    @Test func `takes network settings that go together`() throws {
        _ = try NetworkSettings()
        _ = try NetworkSettings(serverAddress: "10.0.0.1")
        _ = try NetworkSettings(serverAddress: "10.0.0.1", address: "10.0.0.2", netmask: "255.255.255.252")
        // Two hosts and no more (RFC 3021).
        _ = try NetworkSettings(serverAddress: "10.0.0.1", address: "10.0.0.0", netmask: "255.255.255.254")
        _ = try NetworkSettings(
            serverAddress: "10.9.0.1", address: "10.0.0.2", netmask: "255.255.255.0", gateway: "10.0.0.1")
    }

    @Test(arguments: [
        ("firmware: [a/b]\n", "files.yaml:1:12: 'a/b' is not a file name without a folder"),
        (
            "firmware: [x]\nfirmware_bcm2711:\n  - ../secret\n",
            "files.yaml:3:5: '../secret' is not a file name without a folder"
        ),
        (
            "firmwares: [x]\n",
            "files.yaml:1:1: unknown key 'firmwares'; must be one of firmware, firmware_bcm2837, firmware_bcm2711"
        ),
        ("firmware: x\n", "files.yaml:1:11: firmware is one value; must be a list in [ ]"),
    ])
    func `names line and column of a mistake in the list of files`(yaml: String, message: String) throws {
        let folder = try workFolder()
        try folder.write(yaml, to: "recovery_image/files.yaml")
        let base = FilePath(folder.url.path)
        let sources = CardSources(
            files: base.appending("recovery_image/files.yaml"),
            firmwareConfiguration: base.appending("recovery_image/config.txt"),
            linuxConfiguration: base.appending("recovery_image/config-linux.txt"),
            environment: base.appending("recovery_image/rpiflash.env"),
            templates: FilePath(root.appendingPathComponent("templates").path),
            uboot: base.appending("build/uboot/rpi_arm64"), firmware: base.appending("build/firmware"),
            ubootRemedy: "build it", firmwareRemedy: "fetch it")
        #expect {
            try cardContents(board: profile("rpi_arm64"), card: card(), network: NetworkSettings(), sources: sources)
        } throws: {
            "\($0)".hasSuffix(message)
        }
    }
}

@Suite struct FATFormatTests {
    @Test(arguments: UInt64(1)...300)
    func `has the number of clusters that makes its kind, at any size`(units: UInt64) {
        let sectors = units * 8192
        let format = FATFormat(size: SectorCount(sectors))
        // As mkfs.fat lays it out: 32 (FAT32) or up to 8 (FAT16) reserved sectors, two FATs, 512 entries in FAT16's top.
        let perCluster = UInt64(format.sectorsPerCluster)
        let entries = sectors / perCluster + 2
        let fat = (entries * UInt64(format.bits / 8) + 511) / 512
        let least = (sectors - 32 - 32 - 2 * fat) / perCluster
        let most = sectors / perCluster
        if format.bits == 16 {
            #expect(least >= 4085)
            #expect(most - 2 * fat / perCluster < 65525)
        } else {
            #expect(least >= 65525)
        }
    }
}

@Suite struct BlockMapTests {
    @Test func `joins blocks that touch, and keeps the others apart`() {
        let map = BlockMap(
            imageSize: 40960 + 512, used: [8192..<8193, 4095..<4097, 0..<0, 12287..<12288, 40960..<41472])
        #expect(map.ranges == [0...2, 10...10])
        #expect(map.bytes(of: 0...2) == 0..<12288)
        #expect(map.bytes(of: 10...10) == 40960..<41472)
        let text = map.text(checksums: ["aa", "bb"])
        #expect(text.contains("<ImageSize> 41472 </ImageSize>"))
        #expect(text.contains("<BlocksCount> 11 </BlocksCount>"))
        #expect(text.contains("<MappedBlocksCount> 4 </MappedBlocksCount>"))
        #expect(text.contains("<Range chksum=\"aa\"> 0-2 </Range>"))
        #expect(text.contains("<Range chksum=\"bb\"> 10 </Range>"))
    }

    @Test func `a card for Linux has the kernel, what it is told, and the public keys, and needs no firmware`() throws {
        let folder = try workFolder()
        let base = FilePath(folder.url.path)
        for name in ["kernel.img", "initramfs.img", "dtb/bcm2712-rpi-5-b.dtb", "dtb/bcm2712-d-rpi-5-b.dtb"] {
            try folder.write("x", to: "linux/\(name)")
        }
        let tracked = FilePath(root.path).appending("recovery_image")
        let sources = CardSources(
            files: tracked.appending("files.yaml"), firmwareConfiguration: tracked.appending("config.txt"),
            linuxConfiguration: tracked.appending("config-linux.txt"), environment: tracked.appending("rpiflash.env"),
            templates: FilePath(root.path).appending("templates"), uboot: base.appending("linux"),
            firmware: base.appending("none"), ubootRemedy: "build it", firmwareRemedy: "fetch it")
        let contents = try cardContents(
            board: profile("rpi_5"), card: card(), network: NetworkSettings(serverAddress: "192.168.1.10"),
            sources: sources, keys: ["bench-1", "bench-2"])
        var texts: [String: String] = [:]
        var names: [String] = []
        for file in contents {
            switch file {
            case .copy(let path), .tree(let path): names.append(path.lastComponent?.string ?? "")
            case .text(let name, let text):
                names.append(name)
                texts[name] = text
            case .publicKey(let name): names.append("\(name).pem")
            case .script(let name, _), .keys(let name): Issue.record("\(name)")
            }
        }
        #expect(
            names == [
                "kernel.img", "initramfs.img", "bcm2712-rpi-5-b.dtb", "bcm2712-d-rpi-5-b.dtb", "config.txt",
                "cmdline.txt",
                "bench-1.pem", "bench-2.pem", "rpiflash.card", "rpiflash.env",
            ])
        #expect(texts["config.txt"]?.contains("\nkernel=kernel.img\ninitramfs initramfs.img followkernel\n") == true)
        #expect(texts["cmdline.txt"] == "console=ttyAMA10,115200 panic=10 iomem=relaxed\n")
        let facts = texts["rpiflash.card"] ?? ""
        let layout = try card()
        for line in [
            "board=rpi_5", "boot_start=\(layout.boot.start.sector)", "rootfs_start=\(layout.rootfs.start.sector)",
            "start=firmware", "reset_status=0x107d200020", "serverip=192.168.1.10", "keys=bench-1 bench-2",
        ] {
            #expect(facts.contains("\n\(line)\n"), "\(line)")
        }
        #expect(
            throws: RecoveryImageError.noBootScript(board: "rpi_5"),
            performing: {
                try makeBootScript(
                    board: try profile("rpi_5"), card: layout, templates: sources.templates, serverAddress: nil)
            })
    }
}
