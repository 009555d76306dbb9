import Foundation
import LinuxHost
import SystemPackage
import TestSupport
import Testing

/// Where a program takes the product's own files from. The working folder may be anybody's, and has no part in it.
@Suite struct InstallationTests {
    private func installation(_ program: FilePath, _ files: Set<FilePath> = []) -> Installation {
        Installation(program: program) { files.contains($0) }
    }

    @Test func `a program that was built in a source tree takes the tree's files`() {
        let tree = installation("/home/me/rpiflash/.build/x86_64/debug/rpiflash", ["/home/me/rpiflash/Package.swift"])
        #expect(tree == .checkout("/home/me/rpiflash"))
        #expect(tree.file("templates") == "/home/me/rpiflash/templates")
        #expect(tree.built("firmware", in: nil) == "/home/me/rpiflash/build/firmware")
        #expect(tree.built("firmware", in: "out") == "out/firmware")
        #expect(tree.cards == ["/etc/rpiflash/card.yaml", "/home/me/rpiflash/recovery_image/card.yaml"])
    }

    @Test func `an installed one takes what was installed with it`() {
        let own = installation("/usr/local/bin/rpiflash", ["/usr/local/share/rpiflash", "/usr/share/rpiflash"])
        #expect(own == .installed("/usr/local/share/rpiflash"))
        #expect(own.file("templates") == "/usr/local/share/rpiflash/templates")
        #expect(own.built("uboot/rpi_arm64", in: nil) == "/usr/local/share/rpiflash/prebuilt/uboot/rpi_arm64")
        #expect(own.cards == ["/etc/rpiflash/card.yaml", "/usr/local/share/rpiflash/recovery_image/card.yaml"])
        // Copied elsewhere, and a folder that only has the name.
        #expect(installation("/root/rpiflash") == .installed("/usr/share/rpiflash"))
        #expect(installation("/tmp/.build/debug/rpiflash") == .installed("/usr/share/rpiflash"))
    }

    @Test func `what is missing is named as the user of a package, and of a source tree, can get it`() {
        let (tree, package) = (Installation.checkout("/src"), Installation.installed("/usr/share/rpiflash"))
        #expect(tree.remedy(package: "mtools") == "install the Debian package mtools: make deps")
        #expect(package.remedy(package: "mtools") == "install the Debian package mtools: apt install mtools")
        let words = ("make firmware", "rpiflash-firmware", "--firmware")
        #expect(tree.remedy(make: words.0, package: words.1, option: words.2) == "make it with: make firmware")
        #expect(
            package.remedy(make: words.0, package: words.1, option: words.2)
                == "install the Debian package rpiflash-firmware, or name another folder with --firmware")
    }

    @Test func `the working folder's templates and card are not taken`() throws {
        let folder = try workFolder()
        try folder.write("echo from a stranger\n", to: "templates/boot/settings.cmd")
        let script = try run(
            program.path, ["bootscr", "--board", "rpi_arm64", "--text", "-o", "-"], in: folder.url,
            environment: ["RPIFLASH_BUILD": ""])
        #expect(script.status == 0, "\(script.errors)")
        #expect(!script.output.contains("stranger"))
        // workFolder's card has 256 MiB, with 8 MiB for partition 1.
        let layout = try run(program.path, ["layout"], in: folder.url)
        #expect(layout.status == 0 && !layout.output.contains("card size                268435456"), "\(layout.output)")
    }
}
