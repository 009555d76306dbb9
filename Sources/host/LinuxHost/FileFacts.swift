import Glibc
package import SystemPackage

/// Bytes that may be written to the file system of `path`; nil where it does not say. C: `statvfs`.
package func freeBytes(at path: FilePath) -> UInt64? {
    var status = statvfs()
    guard unsafe path.withPlatformString({ unsafe statvfs($0, &status) }) == 0 else { return nil }
    let blocks = geteuid() == 0 ? status.f_bfree : status.f_bavail
    return UInt64(blocks) * UInt64(status.f_frsize)
}

/// Which file system a file is on; nil where it is not there.
package func fileSystem(of path: FilePath) -> UInt64? {
    var status = stat()
    return unsafe path.withPlatformString { unsafe stat($0, &status) } == 0 ? UInt64(status.st_dev) : nil
}

/// Whether a file or folder is there.
package func exists(_ path: FilePath) -> Bool { unsafe path.withPlatformString { unsafe access($0, F_OK) } == 0 }

/// When a folder's entries changed last, in seconds since 1970; nil where it is not there.
package func changeTime(of path: FilePath) -> Double? {
    var status = stat()
    guard unsafe path.withPlatformString({ unsafe stat($0, &status) }) == 0 else { return nil }
    return Double(status.st_mtim.tv_sec) + Double(status.st_mtim.tv_nsec) / 1e9
}

/// Whether this process may write to a file or folder.
package func isWritable(_ path: FilePath) -> Bool { unsafe path.withPlatformString { unsafe access($0, W_OK) } == 0 }

/// Why this process may not read a file; nil where it may.
package func whyNotReadable(_ path: FilePath) -> Errno? {
    unsafe path.withPlatformString { unsafe access($0, R_OK) } == 0 ? nil : Errno(rawValue: errno)
}

/// A folder, or the nearest one above it that is there: in which it would be made.
package func nearestFolder(_ path: FilePath) -> FilePath {
    var folder = path
    while !exists(folder), !folder.removingLastComponent().isEmpty, folder != "/" {
        folder = folder.removingLastComponent()
    }
    return folder
}

/// The time of day that this host believes in.
package enum HostClock {
    /// Whether it lies before this program was written to the disk.
    package static var isBehindThisProgram: Bool {
        var program = stat()
        return unsafe stat("/proc/self/exe", &program) == 0 && time(nil) < program.st_mtim.tv_sec
    }

    /// `2026-11-29 10:35 UTC`.
    package static var text: String {
        var (now, parts, text) = unsafe (time(nil), tm(), [CChar](repeating: 0, count: 32))
        unsafe gmtime_r(&now, &parts)
        unsafe strftime(&text, text.count, "%Y-%m-%d %H:%M UTC", &parts)
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// A path without links, `.` and `..`; nil where nothing is there. C: `realpath`.
package func realPath(_ path: FilePath) -> FilePath? {
    guard let real = unsafe path.withPlatformString({ unsafe realpath($0, nil) }) else { return nil }
    defer { unsafe free(real) }
    return unsafe FilePath(platformString: real)
}

/// Removes a file.
package func unlinkFile(_ path: FilePath) throws(Errno) {
    guard unsafe path.withPlatformString({ unsafe unlink($0) }) == 0 else { throw Errno(rawValue: errno) }
}

/// Gives a file another name; what had that name is gone.
package func renameFile(_ path: FilePath, to new: FilePath) throws(Errno) {
    let result = unsafe path.withPlatformString { old in
        unsafe new.withPlatformString { new in unsafe rename(old, new) }
    }
    guard result == 0 else { throw Errno(rawValue: errno) }
}
