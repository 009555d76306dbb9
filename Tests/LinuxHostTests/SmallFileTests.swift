import Foundation
import LinuxHost
import SystemPackage
import Testing

@Suite struct SmallFileTests {
    private let folder = FilePath(FileManager.default.temporaryDirectory.path())
        .appending("rpiflash-small-file-\(UUID().uuidString)")

    private func file(_ name: String, _ content: [UInt8]) throws -> FilePath {
        try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: true)
        let path = folder.appending(name)
        try Data(content).write(to: URL(filePath: path.string))
        return path
    }

    private func remove() { try? FileManager.default.removeItem(atPath: folder.string) }

    @Test(arguments: [0, 1, 65_535, 65_536, 65_537, 200_000])
    func `a file of the limit is read whole, one byte more is refused`(size: Int) throws {
        defer { remove() }
        let content = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let path = try file("a", content)
        #expect(try SmallFile.read(path, limit: size) == content)
        if size > 0 {
            #expect(throws: SmallFileError.tooLong(limit: size - 1)) { try SmallFile.read(path, limit: size - 1) }
        }
    }

    @Test func `what cannot be read is named with the system's reason`() {
        #expect(throws: SmallFileError.unreadable(.noSuchFileOrDirectory)) {
            try SmallFile.read("/nonexistent/file", limit: 10)
        }
        #expect(throws: SmallFileError.unreadable(.isDirectory)) { try SmallFile.read("/", limit: 10) }
    }

    @Test func `a start is of a regular file only - a link is not followed, a pipe is not waited for`() throws {
        defer { remove() }
        let path = try file("a", Array("secret".utf8))
        #expect(SmallFile.start(of: path, count: 3) == Array("sec".utf8))
        #expect(SmallFile.start(of: path, count: 100) == Array("secret".utf8))
        let link = folder.appending("link")
        try FileManager.default.createSymbolicLink(atPath: link.string, withDestinationPath: path.string)
        #expect(SmallFile.start(of: link, count: 100) == nil)
        #expect(try SmallFile.read(link, limit: 100) == Array("secret".utf8))
        let pipe = folder.appending("pipe")
        #expect(mkfifo(pipe.string, 0o600) == 0)
        #expect(SmallFile.start(of: pipe, count: 100) == nil)
        #expect(SmallFile.start(of: folder, count: 100) == nil)
        #expect(SmallFile.start(of: folder.appending("nothing"), count: 100) == nil)
    }
}
