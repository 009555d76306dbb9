import Glibc
package import SystemPackage

/// A lock across processes and users (C: `flock`); given back with the value's life, also when the process dies.
package struct FileLock: ~Copyable, Sendable {
    private let descriptor: Int32
    private let path: FilePath
    private let removesFile: Bool

    /// The lock if nobody has it, else who does.
    package enum Attempt: ~Copyable, Sendable {
        /// It is ours.
        case locked(FileLock)
        /// It is another's.
        case held(by: LockHolder)
    }

    private init(descriptor: Int32, path: FilePath, removesFile: Bool) {
        self.descriptor = descriptor
        self.path = path
        self.removesFile = removesFile
    }

    /// Takes the lock if nobody has it.
    ///
    /// - Parameters:
    ///   - path: the lock's file, which is made; who may lock it follows from its folder, see ``AccessModes``.
    ///   - removesFile: whether the file goes with the lock.
    /// - Throws: `Errno`.
    package static func attempt(_ path: FilePath, removesFile: Bool = false) throws(Errno) -> Attempt {
        while true {
            let (descriptor, isOurs) = try open(path)
            if flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
                let code = errno
                defer { close(descriptor) }
                guard code == EWOULDBLOCK else { throw Errno(rawValue: code) }
                return .held(by: LockHolder(descriptor))
            }
            guard isStill(path, descriptor) else {
                closeUnlocked(descriptor)
                continue
            }
            if !isOurs {
                // Nobody's lock, but not ours to write: made by hand, or by a version that did not share. Made anew.
                let isGone = unsafe path.withPlatformString { unsafe unlink($0) } == 0 || errno == ENOENT
                closeUnlocked(descriptor)
                guard isGone else { throw .permissionDenied }
                continue
            }
            // For messages only: a full disk does no harm.
            let text = LockHolder.current.text
            _ = ftruncate(descriptor, 0)
            _ = unsafe pwrite(descriptor, text, text.utf8.count, 0)
            return .locked(FileLock(descriptor: descriptor, path: path, removesFile: removesFile))
        }
    }

    /// The holder of a lock; nil where nobody holds it. Creates nothing.
    ///
    /// - Throws: `Errno`.
    package static func holder(of path: FilePath) throws(Errno) -> LockHolder? {
        let descriptor = unsafe path.withPlatformString { unsafe Glibc.open($0, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) }
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw Errno(rawValue: errno)
        }
        defer { closeUnlocked(descriptor) }
        if flock(descriptor, LOCK_SH | LOCK_NB) == 0 { return nil }
        guard errno == EWOULDBLOCK else { throw Errno(rawValue: errno) }
        return LockHolder(descriptor)
    }

    /// - Returns: the open file, and whether it may be written.
    private static func open(_ path: FilePath) throws(Errno) -> (Int32, isOurs: Bool) {
        while true {
            // Without O_CLOEXEC a program that the reset command leaves running would keep the lock. Without O_CREAT: what is
            // there may be another user's, and some kernels do not open that (fs.protected_regular).
            let flags = O_CLOEXEC | O_NOFOLLOW
            let file = unsafe path.withPlatformString { unsafe Glibc.open($0, O_RDWR | flags) }
            if file >= 0 { return (file, true) }
            switch errno {
            case EACCES:
                let file = unsafe path.withPlatformString { unsafe Glibc.open($0, O_RDONLY | flags) }
                if file >= 0 { return (file, false) }
                if errno != ENOENT { throw Errno(rawValue: errno) }
            case ENOENT:
                do throws(PathError) {
                    return (try makeFile(path).rawValue, true)
                } catch {
                    if error.errno != .fileExists { throw error.errno }
                }
            case let code: throw Errno(rawValue: code)
            }
        }
    }

    /// The one who had it before may have removed the file between our opening and our locking it.
    private static func isStill(_ path: FilePath, _ descriptor: Int32) -> Bool {
        var (opened, there) = (stat(), stat())
        guard unsafe fstat(descriptor, &opened) == 0, unsafe path.withPlatformString({ unsafe lstat($0, &there) }) == 0
        else { return false }
        return opened.st_ino == there.st_ino && opened.st_dev == there.st_dev
    }

    deinit {
        // Removed before it is unlocked: who opened it meanwhile sees that it is no longer there, and makes a new one.
        if removesFile { _ = unsafe path.withPlatformString { unsafe unlink($0) } }
        closeUnlocked(descriptor)
    }
}

/// Unlocks a file and closes it. Closing alone is not enough: a program that another thread starts at that moment has the
/// open file too, and with it the lock, until it is that program (C: `O_CLOEXEC` closes at `execve`, not at `fork`).
package func closeUnlocked(_ descriptor: Int32) {
    _ = flock(descriptor, LOCK_UN)
    close(descriptor)
}

/// The holder of a lock as the lock file names it, for messages.
package struct LockHolder: Hashable, Sendable, CustomStringConvertible {
    /// The process; nil where the file does not say it.
    package let process: Int32?
    /// Who runs it, by name, else as `user NUMBER`; nil where the file does not say it.
    package let user: String?

    package init(process: Int32?, user: String?) { (self.process, self.user) = (process, user) }

    static var current: LockHolder { LockHolder(process: getpid(), user: Accounts.caller) }

    /// From the text of a lock's file, which others may write to.
    init(_ descriptor: Int32) {
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 128) { buffer, count in
            count = unsafe max(0, pread(descriptor, buffer.baseAddress, buffer.count, 0))
        }
        let line = bytes.prefix { $0 != 0x0a }
        let digits = line.prefix { (0x30...0x39).contains($0) }
        process = Int32(String(decoding: digits, as: UTF8.self))
        let name = line.dropFirst(digits.count).drop { $0 == 0x20 }.prefix(64)
        let isName = !name.isEmpty && name.allSatisfy { (0x20...0x7e).contains($0) }
        user = isName ? String(decoding: name, as: UTF8.self) : nil
    }

    var text: String { "\(process ?? 0) \(user ?? "")\n" }

    /// `process 4711 of alice`.
    package var description: String {
        "process \(process.map { "\($0)" } ?? "unknown")" + (user.map { " of \($0)" } ?? "")
    }
}
