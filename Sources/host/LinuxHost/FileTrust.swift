import Glibc
package import SystemPackage

/// Refuses files that another unprivileged user could have written, as sshd's StrictModes and sudo do: what a flash runs,
/// or puts on a card, is taken from root, from who runs the program, from who owns it or a folder above it, and from nobody
/// else.
///
/// Every folder on the way counts, and every link: who may write to a folder may put another file there. A folder whose
/// sticky bit is set (`/tmp`) is fine, as what others have in it is theirs and is refused as such.
package struct FileTrust: Sendable {
    private let owners: Set<UInt32>
    private let groups: Set<UInt32>
    /// Who may write there may put another program in place, so that nothing is won by asking.
    private let program: Set<FilePath>
    private let isInNamespace: Bool

    /// That of this process.
    package static let current: FileTrust = {
        var program: FilePath?
        if let path = unsafe realpath("/proc/self/exe", nil) {
            program = unsafe FilePath(String(cString: path))
            unsafe free(path)
        }
        var owners: Set<UInt32> = [0, geteuid(), geteuid() == 0 ? Accounts.callerID : geteuid()]
        // Who owns the program or a folder above it may replace it: a source tree of somebody else's is his program.
        for place in program.map({ Self.folders(above: $0).union([$0]) }) ?? [] {
            var status = stat()
            if unsafe place.withPlatformString({ unsafe lstat($0, &status) }) == 0 { owners.insert(status.st_uid) }
        }
        var groups: Set<UInt32> = [0]
        // Members of the group trust each other. Root, also by sudo, does not trust them with commands that it runs.
        if geteuid() != 0, let flashers = Accounts.groupID(named: Accounts.flashers), Accounts.isMember(of: flashers) {
            groups.insert(flashers)
        }
        return FileTrust(
            owners: owners, groups: groups, program: program, isInNamespace: Self.isInNamespace)
    }()

    /// - Parameters:
    ///   - owners: whose files are taken.
    ///   - groups: which groups may write to them. A user's own group, which nobody else is in, may as well.
    ///   - program: the program's file, without links in its path.
    ///   - isInNamespace: whether users are mapped, so that the owner of what is not cannot be told.
    init(owners: Set<UInt32>, groups: Set<UInt32>, program: FilePath?, isInNamespace: Bool = false) {
        (self.owners, self.groups, self.isInNamespace) = (owners, groups, isInNamespace)
        self.program = program.map { Self.folders(above: $0) } ?? []
    }

    private static func folders(above program: FilePath) -> Set<FilePath> {
        var folders: Set<FilePath> = []
        var folder = program.removingLastComponent()
        while !folder.isEmpty, folders.insert(folder).inserted { folder = folder.removingLastComponent() }
        return folders
    }

    /// Whether this process sees other user ids than the host has. Source: user_namespaces(7), `/proc/PID/uid_map`.
    private static var isInNamespace: Bool {
        guard let map = unsafe fopen("/proc/self/uid_map", "re") else { return false }
        defer { unsafe fclose(map) }
        var numbers = [UInt32](repeating: 0, count: 3)
        var line = [CChar](repeating: 0, count: 128)
        guard unsafe fgets(&line, Int32(line.count), map) != nil else { return false }
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        for (index, word) in text.split(whereSeparator: \.isWhitespace).prefix(3).enumerated() {
            numbers[index] = UInt32(word) ?? 0
        }
        return numbers != [0, 0, UInt32.max]
    }

    /// Refuses a file or folder that somebody else could have written. One that is not there is not refused: opening it
    /// tells that.
    ///
    /// - Parameter path: the file as it will be opened.
    /// - Throws: ``UntrustedFile``.
    package func check(_ path: FilePath) throws(UntrustedFile) {
        var current: FilePath = "/"
        var rest = Array(absolute(path).components.reversed())
        var links = 0
        try check("/", of: path)
        while let component = rest.popLast() {
            if component.kind == .currentDirectory { continue }
            if component.kind == .parentDirectory {
                current = current.removingLastComponent()
                continue
            }
            let next = current.appending(component)
            guard let status = try check(next, of: path) else { return }
            guard status.st_mode & S_IFMT == S_IFLNK else {
                current = next
                continue
            }
            links += 1
            // More than the kernel follows: opening it fails.
            guard links <= 40, let target = target(of: next) else { return }
            if target.isAbsolute { current = "/" }
            rest += target.components.reversed()
        }
    }

    /// - Returns: what is there; nil where nothing is.
    @discardableResult
    private func check(_ path: FilePath, of file: FilePath) throws(UntrustedFile) -> stat? {
        var status = stat()
        guard unsafe path.withPlatformString({ unsafe lstat($0, &status) }) == 0 else { return nil }
        if program.contains(path) { return status }
        guard isTrusted(owner: status.st_uid) else {
            throw UntrustedFile(file: file, place: path, reason: .owner(Accounts.name(ofUser: status.st_uid)))
        }
        let kind = status.st_mode & S_IFMT
        // A link has no permissions of its own, what is written to a device (/dev/null, a terminal) is not what is read from
        // it, and what is in a sticky folder is its owner's.
        let isSticky = kind == S_IFDIR && status.st_mode & S_ISVTX != 0
        if kind == S_IFLNK || kind == S_IFCHR || isSticky { return status }
        let mode = status.st_mode & 0o7777
        if mode & S_IWOTH != 0 { throw UntrustedFile(file: file, place: path, reason: .everyone(mode: mode)) }
        if mode & S_IWGRP != 0, !isTrusted(group: status.st_gid, owner: status.st_uid) {
            let group = Accounts.name(ofGroup: status.st_gid)
            throw UntrustedFile(file: file, place: path, reason: .group(group, mode: mode))
        }
        return status
    }

    private func isTrusted(owner: UInt32) -> Bool { owners.contains(owner) || isInNamespace && owner == Self.unmapped }

    /// A group that is trusted, or the owner's own: of his name, his main one, and without other members.
    private func isTrusted(group: UInt32, owner: UInt32) -> Bool {
        if groups.contains(group) || isInNamespace && group == Self.unmapped { return true }
        guard let user = Accounts.user(owner), user.group == group, let entry = Accounts.group(group) else {
            return false
        }
        return entry.name == user.name && entry.members.allSatisfy { $0 == user.name }
    }

    /// What the kernel says for a user that has no number here. Source: `/proc/sys/kernel/overflowuid`, by default.
    private static let unmapped: UInt32 = 65534

    private func target(of link: FilePath) -> FilePath? {
        var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = unsafe link.withPlatformString { path in
            unsafe bytes.withUnsafeMutableBytes { buffer in
                unsafe buffer.baseAddress.map { unsafe readlink(path, $0, buffer.count) } ?? -1
            }
        }
        return count > 0 ? FilePath(String(decoding: bytes.prefix(count), as: UTF8.self)) : nil
    }

    private func absolute(_ path: FilePath) -> FilePath {
        guard !path.isAbsolute, let folder = unsafe getcwd(nil, 0) else { return path }
        defer { unsafe free(folder) }
        return unsafe FilePath(String(cString: folder)).pushing(path)
    }
}

