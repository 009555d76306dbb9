import Foundation
import LinuxHost
import SystemPackage
import Testing

@Suite struct FolderTests {
    /// Names of every length that a filesystem takes: records of all sizes, and more than one buffer of the C library's
    /// (32 KiB) is full of them.
    @Test func `all names are there, sorted, whatever their number and length`() throws {
        let folder = FilePath(FileManager.default.temporaryDirectory.path())
            .appending("rpiflash-folder-\(UUID().uuidString)")
        try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder.string) }
        var names: [String] = []
        for number in 0..<1500 {
            let start = "\(number)-"
            names.append(start + String(repeating: "n", count: number % 256 - min(number % 256, start.count)))
        }
        for name in names { try Data().write(to: URL(filePath: folder.appending(name).string)) }
        try FileManager.default.createSymbolicLink(
            atPath: folder.appending("link").string, withDestinationPath: "nowhere")
        names.append("link")
        #expect(try Folder.names(in: folder) == names.sorted())
        #expect(try Folder.entries(of: folder).filter(\.isLink).map(\.name) == ["link"])
    }

    @Test func `what is no folder is named with the system's reason`() {
        #expect(throws: Errno.noSuchFileOrDirectory) { try Folder.names(in: "/nonexistent") }
        #expect(throws: Errno.notDirectory) { try Folder.names(in: "/dev/null") }
    }
}
