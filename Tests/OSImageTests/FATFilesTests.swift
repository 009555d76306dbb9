import DiskLayout
import Foundation
import SystemPackage
import TestImages
import TestSupport
import Testing

@testable import OSImage

/// Files of a FAT filesystem, read and written by ourselves: mtools and fsck.vfat are the second opinion.
@Suite(.enabled(if: canUse(["mkfs.vfat", "fsck.vfat", "mcopy", "mdir", "mmd", "mdel", "mattrib"])))
struct FATFilesTests {
    /// A file that begins with a FAT filesystem.
    struct Volume {
        let folder: TemporaryFolder
        let path: String
        let partition: Partition

        /// - Parameters:
        ///   - kibibytes: its size.
        ///   - options: mkfs.vfat's.
        init(_ kibibytes: UInt64, _ options: [String]) throws {
            folder = try TemporaryFolder()
            self.kibibytes = kibibytes
            path = folder.path("fat")
            partition = Partition(number: 1, type: .fat32LBA, start: LBA(0), size: SectorCount(kibibytes * 2))
            try run("mkfs.vfat", ["--invariant", "-C"] + options + [path, "\(kibibytes)"])
        }

        /// mtools take a FAT32 with so few clusters for a FAT16.
        var isForMtools: Bool { kibibytes > 2048 }
        private let kibibytes: UInt64

        func put(_ content: [UInt8], _ name: String) throws {
            guard isForMtools else {
                let view = try view()
                try FATFiles(view, partition).write(content, to: name)
                return try keep(view)
            }
            try folder.write(Data(content), to: "in")
            try run("mcopy", ["-o", "-i", path, folder.path("in"), "::/\(name)"])
        }