/// A file that is not used, as somebody else could have written it.
package struct UntrustedFile: Error, Hashable, Sendable, CustomStringConvertible {
    /// What makes it so.
    package enum Reason: Hashable, Sendable {
        /// It is this user's.
        case owner(String)
        /// Everybody may write to it.
        case everyone(mode: CInterop.Mode)
        /// This group may write to it.
        case group(String, mode: CInterop.Mode)
    }

    /// The file.
    package let file: FilePath
    /// It, or a folder or link on the way to it.
    package let place: FilePath
    /// What is wrong with that.
    package let reason: Reason

    package var description: String {
        let place = place == file ? "it" : "\(place)"
        let remedy =
            switch reason {
            case .owner(let user):
                "\(place) belongs to \(user); must be root's or yours: name another file"
            case .everyone(let mode):
                "\(place) may be written by everybody (mode 0\(String(mode, radix: 8))); take that away: "
                    + "chmod o-w \(self.place)"
            case .group(let group, let mode):
                "\(place) may be written by \(Self.named(group)) (mode 0\(String(mode, radix: 8))); take that away: "
                    + "chmod g-w \(self.place)"
            }
        return "\(file) is not used, as somebody else could have written it: \(remedy)"
    }

    private static func named(_ group: String) -> String { group.hasPrefix("group ") ? group : "the group \(group)" }
}
