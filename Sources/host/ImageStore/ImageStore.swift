import Crypto
package import DiskLayout
import Glibc
package import HostTools
package import LinuxHost
package import OSImage
package import SystemPackage

/// Prepared images, by content: each is prepared once, and every target gets hard links to its files.
///
///     images/<id>/manifest.json   what it is made of, see Manifest; <id> is the SHA-256 of partitions and chunks
///     images/<id>/pieces          what lets a target find differences within chunks, see FlashPlan.PieceTable
///     images/<id>/<sha256>.gz     a chunk as one gzip member, or .raw: as it is. Images share such files by hard links.
///                                 With settings for a first boot, the folder and what is its alone are not for all users
///     sources/<key>.json          which file gave which image, so that it need not be read again; <key> from its path
///     locks/<key>.lock            held while that file is prepared
///     work/<key>/                 a preparation under way; what a killed one left is removed by the next
///     store.lock                  held while images appear or go
///
/// An image appears with one rename after all of its files are on the disk. Removing one is safe at any time: who has
/// links to its files keeps them.
package struct ImageStore: Sendable {
    /// Where the store is unless told otherwise.
    package static let defaultPath: FilePath = "/var/lib/rpiflash/images"

    /// The store's folder.
    package let path: FilePath
    /// A file that was changed less than this long before it was read is not known again by its times alone.
    private let freshNanoseconds: Int64

    /// - Parameter path: the store's folder; made with the first image.
    package init(at path: FilePath = Self.defaultPath) { self.init(at: path, freshNanoseconds: 2_000_000_000) }

    /// - Parameter freshNanoseconds: coarse clocks of file systems tick every 2 s at worst (FAT).
    package init(at path: FilePath, freshNanoseconds: Int64) {
        (self.path, self.freshNanoseconds) = (path, freshNanoseconds)
    }

    var images: FilePath { path.appending("images") }
    var sources: FilePath { path.appending("sources") }
    var locks: FilePath { path.appending("locks") }
    var work: FilePath { path.appending("work") }

    // MARK: Looking up

    /// The prepared image of a file that is still the one that was prepared, by path, inode, length and times.
    ///
    /// The file is not read.
    ///
    /// - Returns: nil where it must be prepared.
    package func preparedImage(of image: ImageReader, relocation: RelocationRequest? = nil) -> PreparedImage? {
        let resolved = Self.absolute(image.path)
        let name = Self.key(of: resolved, relocation) + ".json"
        guard let record = StoreFiles.json(SourceRecord.self, at: sources.appending(name)),
            record.version == SourceRecord.currentVersion, record.path == resolved.string,
            record.fingerprint == image.fingerprint, !record.isFresh
        else { return nil }
        return load(record.id)?.named(image.path.fileName, imageBytes: record.imageBytes)
    }

    /// A prepared image with all its files; nil where there is none or something is missing.
    func load(_ id: String) -> PreparedImage? {
        guard Self.isID(id),
            let manifest = StoreFiles.json(Manifest.self, at: images.appending(id).appending("manifest.json")),
            manifest.id == id, manifest.isSound
        else { return nil }
        let prepared = PreparedImage(store: path, folder: images.appending(id), manifest: manifest)
        guard StoreFiles.size(of: prepared.pieces) == manifest.piecesBytes,
            manifest.chunks.allSatisfy({ StoreFiles.size(of: prepared.file(of: $0)) == $0.encodedBytes })
        else { return nil }
        return prepared
    }

    static func isID(_ text: String) -> Bool {
        text.utf8.count == 64 && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    /// The path without links, or as it is where there is no such file.
    static func absolute(_ path: FilePath) -> FilePath {
        let resolved = unsafe path.withPlatformString { unsafe realpath($0, nil) }
        guard let resolved = unsafe resolved else { return path }
        defer { unsafe free(resolved) }
        return unsafe FilePath(platformString: resolved)
    }

    /// What is done to an image makes it another one.
    static func key(of image: FilePath, _ relocation: RelocationRequest? = nil) -> String {
        // The path's own bytes, which may be no UTF-8.
        let path = unsafe image.withPlatformString { unsafe Array(UnsafeBufferPointer(start: $0, count: strlen($0))) }
        let text = Array((relocation.map { "\n\($0.growth.rawValue)" } ?? "").utf8)
        return String(SHA256.hash(data: path.map { UInt8(bitPattern: $0) } + text).hex.prefix(32))
    }

    // MARK: Managing

    /// All prepared images, by name; damaged ones too, so that they can be removed.
    ///
    /// - Throws: ``ImageStoreError``.
    package func list() throws(ImageStoreError) -> [StoredImage] {
        var records: [String: [SourceRecord]] = [:]
        for name in try StoreFiles.names(in: sources) {
            guard let record = StoreFiles.json(SourceRecord.self, at: sources.appending(name)) else { continue }
            records[record.id, default: []].append(record)
        }
        var stored: [StoredImage] = []
        for id in try StoreFiles.names(in: images) where Self.isID(id) {
            var inodes: [UInt64: UInt64] = [:]
            try StoreFiles.diskUse(of: images.appending(id), into: &inodes)
            let size = ByteCount(inodes.values.reduce(0, +))
            let sources = (records[id] ?? []).sorted { $0.path < $1.path }
            var manifest = load(id)?.manifest
            // The file that was first may be another one by now.
            if let other = sources.first, !sources.contains(where: { FilePath($0.path).fileName == manifest?.name }) {
                manifest = manifest?.named(FilePath(other.path).fileName, imageBytes: other.imageBytes)
            }
            stored.append(
                StoredImage(id: id, manifest: manifest, sources: sources.map { FilePath($0.path) }, diskBytes: size))
        }
        return stored.sorted { ($0.manifest?.name ?? "", $0.id) < ($1.manifest?.name ?? "", $1.id) }
    }

    /// Bytes that the store takes on the disk; what images share counts once.
    ///
    /// - Throws: ``ImageStoreError``.
    package func size() throws(ImageStoreError) -> ByteCount {
        var inodes: [UInt64: UInt64] = [:]
        try StoreFiles.diskUse(of: path, into: &inodes)
        return ByteCount(inodes.values.reduce(0, +))
    }

    /// Removes a prepared image. Targets that are being flashed keep their hard links, and so the files.
    ///
    /// - Parameter id: as ``list()`` gives it.
    /// - Throws: ``ImageStoreError``: ``ImageStoreError/unknown(id:store:)``.
    package func remove(_ id: String) async throws {
        guard Self.isID(id), try StoreFiles.names(in: images).contains(id) else {
            throw ImageStoreError.unknown(id: id, store: path)
        }
        let lock = try await storeLock()
        for name in try StoreFiles.names(in: sources) {
            let record = sources.appending(name)
            if StoreFiles.json(SourceRecord.self, at: record)?.id == id { try StoreFiles.removeTree(record) }
        }
        let aside = try setAside(id)
        _ = consume lock
        try StoreFiles.removeTree(aside)
    }

    /// Takes an image out of sight with one rename. A killed removal is finished by the next preparation.
    func setAside(_ id: String) throws(ImageStoreError) -> FilePath {
        try StoreFiles.makeFolder(work)
        let aside = work.appending("removed-\(id)-\(getpid())")
        try StoreFiles.removeTree(aside)
        try StoreFiles.rename(images.appending(id), to: aside, store: path)
        return aside
    }

    /// Held for a rename or two only.
    func storeLock() async throws -> FileLock {
        var holder: LockHolder?
        let lock = try await StoreLock.wait(path.appending("store.lock"), store: path, seconds: 60) { holder = $0 }
        guard let lock else { throw ImageStoreError.busy(image: path, holder: holder, seconds: 60) }
        return lock
    }

    // MARK: Preparing

    /// Prepares an image, or finds it prepared.
    ///
    /// It is only read (law 4). Two that prepare the same file at once do it once: the second waits.
    ///
    /// - Parameters:
    ///   - image: a raw image, or a compressed one as ``unpackOSImage(_:to:limit:progress:)`` takes it: unpacked next to
    ///     the store's files meanwhile.
    ///   - relocation: how it is made ready for a card; nil: it stays as it is.
    ///   - workers: chunks that are prepared at once, at least 1; each takes 32 MiB.
    ///   - lockSeconds: how long to wait for another one who prepares this file.
    ///   - progress: called from any task, in order.
    /// - Throws: ``ImageStoreError``, `CancellationError`; the store is then as it was.
    package func prepare(
        _ image: ImageReader, relocation: RelocationRequest? = nil, workers: Int = 2, lockSeconds: Int = 3600,
        progress: @escaping @Sendable (PreparationProgress) -> Void = { _ in }
    ) async throws -> PreparedImage {
        if let prepared = preparedImage(of: image, relocation: relocation) { return prepared }
        let resolved = Self.absolute(image.path)
        let key = Self.key(of: resolved, relocation)
        for folder in [path, images, sources, locks, work] { try StoreFiles.makeFolder(folder) }

        var holder: LockHolder?
        let lock = try await StoreLock.wait(
            locks.appending(key + ".lock"), store: path, seconds: lockSeconds
        ) {
            holder = $0; progress(.waiting($0))
        }
        guard let lock else { throw ImageStoreError.busy(image: image.path, holder: holder, seconds: lockSeconds) }
        // The other one may just have finished it.
        if let prepared = preparedImage(of: image, relocation: relocation) { return prepared }
        try removeLeftovers(mine: key)

        let preparation = Preparation(
            store: self, resolved: resolved, source: image, folder: work.appending(key),
            isFresh: isFresh(image.fingerprint), relocation: relocation)
        let prepared: PreparedImage
        do {
            prepared = try await preparation.run(workers: max(1, workers), progress: progress)
        } catch {
            try? StoreFiles.removeTree(work.appending(key))
            throw error
        }
        _ = consume lock
        return prepared
    }

    private func isFresh(_ fingerprint: FileFingerprint) -> Bool {
        var now = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &now)
        let nanoseconds = Int64(now.tv_sec) &* 1_000_000_000 &+ Int64(now.tv_nsec)
        // A time in the future is as good as none.
        return max(fingerprint.modified, fingerprint.changed) > nanoseconds &- freshNanoseconds
    }

    /// Removes what killed preparations left: those that nobody holds the lock of.
    private func removeLeftovers(mine: String) throws(ImageStoreError) {
        for name in try StoreFiles.names(in: work) {
            let folder = work.appending(name)
            if name == mine || name.hasPrefix("removed-") {
                try StoreFiles.removeTree(folder)
            } else if case .locked(let lock) = try StoreLock.attempt(locks.appending(name + ".lock"), store: path) {
                try StoreFiles.removeTree(folder)
                _ = consume lock
            }
        }
    }
}

