package import DiskLayout
internal import Foundation
package import TestSupport

/// Makes an OS image with two partitions and puts filesystems into it, without root.
package final class TestImage: Sendable {
    package let folder: TemporaryFolder
    /// The raw image.
    package let path: String
    package let boot: Partition
    package let rootfs: Partition

    /// - Parameters:
    ///   - bootStart: the first partition's; the second is right behind it.
    ///   - bootMiB, rootMiB: the partitions' sizes.
    ///   - filled: all of it holds noise, so that what nobody wrote is no zeros. Else it is one hole.
    package init(
        bootStart: LBA = LBA(8192), bootMiB: UInt64, rootMiB: UInt64, filled: Bool, in folder: TemporaryFolder? = nil
    ) throws {
        self.folder = try folder ?? TemporaryFolder()
        path = self.folder.path("os.img")
        boot = Partition(number: 1, type: .fat32LBA, start: bootStart, size: SectorCount(bootMiB * 2048))
        rootfs = Partition(number: 2, type: .linux, start: boot.end, size: SectorCount(rootMiB * 2048))
        try Data().write(to: URL(fileURLWithPath: path))
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        try handle.truncate(atOffset: rootfs.end.byteOffset.bytes)
        if filled {
            let block = noise(rootMiB, count: 1 << 20)
            // truncate went to the end.
            try handle.seek(toOffset: 0)
            for _ in 0..<(bootStart.sector / 2048 + 1 + bootMiB + rootMiB) { try handle.write(contentsOf: block) }
            try handle.truncate(atOffset: rootfs.end.byteOffset.bytes)
        }
        // Or libfdisk finds a table in the noise.
        try handle.seek(toOffset: 0)
        try handle.write(contentsOf: Data(count: 1 << 20))
        try handle.close()
        try writeDOSTable([boot, rootfs], diskID: 0x1234_5678, to: path)
    }

    /// Another image, with the same bytes in both partitions, and the first of them elsewhere.
    package func moved(to start: LBA) throws -> TestImage {
        let other = try TestImage(
            bootStart: start, bootMiB: boot.size.sectors / 2048, rootMiB: rootfs.size.sectors / 2048, filled: true)
        for (from, to) in [(boot, other.boot), (rootfs, other.rootfs)] {
            try run(
                "dd",
                [
                    "if=\(path)", "of=\(other.path)", "bs=1M", "iflag=skip_bytes,count_bytes", "oflag=seek_bytes",
                    "conv=notrunc", "status=none", "skip=\(from.start.byteOffset.bytes)",
                    "seek=\(to.start.byteOffset.bytes)", "count=\(from.size.byteCount.bytes)",
                ])
        }
        return other
    }

    /// A partition as e2fsprogs name it.
    package func ext(_ partition: Partition) -> String { "\(path)?offset=\(partition.start.byteOffset.bytes)" }
    /// A partition as a file of its own in the image's folder, for tools that know no offset: from e2fsprogs 1.47.1 on,
    /// dumpe2fs takes `FILE?offset=N` for NAME=value.
    package func copy(of partition: Partition) throws -> String {
        let start = partition.start.sector
        let copy = folder.path("partition-\(start)")
        try run(
            "dd",
            [
                "if=\(path)", "of=\(copy)", "bs=512", "skip=\(start)",
                "count=\(partition.size.sectors)", "conv=sparse", "status=none",
            ])
        return copy
    }
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

/// Writes a DOS partition table by its bytes: libfdisk makes none with a partition before LBA 2048, images have them.
///
/// Source: the layout of a PC's master boot record, as fdisk's manual and util-linux, include/pt-mbr.h, have it.
package func writeDOSTable(_ partitions: [Partition], diskID: UInt32, to path: String) throws {
    func little(_ value: UInt64) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
    // The disk's signature is at byte 440, then come two bytes of no meaning, four entries of 16 bytes, and 55 aa.
    var bytes = little(UInt64(diskID)) + [0, 0]
    for partition in partitions {
        // Status, first sector by cylinder, head and sector (as one that these cannot name), type, last sector likewise.
        bytes += [partition.isActive ? 0x80 : 0, 0xfe, 0xff, 0xff, partition.type.code, 0xfe, 0xff, 0xff]
        bytes += little(partition.start.sector) + little(partition.size.sectors)
    }
    bytes += [UInt8](repeating: 0, count: 16 * (4 - partitions.count)) + [0x55, 0xaa]
    let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
    try handle.seek(toOffset: 440)
    try handle.write(contentsOf: Data(bytes))
    try handle.close()
}

/// A tree of files of many sizes, some in folders, some that compress.
package func makeTree(in folder: TemporaryFolder, name: String = "tree", seed: UInt64, files: Int) throws -> String {
    var generator = SeededGenerator(seed: seed)
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