        func get(_ name: String) throws -> [UInt8] {
            guard isForMtools else { return try FATFiles(try view(), partition).read(name) }
            try? FileManager.default.removeItem(atPath: folder.path("out"))
            try run("mcopy", ["-n", "-i", path, "::/\(name)", folder.path("out")])
            return [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.path("out"))))
        }

        func view() throws -> ImageReader { try ImageReader(try ImageReader(FilePath(path)), overlay: ImageOverlay()) }

        /// Takes a view's changes to the file.
        func keep(_ view: ImageReader) throws {
            let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
            for (offset, bytes) in view.overlay?.takeBlocks() ?? [] {
                try handle.seek(toOffset: offset)
                try handle.write(contentsOf: Data(bytes.prefix(Int(partition.size.byteCount.bytes - offset))))
            }
            try handle.close()
        }

        /// Fills all free clusters but some.
        func fill(leaving clusters: UInt64 = 0) throws {
            let files = try FATFiles(try view(), partition)
            let count = try files.freeBytes() - clusters * files.geometry.clusterBytes
            try put([UInt8](repeating: 0x66, count: Int(count)), "FILL")
            #expect(try FATFiles(try view(), partition).freeBytes() == clusters * files.geometry.clusterBytes)
        }
    }

    /// All kinds, with small and large clusters. The last one has fewer than the 65525 clusters that Microsoft's
    /// specification wants of a FAT32: Linux, U-Boot and the Pi's firmware go by the boot sector's fields, and read it.
    static let kinds: [(UInt64, [String])] = [
        (1024, ["-F", "12"]), (8192, ["-F", "12", "-s", "8", "-f", "1"]), (8192, ["-F", "16", "-s", "1"]),
        (16384, ["-F", "16", "-S", "2048", "-s", "1"]), (36864, ["-F", "32", "-s", "1"]),
        (2048, ["-F", "32", "-s", "1"]),
    ]

    @Test(arguments: kinds) func `writes what mtools reads and fsck.vfat finds sound`(
        kibibytes: UInt64, options: [String]
    ) throws {
        let volume = try Volume(kibibytes, options)
        try volume.put(Array("old\n".utf8), "config.txt")
        if volume.isForMtools { try run("mmd", ["-i", volume.path, "::/overlays"]) }
        try volume.put([0], "overlays/first")
        let contents: [(String, [UInt8])] = [
            ("overlays/first", [3]), ("config.txt", [UInt8](noise(1, count: 70_000))), ("NEW.BIN", Array("x".utf8)),
            ("empty", []),
            ("overlays/a long name, [with] signs; é😀.dtbo", [UInt8](noise(2, count: 5000))),
            ("overlays/a long name, two.dtbo", [1]), ("fresh/deeper/x.y", [2]), ("config.txt", Array("short".utf8)),
        ]
        let view = try volume.view()
        let files = try FATFiles(view, volume.partition)
        for (name, content) in contents {
            try files.write(content, to: name)
            try files.check()
        }
        try volume.keep(view)
        try run("fsck.vfat", ["-n", volume.path])
        var expected: [String: [UInt8]] = [:]
        for (name, content) in contents { expected[name] = content }
        let again = try FATFiles(try volume.view(), volume.partition)
        #expect(try again.names() == expected.keys.sorted())
        for (name, content) in expected {
            #expect(try again.read(name) == content)
            // Signs of a pattern and others than ASCII's mean something else to mtools' command line.
            if name.allSatisfy({ $0.isASCII && $0 != "[" && $0 != "]" }) { #expect(try volume.get(name) == content) }
        }
        guard volume.isForMtools else { return }
        let listed = try run("mdir", ["-/", "-b", "-a", "-i", volume.path, "::/"]).output
        #expect(listed.contains("::/overlays/a long name, [with] signs; "))
    }

    @Test(arguments: kinds) func `reads what mtools has written`(kibibytes: UInt64, options: [String]) throws {
        let volume = try Volume(kibibytes, options)
        var expected: [String: [UInt8]] = [:]
        guard volume.isForMtools else { return }
        try run("mmd", ["-i", volume.path, "::/Folder", "::/Folder/inner"])
        for number in 0..<24 {
            let name = number % 3 == 0 ? "Folder/inner/File number \(number).text" : "F\(number).TXT"
            expected[name] = [UInt8](noise(UInt64(number), count: number * 700))
            try volume.put(expected[name] ?? [], name)
        }
        for number in [3, 4, 5, 7] {
            let name = number % 3 == 0 ? "Folder/inner/File number \(number).text" : "F\(number).TXT"
            try run("mdel", ["-i", volume.path, "::/\(name)"])
            expected[name] = nil
        }
        let files = try FATFiles(try volume.view(), volume.partition)
        try files.check()
        #expect(try files.names() == expected.keys.sorted())
        for (name, content) in expected { #expect(try files.read(name.uppercased()) == content) }
        #expect(throws: FATError.noFile("F4.TXT")) { try files.read("F4.TXT") }
        #expect(throws: FATError.isFolder("Folder")) { try files.read("Folder") }
    }

    @Test func `an empty filesystem has no files, and takes some`() throws {
        let volume = try Volume(36864, ["-F", "32", "-s", "1"])
        let view = try volume.view()
        let files = try FATFiles(view, volume.partition)
        #expect(try files.names() == [])
        try files.check()
        try files.write([1], to: "a/b")
        #expect(try files.names() == ["a/b"])
    }

    @Test func `a file that is there keeps its attributes and times, found by its long and its short name`() throws {
        let volume = try Volume(8192, ["-F", "16", "-s", "1"])
        try volume.put([1], "Command Line.txt")
        try run("mattrib", ["-i", volume.path, "+r", "+h", "::/Command Line.txt"])
        let before = try run("mattrib", ["-i", volume.path, "::/Command Line.txt"]).output
        let view = try volume.view()
        let files = try FATFiles(view, volume.partition)
        try files.write([2, 2], to: "COMMAN~1.TXT")
        #expect(try files.names() == ["Command Line.txt"])
        #expect(try files.read("command line.TXT") == [2, 2])
        try volume.keep(view)
        #expect(try run("mattrib", ["-i", volume.path, "::/Command Line.txt"]).output == before)
        try run("fsck.vfat", ["-n", volume.path])
    }

    /// Names are bytes and UTF-16: such that are no text are listed, and disturb nothing.
    @Test func `names that are no text break nothing`() throws {
        let volume = try Volume(1024, ["-F", "12"])
        try volume.put([7], "cmdline.txt")
        try volume.put([8], "LATIN.TXT")
        try volume.put([9], "a name with a surrogate")
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: volume.path))
        let files = try FATFiles(try volume.view(), volume.partition)
        let root = (files.geometry.dataStart - files.geometry.rootSectors) * 512
        try handle.seek(toOffset: root)
        var bytes = [UInt8](try #require(try handle.read(upToCount: 1024)))
        let short = try #require(bytes.firstRange(of: Array("LATIN   TXT".utf8)))
        bytes[short.lowerBound + 1] = 0xc4
        let long = try #require(bytes.firstRange(of: [0x73, 0, 0x75, 0, 0x72, 0]))
        bytes.replaceSubrange(long, with: [0x00, 0xd8, 0x75, 0, 0x72, 0])
        try handle.seek(toOffset: root)
        try handle.write(contentsOf: Data(bytes))
        try handle.close()
        let view = try volume.view()
        let changed = try FATFiles(view, volume.partition)
        try changed.check()
        #expect(try changed.names().count == 3)
        #expect(try changed.names().filter { $0.contains("\u{fffd}") }.count == 2)
        try changed.write(Array("new".utf8), to: "cmdline.txt")
        #expect(try changed.read("cmdline.txt") == Array("new".utf8))
        try volume.keep(view)
        #expect(try volume.get("cmdline.txt") == Array("new".utf8))
    }

    // MARK: Full

    @Test(arguments: kinds) func `a full filesystem takes all of a file or nothing`(
        kibibytes: UInt64, options: [String]
    ) throws {
        let volume = try Volume(kibibytes, options)
        try volume.put([UInt8](noise(3, count: 3000)), "config.txt")
        let cluster = Int(try FATFiles(try volume.view(), volume.partition).geometry.clusterBytes)
        for free in [0, 1, 2] as [UInt64] {
            if free == 0 {
                try volume.fill()
            } else {
                try volume.put([], "FILL")
                try volume.fill(leaving: free)
            }
            let view = try volume.view()
            let files = try FATFiles(view, volume.partition)
            // What it has is its own to use.
            let kept = (3000 + cluster - 1) / cluster
            let room = (kept + Int(free)) * cluster
            #expect(throws: FATError.noRoom("config.txt", needed: UInt64(room + 1), free: UInt64(room))) {
                try files.write([UInt8](repeating: 1, count: room + 1), to: "config.txt")
            }
            #expect(
                throws: FATError.noRoom("new", needed: free * UInt64(cluster) + 1, free: free * UInt64(cluster))
            ) {
                try files.write([UInt8](repeating: 1, count: Int(free) * cluster + 1), to: "new")
            }
            // A folder, and then no cluster for what is in it.
            #expect(throws: FATError.self) {
                try files.write([UInt8](repeating: 1, count: Int(free) * cluster + 1), to: "made/new")
            }
            #expect(view.overlay?.isEmpty == true, "nothing of it is left")
            let full = [UInt8](noise(4, count: room))
            try files.write(full, to: "config.txt")
            #expect(try files.freeBytes() == 0)
            try files.check()
            try files.write([], to: "config.txt")
            #expect(try files.freeBytes() == UInt64(room))
            try files.write(full, to: "other")
            try files.check()
            let copy = volume.folder.path("copy")
            try? FileManager.default.removeItem(atPath: copy)
            try FileManager.default.copyItem(atPath: volume.path, toPath: copy)
            try volume.keep(view)
            try run("fsck.vfat", ["-n", volume.path])
            #expect(try volume.get("other") == full)
            try FileManager.default.removeItem(atPath: volume.path)
            try FileManager.default.moveItem(atPath: copy, toPath: volume.path)
        }
    }

    @Test(arguments: [["-F", "12", "-r", "16"], ["-F", "16", "-s", "1", "-r", "32"]])
    func `a full top folder takes no other file, and its files still change`(options: [String]) throws {
        let volume = try Volume(8192, options)
        // mkfs.vfat rounds it up to a cluster.
        let entries = Int(try FATFiles(try volume.view(), volume.partition).geometry.rootSectors) * 16
        for number in 0..<entries - 1 { try volume.put([1], "F\(number)") }
        let view = try volume.view()
        let files = try FATFiles(view, volume.partition)
        // A long name needs two entries, and one is left.
        #expect(throws: FATError.folderFull("", entries: entries)) { try files.write([1], to: "long name") }
        #expect(throws: FATError.folderFull("", entries: entries)) { try files.write([1], to: "new folder/x") }
        #expect(view.overlay?.isEmpty == true)
        try files.write([2], to: "LAST")
        #expect(throws: FATError.folderFull("", entries: entries)) { try files.write([1], to: "MORE") }
        try files.write([UInt8](noise(1, count: 9000)), to: "f0")
        try files.check()
        try volume.keep(view)
        try run("fsck.vfat", ["-n", volume.path])
    }

    @Test func `a folder grows by as many clusters as a long name needs`() throws {
        let volume = try Volume(36864, ["-F", "32", "-s", "1"])
        let view = try volume.view()
        let files = try FATFiles(view, volume.partition)
        // 21 entries of 32 bytes: more than a cluster.
        for number in 0..<12 {
            try files.write([UInt8(number)], to: "d/" + String(repeating: "n", count: 252) + "\(number)")
        }
        try files.check()
        try volume.keep(view)
        try run("fsck.vfat", ["-n", volume.path])
        #expect(try FATFiles(try volume.view(), volume.partition).names().count == 12)
    }

    @Test func `names that FAT does not take, and files for folders, change nothing`() throws {
        let volume = try Volume(1024, ["-F", "12"])
        try volume.put([1], "file")
        let view = try volume.view()
        let files = try FATFiles(view, volume.partition)
        for name in [
            "", "/a", "a//b", "a/", "..", "a/../b", "a?b", "tab\t", "end.", "end ", String(repeating: "x", count: 256),
        ] {
            #expect(throws: FATError.badName(name)) { try files.write([1], to: name) }
        }
        #expect(throws: FATError.isNoFolder("file")) { try files.write([1], to: "file/x") }
        #expect(view.overlay?.isEmpty == true)
    }

    // MARK: Damaged

    /// What a writer would make worse.
    @Test(arguments: ["differ", "cross", "loop", "short", "lost", "free", "folder"])
    func `finds what is damaged, as fsck.vfat does`(kind: String) throws {
        let volume = try Volume(8192, ["-F", "16", "-s", "1"])
        try volume.put([UInt8](noise(3, count: 2000)), "ONE")  // clusters 2 to 5
        try volume.put([UInt8](noise(3, count: 2000)), "TWO")  // clusters 6 to 9
        try run("mmd", ["-i", volume.path, "::/DIR"])  // cluster 10
        let files = try FATFiles(try volume.view(), volume.partition)
        try files.check()
        let geometry = files.geometry
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: volume.path))
        func set(_ cluster: UInt64, _ value: UInt16, fats: Range<UInt64> = 0..<2) throws {
            for fat in fats {
                try handle.seek(toOffset: (geometry.reserved + fat * geometry.fatSectors) * 512 + cluster * 2)
                try handle.write(contentsOf: Data([UInt8(value & 0xff), UInt8(value >> 8)]))
            }
        }
        switch kind {
        case "differ": try set(4, 5 ^ 1, fats: 1..<2)
        case "cross": try set(7, 4)
        case "loop": try set(5, 2)
        case "short": try set(3, 0xffff)
        case "lost": try set(100, 0xffff)
        case "free": try set(4, 0)
        default: try set(10, 10)
        }
        try handle.close()
        let reason = try #require(throws: FATError.self) { try FATFiles(try volume.view(), volume.partition).check() }
        #expect("\(reason)".hasPrefix("is damaged: "))
        #expect(try run("fsck.vfat", ["-n", volume.path], accept: [0, 1]).status == 1)
    }
}
