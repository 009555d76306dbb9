package import DiskLayout
import Glibc
import LinuxHost
package import OSImage
import SystemPackage

/// What is known of an image without preparing it.
package enum StoredImageStatus: Sendable {
    /// It is prepared.
    case prepared(PreparedImage)
    /// It is not; its partition table, and its length, nil where it is compressed.
    case unprepared(OSImageLayout, size: ByteCount?)
}

extension ImageStore {
    /// Bytes of a compressed image that its partition table is looked for in.
    private static let tableBytes = ByteCount.mebibytes(1)

    /// Looks at an image as far as that is quick: what ``prepare(_:relocation:workers:lockSeconds:progress:)`` would
    /// find prepared, else its partition table. Nothing is made in the store; of a compressed image the start is unpacked
    /// in TMPDIR, and removed.
    ///
    /// - Throws: ``ImageStoreError``, as preparing it would; `CancellationError`.
    package func status(of image: ImageReader, relocation: RelocationRequest? = nil) async throws -> StoredImageStatus {
        if let prepared = preparedImage(of: image, relocation: relocation) { return .prepared(prepared) }
        do {
            try checkWritable()
            guard try Compression(of: image) != nil else {
                let layout = try inspectOSImage(image)
                return .unprepared(layout, size: layout.size)
            }
            return try await withTemporaryFolder(prefix: "rpiflash-status-") { folder in
                let start = folder.appending("start.img")
                try await unpackOSImage(image, to: start, limit: ByteCount(2 << 40), start: Self.tableBytes) { _ in }
                return .unprepared(try inspectStartOfOSImage(at: start), size: nil)
            }
        } catch let error as OSImageError {
            throw ImageStoreError.image(error.about(image.path))
        }
    }

    /// Checks that the store, or the first folder above it that is there, can be written to.
    private func checkWritable() throws(ImageStoreError) {
        var (folder, missing) = (path, path)
        while unsafe folder.withPlatformString({ unsafe access($0, F_OK) }) != 0, errno == ENOENT {
            missing = folder
            let parent = folder.removingLastComponent()
            guard !parent.isEmpty, parent != folder else { return }
            folder = parent
        }
        guard unsafe folder.withPlatformString({ unsafe access($0, W_OK | X_OK) }) == 0 else {
            throw .io(path: missing, errno: Errno(rawValue: errno))
        }
    }
}
