import DiskLayout
import FDisk
import Foundation
import TestSupport
import Testing

@Suite struct FDiskTests {
    @Test(arguments: UInt64(0)..<100)
    func `reads back exactly what it wrote, whatever the layout`(seed: UInt64) throws {
        let card = try CardLayout.random(seed: seed)
        let folder = try TemporaryFolder()
        let path = try folder.file("card", size: card.cardSize.byteCount.bytes)
        try writePartitionTable(card.table, to: path)
        #expect(try readPartitionTable(of: path) == card.table)
    }

    @Test(.enabled(if: canUseSfdisk, "sfdisk is not installed"), arguments: ["card", "card1", "a b.img", "mmcblk0"])
    func `writes what sfdisk reads, byte for byte as the layout says`(name: String) throws {
        let folder = try TemporaryFolder()
        for seed in UInt64(1000)..<1010 {
            let card = try CardLayout.random(seed: seed)
            let path = try folder.file(name, size: card.cardSize.byteCount.bytes)
            try writePartitionTable(card.table, to: path)
            let dump = try runSfdisk(["--dump", name], in: folder.url)
            #expect(dump.status == 0)
            #expect(dump.output == card.sfdiskDump(device: name))
        }
    }

    @Test(.enabled(if: canUseSfdisk, "sfdisk is not installed"))
    func `reads what sfdisk wrote, extended and logical partitions too, and leaves every byte alone`() throws {
        let folder = try TemporaryFolder()
        let path = try folder.file("disk", size: 64 << 20)
        let script = """
            label: dos
            label-id: 0x000000ff
            start=8192, size=5001, type=c, bootable
            start=16384, type=5
            start=20000, size=77, type=83
            """
        #expect(try runSfdisk(["disk"], input: script, in: folder.url).status == 0)
        let before = try Data(contentsOf: URL(fileURLWithPath: path))
        let table = try readPartitionTable(of: path)
        #expect(table.diskID == DiskID(255))
        #expect(table.partitions.map(\.number) == [1, 2, 5])
        #expect(
            table.partitions.first
                == Partition(number: 1, type: .fat32LBA, isActive: true, start: LBA(8192), size: SectorCount(5001)))
        #expect(table.partitions[1].type.isExtended)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
    }

    @Test func `replaces an old table, a signature of 0 and an old filesystem's signature among them`() throws {
        let folder = try TemporaryFolder()
        let path = try folder.file("card", size: 64 << 20)
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        try handle.seek(toOffset: 1080)
        try handle.write(contentsOf: Data([0x53, 0xef]))  // ext4's magic, in its superblock at 1024
        try handle.close()
        let one = [Partition(number: 4, type: .linux, start: LBA(8192), size: SectorCount(1))]
        try writePartitionTable(PartitionTable(diskID: nil, partitions: one), to: path)
        #expect(try readPartitionTable(of: path) == PartitionTable(diskID: nil, partitions: one))
        let two = PartitionTable(
            diskID: DiskID(7),
            partitions: [Partition(number: 1, type: .fat32LBA, start: LBA(2048), size: SectorCount(9))])
        try writePartitionTable(two, to: path)
        #expect(try readPartitionTable(of: path) == two)
    }

    @Test(arguments: [
        ("missing", FDiskError.cannotOpen(path: "missing", errno: ENOENT)),
        ("folder", .cannotOpen(path: "folder", errno: EISDIR)),
        ("fifo", .cannotOpen(path: "fifo", errno: ENOTBLK)),
        ("empty", .empty(path: "empty")),
        ("short", .noLabel(path: "short")),
        ("zeros", .noLabel(path: "zeros")),
    ])
    func `says what is there instead of a table`(name: String, error: FDiskError) throws {
        let folder = try TemporaryFolder()
        try FileManager.default.createDirectory(atPath: folder.path("folder"), withIntermediateDirectories: false)
        #expect(mkfifo(folder.path("fifo"), 0o600) == 0)
        _ = try folder.file("empty", size: 0)
        _ = try folder.file("short", size: 511)
        _ = try folder.file("zeros", size: 1 << 20)
        #expect {
            try readPartitionTable(of: folder.path(name))
        } throws: {
            "\($0)".replacingOccurrences(of: "\(folder.url.path)/", with: "") == "\(error)"
        }
    }

    @Test(.enabled(if: canUseSfdisk, "sfdisk is not installed"))
    func `tells GPT, its protective MBR and other labels from a DOS table`() throws {
        let folder = try TemporaryFolder()
        let gpt = try folder.file("gpt", size: 16 << 20)
        try runSfdisk(["gpt"], input: "label: gpt\n,4M\n", in: folder.url)
        #expect(throws: FDiskError.gpt(path: gpt)) { try readPartitionTable(of: gpt) }

        let protective = try folder.file("protective", size: 16 << 20)
        let sector = try Data(contentsOf: URL(fileURLWithPath: gpt)).prefix(512)
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: protective))
        try handle.write(contentsOf: sector)
        try handle.close()
        #expect(throws: FDiskError.gpt(path: protective)) { try readPartitionTable(of: protective) }

        let sun = try folder.file("sun", size: 16 << 20)
        try runSfdisk(["sun"], input: "label: sun\n,4M\n", in: folder.url)
        #expect(throws: FDiskError.otherLabel(path: sun, name: "sun")) { try readPartitionTable(of: sun) }
    }

    @Test(arguments: [
        (Partition(number: 1, type: .linux, start: LBA(8192), size: SectorCount(1 << 20)), FDiskCall.addPartition),
        (Partition(number: 1, type: .linux, start: LBA(1 << 20), size: SectorCount(1)), .addPartition),
    ])
    func `names the call that failed where a partition does not fit, and writes nothing`(
        partition: Partition, call: FDiskCall
    ) throws {
        let folder = try TemporaryFolder()
        let path = try folder.file("card", size: 16 << 20)
        #expect {
            try writePartitionTable(PartitionTable(diskID: DiskID(1), partitions: [partition]), to: path)
        } throws: { error in
            guard case FDiskError.call(call, let code, path, _) = error else { return false }
            return code != 0
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)).allSatisfy { $0 == 0 })
    }

    @Test(arguments: [0, 5, -1])
    func `refuses partition numbers that a DOS table has no slot for`(number: Int) throws {
        let folder = try TemporaryFolder()
        let path = try folder.file("card", size: 16 << 20)
        let partition = Partition(number: number, type: .linux, start: LBA(8192), size: SectorCount(1))
        #expect(throws: FDiskError.badNumber(path: path, number: number)) {
            try writePartitionTable(PartitionTable(diskID: DiskID(1), partitions: [partition]), to: path)
        }
    }
}
