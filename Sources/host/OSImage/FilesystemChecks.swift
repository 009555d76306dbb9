package import DiskLayout
package import HostTools
import LinuxHost
package import SystemPackage

/// Second opinions on filesystems of an image's view: those of fsck.vfat and e2fsck, on a copy of what they look at, which
/// is little whatever the image's size.
///
/// A test that judges thousands of images has others.
package struct FilesystemChecks: Sendable {
    /// Whether the FAT filesystem of a partition is sound; the view is read only.
    package let isSoundFAT: @Sendable (_ view: ImageReader, Partition) async throws -> Bool
    /// Whether the ext filesystem of a partition is sound; the view is read only.
    package let isSoundExt: @Sendable (_ view: ImageReader, Partition) async throws -> Bool

    package init(
        isSoundFAT: @escaping @Sendable (_ view: ImageReader, Partition) async throws -> Bool,
        isSoundExt: @escaping @Sendable (_ view: ImageReader, Partition) async throws -> Bool
    ) {
        (self.isSoundFAT, self.isSoundExt) = (isSoundFAT, isSoundExt)
    }

    /// Those of the host's programs, with copies in a folder, which are removed.
    package static func programs(_ tools: ToolRunner, work: FilePath) -> FilesystemChecks {
        FilesystemChecks(
            isSoundFAT: { view, partition in
                let copy = work.appending("check.fat")
                guard try copyFATRecords(of: view, partition, to: copy) else { return false }
                defer { try? unlinkFile(copy) }
                return try await tools.isSoundFAT(copy)
            },
            isSoundExt: { view, partition in
                let copy = work.appending("check.ext")
                guard try copyExtRecords(of: view, partition, to: copy) else { return false }
                defer { try? unlinkFile(copy) }
                return try await tools.isSoundExt(copy)
            })
    }
}

/// Copies what fsck.vfat looks at.
///
/// - Returns: false, with nothing left, where the filesystem's records lead nowhere.
/// - Throws: ``OSImageError``.
package func copyFATRecords(of view: ImageReader, _ partition: Partition, to path: FilePath) throws -> Bool {
    do {
        let file = try SparseFile(path, image: view.path, limit: partition.size.byteCount)
        try FATFiles(view, partition).copyRecords(to: file)
        return true
    } catch {
        try? unlinkFile(path)
        switch error {
        case FATError.image(let error): throw error
        case is FATError: return false
        default: throw error
        }
    }
}

/// Copies what e2fsck looks at.
///
/// - Returns: false, with nothing left, where the filesystem's records lead nowhere.
/// - Throws: ``OSImageError``.
package func copyExtRecords(of view: ImageReader, _ partition: Partition, to path: FilePath) throws -> Bool {
    do {
        let area = try PartitionArea(partition, view)
        guard case .found = ExtSuperblock.probe(try area.head(), bytes: area.bytes) else { return false }
        let file = try SparseFile(path, image: view.path, limit: partition.size.byteCount)
        try ExtReference(area).copyRecords(of: area, to: file)
        return true
    } catch {
        try? unlinkFile(path)
        guard error is ExtError else { throw error }
        return false
    }
}
