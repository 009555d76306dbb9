internal import Glibc
internal import Inventory
internal import SystemPackage

/// One job at a time for a target: a lock file in the TFTP root, released by the kernel with the process.
struct TargetLock: ~Copyable {
    private let path: FilePath
    private let file: FileDescriptor

    /// Takes the lock.
    ///
    /// - Throws: ``FlashFailure`` where another process has it, with its id, or where the folder cannot be written.
    init(root: FilePath, mac: MACAddress, target: String) throws(FlashFailure) {
        let path = root.appending(".\(mac).lock")
        // The holder removes the file before it lets go, so what was locked may no longer be what is there.
        while true {
            let file: FileDescriptor
            do {
                file = try FileDescriptor.open(
                    path, .readWrite, options: [.create, .noFollow, .closeOnExec], permissions: [.ownerReadWrite])
            } catch {
                throw FlashFailure(.server, "cannot lock target \(target) in \(root): \(error)")
            }
            guard flock(file.rawValue, LOCK_EX | LOCK_NB) == 0 else {
                let holder = Self.holder(file)
                try? file.close()
                throw FlashFailure(
                    .server, "target \(target) is being flashed by another rpiflash\(holder); wait until it ends")
            }
            if let locked = Self.identity(file), locked == Self.identity(path) {
                self.path = path
                self.file = file
                _ = try? file.writeAll(toAbsoluteOffset: 0, "\(getpid())\n".utf8)
                return
            }
            try? file.close()
        }
    }

    deinit {
        _ = unlink(path.string)
        try? file.close()
    }

    private struct Identity: Equatable { let device: UInt, node: UInt }

    private static func identity(_ file: FileDescriptor) -> Identity? {
        var status = stat()
        return fstat(file.rawValue, &status) == 0 ? Identity(device: status.st_dev, node: status.st_ino) : nil
    }

    private static func identity(_ path: FilePath) -> Identity? {
        var status = stat()
        return lstat(path.string, &status) == 0 ? Identity(device: status.st_dev, node: status.st_ino) : nil
    }

    private static func holder(_ file: FileDescriptor) -> String {
        let bytes = try? [UInt8](unsafeUninitializedCapacity: 16) { buffer, count in
            count = try file.read(fromAbsoluteOffset: 0, into: UnsafeMutableRawBufferPointer(buffer))
        }
        let digits = (bytes ?? []).prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        return digits.isEmpty ? "" : " (pid \(String(decoding: digits, as: UTF8.self)))"
    }
}
