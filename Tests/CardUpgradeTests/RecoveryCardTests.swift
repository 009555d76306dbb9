import FlashEvents
import Foundation
import TestSupport
import Testing

@testable import CardUpgrade

/// Which images can be brought to a card, and in which order their files are renamed.
struct RecoveryCardTests {
    private func refusal(_ make: () throws -> RecoveryCard) -> String {
        do {
            _ = try make()
            return ""
        } catch let error as FlashError {
            return error.exitCode == 7 ? error.description : "another error: \(error)"
        } catch {
            return "another error: \(error)"
        }
    }

    @Test func `an image whose table is not a card's is refused`() {
        for (partitions, text) in [
            (
                mbr(8192, 16384, 24576, type: 0x83),
                "partition 1 of card.img has type 0x83 and starts at LBA 8192; must"
            ),
            (mbr(2048, 16384, 24576), "partition 1 of card.img has type 0xc and starts at LBA 2048; must"),
            (mbr(8192, 139264), "card.img has no partition 3; a card of rpiflash has three"),
            (mbr(8192, 24576, 16384), "partitions 2 and 3 of card.img start at LBA 24576 and 16384; must"),
            (mbr(), "card.img has no partition 1"),
        ] {
            #expect(refusal { try card(partitions) }.hasPrefix(text))
        }
    }

    @Test(
        arguments: [
            ("boot.scr", nil, "partition 1 of card.img has no boot.scr; must be a recovery image"),
            ("u-boot.bin", [], "partition 1 of card.img has no u-boot.bin; must be a recovery image"),
            ("overlays/vc4.dtbo", [1], "partition 1 of card.img has 'overlays/vc4.dtbo'; only files with plain names"),
            ("a b", [1], "partition 1 of card.img has 'a b'; only files with plain names"),
            ("$(reboot)", [1], "partition 1 of card.img has '$(reboot)'; only files with plain names"),
            ("-rf", [1], "partition 1 of card.img has '-rf'; only files with plain names"),
            (".", [1], "partition 1 of card.img has '.'; only files with plain names"),
            ("\u{1b}[2J", [1], "partition 1 of card.img has '\\x1b[2J'; only files with plain names"),
            (
                "boot.scr", Array("reset".utf8),
                "boot.scr of card.img is not a boot script of rpiflash: it names no board"
            ),
            (
                "boot.scr", bootScript("rpi_arm64", "0x4000/0x8000"),
                "boot.scr of card.img was made for partitions at LBA 16384 and 32768, its table has 16384 and 24576"
            ),
            (
                "boot.scr", bootScript("rpi_arm64", "0x4000/0x10000000000000000"),
                "boot.scr of card.img is not a boot script of rpiflash"
            ),
        ] as [(String, [UInt8]?, String)])
    func `an image whose files are not a card's is refused`(name: String, content: [UInt8]?, text: String) {
        #expect(refusal { try card(with: [name: content]) }.hasPrefix(text))
    }

    @Test func `files are renamed in the order of a start, pairs of firmware one after the other, never settings`()
        throws
    {
        let more = ["start.elf", "fixup.dat", "start4x.elf", "fixup4x.dat", "bcm2711-rpi-4-b.dtb", "armstub8.bin"]
        let files = try card(with: Dictionary(uniqueKeysWithValues: more.map { ($0, [1]) })).files
        #expect(
            files.map(\.name) == [
                "armstub8.bin", "bootcode.bin", "start4.elf", "fixup4.dat", "start4x.elf", "fixup4x.dat", "start.elf",
                "fixup.dat", "bcm2711-rpi-4-b.dtb", "u-boot.bin", "boot.scr", "config.txt",
            ])
        #expect(
            files[0].sha256 == "4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a",
            "printf '\\x01' | sha256sum")
    }

    /// Power cuts: at every moment U-Boot must be able to run the boot script that is there.
    @Test func `a signed boot script is renamed before the device trees that have its keys`() throws {
        let tree: [String: [UInt8]?] = ["bcm2711-rpi-4-b.dtb": [1]]
        let plain = try card(with: tree).files.map(\.name)
        let signed = try card(with: tree.merging(["boot.scr": bootScript(keys: "bench-1")]) { $1 }).files.map(\.name)
        #expect(plain.suffix(4) == ["bcm2711-rpi-4-b.dtb", "u-boot.bin", "boot.scr", "config.txt"])
        #expect(signed.suffix(4) == ["boot.scr", "bcm2711-rpi-4-b.dtb", "u-boot.bin", "config.txt"])
        #expect(ScriptLabel(bootScript(keys: "bench-1 bench-2"))?.keys == ["bench-1", "bench-2"])
        #expect(ScriptLabel(bootScript())?.isSigned == false)
    }

    @Test func `a script tells its board, its layout and its server, whatever else is in it`() throws {
        #expect(ScriptLabel(bootScript())?.server == "192.168.1.10")
        #expect(ScriptLabel(bootScript(server: ""))?.server == "")
        #expect(ScriptLabel(bootScript("qemu_arm64"))?.board == "qemu_arm64")
        #expect(ScriptLabel([UInt8](repeating: 0xff, count: 65536)) == nil)
        #expect(ScriptLabel(Array(repeating: UInt8(ascii: "r"), count: 65536)) == nil)
    }

    /// tar itself is the second opinion.
    @Test func `archives are what tar takes`() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "rpiflash-ustar-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let long = String(repeating: "n", count: 99)
        let files: [(String, [UInt8])] = [
            ("empty", []), ("sector", [UInt8](repeating: 7, count: 512)), (long, Array("x".utf8)),
            ("large", (0..<1_000_003).map { UInt8(truncatingIfNeeded: $0 * 31) }),
        ]
        let archive = files.flatMap { UStar.member($0.0, $0.1) } + UStar.end
        try Data(archive).write(to: folder.appending(path: "a.tar"))
        let result = try await runScript(
            "cd \"$D\"; tar -tvf a.tar --numeric-owner; mkdir out; tar -xf a.tar -C out", ["D": folder.path()])
        #expect(result.status == 0 && result.stderr == "", Comment(rawValue: result.text))
        #expect(result.stdout.contains("-rwxr-xr-x 0/0         1000003 1970-01-01"), Comment(rawValue: result.text))
        for (name, content) in files {
            #expect(try Data(contentsOf: folder.appending(path: "out/\(name)")) == Data(content), "\(name)")
        }
    }
}
