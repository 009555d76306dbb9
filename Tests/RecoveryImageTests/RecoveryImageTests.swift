import DiskLayout
import FDisk
import Foundation
import SystemPackage
import TestImages
import TestSupport
import Testing

@testable import RecoveryImage

/// The built program with the host's real tools.
@Suite(.enabled(if: canUseTools, "missing: \(missingTools.joined(separator: ", "))"))
struct RecoveryImageTests {
    /// Partition 1 or 2 of a made image in a file of its own.
    private func extract(_ number: Int, of image: String, in folder: TemporaryFolder) throws -> String {
        let table = try readPartitionTable(of: folder.url.appendingPathComponent(image).path)
        let partition = try #require(table.partitions.first { $0.number == number })
        let name = "partition\(number)"
        try run(
            "dd",
            [
                "if=\(image)", "of=\(name)", "bs=512", "skip=\(partition.start.sector)",
                "count=\(partition.size.sectors)", "conv=sparse",
            ], in: folder.url)
        return name
    }

    // FAT16 with one and with two sectors a cluster, FAT32 with one and with eight.
    @Test(arguments: [("8 MiB", "4 MiB"), ("32 MiB", "36 MiB"), ("36 MiB", "260 MiB"), ("64 MiB", "512 MiB")])
    func `makes an image whose table, filesystems and script the usual tools accept`(uboot: String, boot: String) throws
    {
        let folder = try workFolder(ubootSize: uboot, bootSize: boot, cardSize: "1 GiB")
        let ran = try generate(["recovery-image", "--board", "rpi_arm64", "--server-ip", "192.168.7.1"], in: folder)
        #expect(ran.status == 0, "\(ran.errors)")
        #expect(
            try folder.names("build") == ["firmware", "recovery-rpi_arm64.bmap", "recovery-rpi_arm64.img", "uboot"])

        let image = "build/recovery-rpi_arm64.img"
        let dump = try run("sfdisk", ["--dump", image], in: folder.url)
        let layout = try generate(["layout", "--format", "sfdisk"], in: folder)
        #expect(dump.output == layout.output)

        let table = try readPartitionTable(of: folder.url.appendingPathComponent(image).path)
        let size = try folder.url.appendingPathComponent(image).resourceValues(forKeys: [.fileSizeKey]).fileSize
        #expect(size == Int(table.partitions[2].start.byteOffset.bytes) + 1 << 20)

