import Glibc
import LinuxHost
import SystemPackage

/// A folder next to the output in which it is made: complete files are then renamed into place, so that nobody ever sees
/// a half-made one, whatever fails.
struct OutputFolder {
    /// The folder.
    let path: FilePath
    private let target: FilePath
    private let output: FilePath

    /// Makes the folder, and the folders above it.
    ///
    /// - Parameter output: where a file will be put.
    /// - Throws: ``RecoveryImageError``.
    init(for output: FilePath) throws(RecoveryImageError) {
        try Self.check(output)
        guard let name = output.lastComponent else { throw .outputNotAFile(path: output) }
        var target = output.removingLastComponent()
        if target.isEmpty { target = "." }
        try Self.makeFolders(target)
        var generator = SystemRandomNumberGenerator()
        let path = target.appending(".\(name.string).\(String(generator.next() as UInt64, radix: 36))")
        guard mkdir(path.string, 0o777) == 0 else {
            throw .unwritable(path: target, errno: Errno(rawValue: errno))
        }
        self.path = path
        self.target = target
        self.output = output
    }

    /// Refuses what a rename would replace for good: a device as well as a folder.
    static func check(_ output: FilePath) throws(RecoveryImageError) {
        if let status = try? Stat(output), status.type != .regular { throw .outputNotAFile(path: output) }
    }

    /// Checks that a file can be put at `output`, as ``init(for:)`` and ``publish(_:as:)`` would find out; makes nothing.
    static func checkWritable(_ output: FilePath) throws(RecoveryImageError) {
        try check(output)
        guard output.lastComponent != nil else { throw .outputNotAFile(path: output) }
        var folder = output.removingLastComponent()
        if folder.isEmpty { folder = "." }
        // What would be the first folder to make.
        var missing: FilePath?
        while (try? Stat(folder)) == nil {
            missing = folder
            let parent = folder.removingLastComponent()
            if parent == folder { break }
            folder = parent.isEmpty ? "." : parent
        }
        guard let status = try? Stat(folder), status.type == .directory else {
            throw .unwritable(path: folder, errno: .notDirectory)
        }
        guard access(folder.string, W_OK | X_OK) == 0 else {
            throw .unwritable(path: missing ?? folder, errno: Errno(rawValue: errno))
        }
    }

    private static func makeFolders(_ path: FilePath) throws(RecoveryImageError) {
        if let status = try? Stat(path) {
            guard status.type == .directory else { throw .unwritable(path: path, errno: .notDirectory) }
            return
        }
        let parent = path.removingLastComponent()
        if !parent.isEmpty, parent != path { try makeFolders(parent) }
        guard mkdir(path.string, 0o777) == 0 || errno == EEXIST else {
            throw .unwritable(path: path, errno: Errno(rawValue: errno))
        }
    }

    /// A new file in the folder with these bytes.
    func write(_ bytes: [UInt8], to name: String) throws(RecoveryImageError) {
        let path = path.appending(name)
        do {
            let file = try FileDescriptor.open(
                path, .writeOnly, options: [.create, .exclusiveCreate],
                permissions: [.ownerReadWrite, .groupReadWrite, .otherReadWrite])
            _ = try file.closeAfter { try file.writeAll(bytes) }
        } catch {
            throw .unwritable(path: path, errno: error as? Errno ?? .ioError)
        }
    }

    /// Puts the file `name` at `output` on disk, in place of what is there.
    func publish(_ name: String, as output: FilePath) throws(RecoveryImageError) {
        try Self.sync(path.appending(name))
        guard rename(path.appending(name).string, output.string) == 0 else {
            throw .unwritable(path: output, errno: Errno(rawValue: errno))
        }
        try Self.sync(target)
    }

    private static func sync(_ path: FilePath) throws(RecoveryImageError) {
        do {
            let file = try FileDescriptor.open(path, .readOnly)
            defer { try? file.close() }
            guard fsync(file.rawValue) == 0 else { throw Errno(rawValue: errno) }
        } catch {
            throw .unwritable(path: path, errno: error as? Errno ?? .ioError)
        }
    }

    /// Runs `body`; where it fails for want of room, says that, and not what some program made of it.
    func namingFullDisk<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let error as CancellationError {
            throw error
        } catch {
            if case RecoveryImageError.unwritable(_, .noSpace) = error { throw noRoom }
            if error as? Errno == .noSpace || isFull { throw noRoom }
            throw error
        }
    }

    private var noRoom: RecoveryImageError { .unwritable(path: output, errno: .noSpace) }

    /// mkfs.vfat does not say why it could not write.
    private var isFull: Bool {
        var status = statvfs()
        guard statvfs(path.string, &status) == 0 else { return false }
        return UInt64(status.f_bavail) * UInt64(status.f_frsize) < 65536
    }

    /// Removes the folder and all in it; what cannot be removed stays.
    func remove() {
        for name in (try? Folder.names(in: path)) ?? [] { unlink(path.appending(name).string) }
        rmdir(path.string)
    }
}

/// The path from the root, for a program that runs in another folder.
func absolute(_ path: FilePath) -> FilePath {
    guard path.isRelative, let current = getcwd(nil, 0) else { return path }
    defer { free(current) }
    return FilePath(String(cString: current)).pushing(path)
}

/// Removes a file; that it is not there is not an error.
func removeFile(_ path: FilePath) throws(RecoveryImageError) {
    guard unlink(path.string) == 0 || errno == ENOENT else {
        throw .unwritable(path: path, errno: Errno(rawValue: errno))
    }
}
