import Glibc
package import SystemPackage

/// Names of users and groups, and what groups this process is in.
package enum Accounts {
    /// The group whose members may flash, as the Debian package makes it.
    package static let flashers = "rpiflash"

    /// Who runs this program, also behind sudo: a name, or the number of a user without one.
    package static var caller: String {
        if let name = sudo("SUDO_USER") { return name }
        return name(ofUser: getuid())
    }

    /// The user id of ``caller``.
    package static var callerID: UInt32 { sudo("SUDO_UID").flatMap { UInt32($0) } ?? getuid() }

    /// sudo's word counts only where it can be sudo's: it makes its child root.
    private static func sudo(_ variable: String) -> String? {
        guard getuid() == 0, let value = unsafe getenv(variable) else { return nil }
        let text = unsafe String(cString: value)
        return text.isEmpty ? nil : text
    }

    /// A user's name, or its number. C: `getpwuid_r`.
    package static func name(ofUser id: UInt32) -> String { user(id)?.name ?? "user \(id)" }

    /// A group's name, or its number. C: `getgrgid_r`.
    package static func name(ofGroup id: UInt32) -> String { group(id)?.name ?? "group \(id)" }

    /// The number of a group; nil where this host has none of that name. C: `getgrnam_r`.
    package static func groupID(named name: String) -> UInt32? {
        unsafe withRoom { start, size in
            var (entry, found) = unsafe (Glibc.group(), UnsafeMutablePointer<Glibc.group>?.none)
            let code = unsafe getgrnam_r(name, &entry, start, size, &found)
            return unsafe (code, found == nil ? nil : entry.gr_gid)
        }
    }

    /// Whether this process acts as a member of the group.
    package static func isMember(of group: UInt32) -> Bool {
        if getegid() == group { return true }
        let count = getgroups(0, nil)
        guard count > 0 else { return false }
        var groups = [gid_t](repeating: 0, count: Int(count))
        let filled = unsafe getgroups(count, &groups)
        return groups.prefix(Int(max(0, filled))).contains(group)
    }

    /// Why this process may not write to a file or folder that its group may write to, and how to change that, as the end
    /// of a sentence; nil where no group is missing.
    ///
    /// - Parameter path: a file or folder; one that is not there would be made in the first folder above it that is.
    package static func missingGroup(for path: FilePath) -> String? {
        missingGroupID(for: path).map { notMember(of: $0) }
    }

    /// The group that this process lacks for that; nil where none is missing.
    package static func missingGroupID(for path: FilePath) -> UInt32? {
        var (status, path) = (stat(), path)
        while unsafe path.withPlatformString({ unsafe stat($0, &status) }) != 0 {
            let parent = path.removingLastComponent()
            guard errno == ENOENT || errno == EACCES, !parent.isEmpty, parent != path else { return nil }
            path = parent
        }
        guard geteuid() != 0, status.st_uid != geteuid(),
            status.st_mode & S_IWGRP != 0, status.st_mode & S_IWOTH == 0, !isMember(of: status.st_gid)
        else { return nil }
        return status.st_gid
    }

    /// The sentence's end for a group that this process is not in.
    package static func notMember(of id: UInt32) -> String {
        let user = name(ofUser: geteuid())
        guard let group = group(id) else { return "\(user) is not in group \(id)" }
        return group.members.contains(user)
            ? "\(user) has been added to the group \(group.name) since this session began: log in again"
            : "\(user) is not in the group \(group.name): sudo adduser \(user) \(group.name), then log in again"
    }

    // MARK: The databases

    struct User { let (name, group): (String, UInt32) }
    struct Group { let (name, members): (String, [String]) }

    static func user(_ id: UInt32) -> User? {
        unsafe withRoom { start, size in
            var (entry, found) = unsafe (passwd(), UnsafeMutablePointer<passwd>?.none)
            let code = unsafe getpwuid_r(id, &entry, start, size, &found)
            return unsafe (code, found == nil ? nil : User(name: String(cString: entry.pw_name), group: entry.pw_gid))
        }
    }

    static func group(_ id: UInt32) -> Group? {
        unsafe withRoom { start, size in
            var (entry, found) = unsafe (Glibc.group(), UnsafeMutablePointer<Glibc.group>?.none)
            let code = unsafe getgrgid_r(id, &entry, start, size, &found)
            guard unsafe found != nil else { return (code, nil) }
            var members: [String] = []
            var next = unsafe entry.gr_mem
            while let member = unsafe next?.pointee {
                unsafe members.append(String(cString: member))
                unsafe next = unsafe next?.advanced(by: 1)
            }
            return unsafe (code, Group(name: String(cString: entry.gr_name), members: members))
        }
    }

    /// Calls with more and more room for a database's strings, up to 1 MiB.
    private static func withRoom<Value>(
        _ body: (UnsafeMutablePointer<CChar>, Int) -> (code: Int32, value: Value?)
    ) -> Value? {
        var size = 1 << 12
        while size <= 1 << 20 {
            let start = UnsafeMutablePointer<CChar>.allocate(capacity: size)
            defer { unsafe start.deallocate() }
            let (code, value) = unsafe body(start, size)
            guard code == ERANGE else { return value }
            size *= 4
        }
        return nil
    }
}