/// How an image is made ready for a card.
package struct RelocationRequest: Sendable {
    /// Whether its rootfs grows on the first boot.
    package let growth: RootfsGrowth
    /// Runs fsck.vfat, e2fsck, fdtoverlay and fdtget.
    package let tools: ToolRunner

    package init(growth: RootfsGrowth, tools: ToolRunner) { (self.growth, self.tools) = (growth, tools) }
}

/// How far a preparation is.
package enum PreparationProgress: Hashable, Sendable {
    /// Another process prepares the same file.
    case waiting(LockHolder)
    /// A compressed image is unpacked.
    case unpacking(UnpackProgress)
    /// What is used is being found.
    case examining
    /// Chunks are read, hashed and compressed.
    case preparing(done: ByteCount, total: ByteCount)
    /// The files are brought to the disk.
    case finishing
}

/// A prepared image as a list shows it.
package struct StoredImage: Hashable, Sendable {
    /// SHA-256 of its content; the folder's name.
    package let id: String
    /// What it is made of; nil where it is damaged.
    package let manifest: Manifest?
    /// The files that it was prepared from.
    package let sources: [FilePath]
    /// Bytes that its files take on the disk; some of them may be shared with others.
    package let diskBytes: ByteCount
}

/// A prepared image.
package struct PreparedImage: Hashable, Sendable {
    let store: FilePath
    /// Where its files are.
    package let folder: FilePath
    /// What it is made of.
    package let manifest: Manifest

    /// The image's layout. Types and the disk's signature are not kept: a card has its own.
    ///
    /// - Throws: ``DiskLayout/ImageLayoutError`` where somebody changed the manifest.
    package func layout() throws(ImageLayoutError) -> OSImageLayout {
        let partitions = manifest.partitions.map { entry in
            Partition(
                number: entry.number - 1, type: entry.number == 2 ? .fat32LBA : .linux, start: LBA(entry.start),
                size: SectorCount(entry.sectors))
        }
        return try OSImageLayout(
            table: PartitionTable(diskID: nil, partitions: partitions), size: ByteCount(manifest.imageBytes))
    }

    /// The same content as another file has it.
    func named(_ name: String, imageBytes: UInt64) -> PreparedImage {
        PreparedImage(store: store, folder: folder, manifest: manifest.named(name, imageBytes: imageBytes))
    }

    /// A chunk's file.
    package func file(of chunk: Manifest.Chunk) -> FilePath { folder.appending(chunk.file) }
    /// The table of all chunks' pieces.
    package var pieces: FilePath { folder.appending("pieces") }

    /// Whether others than its owner and the store's group may not read it: it has settings for its first boot, and so
    /// passwords and keys. What it shares with an image without settings everybody may read all the same.
    package var isPrivate: Bool { manifest.relocation?.customized != nil }

    /// Gives one of its files another name, for a target to load: a hard link, which stays when the image is removed, or
    /// a copy where there can be no link (another file system, another user's store) or it could not be read there.
    ///
    /// - Parameters:
    ///   - name: a chunk's file or `pieces`.
    ///   - path: does not exist yet. Where its folder is shared by a group, the group can read it.
    ///   - isForEveryone: every user of this host can read it, also where the image is private.
    /// - Throws: ``ImageStoreError``: ``ImageStoreError/targetFull(target:)``, ``ImageStoreError/unknown(id:store:)`` where
    ///   the image was removed.
    package func link(_ name: String, to path: FilePath, isForEveryone: Bool = false) throws(ImageStoreError) {
        let file = folder.appending(name)
        guard try StoreFiles.linkOrCopy(file, to: path, isForEveryone: isForEveryone, store: store) else {
            throw .unknown(id: manifest.id, store: store)
        }
    }
}

extension FilePath {
    /// Its last component; bytes that are not UTF-8 replaced.
    var fileName: String { lastComponent?.string ?? "" }
}
