import FoundationEssentials
import Glibc
import LinuxHost
import SystemPackage

/// The few calls on files that the store needs, each with the path in its error.
enum StoreFiles {
    private static func error(_ path: FilePath, _ store: FilePath, _ code: Int32) -> ImageStoreError {
        code == ENOSPC || code == EDQUOT ? .full(store: store) : .io(path: path, errno: Errno(rawValue: code))
    }

    /// Makes a folder and those above it.
    ///
    /// - Parameter isPrivate: whether other users may not read what is in it.
    static func makeFolder(_ path: FilePath, isPrivate: Bool = false) throws(ImageStoreError) {
        do throws(PathError) {
            if isPrivate {
                // One that is there is of somebody who did not mean it so.
                guard try LinuxHost.makeFolder(path, isPrivate: true) else { throw PathError(path, .fileExists) }
            } else {
                try makeFolders(path)
            }
        } catch {
            throw Self.error(error.path, path, error.errno.rawValue)
        }
    }

    /// Whether a folder is there and others than its owner and group may not look into it.
    static func isPrivate(_ folder: FilePath) -> Bool {
        var status = stat()
        return unsafe folder.withPlatformString { unsafe lstat($0, &status) } == 0 && status.st_mode & 0o007 == 0
    }

    /// The names in a folder, sorted, without hidden ones; none where there is no folder.
    static func names(in path: FilePath) throws(ImageStoreError) -> [String] {
        do throws(Errno) {
            return try Folder.names(in: path).filter { !$0.hasPrefix(".") }
        } catch .noSuchFileOrDirectory {
            return []
        } catch {
            throw .io(path: path, errno: error)
        }
    }

    /// Removes a folder of files and folders; what is not there is fine, links are not followed.
    static func removeTree(_ path: FilePath) throws(ImageStoreError) {
        var status = stat()
        guard unsafe path.withPlatformString({ unsafe lstat($0, &status) }) == 0 else { return }
        if status.st_mode & S_IFMT == S_IFDIR {
            for name in try names(in: path) { try removeTree(path.appending(name)) }
        }
        guard unsafe path.withPlatformString({ unsafe remove($0) }) == 0 || errno == ENOENT else {
            throw .io(path: path, errno: Errno(rawValue: errno))
        }
    }

    static func rename(_ from: FilePath, to: FilePath, store: FilePath) throws(ImageStoreError) {
        let result = unsafe from.withPlatformString { old in
            unsafe to.withPlatformString { unsafe Glibc.rename(old, $0) }
        }
        guard result == 0 else { throw error(to, store, errno) }
    }

    /// A hard link, or errno.
    private static func hardLink(_ from: FilePath, to: FilePath) -> Int32 {
        let result = unsafe from.withPlatformString { old in
            unsafe to.withPlatformString { unsafe Glibc.link(old, $0) }
        }
        return result == 0 ? 0 : errno
    }

    /// A hard link; false where there is no such file.
    static func link(_ from: FilePath, to: FilePath, store: FilePath) throws(ImageStoreError) -> Bool {
        switch hardLink(from, to: to) {
        case 0: return true
        case ENOENT: return false
        case let code: throw error(to, store, code)
        }
    }

    /// Whether a file is for the group of a folder.
    private static func isOf(_ folder: FilePath, _ file: stat) -> Bool {
        var status = stat()
        return unsafe folder.withPlatformString { unsafe stat($0, &status) } == 0 && status.st_gid == file.st_gid
            && file.st_mode & S_IRGRP != 0
    }

