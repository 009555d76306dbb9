package import BootFiles
import CDeflate
import DiskLayout
import FlashPlan
package import HostTools
import LinuxHost
import OSImage
import SystemPackage

extension ImageStore {
    /// Gives a prepared image other files on its boot partition: another prepared image, which shares all chunks that are
    /// the same.
    ///
    /// What it alone has, other users may not read: settings have passwords and keys. The folder is not for them either.
    ///
    /// Only the boot partition is looked at, and made of the store's own files: neither the image's file is needed nor its
    /// rootfs read.
    ///
    /// - Parameters:
    ///   - base: a prepared image.
    ///   - edit: what is to be changed.
    ///   - name: what the change is for, for lists.
    ///   - tools: runs fsck.vfat.
    /// - Returns: `base` where there is nothing to change.
    /// - Throws: ``ImageStoreError``, `CancellationError`; the store is then as it was.
    package func customize(
        _ base: PreparedImage, _ edit: BootPartitionEdit, for name: String, tools: ToolRunner
    ) async throws -> PreparedImage {
        guard edit != BootPartitionEdit() else { return base }
        let key = String(base.manifest.id.prefix(32))
        var holder: LockHolder?
        let lock = try await StoreLock.wait(locks.appending(key + ".lock"), store: path, seconds: 600) { holder = $0 }
        guard let lock else { throw ImageStoreError.busy(image: base.folder, holder: holder, seconds: 600) }
        let folder = work.appending(key)
        try StoreFiles.removeTree(folder)
        try StoreFiles.makeFolder(folder, isPrivate: true)
        do {
            let customized = try await Customizer(store: self, base: base, folder: folder, tools: tools).run(edit, name)
            _ = consume lock
            return customized
        } catch {
            try? StoreFiles.removeTree(folder)
            throw failure(error, about: FilePath(base.manifest.name), in: folder)
        }
    }

    /// Tries what ``customize(_:_:for:tools:)`` does with the boot partition, in TMPDIR; nothing is made in the store.
    ///
    /// - Throws: ``ImageStoreError`` as that would, `CancellationError`.
    package func checkCustomization(
        of base: PreparedImage, _ edit: BootPartitionEdit, tools: ToolRunner
    ) async throws {
        guard edit != BootPartitionEdit() else { return }
        do {
            try await withTemporaryFolder(prefix: "rpiflash-check-") { folder in
                _ = try await Customizer(store: self, base: base, folder: folder, tools: tools).bootPartition(
                    with: edit)
            }
        } catch {
            throw failure(error, about: FilePath(base.manifest.name), in: FilePath("TMPDIR"))
        }
    }
}

private struct Customizer {
    let store: ImageStore
    let base: PreparedImage
    let folder: FilePath
    let tools: ToolRunner

    func run(_ edit: BootPartitionEdit, _ name: String) async throws -> PreparedImage {
        let reader = try await bootPartition(with: edit)
        let partition = self.partition
        let usage = try usedExtents(of: partition, in: reader)
        let places: [ChunkPlace]
        do throws(ChunkError) {
            places = try cutIntoChunks(
                boot: Preparation.used(usage, of: partition),
                rootfs: UsedSectors(partition: SectorCount(0), extents: []), longest: Preparation.longestChunk)
        } catch {
            throw ImageStoreError.cannotCustomize(error.description)
        }
        let known = [base.folder]
        let encoder = try ChunkEncoder(largest: Int(Preparation.longestChunk.byteCount.bytes))
        var chunks: [(chunk: Manifest.Chunk, pieces: [UInt8])] = []
        for (number, place) in places.enumerated() {
            try Task.checkCancellation()
            let start = place.offset.byteCount.bytes
            let result = try encoder.encode(
                start..<start + place.size.byteCount.bytes, of: reader, into: folder, unique: number, known: known,
                store: store.path)
            chunks.append(result.placed(at: place))
            await Task.yield()
        }
        try StoreFiles.removeTree(reader.path)
        // The rootfs as it is, before the boot partition's first sector, which stays the last chunk.
        chunks.insert(contentsOf: try takeRootfs(), at: chunks.count - 1)
        return try await publish(chunks, usage, name)
    }

    private var partition: Partition {
        Partition(
            number: 1, type: .fat32LBA, start: LBA(0), size: SectorCount(base.manifest.partitions[0].sectors))
    }

    /// The boot partition as a file of its own, changed.
    func bootPartition(with edit: BootPartitionEdit) async throws -> ImageReader {
        let entry = base.manifest.partitions[0]
        guard [.fat12, .fat16, .fat32].contains(entry.filesystem) else {
            throw ImageStoreError.cannotCustomize(
                "boot partition is \(entry.filesystem.rawValue); must be FAT to take settings")
        }
        let path = folder.appending("boot.fat")
        try await assemble(path, SectorCount(entry.sectors))
        do {
            let checks = FilesystemChecks.programs(tools, work: folder)
            let view = try ImageReader(try ImageReader(path), overlay: ImageOverlay())
            let files = try FATFiles(view, partition)
            try files.check()
            let wasSound = try await checks.isSoundFAT(view, partition)
            try apply(edit, to: files, path)
            try files.check()
            if wasSound, try await !checks.isSoundFAT(view, partition) {
                throw FATError.damaged("fsck.vfat finds errors in it once its files are changed")
            }
            return try ImageReader(path)
        } catch FATError.image(let error) {
            throw error
        } catch let error as FATError {
            throw ImageStoreError.cannotCustomize("boot partition \(error); \(error.remedy)")
        }
    }

