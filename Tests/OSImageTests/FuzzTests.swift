import DiskLayout
import Foundation
import SystemPackage
import TestImages
import TestSupport
import Testing

@testable import OSImage

/// Thousands of mutations of small images: nothing crashes, hangs or takes much memory, and what was sound and is changed is
/// sound afterwards. Tests/ImageFuzzer judges.
///
/// RPIFLASH_FUZZ_SEED, RPIFLASH_FUZZ_COUNT and RPIFLASH_FUZZ_FIRST repeat a run or one of its mutations.
@Suite(
    .enabled(
        if: canUse(["mkfs.ext4", "mkfs.vfat", "debugfs", "e2fsck", "fsck.vfat", "mcopy", "dtc", "fdtoverlay"])
            && Parts.has([Parts.programs.appending("image-fuzzer")])))
struct FuzzTests {
    private static func number(_ name: String) -> UInt64? {
        Parts.environment["RPIFLASH_FUZZ_\(name)"].flatMap { UInt64($0) }
    }

    @Test func `no mutation of an image does harm`() async throws {
        // In CI one seed that is known: a change is judged by what it changes. Elsewhere another one each time.
        let seed = Self.number("SEED") ?? (Parts.isCI ? 20_261_128 : UInt64.random(in: 0..<1 << 32))
        let (first, count) = (Self.number("FIRST") ?? 0, Self.number("COUNT") ?? 3_000)
        print("fuzz: RPIFLASH_FUZZ_SEED=\(seed) RPIFLASH_FUZZ_FIRST=\(first) RPIFLASH_FUZZ_COUNT=\(count)")
        let folder = try TemporaryFolder()
        let images = try Self.makeImages(in: folder)
        // Two at a time: each has every second piece.
        let piece = max(1, min(2_500, (count + 1) / 2))
        let starts = Array(stride(from: first, to: first + count, by: Int(piece)))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<2 {
                group.addTask {
                    for start in starts.enumerated().filter({ $0.offset % 2 == worker }).map(\.element) {
                        try await Self.judge(
                            seed, start..<min(start + piece, first + count), images,
                            folder.path("worker\(worker)"))
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    private static func judge(_ seed: UInt64, _ numbers: Range<UInt64>, _ images: [String], _ folder: String)
        async throws
    {
        var next = numbers.lowerBound
        var crashes = 0
        while next < numbers.upperBound, crashes < 3 {
            try? FileManager.default.removeItem(atPath: folder)
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            let names = images.map { "'\($0)'" }.joined(separator: " ")
            let result = try await runScript(
                "exec chrt --idle 0 \(Parts.programs)/image-fuzzer \(seed) \(next) \(numbers.upperBound - next) '\(folder)' \(names)",
                [:],
                seconds: 1800)
            let lines = result.stdout.split(separator: "\n")
            print("fuzz: \(numbers): \(lines.last ?? "nothing")")
            for line in lines.filter({ $0.hasPrefix("m") }) { Issue.record("RPIFLASH_FUZZ_SEED=\(seed): \(line)") }
            guard result.status > 1 else {
                #expect(result.status == 0, "RPIFLASH_FUZZ_SEED=\(seed), \(numbers): \(result.text)")
                return
            }
            // It did not come to its end.
            let text = try String(contentsOfFile: "\(folder)/at", encoding: .utf8)
            let number = try #require(UInt64(text.split(separator: "\n").first ?? ""), "\(result.text)")
            Issue.record(
                "RPIFLASH_FUZZ_SEED=\(seed) RPIFLASH_FUZZ_FIRST=\(number) RPIFLASH_FUZZ_COUNT=1: status \(result.status): \(result.stderr.suffix(2000))"
            )
            crashes += 1
            next = number + 1
        }
    }

    // MARK: Images

    private static func makeImages(in folder: TemporaryFolder) throws -> [String] {
        var texts = SystemTexts()
        texts.cmdline = "console=tty1 root=PARTUUID=12345678-02 resize quiet\n"
        texts.bootFiles["config.txt"] = "arm_64bit=1\ndtparam=audio=on\n[pi4]\ncmdline=cmdline.txt\n"
        texts.bootFiles["overlays/a file with a long name.txt"] = "x\n"
        texts.links["etc/systemd/system/sysinit.target.wants/rpi-resize.service"] =
            "/usr/lib/systemd/system/rpi-resize.service"
        texts.others["etc/systemd/system/local-fs-pre.target.requires/rpi-resizerootfs.service"] = "[Service]\n"
        var long = texts
        let fstab = texts.fstab ?? ""
        long.fstab = "#" + String(repeating: "x", count: 1022 - fstab.utf8.count) + "\n" + fstab
        var small = texts
        small.bootFiles = [:]
        small.cmdline = nil
        var paths: [String] = []
        let kinds: [(SystemTexts, [String], [String])] = [
            (texts, ["-F", "12", "-s", "2"], ["-t", "ext2", "-b", "1024", "-N", "128"]),
            (long, ["-F", "16", "-s", "1"], ["-b", "1024", "-N", "128", "-O", "^metadata_csum,^64bit"]),
            (texts, ["-F", "16", "-s", "1"], ["-b", "1024", "-N", "128", "-O", "inline_data,metadata_csum"]),
            (texts, ["-F", "12", "-s", "4"], ["-b", "4096", "-O", "^has_journal,^metadata_csum"]),
            (long, ["-F", "12", "-f", "1", "-s", "8"], ["-t", "ext3", "-b", "1024", "-g", "1024"]),
            (
                small, ["-F", "32", "-s", "1"],
                ["-b", "1024", "-O", "bigalloc,^resize_inode,^metadata_csum", "-C", "4096"]
            ),
        ]
        for (index, (texts, fat, ext)) in kinds.enumerated() {
            let own = try TemporaryFolder()
            let image = try TestImage(bootMiB: 4, rootMiB: 4, filled: false, in: own)
            try own.write(Data(), to: "boot/.keep")
            try FileManager.default.removeItem(atPath: own.path("boot/.keep"))
            try image.lay(texts, fat: fat, ext: ext)
            if fat.contains("32") {
                // mtools takes it for a FAT16.
                let view = try ImageReader(try ImageReader(FilePath(image.path)), overlay: ImageOverlay())
                let files = try FATFiles(view, image.boot)
                try files.write(Array("root=PARTUUID=12345678-02 resize\n".utf8), to: "cmdline.txt")
                try files.write(Array("arm_64bit=1\ninclude extra.txt\n".utf8), to: "config.txt")
                try files.write(Array("cmdline=cmdline.txt\n".utf8), to: "extra.txt")
                let handle = try FileHandle(forUpdating: URL(fileURLWithPath: image.path))
                for (offset, bytes) in view.overlay?.takeBlocks() ?? [] {
                    try handle.seek(toOffset: offset)
                    try handle.write(contentsOf: Data(bytes))
                }
                try handle.close()
            }
            if index == 3 { try addOverlay(to: image) }
            let path = folder.path("base\(index).img")
            try FileManager.default.copyItem(atPath: image.path, toPath: path)
            paths.append(path)
        }
        return paths
    }

    private static func addOverlay(to image: TestImage) throws {
        let sources = [
            ("bcm2711-rpi-4-b.dtb", "/ { soc: soc { status = \"okay\"; }; };\n"),
            ("one.dtbo", "/plugin/;\n/ { fragment@0 { target = <&soc>; __overlay__ { one; }; }; };\n"),
        ]
        try image.folder.write(Data("dtoverlay=one\n".utf8), to: "config.txt")
        for (name, source) in sources {
            try image.folder.write(Data("/dts-v1/;\n\(source)".utf8), to: "source.dts")
            try run(
                "dtc",
                ["-q", "-@", "-I", "dts", "-O", "dtb", "-o", image.folder.path(name), image.folder.path("source.dts")])
        }
        for (name, place) in [("config.txt", ""), ("bcm2711-rpi-4-b.dtb", ""), ("one.dtbo", "overlays/")] {
            try run("mcopy", ["-o", "-i", image.fat(image.boot), image.folder.path(name), "::/\(place)"])
        }
    }
}
