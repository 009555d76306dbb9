import Foundation
import TestImages
import TestSupport
import Testing

/// What the program refuses, and how.
@Suite struct CommandLineTests {
    @Test(arguments: [
        (["layout", "--format", "xml"], "--format"), (["layout", "--card-size", "8 G"], "card size is '8 G'"),
        (["bootscr", "--board", "rpi_arm64"], "--output"),
        (["bootscr", "--board", "rpi_arm64", "-o", "-"], "script image cannot go to standard output"),
        (["bootscr", "--board", "rpi_arm64", "-o", "x", "--server-ip", "1.2.3"], "server address is '1.2.3'"),
        (["recovery-image"], "--board"),
        (["recovery-image", "--board", "rpi_arm64", "--ip-address", "10.0.0.2"], "no netmask"),
        (["recovery-image", "--board", "rpi_arm64", "--bogus"], "--bogus"), (["bogus"], "bogus"),
    ])
    func `wrong usage ends with status 64 and names the option`(arguments: [String], part: String) throws {
        let folder = try TemporaryFolder()
        let ran = try run(program.path, arguments, in: folder.url)
        #expect(ran.status == 64)
        #expect(ran.errors.contains(part))
        #expect(ran.output == "")
        #expect(try folder.names() == [])
    }

    @Test(arguments: [[], ["layout"], ["bootscr"], ["recovery-image"]])
    func `help shows examples`(command: [String]) throws {
        let ran = try run(program.path, command + ["--help"], in: root)
        #expect(ran.status == 0)
        #expect(ran.output.contains("EXAMPLES\n"))
        #expect(ran.output.contains("  rpiflash-gen "))
    }

    @Test func `finds its files where it is installed, and not in the working folder`() throws {
        let folder = try workFolder(cardSize: "128 MiB")
        try FileManager.default.createDirectory(
            at: folder.url.appendingPathComponent("usr/bin"), withIntermediateDirectories: true)
        try FileManager.default.copyItem(
            at: program.resolvingSymlinksInPath(), to: folder.url.appendingPathComponent("usr/bin/rpiflash-gen"))
        try folder.write(
            "card_size: 64 MiB\nuboot_size: 4 MiB\nboot_size: 4 MiB\n",
            to: "usr/share/rpiflash/recovery_image/card.yaml")
        let empty = try TemporaryFolder()
        let ran = try run(folder.url.appendingPathComponent("usr/bin/rpiflash-gen").path, ["layout"], in: empty.url)
        #expect(ran.output.contains("67108864 bytes"), "\(ran.errors)")
        let own = try run(folder.url.appendingPathComponent("usr/bin/rpiflash-gen").path, ["layout"], in: folder.url)
        #expect(own.output.contains("67108864 bytes"), "\(own.errors)")
        // What is missing is named as a user of a package can get it.
        let files = try TemporaryFolder()
        for name in ["templates", "uboot/boards", "recovery_image"] {
            let place = folder.url.appendingPathComponent("usr/share/rpiflash/\(name)")
            try? FileManager.default.removeItem(at: place)
            try FileManager.default.createDirectory(
                at: place.deletingLastPathComponent(), withIntermediateDirectories: true)
            try FileManager.default.copyItem(at: root.appendingPathComponent(name), to: place)
        }
        let card = try run(
            folder.url.appendingPathComponent("usr/bin/rpiflash-gen").path,
            ["recovery-image", "--board", "qemu_arm64", "-o", "card.img"], in: files.url,
            environment: ["RPIFLASH_BUILD": ""])
        #expect(card.status == 1)
        #expect(
            card.errors
                == "rpiflash-gen: \(folder.url.path)/usr/share/rpiflash/prebuilt/uboot/qemu_arm64/u-boot.bin does not exist; "
                + "install the Debian package rpiflash-uboot, or name another folder with --uboot\n")
    }

    @Test func `an unknown board is answered with those that there are`() throws {
        let folder = try workFolder()
        for name in ["rpi_6", "../boards/rpi_arm64", ""] {
            let ran = try generate(["recovery-image", "--board", name], in: folder)
            #expect(ran.status == 1)
            #expect(
                ran.errors
                    == "rpiflash-gen: board is '\(name)'; must be one of linux_arm64, qemu_arm64, rpi_3_32b, rpi_4_32b, "
                    + "rpi_5, rpi_arm64, sandbox\n"
            )
        }
    }
}
