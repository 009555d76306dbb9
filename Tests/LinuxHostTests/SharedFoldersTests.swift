import Foundation
import SystemPackage
import Testing

@testable import LinuxHost

/// A folder of its own, removed with the value's life.
final class Scratch: Sendable {
    let path: FilePath

    init() throws {
        path = FilePath(FileManager.default.temporaryDirectory.path).appending("rpiflash-host-\(UUID().uuidString)")
        try FileManager.default.createDirectory(atPath: path.string, withIntermediateDirectories: true)
        try #require(chmod(path.string, 0o755) == 0)
    }

    deinit { try? FileManager.default.removeItem(atPath: path.string) }

    /// A folder in it with this mode.
    func folder(_ name: String, mode: mode_t) throws -> FilePath {
        let folder = path.appending(name)
        try #require(mkdir(folder.string, 0o700) == 0 && chmod(folder.string, mode) == 0)
        return folder
    }

    func file(_ name: String, mode: mode_t = 0o644) throws -> FilePath {
        let file = path.appending(name)
        try "text\n".write(toFile: file.string, atomically: false, encoding: .utf8)
        try #require(chmod(file.string, mode) == 0)
        return file
    }
}

func mode(_ path: FilePath) -> mode_t {
    var status = stat()
    return lstat(path.string, &status) == 0 ? status.st_mode & 0o7777 : 0
}

let isRoot = geteuid() == 0

@Suite struct SharedFoldersTests {
    /// Modes of what is made in a folder, for the folder's mode. The umask of tests is 022, which takes the group's right.
    @Test(
        arguments: [
            (0o2775, false, 0o664, 0o2775), (0o2770, false, 0o664, 0o2775), (0o2775, true, 0o660, 0o2770),
            (0o755, false, 0o644, 0o755), (0o775, false, 0o644, 0o755), (0o2755, false, 0o644, 0o755),
            (0o755, true, 0o600, 0o700),
        ] as [(mode_t, Bool, mode_t, mode_t)])
    func `what is made in a folder that a group shares belongs to the group`(
        above: mode_t, isPrivate: Bool, file: mode_t, folder: mode_t
    ) throws {
        let scratch = try Scratch()
        let shared = try scratch.folder("shared", mode: above)
        let new = shared.appending("new")
        #expect(try makeFolder(new, isPrivate: isPrivate))
        #expect(mode(new) == folder)
        #expect(try !makeFolder(new, isPrivate: isPrivate), "it is there")
        // A file follows from its folder.
        try makeFile(new.appending("file")).close()
        #expect(mode(new.appending("file")) == file)
        #expect(throws: PathError(new.appending("file"), .fileExists)) { _ = try makeFile(new.appending("file")) }
    }

    @Test func `folders above are made too, and another user's link is not followed`() throws {
        let scratch = try Scratch()
        let shared = try scratch.folder("shared", mode: 0o2775)
        let deep = shared.appending("a").appending("b").appending("c")
        try makeFolders(deep)
        try makeFolders(deep)
        #expect(mode(deep) == 0o2775 && mode(shared.appending("a")) == 0o2775)
        let file = try scratch.file("file")
        #expect(throws: PathError(file, .notDirectory)) { try makeFolders(file) }
        // An administrator's link to a larger disk is fine.
        let (elsewhere, link) = (try scratch.folder("elsewhere", mode: 0o755), shared.appending("link"))
        try #require(symlink(elsewhere.string, link.string) == 0)
        try makeFolders(link)
        if isRoot {
            try #require(lchown(link.string, 20001, 20001) == 0)
            #expect(throws: PathError(link, .notDirectory)) { try makeFolders(link) }
        }
    }

    @Test func `a file that is replaced is a new one, whoever's it was`() throws {
        let scratch = try Scratch()
        let file = try scratch.file("file", mode: 0o444)
        let old = scratch.path.appending("old")
        try #require(link(file.string, old.string) == 0)
        let new = try replaceFile(file)
        _ = try new.closeAfter { try new.writeAll("new\n".utf8) }
        #expect(try String(contentsOfFile: file.string, encoding: .utf8) == "new\n")
        #expect(
            try String(contentsOfFile: old.string, encoding: .utf8) == "text\n", "its other name has the old content")
        #expect(mode(file) == 0o644)
    }
}

