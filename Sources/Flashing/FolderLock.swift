internal import Glibc
internal import Inventory
internal import SystemPackage

/// Keeps a target to one job at a time, across processes. Given back with the value's life, also when the process dies.
struct FolderLock: ~Copyable {
    private let descriptor: Int32
    private let path: FilePath

    /// - Parameters:
    ///   - root: the TFTP root; the lock file lies there while the job runs.
    ///   - target: who is flashed.
    init(root: FilePath, target: Target) throws(FlashError) {
        let path = Self.path(root: root, target: target)
        while true {
            // Without O_CLOEXEC a program that the reset command leaves running would keep the lock.
            let descriptor = path.withPlatformString {
                open($0, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
            }
            guard descriptor >= 0 else {
                throw .server("cannot make the lock file \(path): \(Errno(rawValue: errno))")
            }
            if flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
                let code = errno
                defer { close(descriptor) }
                guard code == EWOULDBLOCK else { throw .server("cannot lock \(path): \(Errno(rawValue: code))") }
                throw Self.busy(target, descriptor)
            }
            // The last job may have removed the file between our open and our lock.
            var (opened, there) = (stat(), stat())
            let isThere = fstat(descriptor, &opened) == 0 && path.withPlatformString { lstat($0, &there) } == 0
            guard isThere, opened.st_ino == there.st_ino, opened.st_dev == there.st_dev else {
                close(descriptor)
                continue
            }
            let text = "\(getpid())\n"
            _ = ftruncate(descriptor, 0)
            _ = pwrite(descriptor, text, text.utf8.count, 0)
            self.descriptor = descriptor
            self.path = path
            return
        }
    }

    private static func path(root: FilePath, target: Target) -> FilePath {
        root.appending(".rpiflash-\(target.mac).lock")
    }

    private static func busy(_ target: Target, _ descriptor: Int32) -> FlashError {
        .server("target \(target.displayName) is being flashed by process \(holder(descriptor)); wait for it")
    }

    /// Checks that no job has the target, and makes nothing: without a lock file there is no job.
    static func checkFree(root: FilePath, target: Target) throws(FlashError) {
        let path = path(root: root, target: target)
        let descriptor = path.withPlatformString { open($0, O_RDWR | O_CLOEXEC | O_NOFOLLOW) }
        guard descriptor >= 0 else {
            if errno == ENOENT { return }
            throw .server("cannot make the lock file \(path): \(Errno(rawValue: errno))")
        }
        defer { close(descriptor) }
        guard flock(descriptor, LOCK_SH | LOCK_NB) != 0 else { return }
        let code = errno
        guard code == EWOULDBLOCK else { throw .server("cannot lock \(path): \(Errno(rawValue: code))") }
        throw busy(target, descriptor)
    }

    private static func holder(_ descriptor: Int32) -> String {
        let bytes = [UInt8](unsafeUninitializedCapacity: 16) { buffer, count in
            count = max(0, pread(descriptor, buffer.baseAddress, buffer.count, 0))
        }
        let digits = bytes.prefix { (0x30...0x39).contains($0) }
        return digits.isEmpty ? "unknown" : String(decoding: digits, as: UTF8.self)
    }

    deinit {
        // Removed before it is unlocked: who opened it meanwhile sees that it is no longer there, and makes a new one.
        _ = path.withPlatformString { unlink($0) }
        close(descriptor)
    }
}
