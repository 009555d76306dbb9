import FlashEvents
import Inventory
import LinuxHost
import SystemPackage

/// Keeps a target to one job at a time, across processes and users. Given back with the value's life, also when the
/// process dies.
struct FolderLock: ~Copyable {
    private let lock: FileLock

    /// - Parameters:
    ///   - root: the TFTP root; the lock file lies there while the job runs.
    ///   - target: who is flashed.
    init(root: FilePath, target: Target) throws(FlashError) {
        let path = Self.path(root: root, target: target)
        let attempt: FileLock.Attempt
        do throws(Errno) {
            attempt = try FileLock.attempt(path, removesFile: true)
        } catch {
            throw .server("cannot make the lock file \(path): \(error)")
        }
        switch consume attempt {
        case .locked(let lock): self.lock = lock
        case .held(let holder): throw Self.busy(target, holder)
        }
    }

    private static func path(root: FilePath, target: Target) -> FilePath {
        root.appending(".rpiflash-\(target.mac).lock")
    }

    private static func busy(_ target: Target, _ holder: LockHolder) -> FlashError {
        .server("target \(target.displayName) is being flashed by \(holder); wait for it")
    }

    /// Checks that no job has the target, and makes nothing: without a lock file there is not a job.
    static func checkFree(root: FilePath, target: Target) throws(FlashError) {
        let path = path(root: root, target: target)
        let holder: LockHolder?
        do throws(Errno) {
            holder = try FileLock.holder(of: path)
        } catch {
            throw .server("cannot look at the lock file \(path): \(error)")
        }
        if let holder { throw busy(target, holder) }
    }
}
