import Foundation
import SystemPackage
import Testing

@testable import LinuxHost

/// What somebody else could have written is not used: sshd's StrictModes, for files that are run as root.
@Suite struct FileTrustTests {
    /// Files of root and of who runs the tests are trusted, and no group but root's.
    private static let trust = FileTrust(owners: [0, geteuid()], groups: [0], program: nil)
    /// A group that no user has as his own.
    private static let group: gid_t = 30001

    private static func reason(_ path: FilePath, _ trust: FileTrust = trust) -> UntrustedFile? {
        do throws(UntrustedFile) {
            try trust.check(path)
            return nil
        } catch {
            return error
        }
    }

    @Test func `one's own files in one's own folders are trusted, and what is not there is told by opening it`() throws
    {
        let scratch = try Scratch()
        #expect(Self.reason(try scratch.file("file")) == nil)
        #expect(Self.reason(scratch.path.appending("none").appending("file")) == nil)
        #expect(Self.reason("/etc/passwd") == nil)
        #expect(Self.reason("/dev/null") == nil && Self.reason("/dev/null/x") == nil)
    }

    @Test func `a file that everybody may write is not, nor one in such a folder`() throws {
        let scratch = try Scratch()
        let file = try scratch.file("file", mode: 0o666)
        #expect(Self.reason(file) == UntrustedFile(file: file, place: file, reason: .everyone(mode: 0o666)))
        let folder = try scratch.folder("open", mode: 0o777)
        let inside = folder.appending("deep").appending("file")
        try #require(mkdir(folder.appending("deep").string, 0o755) == 0)
        try "x".write(toFile: inside.string, atomically: false, encoding: .utf8)
        let error = try #require(Self.reason(inside))
        #expect(error == UntrustedFile(file: inside, place: folder, reason: .everyone(mode: 0o777)))
        #expect(
            error.description
                == "\(inside) is not used, as somebody else could have written it: \(folder) may be written by everybody "
                + "(mode 0777); take that away: chmod o-w \(folder)")
        // As in /tmp: others may make files there, but not touch this one.
        try #require(chmod(folder.string, 0o1777) == 0)
        #expect(Self.reason(inside) == nil)
    }

    @Test func `dots in a path are followed, through the folders that they leave`() throws {
        let scratch = try Scratch()
        let folder = try scratch.folder("open", mode: 0o777)
        let path = folder.appending("..").appending(".").appending("file")
        _ = try scratch.file("file")
        #expect(Self.reason(path)?.place == folder, "who may write to it can put a link there")
    }

    @Test(.enabled(if: isRoot, "files of other users need root"))
    func `another user's file, folder or link is not trusted`() throws {
        let scratch = try Scratch()
        let file = try scratch.file("file")
        try #require(chown(file.string, 20001, 0) == 0)
        let error = try #require(Self.reason(file))
        #expect(error.reason == .owner("user 20001"))
        #expect(
            error.description.hasSuffix(": it belongs to user 20001; must be root's or yours: name another file"))
        #expect(Self.reason(file, FileTrust(owners: [0, 20001], groups: [], program: nil)) == nil)

        let (good, link) = (try scratch.file("good"), scratch.path.appending("link"))
        try #require(symlink("good", link.string) == 0)
        #expect(Self.reason(link) == nil)
        try #require(lchown(link.string, 20001, 0) == 0)
        #expect(Self.reason(link)?.place == link, "he may point it elsewhere at any time")
        let toOthers = scratch.path.appending("to-others")
        try #require(symlink(file.string, toOthers.string) == 0)
        #expect(Self.reason(toOthers)?.place == file)
        #expect(Self.reason(good) == nil)

        let folder = try scratch.folder("folder", mode: 0o1755)
        try #require(chown(folder.string, 20001, 0) == 0)
        #expect(
            Self.reason(folder.appending("none"))?.place == folder, "a sticky folder's owner may rename what is in it")
    }

    @Test(.enabled(if: isRoot, "other groups need root"))
    func `a group that is not trusted must not be able to write, nor a group of several`() throws {
        let scratch = try Scratch()
        let file = try scratch.file("file", mode: 0o664)
        #expect(Self.reason(file) == nil, "root's own group")
        try #require(chown(file.string, 0, Self.group) == 0 && chmod(file.string, 0o664) == 0)
        #expect(Self.reason(file)?.reason == .group("group 30001", mode: 0o664))
        #expect(
            Self.reason(file)?.description.contains("written by group 30001 (mode 0664); take that away: chmod g-w")
                == true)
        #expect(Self.reason(file, FileTrust(owners: [0], groups: [Self.group], program: nil)) == nil)
    }

    @Test(.enabled(if: isRoot, "files of other users need root"))
    func `a folder above the program is not asked about, what is beside it is`() throws {
        let scratch = try Scratch()
        let tree = try scratch.folder("tree", mode: 0o777)
        let templates = tree.appending("templates")
        try #require(mkdir(templates.string, 0o755) == 0)
        let program = tree.appending(".build").appending("debug").appending("rpiflash")
        let trust = FileTrust(owners: [0], groups: [0], program: program)
        #expect(Self.reason(templates)?.place == tree)
        #expect(Self.reason(templates, trust) == nil, "who may write to the tree may replace the program")
        try #require(chmod(templates.string, 0o777) == 0)
        #expect(Self.reason(templates, trust)?.place == templates)
    }

    @Test func `in a user namespace an owner without a number is one that cannot be told`() throws {
        let scratch = try Scratch()
        let file = try scratch.file("file")
        let others = FileTrust(owners: [0, 20002], groups: [], program: scratch.path.appending("program"))
        if geteuid() != 0 { #expect(Self.reason(file, others) != nil) }
        let mapped = FileTrust(owners: [0, geteuid()], groups: [], program: nil, isInNamespace: true)
        #expect(Self.reason(file, mapped) == nil)
        if isRoot {
            try #require(chown(file.string, 65534, 65534) == 0 && chmod(file.string, 0o664) == 0)
            #expect(Self.reason(file, mapped) == nil)
            #expect(Self.reason(file) != nil)
        }
    }
}