@Suite struct FileLockTests {
    /// Whether it is ours, and who has it where it is not.
    private static func attempt(_ path: FilePath) throws -> LockHolder? {
        switch try FileLock.attempt(path) {
        case .locked: nil
        case .held(let holder): holder
        }
    }

    @Test func `a lock is one's at a time, says whose it is, and its file goes where that is asked for`() throws {
        let scratch = try Scratch()
        let path = scratch.path.appending("lock")
        #expect(try FileLock.holder(of: path) == nil)
        do {
            let first = try FileLock.attempt(path, removesFile: true)
            guard case .locked(let lock) = consume first else { throw PathError(path, .deadlock) }
            let holder = try #require(try Self.attempt(path))
            #expect(holder == LockHolder(process: getpid(), user: Accounts.caller))
            #expect(holder.description == "process \(getpid()) of \(Accounts.caller)")
            #expect(try FileLock.holder(of: path) == holder)
            _ = consume lock
        }
        #expect(access(path.string, F_OK) != 0)
        #expect(try Self.attempt(path) == nil)
        #expect(mode(path) == 0o644, "without being asked the file stays")
        #expect(try FileLock.holder(of: path) == nil)
    }

    /// As a program has it that another thread is just starting: between fork and execve it has everything that is open.
    @Test func `a lock that is given back is free, though its open file is another's too`() throws {
        let scratch = try Scratch()
        let path = scratch.path.appending("lock")
        var copies: [Int32] = []
        defer { for copy in copies { close(copy) } }
        do {
            let first = try FileLock.attempt(path)
            guard case .locked(let lock) = consume first else { throw PathError(path, .deadlock) }
            copies = Self.descriptors(of: path).map { dup($0) }
            try #require(copies.count == 1)
            #expect(try Self.attempt(path) != nil)
            _ = consume lock
        }
        #expect(try FileLock.holder(of: path) == nil)
        #expect(try Self.attempt(path) == nil)
    }

    /// This process's descriptors of an open file.
    private static func descriptors(of path: FilePath) -> [Int32] {
        var there = stat()
        guard unsafe stat(path.string, &there) == 0 else { return [] }
        return (0..<Int32(getdtablesize())).filter { descriptor in
            var opened = stat()
            guard unsafe fstat(descriptor, &opened) == 0 else { return false }
            return opened.st_ino == there.st_ino && opened.st_dev == there.st_dev
        }
    }

    @Test func `a lock's file is for the group that shares its folder`() throws {
        let scratch = try Scratch()
        let path = try scratch.folder("shared", mode: 0o2775).appending("lock")
        #expect(try Self.attempt(path) == nil)
        #expect(mode(path) == 0o664)
    }

    /// Others may write to the file, so that its text is untrusted.
    @Test(arguments: [
        ("4711\n", "process 4711"), ("4711 alice\n", "process 4711 of alice"), ("", "process unknown"),
        ("x y\n", "process unknown of x y"), ("99999999999 bob\n", "process unknown of bob"),
        ("12 \u{1b}[31mred\n", "process 12"),
        ("12 \(String(repeating: "a", count: 90))\n", "process 12 of \(String(repeating: "a", count: 64))"),
    ])
    func `a lock's text is taken as far as it makes sense`(text: String, description: String) throws {
        let scratch = try Scratch()
        let path = scratch.path.appending("lock")
        try text.write(toFile: path.string, atomically: false, encoding: .utf8)
        let file = try FileDescriptor.open(path, .readWrite)
        defer { try? file.close() }
        try #require(flock(file.rawValue, LOCK_EX) == 0)
        #expect(try Self.attempt(path)?.description == description)
        #expect(try FileLock.holder(of: path)?.description == description)
    }
}

@Suite struct AccountsTests {
    @Test func `users and groups have names, or numbers`() {
        #expect(Accounts.name(ofUser: 0) == "root")
        #expect(Accounts.name(ofGroup: 0) == "root")
        #expect(Accounts.name(ofUser: 3_999_999_999) == "user 3999999999")
        #expect(Accounts.name(ofGroup: 3_999_999_999) == "group 3999999999")
        #expect(Accounts.groupID(named: "root") == 0)
        #expect(Accounts.groupID(named: "no such group") == nil)
        #expect(Accounts.isMember(of: getegid()))
        #expect(!Accounts.isMember(of: 3_999_999_999))
    }
}
