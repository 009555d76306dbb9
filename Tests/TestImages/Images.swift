package import DiskLayout
internal import FDisk
internal import Foundation

/// Makes an OS image with two partitions and puts filesystems into it, without root.
package final class TestImage: Sendable {
    package let folder: TemporaryFolder
    /// The raw image.
    package let path: String
    package let boot: Partition
    package let rootfs: Partition

    /// - Parameters:
    ///   - bootMiB, rootMiB: the partitions' sizes; the first one starts at 4 MiB.
    ///   - filled: all of it holds noise, so that what nobody wrote is no zeros. Else it is one hole.
    package init(bootMiB: UInt64, rootMiB: UInt64, filled: Bool, in folder: TemporaryFolder? = nil) throws {
        self.folder = try folder ?? TemporaryFolder()
        path = self.folder.path("os.img")
        boot = Partition(number: 1, type: .fat32LBA, start: LBA(8192), size: SectorCount(bootMiB * 2048))
        rootfs = Partition(number: 2, type: .linux, start: boot.end, size: SectorCount(rootMiB * 2048))
        try Data().write(to: URL(fileURLWithPath: path))
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        try handle.truncate(atOffset: rootfs.end.byteOffset.bytes)
        if filled {
            let block = noise(rootMiB, count: 1 << 20)
            // truncate went to the end.
            try handle.seek(toOffset: 0)
            for _ in 0..<(4 + bootMiB + rootMiB) { try handle.write(contentsOf: block) }
        }
        // Or libfdisk finds a table in the noise.
        try handle.seek(toOffset: 0)
        try handle.write(contentsOf: Data(count: 1 << 20))
        try handle.close()
        try writePartitionTable(PartitionTable(diskID: DiskID(0x1234_5678), partitions: [boot, rootfs]), to: path)
    }

    /// A partition as e2fsprogs name it.
    package func ext(_ partition: Partition) -> String { "\(path)?offset=\(partition.start.byteOffset.bytes)" }
    /// A partition as mtools name it.
    package func fat(_ partition: Partition) -> String { "\(path)@@\(partition.start.byteOffset.bytes)" }

    /// mkfs.ext4 with the files of a tree.
    package func makeExt(_ partition: Partition, _ options: [String], tree: String, kibibytes: UInt64? = nil) throws {
        try run(
            "mkfs.ext4",
            ["-q", "-F"] + options + [
                "-E", "offset=\(partition.start.byteOffset.bytes),root_owner=0:0", "-d", tree, path,
                "\(kibibytes ?? partition.size.sectors / 2)k",
            ])
    }

    /// mkfs.vfat, and the files of a tree one by one.
    package func makeFAT(_ partition: Partition, _ options: [String], tree: String, kibibytes: UInt64? = nil) throws {
        try run(
            "mkfs.vfat",
            options + [
                "-h", "\(partition.start.sector)", "--offset", "\(partition.start.sector)", path,
                "\(kibibytes ?? partition.size.sectors / 2)",
            ])
        for name in try FileManager.default.contentsOfDirectory(atPath: tree).sorted() {
            try run("mcopy", ["-o", "-s", "-i", fat(partition), "\(tree)/\(name)", "::/"])
        }
    }

    /// Runs debugfs commands; it exits 0 when one failed.
    package func debugfs(_ partition: Partition, _ commands: [String]) throws {
        for command in commands {
            let ran = try run("debugfs", ["-w", "-R", command, ext(partition)])
            let errors = ran.errors.split(separator: "\n").filter { !$0.hasPrefix("debugfs ") }
            guard errors.isEmpty else { throw FixtureError("debugfs \(command): \(errors)") }
        }
    }

    /// Changes bytes of a partition.
    package func poke(_ partition: Partition, at offset: UInt64, _ bytes: [UInt8]) throws {
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        try handle.seek(toOffset: partition.start.byteOffset.bytes + offset)
        try handle.write(contentsOf: Data(bytes))
        try handle.close()
    }
}

/// A tree of files of many sizes, some in folders, some that compress.
package func makeTree(in folder: TemporaryFolder, name: String = "tree", seed: UInt64, files: Int) throws -> String {
    var generator = SeededGenerator(seed)
    for number in 0..<files {
        let count = Int.random(in: 0...200_000, using: &generator)
        let data =
            number % 3 == 0
            ? Data(repeating: UInt8(number & 0xff), count: count) : noise(seed &+ UInt64(number), count: count)
        let place = number % 4 == 0 ? "\(name)/file\(number).bin" : "\(name)/folder\(number % 5)/file\(number).bin"
        try folder.write(data, to: place)
    }
    return folder.path(name)
}
