import Glibc
package import SystemPackage

/// The modes of what is made in a folder, whatever the umask.
///
/// Where the folder keeps its group (setgid) and the group may write to it, as `/var/lib/rpiflash` and `/srv/tftp`, the
/// group may write to what is made in it too. Elsewhere the owner alone may.
package struct AccessModes: Hashable, Sendable {
    /// Of a file: 0664, 0660, 0644 or 0600.
    package let file: CInterop.Mode
    /// Of a folder: 02775, 02770, 0755 or 0700.
    package let folder: CInterop.Mode

    /// - Parameters:
    ///   - folder: where it is made.
    ///   - isPrivate: whether other users may not read it; nil: as they may not use the folder itself.
    package init(in folder: FilePath, isPrivate: Bool? = nil) {
        var status = stat()
        // A folder that is not there is an error of what follows.
        let mode = unsafe folder.withPlatformString { unsafe stat($0, &status) } == 0 ? status.st_mode : 0o755
        let isShared = mode & S_ISGID != 0 && mode & S_IWGRP != 0
        let isPrivate = isPrivate ?? (mode & 0o005 == 0)
        file = isShared ? (isPrivate ? 0o660 : 0o664) : (isPrivate ? 0o600 : 0o644)
        self.folder = isShared ? (isPrivate ? 0o2770 : 0o2775) : (isPrivate ? 0o700 : 0o755)
    }
}

/// What a call on a file or folder gave.
package struct PathError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Which file or folder.
    package let path: FilePath
    /// What the system says.
    package let errno: Errno

    package init(_ path: FilePath, _ errno: Errno) { (self.path, self.errno) = (path, errno) }

    package var description: String { "\(path): \(errno)" }

    init(_ path: FilePath, code: Int32) { self.init(path, Errno(rawValue: code)) }
}

/// Makes a folder, whose modes follow from the folder above it.
///
/// - Parameter isPrivate: whether other users may not look into it.
/// - Returns: false where there is something of that name.
package func makeFolder(_ path: FilePath, isPrivate: Bool = false) throws(PathError) -> Bool {
    let mode = AccessModes(in: parent(of: path), isPrivate: isPrivate).folder
    // Never more open than it is to be, also in between.
    guard unsafe path.withPlatformString({ unsafe mkdir($0, mode & 0o777) }) == 0 else {
        let code = errno
        if code == EEXIST { return false }
        throw PathError(path, code: code)
    }
    let folder = unsafe path.withPlatformString { unsafe open($0, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) }
    guard folder >= 0 else { throw PathError(path, code: errno) }
    defer { close(folder) }
    // The umask took some of it away.
    guard fchmod(folder, mode) == 0 else { throw PathError(path, code: errno) }
    return true
}

/// Makes a folder and those above it, unless they are there.
///
/// A link in place of a folder must be root's or one's own: members of a group that shares the folder above it could
/// lead each other anywhere.
package func makeFolders(_ path: FilePath) throws(PathError) {
    do {
        if try makeFolder(path) { return }
    } catch {
        let parent = parent(of: path)
        guard error.errno == .noSuchFileOrDirectory, parent != path else { throw error }
        try makeFolders(parent)
        if try makeFolder(path) { return }
    }
    var (status, link) = (stat(), stat())
    guard unsafe path.withPlatformString({ unsafe lstat($0, &link) == 0 && stat($0, &status) == 0 }) else {
        throw PathError(path, code: errno)
    }
    let isOthersLink = link.st_mode & S_IFMT == S_IFLNK && link.st_uid != 0 && link.st_uid != geteuid()
    guard status.st_mode & S_IFMT == S_IFDIR, !isOthersLink else { throw PathError(path, .notDirectory) }
}

/// Makes a file that must not be there yet, whose mode follows from its folder.
///
/// - Parameters:
///   - mode: nil: as ``AccessModes`` has it.
///   - isAppending: whether what is written goes to its end.
/// - Returns: the open file, for reading and writing.
package func makeFile(
    _ path: FilePath, mode: CInterop.Mode? = nil, isAppending: Bool = false
) throws(PathError) -> FileDescriptor {
    let mode = mode ?? AccessModes(in: parent(of: path)).file
    let flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | (isAppending ? O_APPEND : 0)
    let file = unsafe path.withPlatformString { unsafe open($0, flags, mode) }
    guard file >= 0 else { throw PathError(path, code: errno) }
    // The umask took some of it away.
    guard fchmod(file, mode) == 0 else {
        let code = errno
        close(file)
        throw PathError(path, code: code)
    }
    return FileDescriptor(rawValue: file)
}

/// The same for a file that may be there: a new one then takes its place, and it does not matter whose the old one was.
package func replaceFile(_ path: FilePath) throws(PathError) -> FileDescriptor {
    for _ in 0..<100 {
        do {
            return try makeFile(path)
        } catch {
            guard error.errno == .fileExists else { throw error }
            guard unsafe path.withPlatformString({ unsafe unlink($0) }) == 0 || errno == ENOENT else {
                throw PathError(path, code: errno)
            }
        }
    }
    throw PathError(path, .fileExists)
}

/// Where a name is: `.` for one without a folder.
private func parent(of path: FilePath) -> FilePath {
    let parent = path.removingLastComponent()
    return parent.isEmpty ? "." : parent
}
