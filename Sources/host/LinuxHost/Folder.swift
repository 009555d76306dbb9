import Glibc
package import SystemPackage

/// What a folder holds.
package enum Folder {
    /// One file, folder or link in a folder.
    package struct Entry: Hashable, Sendable {
        /// Bytes that are no UTF-8 stand as U+FFFD.
        package let name: String
        /// Whether it is a symbolic link. False also where the filesystem does not say so.
        package let isLink: Bool
    }

    /// The entries of a folder but `.` and `..`, in no order.
    ///
    /// - Throws: `Errno`; `Errno.noSuchFileOrDirectory` where there is no folder.
    package static func entries(of path: FilePath) throws(Errno) -> [Entry] {
        guard let folder = unsafe path.withPlatformString({ unsafe opendir($0) }) else { throw Errno(rawValue: errno) }
        defer { unsafe closedir(folder) }
        // A record ends with its name: reading `pointee.d_name`, which has room for the longest name, would read beyond the
        // last record of what the kernel gave, and at the end of a mapping that is the end of the process.
        guard let start = MemoryLayout<dirent>.offset(of: \.d_name) else { preconditionFailure("dirent has a name") }
        var entries: [Entry] = []
        while true {
            errno = 0
            guard let entry = unsafe readdir(folder) else { break }
            let bytes = unsafe UnsafeRawPointer(entry) + start
            let name = unsafe String(cString: bytes.assumingMemoryBound(to: CChar.self))
            if name == "." || name == ".." { continue }
            entries.append(Entry(name: name, isLink: unsafe Int(entry.pointee.d_type) == Int(DT_LNK)))
        }
        guard errno == 0 else { throw Errno(rawValue: errno) }
        return entries
    }

    /// The names of what a folder holds, sorted.
    ///
    /// - Throws: `Errno`; `Errno.noSuchFileOrDirectory` where there is no folder.
    package static func names(in path: FilePath) throws(Errno) -> [String] {
        try entries(of: path).map(\.name).sorted()
    }
}