        for number in [1, 2] {
            let check = try run("fsck.vfat", ["-n", extract(number, of: image, in: folder)], in: folder.url)
            #expect(check.status == 0, "\(check.output)")
        }
        #expect(try run("mdir", ["-b", "-i", "partition2", "::"], in: folder.url).output == "")
        let files = try run("mdir", ["-b", "-i", "partition1", "::"], in: folder.url).output
        #expect(
            files.split(separator: "\n").map(String.init) == [
                "::/LICENCE.broadcom", "::/bootcode.bin", "::/start.elf", "::/fixup.dat", "::/start4.elf",
                "::/fixup4.dat", "::/config.txt", "::/u-boot.bin", "::/bcm2837-rpi-3-b.dtb",
                "::/bcm2837-rpi-3-b-plus.dtb", "::/bcm2837-rpi-3-a-plus.dtb", "::/bcm2837-rpi-cm3-io3.dtb",
                "::/bcm2711-rpi-4-b.dtb", "::/bcm2711-rpi-400.dtb", "::/bcm2711-rpi-cm4-io.dtb", "::/boot.scr",
                "::/rpiflash.env",
            ])

        try run("mcopy", ["-n", "-i", "partition1", "::/*", "."], in: folder.url)
        #expect(try folder.data("u-boot.bin") == folder.data("build/uboot/rpi_arm64/u-boot.bin"))
        #expect(try folder.data("start4.elf") == folder.data("build/firmware/start4.elf"))
        let listing = try run(
            "dumpimage", ["-l", "boot.scr"], in: folder.url, environment: ["TZ": "UTC", "LC_ALL": "C"])
        #expect(listing.status == 0)
        #expect(listing.output.contains("Image Name:   rpiflash rpi_arm64\n"))
        #expect(listing.output.contains("Created:      Sun Jan  1 00:00:00 2023\n"))
        #expect(listing.output.contains("AArch64 Linux Script (uncompressed)"))
        let script = try generate(
            ["bootscr", "--board", "rpi_arm64", "--server-ip", "192.168.7.1", "--text", "-o", "-"], in: folder)
        // U-Boot's script format: the header's 64 bytes, the script's length, 0, the script.
        #expect(try folder.data("boot.scr").dropFirst(72) == Data(script.output.utf8))
        #expect(script.output.contains("192.168.7.1"))
        #expect(try String(decoding: folder.data("rpiflash.env"), as: UTF8.self).contains("\nserverip=192.168.7.1\n"))
    }

    @Test func `a bmap writer restores the whole image from the map and from the compressed copy`() throws {
        let folder = try workFolder()
        #expect(
            try generate(["recovery-image", "--board", "rpi_4_32b", "-o", "card.img", "--xz"], in: folder).status == 0)
        let image = try folder.data("card.img")
        for (source, copy) in [("card.img", "copy"), ("card.img.xz", "unpacked")] {
            let ran = try run("bmaptool", ["copy", "--bmap", "card.bmap", source, copy], in: folder.url)
            #expect(ran.status == 0, "\(ran.errors)")
            #expect(try folder.data(copy) == image)
        }
    }

    @Test func `the map covers all that must be on the card, over whatever the card held before`() throws {
        let folder = try workFolder(ubootSize: "36 MiB", bootSize: "40 MiB")
        #expect(
            try generate(["recovery-image", "--board", "qemu_arm64", "-o", "card.img"], in: folder).status
                == 0)
        // An old card full of other things.
        let size = try folder.data("card.img").count
        try folder.write(Data(repeating: 0xa5, count: size), to: "card")
        #expect(try run("bmaptool", ["copy", "--bmap", "card.bmap", "card.img", "card"], in: folder.url).status == 0)
        #expect(
            try run("sfdisk", ["--dump", "card"], in: folder.url).output
                == generate(["layout", "--format", "sfdisk", "--device", "card"], in: folder).output)
        for number in [1, 2] {
            let check = try run("fsck.vfat", ["-n", extract(number, of: "card", in: folder)], in: folder.url)
            #expect(check.status == 0, "\(check.output)")
        }
        try run("mcopy", ["-n", "-i", "partition1", "::/u-boot.bin", "copied.bin"], in: folder.url)
        #expect(try folder.data("copied.bin") == folder.data("build/uboot/qemu_arm64/u-boot.bin"))
        let card = try folder.data("card")
        #expect(card.suffix(1 << 20).allSatisfy { $0 == 0 })
        #expect(card[512..<1 << 20].allSatisfy { $0 == 0 })
    }

    @Test(arguments: [
        ("rpi_3_32b", "arm_64bit=0", ["bootcode.bin", "start.elf", "fixup.dat"], ["start4.elf", "fixup4.dat"]),
        ("rpi_4_32b", "arm_64bit=0", ["start4.elf", "fixup4.dat"], ["bootcode.bin", "start.elf", "fixup.dat"]),
        ("rpi_arm64", "arm_64bit=1", ["bootcode.bin", "start.elf", "start4.elf"], ["start_x.elf"]),
    ])
    func `gives each board the firmware and the configuration that it boots with`(
        board: String, line: String, there: [String], notThere: [String]
    ) throws {
        let folder = try workFolder()
        #expect(
            try generate(["recovery-image", "--board", board, "-o", "card.img"], in: folder).status == 0)
        let files = try run("mdir", ["-b", "-i", extract(1, of: "card.img", in: folder), "::"], in: folder.url).output
        for name in there + ["config.txt", "u-boot.bin"] { #expect(files.contains("::/\(name)\n")) }
        for name in notThere { #expect(!files.contains("::/\(name)\n")) }
        try run("mcopy", ["-n", "-i", "partition1", "::/config.txt", "."], in: folder.url)
        let configuration = try String(decoding: folder.data("config.txt"), as: UTF8.self).split(separator: "\n").map(
            String.init)
        for line in [line, "kernel=u-boot.bin", "enable_uart=1", "upstream_kernel=1"] {
            #expect(configuration.contains(line))
        }
        #expect(!configuration.contains { $0.contains("{{") })
    }

    @Test func `gives the virtual target neither firmware nor config txt`() throws {
        let folder = try workFolder()
        #expect(
            try generate(["recovery-image", "--board", "qemu_arm64", "-o", "card.img"], in: folder).status
                == 0)
        let files = try run("mdir", ["-b", "-i", extract(1, of: "card.img", in: folder), "::"], in: folder.url).output
        #expect(files == "::/u-boot.bin\n::/boot.scr\n::/rpiflash.env\n")
    }

    @Test func `makes the same bytes in another folder, at another time, by another user's settings`() throws {
        var made: [[Data]] = []
        for environment in [
            [:],
            [
                "TZ": "Asia/Tokyo", "LC_ALL": "de_DE.UTF-8", "XZ_OPT": "-9", "MTOOLS_LOWER_CASE": "1",
                "USER": "somebody",
            ],
        ] {
            let folder = try workFolder()
            #expect(
                try generate(["recovery-image", "--board", "rpi_arm64", "--xz"], in: folder, environment: environment)
                    .status
                    == 0)
            made.append(
                try ["img", "bmap", "img.xz"].map { try folder.data("build/recovery-rpi_arm64.\($0)") })
            for data in made[made.count - 1].prefix(2) {
                for trace in [
                    folder.url.path, folder.url.lastPathComponent, NSUserName(), NSHomeDirectory(),
                    ProcessInfo.processInfo.hostName,
                ]
                where trace.utf8.count > 4 {
                    #expect(data.range(of: Data(trace.utf8)) == nil, "\(trace) is in the image")
                }
            }
        }
        #expect(made[0] == made[1])
    }

    @Test func `takes its time from SOURCE_DATE_EPOCH alone`() throws {
        let folder = try workFolder()
        let environment = ["SOURCE_DATE_EPOCH": "1000000000"]
        #expect(
            try generate(
                ["recovery-image", "--board", "rpi_arm64", "-o", "card.img"], in: folder,
                environment: environment
            ).status == 0)
        let listing = try run(
            "mdir", ["-i", extract(1, of: "card.img", in: folder), "::"], in: folder.url, environment: ["TZ": "UTC"]
        ).output
        #expect(listing.components(separatedBy: "2001-09-09").count == 18)
        let wrong = try generate(
            ["recovery-image", "--board", "rpi_arm64"], in: folder, environment: ["SOURCE_DATE_EPOCH": "soon"])
        #expect(wrong.status == 1)
        #expect(
            wrong.errors == "rpiflash-gen: SOURCE_DATE_EPOCH is 'soon'; must be a whole number of seconds since 1970\n")
    }

    @Test func `an older compressed copy does not stay next to a new image`() throws {
        let folder = try workFolder()
        #expect(try generate(["recovery-image", "--board", "qemu_arm64", "--xz"], in: folder).status == 0)
        #expect(try folder.names("build").contains("recovery-qemu_arm64.img.xz"))
        #expect(try generate(["recovery-image", "--board", "qemu_arm64"], in: folder).status == 0)
        #expect(try !folder.names("build").contains("recovery-qemu_arm64.img.xz"))
    }

    @Test(arguments: [
        ("build/uboot/rpi_arm64/u-boot.bin", "make uboot BOARD=rpi_arm64"),
        ("build/uboot/rpi_arm64/dtb/bcm2711-rpi-4-b.dtb", "make uboot BOARD=rpi_arm64"),
        ("build/firmware/start4.elf", "make firmware"),
    ])
    func `names what is missing and how to make it, and leaves nothing`(path: String, remedy: String) throws {
        let folder = try workFolder()
        try FileManager.default.removeItem(at: folder.url.appendingPathComponent(path))
        let ran = try generate(["recovery-image", "--board", "rpi_arm64"], in: folder)
        #expect(ran.status == 1)
        #expect(ran.errors == "rpiflash-gen: \(path) does not exist; make it with: \(remedy)\n")
        #expect(try folder.names("build") == ["firmware", "uboot"])
    }

    @Test func `refuses files that do not fit partition 1, and leaves nothing`() throws {
        let folder = try workFolder(ubootSize: "4 MiB")
        try folder.write(filler(1, count: 4 << 20), to: "build/uboot/qemu_arm64/u-boot.bin")
        let ran = try generate(["recovery-image", "--board", "qemu_arm64"], in: folder)
        #expect(ran.status == 1)
        #expect(ran.errors.hasPrefix("rpiflash-gen: the files for partition 1 take 42"))
        #expect(ran.errors.hasSuffix(" bytes, it has room for 4144640 bytes; use a larger uboot_size\n"))
        #expect(try folder.names("build") == ["firmware", "uboot"])
    }

    @Test(.enabled(if: canUnshare, "no mount namespaces"))
    func `names a program that is missing, and its Debian package`() throws {
        let folder = try workFolder()
        let arguments = withPlaces(["recovery-image", "--board", "qemu_arm64"])
        let mkimage = try #require(find("mkimage"))
        let ran = try run(
            "unshare",
            ["-rm", "sh", "-c", "mount --bind /dev/null \(mkimage) && exec \"$0\" \"$@\"", program.path] + arguments,
            in: folder.url, environment: ["RPIFLASH_BUILD": "build"])
        #expect(ran.status == 1)
        #expect(
            ran.errors == "rpiflash-gen: mkimage is not installed; install the Debian package u-boot-tools: make deps\n"
        )
        #expect(try folder.names("build") == ["firmware", "uboot"])
    }

    @Test(.enabled(if: canUnshare, "no mount namespaces")) func `says that the disk is full, and leaves nothing`()
        throws
    {
        let folder = try workFolder()
        for size in ["60k", "300k", "700k"] {
            try FileManager.default.createDirectory(
                at: folder.url.appendingPathComponent("full"), withIntermediateDirectories: true)
            let ran = try run(
                "unshare",
                [
                    "-rm", "sh", "-c",
                    "mount -t tmpfs -o size=\(size) none full && \"$0\" \"$@\"; status=$?; ls -A full; exit $status",
                    program.path,
                ] + withPlaces(["recovery-image", "--board", "qemu_arm64", "-o", "full/card.img"]),
                in: folder.url, environment: ["RPIFLASH_BUILD": "build"])
            #expect(ran.status == 1)
            #expect(ran.errors == "rpiflash-gen: full/card.img cannot be written: no space left on device\n")
            #expect(ran.output == "")
        }
    }

    @Test func `refuses an output that is not a file`() throws {
        let folder = try workFolder()
        for (output, message) in [
            ("build", "build is not a regular file; the output must be a file, which you then write to a card"),
            ("/dev/null", "/dev/null is not a regular file; the output must be a file, which you then write to a card"),
            ("recovery_image/card.yaml/x.img", "recovery_image/card.yaml cannot be written: not a directory"),
        ] {
            let ran = try generate(["recovery-image", "--board", "qemu_arm64", "-o", output], in: folder)
            #expect(ran.status == 1)
            #expect(ran.errors == "rpiflash-gen: \(message)\n")
        }
    }

    @Test(arguments: [SIGINT, SIGTERM])
    func `cleans up when interrupted`(signal: Int32) throws {
        let folder = try workFolder()
        let fifo = folder.url.appendingPathComponent("started").path
        #expect(mkfifo(fifo, 0o600) == 0)
        let started = open(fifo, O_RDONLY | O_NONBLOCK)
        defer { close(started) }
        // A tool that waits: the interrupt comes while it runs, for certain.
        try folder.write("#!/bin/sh\necho started > \(fifo)\nexec sleep 60\n", to: "bin/xz")
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o755], ofItemAtPath: folder.url.appendingPathComponent("bin/xz").path)
        let process = Process()
        process.executableURL = program
        process.arguments = withPlaces(["recovery-image", "--board", "qemu_arm64", "-o", "out/card.img"])
        process.currentDirectoryURL = folder.url
        process.environment = ["PATH": folder.url.appendingPathComponent("bin").path, "RPIFLASH_BUILD": "build"]
        let errors = Pipe()
        process.standardError = errors
        try process.run()
        // The reader is there before the writer is: readable means started, and there is a limit.
        var waiting = pollfd(fd: started, events: Int16(POLLIN), revents: 0)
        #expect(poll(&waiting, 1, 60_000) == 1, "xz was not called in 60 s")
        kill(process.processIdentifier, signal)
        process.waitUntilExit()
        #expect(process.terminationStatus == 130)
        #expect(
            String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
                == "rpiflash-gen: interrupted; nothing is left of it\n")
        #expect(try folder.names("out") == [])
    }

    @Test func `makes a card that fits an image, and refuses one that it cannot read`() throws {
        let folder = try workFolder()
        let image = folder.url.appendingPathComponent("os.img")
        try Data().write(to: image)
        let handle = try FileHandle(forWritingTo: image)
        try handle.truncate(atOffset: 64 << 20)
        try handle.close()
        let table = PartitionTable(
            diskID: DiskID(1),
            partitions: [
                Partition(number: 1, type: .fat32LBA, start: LBA(8192), size: SectorCount(8192)),
                Partition(number: 2, type: .linux, start: LBA(24576), size: SectorCount(106_496)),
            ])
        try writePartitionTable(table, to: image.path)
        let before = try folder.data("os.img")
        let ran = try generate(
            ["layout", "--from-image", "os.img", "--card-size", "100 MiB", "--format", "json"], in: folder)
        #expect(ran.status == 0, "\(ran.errors)")
        #expect(ran.output.contains("\"rootfs_offset_sectors\":16384"))
        #expect(try folder.data("os.img") == before)
        #expect(ran.errors == "rpiflash-gen: using recovery_image/card.yaml\n")
        let small = try generate(["layout", "--from-image", "os.img", "--card-size", "64 MiB"], in: folder)
        #expect(small.status == 1)
        #expect(
            small.errors
                == "rpiflash-gen: card size is 67108864 bytes; must be at least 75497472 bytes for these partitions\n")
        // fdisk's old cylinders: a span that no card has.
        try writeDOSTable(
            [
                Partition(number: 1, type: .fat32LBA, start: LBA(63), size: SectorCount(16002)),
                Partition(number: 2, type: .linux, start: LBA(16065), size: SectorCount(80325)),
            ], diskID: 1, to: image.path)
        for command in [["layout"], ["bootscr", "--board", "rpi_arm64", "-o", "-", "--text"]] {
            let byPlan = try generate(command + ["--from-image", "os.img", "--card-size", "128 MiB"], in: folder)
            #expect(byPlan.status == 0, "\(byPlan.errors)")
            #expect(
                byPlan.errors.hasPrefix(
                    "rpiflash-gen: note: os.img: image's rootfs starts 16002 sectors (8001 KiB) behind its boot partition's "
                        + "start, which is not a multiple of 4 MiB; this card takes the image by plan, not in parts\n"
                        + "rpiflash-gen: using recovery_image/card.yaml"))
            #expect(
                byPlan.output.contains(command == ["layout"] ? " 8 MiB\n" : "setenv l_rootfs_start 0xa000\n"),
                "\(byPlan.output)")
        }
        try run("xz", ["os.img"], in: folder.url)
        let compressed = try generate(["layout", "--from-image", "os.img.xz"], in: folder)
        #expect(compressed.status == 1)
        #expect(
            compressed.errors
                == "rpiflash-gen: os.img.xz: image is compressed (xz); decompress it first: unxz -c <os.img.xz >os.img\n"
        )
    }
}
