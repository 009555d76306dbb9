import BootFiles
import DiskLayout
import Foundation
import HostTools
import LinuxHost
import OSImage
import SystemPackage
import TestImages
import TestSupport
import Testing

@testable import ImageStore

/// Images that are changed on their way into the store, and settings for single targets.
@Suite(.enabled(if: canUse(tools + ["mdir", "fsck.vfat"]))) struct RelocatedTests {
    private static let runner = ToolRunner(
        path: ProcessInfo.processInfo.environment["PATH"], sourceDate: SourceDate.standard)
    private static let automatic = RelocationRequest(growth: .automatic, tools: runner)

    private static func fixture(_ change: (inout SystemTexts) -> Void = { _ in }) throws -> StoreFixture {
        var texts = SystemTexts()
        texts.cmdline = "root=PARTUUID=12345678-02 rootwait init=/usr/lib/raspberrypi-sys-mods/firstboot\n"
        change(&texts)
        return StoreFixture(try TestImage.system(texts))
    }

    private static func digest(_ path: String) throws -> String {
        String(try run("sha256sum", [path]).output.prefix(64))
    }

    /// What a card gets: both filesystems sound, and these files.
    private static func read(_ prepared: PreparedImage, _ fixture: StoreFixture) throws -> (
        fstab: String, boot: [String: String]
    ) {
        let cards = try fixture.layDown(prepared)
        try run("fsck.vfat", ["-n", cards[0]])
        try run("e2fsck", ["-fn", cards[1]])
        var boot: [String: String] = [:]
        for line in try run("mdir", ["-/", "-b", "-a", "-i", cards[0], "::/"]).output.split(separator: "\n")
        where line.hasPrefix("::/") && !line.hasSuffix("/") {
            boot[String(line.dropFirst(3))] = try run("mtype", ["-i", cards[0], String(line)]).output
        }
        return (try run("debugfs", ["-R", "cat /etc/fstab", cards[1]]).output, boot)
    }

    @Test func `what a card gets is relocated, and the image is only read`() async throws {
        let fixture = try Self.fixture()
        let before = try Self.digest(fixture.image.path)
        let prepared = try await fixture.store.prepare(fixture.path, relocation: Self.automatic)
        let found = try Self.read(prepared, fixture)
        #expect(found.boot["cmdline.txt"] == "root=/dev/mmcblk0p3 rootwait\n")
        #expect(
            found.fstab.contains(
                "UUID=\(SystemTexts.rootUUID)  /               ext4    defaults,noatime,x-systemd.growfs"))
        let record = try #require(prepared.manifest.relocation)
        #expect(record.changed == ["1:cmdline.txt", "2:etc/fstab"])
        #expect(record.grows && record.obstacles.isEmpty)
        #expect(try Self.digest(fixture.image.path) == before, "law 4")
        #expect(fixture.names("work").isEmpty)

        // Found again without reading; and as it is, it is another image.
        #expect(fixture.store.preparedImage(of: fixture.path, relocation: Self.automatic) == prepared)
        #expect(fixture.store.preparedImage(of: fixture.path) == nil)
        let plain = try await fixture.store.prepare(fixture.path)
        #expect(plain.manifest.id != prepared.manifest.id && plain.manifest.relocation == nil)
        #expect(try Self.read(plain, fixture).fstab.contains("PARTUUID=12345678-02"))
    }

    @Test func `a compressed image is relocated to the same`() async throws {
        let fixture = try Self.fixture()
        let raw = try await fixture.store.prepare(fixture.path, relocation: Self.automatic)
        try run("gzip", ["-1", "-k", fixture.image.path])
        let packed = try await fixture.store.prepare(FilePath(fixture.image.path + ".gz"), relocation: Self.automatic)
        #expect(packed.manifest.id == raw.manifest.id)
        #expect(fixture.names("work").isEmpty)
    }

    @Test func `one image with settings for three targets has three host names and one rootfs`() async throws {
        let fixture = try Self.fixture()
        let before = try Self.digest(fixture.image.path)
        let base = try await fixture.store.prepare(fixture.path, relocation: Self.automatic)
        let settings = try Customization(
            yaml: "hostname: '{{name}}'\nboot_files:\n  - path: fixture/note.txt\n    content: '{{ip}}'\n",
            file: "s.yaml"
        )
        var ids: Set<String> = [base.manifest.id]
        let rootfs = base.manifest.chunks.filter { $0.partition == 3 }.map(\.file)
        for (name, ip) in [("left", "10.0.0.1"), ("middle", "10.0.0.2"), ("right", "10.0.0.3")] {
            let form = try #require(base.manifest.relocation?.firstBoot)
            let edit = try settings.files(for: form, values: PlaceholderValues(name: name, ip: ip))
            let image = try await fixture.store.customize(base, edit, for: name, tools: Self.runner)
            ids.insert(image.manifest.id)
            #expect(image.manifest.relocation?.customized == name)
            #expect(image.manifest.chunks.filter { $0.partition == 3 }.map(\.file) == rootfs)
            #expect(image.manifest.chunks.last?.partition == 2 && image.manifest.chunks.last?.offset == 0, "law 3")
            let found = try Self.read(image, fixture)
            #expect(found.boot["firstrun.sh"]?.contains("'\(name)'") == true)
            #expect(found.boot["cmdline.txt"]?.contains("systemd.run=/boot/firmware/firstrun.sh") == true)
            #expect(found.boot["fixture/note.txt"] == ip)
            #expect(found.fstab.contains(SystemTexts.rootUUID))
            // The same settings give the same image.
            let again = try await fixture.store.customize(base, edit, for: name, tools: Self.runner)
            #expect(again == image)
        }
        #expect(ids.count == 4)
        #expect(fixture.names("work").isEmpty)
        #expect(
            try fixture.store.list().compactMap { $0.manifest?.relocation?.customized }.sorted() == [
                "left", "middle", "right",
            ])
        #expect(try Self.digest(fixture.image.path) == before)
    }

    @Test func `settings need nothing of the image's file, and leave a base that is removed meanwhile`() async throws {
        let fixture = try Self.fixture()
        let base = try await fixture.store.prepare(fixture.path, relocation: Self.automatic)
        try FileManager.default.removeItem(atPath: fixture.image.path)
        let edit = BootPartitionEdit(files: ["a.txt": Array("a".utf8)])
        let image = try await fixture.store.customize(base, edit, for: "cam", tools: Self.runner)
        try await fixture.store.remove(base.manifest.id)
        #expect(try Self.read(image, fixture).boot["a.txt"] == "a")
        await #expect(throws: ImageStoreError.self) {
            _ = try await fixture.store.customize(base, edit, for: "cam", tools: Self.runner)
        }
        #expect(fixture.names("work").isEmpty)
    }

    @Test func `nothing to change is the image itself`() async throws {
        let fixture = try Self.fixture()
        let base = try await fixture.store.prepare(fixture.path, relocation: Self.automatic)
        let same = try await fixture.store.customize(base, BootPartitionEdit(), for: "cam", tools: Self.runner)
        #expect(same == base)
    }

    @Test func `files that the boot partition has no room for are the image's fault, and leave nothing`() async throws {
        let fixture = try Self.fixture()
        let base = try await fixture.store.prepare(fixture.path, relocation: Self.automatic)
        let edit = BootPartitionEdit(files: ["a": [1], "large": [UInt8](repeating: 7, count: 44 << 20)])
        let error = await #expect(throws: ImageStoreError.self) {
            _ = try await fixture.store.customize(base, edit, for: "cam", tools: Self.runner)
        }
        let sentence = try #require(error)
        #expect(sentence.isAboutImage)
        #expect(
            "\(sentence)".firstMatch(
                of:
                    #/^image cannot be customized: boot partition has no room for large: 46137344 bytes are needed, \d+ bytes are free; free some space in the image's partition 1, or take an image with a larger one$/#
            ) != nil, "\(sentence)")
        // A dry run says the same, and makes nothing either.
        await #expect(throws: sentence) {
            try await fixture.store.checkCustomization(of: base, edit, tools: Self.runner)
        }
        #expect(fixture.names("work").isEmpty)
        #expect(try fixture.store.list().count == 1)
        try await fixture.store.checkCustomization(
            of: base, BootPartitionEdit(files: ["a": [1]]), tools: Self.runner)
        #expect(try fixture.store.list().count == 1)
    }

    /// A boot partition that is full but for some clusters, and what is put into it.
    @Test(arguments: [0, 1, 2, 3, 40]) func `a full boot partition takes all settings or none`(free: UInt64)
        async throws
    {
        var texts = SystemTexts()
        texts.cmdline = "root=LABEL=rootfs_of_a_card_for " + String(repeating: "x", count: 480)
        let image = try TestImage.small(texts)
        let fixture = StoreFixture(image)
        let files = try FATFiles(try ImageReader(fixture.path), image.boot)
        let count = try files.freeBytes() - free * 512
        try image.folder.write(Data(repeating: 0x66, count: Int(count)), to: "fill")
        try run("mcopy", ["-i", image.fat(image.boot), image.folder.path("fill"), "::/FILL"])
        #expect(try FATFiles(try ImageReader(fixture.path), image.boot).freeBytes() == free * 512)
        let base = try await fixture.store.prepare(fixture.path, relocation: Self.automatic)
        // A folder, a file of two clusters in it, and a command line that needs one more: four in all.
        let edit = BootPartitionEdit(
            files: ["fixture/note one.txt": [UInt8](repeating: 7, count: 600)], addedWords: ["quiet", "splash"])
        do {
            let customized = try await fixture.store.customize(base, edit, for: "cam", tools: Self.runner)
            #expect(free == 40)
            let found = try Self.read(customized, fixture)
            #expect(found.boot["cmdline.txt"] == (texts.cmdline ?? "") + " quiet splash")
            #expect(found.boot["fixture/note one.txt"]?.utf8.count == 600)
        } catch let error as ImageStoreError {
            #expect(free < 40)
            #expect(error.isAboutImage && "\(error)".contains("boot partition has no room for "), "\(error)")
            #expect(try fixture.store.list().count == 1)
            #expect(fixture.names("work").isEmpty)
        }
        _ = try Self.read(base, fixture)
    }

    @Test func `words for the kernel need a command line`() async throws {
        let fixture = try Self.fixture { $0.cmdline = nil }
        let base = try await fixture.store.prepare(fixture.path, relocation: Self.automatic)
        await #expect(
            throws: ImageStoreError.cannotCustomize(
                "boot partition has no cmdline.txt; it must take words for the kernel")
        ) {
            _ = try await fixture.store.customize(
                base, BootPartitionEdit(addedWords: ["quiet"]), for: "cam", tools: Self.runner)
        }
    }

    @Test func `a missing program is named, and leaves nothing`() async throws {
        let fixture = try Self.fixture()
        let none = RelocationRequest(
            growth: .automatic, tools: ToolRunner(path: nil, sourceDate: SourceDate.standard, folders: []))
        let error = await #expect(throws: ImageStoreError.self) {
            _ = try await fixture.store.prepare(fixture.path, relocation: none)
        }
        #expect(
            error?.description.contains("fsck.vfat is not installed; install the Debian package dosfstools") == true)
        #expect(error?.isAboutImage == false)
        #expect(fixture.names("work").isEmpty)
    }
}