    /// A hard link, or a copy where there can be none: on another file system, of another user's file, or where a file
    /// has as many names as it may have. False where there is no such file.
    ///
    /// - Parameter isForEveryone: whether every user can read it then, for which a private one is copied.
    static func linkOrCopy(
        _ from: FilePath, to: FilePath, isForEveryone: Bool, store: FilePath
    ) throws(ImageStoreError) -> Bool {
        var status = stat()
        guard unsafe from.withPlatformString({ unsafe lstat($0, &status) }) == 0 else {
            if errno == ENOENT { return false }
            throw error(from, store, errno)
        }
        let isPrivate = status.st_mode & S_IROTH == 0
        let modes = AccessModes(in: to.removingLastComponent(), isPrivate: isPrivate && !isForEveryone)
        // A link shares its file's mode and group: those must let the TFTP server read it there.
        if !isPrivate || !isForEveryone && (modes.file & S_IRGRP == 0 || isOf(to.removingLastComponent(), status)) {
            switch hardLink(from, to: to) {
            case 0: return true
            case ENOENT: return false
            case EXDEV, EPERM, EMLINK: break
            case let code: throw error(to, store, code)
            }
        }
        let source = unsafe from.withPlatformString { unsafe open($0, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) }
        guard source >= 0 else {
            if errno == ENOENT { return false }
            throw error(from, store, errno)
        }
        defer { close(source) }
        let copy: Int32
        do throws(PathError) {
            copy = try makeFile(to, mode: modes.file).rawValue
        } catch {
            throw .io(path: to, errno: error.errno)
        }
        defer { close(copy) }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { unsafe buffer.deallocate() }
        while true {
            let count = unsafe read(source, buffer.baseAddress, buffer.count)
            if count == 0 { return true }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .io(path: from, errno: Errno(rawValue: errno)) }
            var done = 0
            while done < count {
                let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[done..<count])
                let written = unsafe Glibc.write(copy, rest.baseAddress, rest.count)
                if written < 0, errno == EINTR { continue }
                guard written > 0 else {
                    let code = errno
                    throw code == ENOSPC || code == EDQUOT
                        ? .targetFull(target: to) : .io(path: to, errno: Errno(rawValue: code))
                }
                done += written
            }
        }
    }

    /// Writes a new file.
    static func write(_ bytes: UnsafeRawBufferPointer, to path: FilePath, store: FilePath) throws(ImageStoreError) {
        let file: Int32
        do throws(PathError) {
            file = try replaceFile(path).rawValue
        } catch {
            throw Self.error(path, store, error.errno.rawValue)
        }
        var done = 0
        while done < bytes.count {
            let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
            let count = unsafe Glibc.write(file, rest.baseAddress, rest.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                let code = errno
                close(file)
                throw error(path, store, code)
            }
            done += count
        }
        guard close(file) == 0 else { throw error(path, store, errno) }
    }

    static func write(_ bytes: [UInt8], to path: FilePath, store: FilePath) throws(ImageStoreError) {
        do {
            try unsafe bytes.withUnsafeBytes { try unsafe write($0, to: path, store: store) }
        } catch let error as ImageStoreError {
            throw error
        } catch {
            throw .io(path: path, errno: .ioError)
        }
    }

    /// Waits until a file or folder is on the disk.
    static func sync(_ path: FilePath, store: FilePath) throws(ImageStoreError) {
        let file = unsafe path.withPlatformString { unsafe open($0, O_RDONLY | O_CLOEXEC) }
        guard file >= 0 else { throw error(path, store, errno) }
        defer { close(file) }
        guard fsync(file) == 0 else { throw error(path, store, errno) }
    }

    /// The length of a regular file; nil where there is none.
    static func size(of path: FilePath) -> UInt64? {
        var status = stat()
        guard unsafe path.withPlatformString({ unsafe lstat($0, &status) }) == 0, status.st_mode & S_IFMT == S_IFREG
        else { return nil }
        return UInt64(max(0, status.st_size))
    }

    /// Some bytes of a file; nil where they cannot be read.
    static func bytes(of path: FilePath, at offset: UInt64, count: Int) -> [UInt8]? {
        let file = unsafe path.withPlatformString { unsafe open($0, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) }
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: count)
        let done = unsafe bytes.withUnsafeMutableBytes { unsafe pread(file, $0.baseAddress, count, Int(offset)) }
        return done == count ? bytes : nil
    }

    /// Bytes that the files of a folder take on the disk, by inode: a file with several names counts once.
    static func diskUse(of folder: FilePath, into seen: inout [UInt64: UInt64]) throws(ImageStoreError) {
        for name in try names(in: folder) {
            let path = folder.appending(name)
            var status = stat()
            guard unsafe path.withPlatformString({ unsafe lstat($0, &status) }) == 0 else { continue }
            if status.st_mode & S_IFMT == S_IFDIR {
                try diskUse(of: path, into: &seen)
            } else {
                seen[UInt64(status.st_ino)] = UInt64(max(0, status.st_blocks)) * 512
            }
        }
    }

    /// Bytes that may be written; nil where the file system does not say.
    static func free(at path: FilePath) -> UInt64? {
        var status = statvfs()
        guard unsafe path.withPlatformString({ unsafe statvfs($0, &status) }) == 0 else { return nil }
        let blocks = geteuid() == 0 ? status.f_bfree : status.f_bavail
        return UInt64(blocks) * UInt64(status.f_frsize)
    }

    /// A JSON file of ours; nil where it is missing or anything else than that.
    static func json<Value: Decodable>(_ type: Value.Type, at path: FilePath) -> Value? {
        guard let size = size(of: path), size <= 64 << 20, let data = try? Data(contentsOf: URL(filePath: path.string))
        else { return nil }
        return try? JSONDecoder().decode(type, from: data)
    }

    static func writeJSON(_ value: some Encodable, to path: FilePath, store: FilePath) throws(ImageStoreError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else { throw .io(path: path, errno: .invalidArgument) }
        try write([UInt8](data) + [0x0a], to: path, store: store)
    }
}

/// The lock of a store's file or of the store, which others wait for. Its file stays.
enum StoreLock {
    /// The lock if nobody has it, else who does.
    static func attempt(_ path: FilePath, store: FilePath) throws(ImageStoreError) -> FileLock.Attempt {
        do throws(Errno) {
            return try FileLock.attempt(path)
        } catch {
            throw error == .noSpace ? .full(store: store) : .io(path: path, errno: error)
        }
    }

    /// Waits for the lock.
    ///
    /// - Parameters:
    ///   - seconds: at most; then nil with `holder` called last.
    ///   - holder: called once a second with who has it.
    static func wait(
        _ path: FilePath, store: FilePath, seconds: Int, holder: (LockHolder) -> Void
    ) async throws -> FileLock? {
        let end = ContinuousClock.now + .seconds(seconds)
        while true {
            switch try attempt(path, store: store) {
            case .locked(let lock): return lock
            case .held(let other):
                holder(other)
                guard ContinuousClock.now < end else { return nil }
                try await Task.sleep(for: .milliseconds(200))
            }
        }
    }
}
