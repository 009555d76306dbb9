import DiskLayout
import Foundation
import HostTools
import LinuxHost
import SystemPackage
import TestImages
import TestSupport
import Testing

@testable import OSImage

/// config.txt's overlays are in the device trees that U-Boot loads, where fdtoverlay can put them there.
@Suite(.enabled(if: canUse(["mkfs.ext4", "mkfs.vfat", "mcopy", "dtc", "fdtoverlay", "fdtget"])))
struct OverlayTests {
    /// Compiles a device tree into the image's folder, for `mcopy`.
    private static func compile(_ source: String, _ folder: TemporaryFolder, to name: String) throws {
        try folder.write(Data("/dts-v1/;\n\(source)".utf8), to: "source.dts")
        let path = folder.url.appendingPathComponent("trees/\(name)")
        try FileManager.default.createDirectory(at: path.deletingLastPathComponent(), withIntermediateDirectories: true)
        try run("dtc", ["-q", "-@", "-I", "dts", "-O", "dtb", "-o", path.path, folder.path("source.dts")])
    }

    private static func overlay(_ value: String, on label: String = "soc") -> String {
        "/plugin/;\n/ { fragment@0 { target = <&\(label)>; __overlay__ { \(value); }; }; };\n"
    }

    private static func makeImage(_ config: String, _ prefix: String = "") throws -> TestImage {
        var texts = SystemTexts()
        texts.bootFiles = ["config.txt": config]
        let image = try TestImage.system(texts)
        for name in ["bcm2710-rpi-3-b.dtb", "bcm2711-rpi-4-b.dtb", "bcm2712-rpi-5-b.dtb"] {
            try compile("/ { soc: soc { status = \"okay\"; }; };\n", image.folder, to: "\(prefix)\(name)")
        }
        for (name, source) in [
            ("one", overlay("one")), ("two", overlay("two")), ("two-pi4", overlay("two-pi4")),
            ("broken", overlay("broken", on: "missing")),
        ] { try compile(source, image.folder, to: "\(prefix)overlays/\(name).dtbo") }
        try compile(
            "/ { two { bcm2835; bcm2711 = \"two-pi4\"; }; only4 { bcm2711; }; };\n", image.folder,
            to: "\(prefix)overlays/overlay_map.dtb")
        let trees = image.folder.path("trees")
        for name in try FileManager.default.contentsOfDirectory(atPath: trees) {
            try run("mcopy", ["-s", "-i", image.fat(image.boot), "\(trees)/\(name)", "::/"])
        }
        return image
    }

    private static func relocate(_ image: TestImage, _ runner: ToolRunner = toolRunner) async throws -> Relocation {
        let work = FilePath(image.folder.path("work"))
        try FileManager.default.createDirectory(atPath: work.string, withIntermediateDirectories: true)
        let reader = try ImageReader(FilePath(image.path))
        let relocation = try await relocateOSImage(
            reader, layout: try inspectOSImage(at: reader.path), work: work, growth: .never, tools: runner)
        #expect(try FileManager.default.contentsOfDirectory(atPath: work.string) == [], "nothing is left")
        return relocation
    }

    /// Properties of the tree's /soc as fdtget finds them in the view.
    private static func properties(_ tree: String, _ relocation: Relocation, _ image: TestImage) throws -> [Substring] {
        let path = try materialise(relocation.view, image.folder)
        let out = image.folder.path("out.dtb")
        try? FileManager.default.removeItem(atPath: out)
        try run("mcopy", ["-n", "-i", "\(path)@@\(image.boot.start.byteOffset.bytes)", "::/\(tree)", out])
        return try run("fdtget", ["-p", out, "/soc"]).output.split(separator: "\n").filter { $0 != "phandle" }.sorted()
    }

    @Test(arguments: ["", "current/"])
    func `overlays are applied in order, on a Pi 4 those that are its own`(prefix: String) async throws {
        let config =
            "dtparam=audio=on\ndtoverlay=one\ndtoverlay=two\n" + (prefix.isEmpty ? "" : "os_prefix=\(prefix)\n")
        let image = try Self.makeImage(config, prefix)
        let relocation = try await Self.relocate(image)
        #expect(try Self.properties("\(prefix)bcm2710-rpi-3-b.dtb", relocation, image) == ["one", "status", "two"])
        #expect(try Self.properties("\(prefix)bcm2711-rpi-4-b.dtb", relocation, image) == ["one", "status", "two-pi4"])
        // No board of ours.
        #expect(try Self.properties("\(prefix)bcm2712-rpi-5-b.dtb", relocation, image) == ["status"])
        #expect(!relocation.notes.contains { $0.contains("dtoverlay") }, "\(relocation.notes)")
        #expect(relocation.notes.contains { $0.contains("dtparam=audio=on is lost") })
        #expect(
            relocation.changes.map(\.path).filter { $0.hasSuffix(".dtb") }
                == ["\(prefix)bcm2710-rpi-3-b.dtb", "\(prefix)bcm2711-rpi-4-b.dtb"])
    }

    @Test(arguments: [
        ("dtoverlay=broken", "dtoverlay=broken does not fit bcm2710-rpi-3-b.dtb; it is left out there"),
        ("dtoverlay=none", "dtoverlay=none is lost, for U-Boot loads the device tree without overlays"),
        ("dtoverlay=one,x=1", "dtoverlay=one,x=1 is lost"), ("[pi4]\ndtoverlay=one", "[pi4]: dtoverlay=one is lost"),
        ("dtoverlay=only4", "dtoverlay=only4 is not for bcm2710-rpi-3-b.dtb, says overlays/overlay_map.dtb"),
    ])
    func `what cannot be applied is said, and the trees stay`(config: String, note: String) async throws {
        let image = try Self.makeImage(config + "\n")
        let relocation = try await Self.relocate(image)
        #expect(relocation.notes.contains { $0.contains(note) }, "\(relocation.notes)")
        #expect(try Self.properties("bcm2710-rpi-3-b.dtb", relocation, image) == ["status"])
    }

    @Test func `without fdtoverlay it is said, and the rest is done`() async throws {
        let image = try Self.makeImage("dtoverlay=one\n")
        // All tools but those.
        let tools = image.folder.path("tools")
        try FileManager.default.createDirectory(atPath: tools, withIntermediateDirectories: true)
        for tool in ["fsck.vfat", "e2fsck"] {
            try FileManager.default.createSymbolicLink(
                atPath: "\(tools)/\(tool)", withDestinationPath: try #require(find(tool)))
        }
        let relocation = try await Self.relocate(
            image, ToolRunner(path: tools, sourceDate: .standard, folders: []))
        #expect(
            relocation.notes.contains {
                $0.contains(
                    "cannot be applied: fdtget is not installed; install the Debian package device-tree-compiler")
            }, "\(relocation.notes)")
        #expect(relocation.changes.contains { $0.path == "etc/fstab" })
    }
}