    /// The boot partition as a file, from its chunks.
    private func assemble(_ path: FilePath, _ size: SectorCount) async throws {
        let file = try FileDescriptor.open(
            path, .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec], permissions: [.ownerReadWrite])
        defer { try? file.close() }
        try file.resize(to: Int64(size.byteCount.bytes))
        for chunk in base.manifest.chunks where chunk.partition == 2 {
            let content = try decoded(chunk)
            try unsafe content.withUnsafeBytes {
                _ = try unsafe file.writeAll(
                    toAbsoluteOffset: Int64(chunk.offset * SectorCount.bytesPerSector), $0)
            }
            try Task.checkCancellation()
            await Task.yield()
        }
    }

    /// A chunk's sectors.
    private func decoded(_ chunk: Manifest.Chunk) throws(ImageStoreError) -> [UInt8] {
        let path = base.file(of: chunk)
        guard chunk.bytes <= Preparation.longestChunk.byteCount.bytes,
            let encoded = StoreFiles.bytes(of: path, at: 0, count: Int(chunk.encodedBytes))
        else { throw .unknown(id: base.manifest.id, store: store.path) }
        if chunk.encoding == .raw { return encoded }
        guard let decompressor = unsafe libdeflate_alloc_decompressor() else { throw .outOfMemory }
        defer { unsafe libdeflate_free_decompressor(decompressor) }
        var content = [UInt8](repeating: 0, count: Int(chunk.bytes))
        let result = unsafe encoded.withUnsafeBytes { input in
            unsafe content.withUnsafeMutableBytes { output in
                // No place for the length: it must be exactly this one.
                unsafe libdeflate_gzip_decompress(
                    decompressor, input.baseAddress, input.count, output.baseAddress, output.count, nil)
            }
        }
        guard result == LIBDEFLATE_SUCCESS else { throw .io(path: path, errno: .ioError) }
        return content
    }

    /// Changes the file, one of its files after the other.
    private func apply(_ edit: BootPartitionEdit, to files: FATFiles, _ path: FilePath) throws {
        for (name, content) in edit.files.sorted(by: { $0.key < $1.key }) {
            try files.write(content, to: name)
            try bring(files.image, to: path)
        }
        guard !edit.addedWords.isEmpty || !edit.removedWords.isEmpty else { return }
        let all = try files.names()
        let names = files.commandLineNames(try files.firmwareConfiguration(among: all), among: all)
        guard !names.isEmpty else {
            throw ImageStoreError.cannotCustomize(
                "boot partition has no cmdline.txt; it must take words for the kernel")
        }
        for name in names {
            let before = try files.read(name)
            let after = edit.applied(to: KernelCommandLine(before)).bytes
            if KernelCommandLine(before).obstacle(name: name) == nil,
                let obstacle = KernelCommandLine(after).obstacle(name: name)
            {
                throw ImageStoreError.cannotCustomize("with these words \(obstacle)")
            }
            if after != before { try files.write(after, to: name) }
        }
        try bring(files.image, to: path)
    }

    /// Takes a view's changes to the file, which is ours: memory holds one file of them at a time.
    private func bring(_ view: ImageReader, to path: FilePath) throws {
        let file = try FileDescriptor.open(path, .writeOnly, options: .closeOnExec)
        defer { try? file.close() }
        let size = view.size.bytes
        for (offset, bytes) in view.overlay?.takeBlocks() ?? [] where offset < size {
            let count = min(bytes.count, Int(size - offset))
            try unsafe bytes.withUnsafeBytes {
                _ = try unsafe file.writeAll(
                    toAbsoluteOffset: Int64(offset), UnsafeRawBufferPointer(rebasing: $0[..<count]))
            }
        }
    }

    private func takeRootfs() throws -> [(chunk: Manifest.Chunk, pieces: [UInt8])] {
        try base.manifest.chunks.filter { $0.partition == 3 }.map { chunk in
            let count = Int(PieceTable.size(of: SectorCount(chunk.count)).bytes)
            let there = folder.appending(chunk.file)
            // Chunks with the same content have the same file.
            let isThere = StoreFiles.size(of: there) == chunk.encodedBytes
            guard let pieces = StoreFiles.bytes(of: base.pieces, at: chunk.pieces, count: count),
                try isThere
                    || StoreFiles.linkOrCopy(base.file(of: chunk), to: there, isForEveryone: false, store: store.path)
            else { throw ImageStoreError.unknown(id: base.manifest.id, store: store.path) }
            return (chunk, pieces)
        }
    }

    private func publish(
        _ chunks: [(chunk: Manifest.Chunk, pieces: [UInt8])], _ usage: PartitionUsage, _ name: String
    ) async throws -> PreparedImage {
        let (placed, pieces) = Manifest.placed(chunks)
        let boot = base.manifest.partitions[0]
        let partitions = [
            Manifest.PartitionEntry(
                number: boot.number, start: boot.start, sectors: boot.sectors, filesystem: usage.filesystem,
                usedSectors: usage.used.sectors, note: usage.note),
            base.manifest.partitions[1],
        ]
        var record = base.manifest.relocation
        record?.customized = name
        let manifest = Manifest(
            name: base.manifest.name, imageBytes: base.manifest.imageBytes, piecesBytes: UInt64(pieces.count),
            partitions: partitions, chunks: placed, relocation: record)
        try store.write(manifest, pieces, to: folder)
        return try await store.publish(manifest, from: folder, source: nil)
    }
}
