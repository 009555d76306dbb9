internal import DiskLayout
internal import FlashPlan
internal import Glibc
internal import SystemPackage

/// The folder `<root>/<mac>` with what a target may load. Whatever was staged is removed with ``clear()``.
struct Staging {
    let folder: FilePath
    let name: String
    let plan: PartsPlan

    init(root: FilePath, name: String, plan: PartsPlan) {
        folder = root.appending(name)
        self.name = name
        self.plan = plan
    }

    /// Checks, before anything is written, that the root is a folder which can be written, with room for the image.
    ///
    /// - Throws: ``FlashFailure``.
    static func check(root: FilePath, image: borrowing ImageFile, plan: PartsPlan) throws {
        var status = stat()
        guard stat(root.string, &status) == 0 else {
            let error = Errno(rawValue: errno)
            throw FlashFailure(
                .server,
                error == .noSuchFileOrDirectory
                    ? "TFTP root \(root) does not exist; make it, or name another with --tftp-root"
                    : "cannot use TFTP root \(root): \(error)")
        }
        guard status.st_mode & S_IFMT == S_IFDIR else { throw FlashFailure(.server, "TFTP root \(root) is no folder") }
        var system = statvfs()
        guard statvfs(root.string, &system) == 0 else {
            throw FlashFailure(.server, "cannot use TFTP root \(root): \(Errno(rawValue: errno))")
        }
        guard access(root.string, W_OK | X_OK) == 0, system.f_flag & UInt(ST_RDONLY) == 0 else {
            throw FlashFailure(
                .server, "TFTP root \(root) cannot be written by this user; name another with --tftp-root")
        }
        var needed: UInt64 = 0
        try image.forEachDataRange(in: 0..<plan.totalSectors.byteCount.bytes) { needed += UInt64($0.count) }
        let free = UInt64(system.f_bavail) * UInt64(system.f_frsize)
        guard free >= needed else {
            throw FlashFailure(
                .server, "disk full: TFTP root \(root) has \(free) bytes free, the image needs \(needed) bytes")
        }
    }

    /// Removes what a job that was killed left behind, outcomes above all: an old OK must not be taken for a new one.
    ///
    /// - Throws: ``FlashFailure`` where the folder is none, or cannot be cleared.
    func removeStale() throws(FlashFailure) {
        var status = stat()
        guard lstat(folder.string, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFDIR else {
            throw FlashFailure(.server, "\(folder) is no folder; remove it")
        }
        clear()
        let left = Self.entries(of: folder).filter(Self.isOurs)
        guard left.isEmpty else {
            throw FlashFailure(.server, "cannot remove \(left.sorted().joined(separator: ", ")) from \(folder)")
        }
    }

    /// Writes the parts, then the manifest: without it there is nothing to flash.
    ///
    /// - Parameter isWritable: others may write into the folder: a TFTP server that is not ours puts uploads there.
    /// - Throws: ``FlashFailure``; `CancellationError`.
    func stage(_ image: borrowing ImageFile, isWritable: Bool) throws -> StagedFiles {
        // The umask is the user's; who serves may be another.
        if mkdir(folder.string, 0o755) != 0, errno != EEXIST { throw ImageFile.failure(Errno(rawValue: errno), folder) }
        guard chmod(folder.string, isWritable ? 0o777 : 0o755) == 0 else {
            throw ImageFile.failure(Errno(rawValue: errno), folder)
        }
        for part in plan.parts {
            try Task.checkCancellation()
            try write(part.name) { file, path in
                try image.copy(part.source, to: file, name: path)
                // Its length, and zeros where the image ends inside its last sector or in a hole.
                guard ftruncate(file.rawValue, off_t(part.size.bytes)) == 0 else {
                    throw ImageFile.failure(Errno(rawValue: errno), path)
                }
            }
        }
        let manifest = Array(plan.manifest.utf8)
        try write(PartsPlan.manifestName) { file, path in
            do { try file.writeAll(manifest) } catch { throw ImageFile.failure(error as? Errno ?? .ioError, path) }
        }
        return StagedFiles(
            folder: folder, name: name, manifest: manifest, files: [PartsPlan.manifestName] + plan.parts.map(\.name))
    }

    private func write(_ name: String, _ body: (FileDescriptor, FilePath) throws -> Void) throws {
        let path = folder.appending(name)
        let file: FileDescriptor
        do {
            file = try FileDescriptor.open(
                path, .readWrite, options: [.create, .exclusiveCreate, .noFollow, .closeOnExec],
                permissions: [.ownerReadWrite, .groupRead, .otherRead])
        } catch {
            throw ImageFile.failure(error as? Errno ?? .ioError, path)
        }
        defer { try? file.close() }
        guard fchmod(file.rawValue, 0o644) == 0 else { throw ImageFile.failure(Errno(rawValue: errno), path) }
        try body(file, path)
    }

    /// Removes what this system puts there and nothing else; the folder too, where it is empty then.
    func clear() {
        for entry in Self.entries(of: folder) where Self.isOurs(entry) { _ = unlink(folder.appending(entry).string) }
        _ = rmdir(folder.string)
    }

    private static func isOurs(_ name: String) -> Bool {
        [PartsPlan.manifestName, "flash.scr", "REPORT"].contains(name)
            || Outcome.Kind.allCases.contains { $0.fileName == name }
            || (name.hasPrefix(PartsPlan.partNamePrefix)
                && name.dropFirst(PartsPlan.partNamePrefix.count).allSatisfy(\.isNumber))
    }

    private static func entries(of folder: FilePath) -> [String] {
        guard let handle = opendir(folder.string) else { return [] }
        defer { closedir(handle) }
        var names: [String] = []
        while let entry = readdir(handle) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }
}
