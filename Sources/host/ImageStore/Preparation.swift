import DiskLayout
import FlashPlan
import OSImage
import Synchronization
import SystemPackage

/// One image on its way into the store.
struct Preparation: Sendable {
    let store: ImageStore
    /// Its path without links: what it is known by.
    let resolved: FilePath
    let source: ImageReader
    /// As it was given: for messages, and its name.
    private var image: FilePath { source.path }
    /// Ours alone while we hold the lock.
    let folder: FilePath
    let isFresh: Bool
    /// What is done to the image first; nil: nothing.
    let relocation: RelocationRequest?

    /// A chunk at most, 12 MiB: each worker has two buffers of this length, and a flash must get along with 64 MiB.
    static let longestChunk = SectorCount(0x6000)
    /// Bytes that an image unpacks to at most: no SD card has more (SDXC, 2 TiB).
    private static let largestImage = ByteCount(2 << 40)
    private static let unpackedName = "unpacked.img"

    func run(
        workers: Int, progress: @escaping @Sendable (PreparationProgress) -> Void
    ) async throws -> PreparedImage {
        try StoreFiles.makeFolder(folder)
        let unpacked = try await rawImage(progress)
        progress(.examining)
        let layout = try inspect(unpacked)
        let (raw, relocationRecord) = try await relocated(unpacked, layout)
        let usages = try examine(raw, layout)
        try Task.checkCancellation()
        let places: [ChunkPlace]
        do throws(ChunkError) {
            places = try cutIntoChunks(
                boot: Self.used(usages[0], of: layout.boot), rootfs: Self.used(usages[1], of: layout.rootfs),
                longest: Self.longestChunk)
        } catch {
            throw ImageStoreError.cannotBeCut(image: image, reason: error.description)
        }
        let chunks = places.map { place in
            let start = (layout.partition(for: place.partition).start + place.offset).byteOffset.bytes
            return start..<start + place.size.byteCount.bytes
        }
        try checkSpace(for: chunks, of: raw)

        // Not those with settings: what they alone have must not be linked to from an image that all may read.
        let known = try StoreFiles.names(in: store.images).filter(ImageStore.isID).map { store.images.appending($0) }
            .filter { !StoreFiles.isPrivate($0) }
        let total = ByteCount(chunks.reduce(0) { $0 + UInt64($1.count) })
        let queue = ChunkQueue(chunks: chunks)
        progress(.preparing(done: ByteCount(0), total: total))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<min(workers, max(1, chunks.count)) {
                group.addTask {
                    let encoder = try ChunkEncoder(largest: Int(Self.longestChunk.byteCount.bytes))
                    while let next = queue.next() {
                        try Task.checkCancellation()
                        try encode(next, chunks[next], of: raw, with: encoder, into: queue, known: known)
                        queue.report { progress(.preparing(done: ByteCount($0), total: total)) }
                        await Task.yield()
                    }
                }
            }
            // The first error ends the others.
            try await group.waitForAll()
        }
        do { try source.checkUnchanged() } catch { throw ImageStoreError.image(error) }
        progress(.finishing)
        if unpacked.path != source.path { try StoreFiles.removeTree(unpacked.path) }
        let manifest = try finish(layout, usages, places, queue.results(), relocationRecord)
        let record = SourceRecord(
            path: resolved.string, imageBytes: manifest.imageBytes, fingerprint: source.fingerprint, id: manifest.id,
            isFresh: isFresh)
        return try await store.publish(
            manifest, from: folder, source: (ImageStore.key(of: resolved, relocation), record))
    }

    /// The image itself, or what it unpacks to.
    private func rawImage(_ progress: (PreparationProgress) -> Void) async throws -> ImageReader {
        do {
            guard try Compression(of: source) != nil else { return source }
            let path = folder.appending(Self.unpackedName)
            // What it is made of must fit as well.
            let limit = StoreFiles.free(at: store.path).map { ByteCount(min(Self.largestImage.bytes, $0 << 10)) }
            try await unpackOSImage(source, to: path, limit: limit ?? Self.largestImage) { progress(.unpacking($0)) }
            return try ImageReader(path)
        } catch let error as OSImageError {
            throw failure(error)
        }
    }

    /// An error of the image's, in the store's words: about the user's file, and a full disk as such.
    private func failure(_ error: OSImageError) -> ImageStoreError {
        store.failure(error, about: image, in: folder) as? ImageStoreError ?? .image(error)
    }

    private func inspect(_ raw: ImageReader) throws(ImageStoreError) -> OSImageLayout {
        do throws(OSImageError) {
            return try inspectOSImage(raw)
        } catch {
            throw failure(error)
        }
    }

    /// The image with what must be changed for a card laid over it.
    private func relocated(
        _ raw: ImageReader, _ layout: OSImageLayout
    ) async throws -> (ImageReader, Manifest.RelocationRecord?) {
        guard let relocation else { return (raw, nil) }
        let result: Relocation
        do {
            result = try await relocateOSImage(
                raw, layout: layout, work: folder, growth: relocation.growth, tools: relocation.tools)
        } catch {
            throw store.failure(error, about: image, in: folder)
        }
        return (
            result.view,
            Manifest.RelocationRecord(
                changed: result.changes.map { "\($0.partition):\($0.path)" }, notes: result.notes,
                obstacles: result.obstacles, grows: result.grows, firstBoot: result.firstBoot,
                unstartable: result.unstartable)
        )
    }

    private func examine(
        _ raw: ImageReader, _ layout: OSImageLayout
    ) throws(ImageStoreError) -> [PartitionUsage] {
        do throws(OSImageError) {
            return [try usedExtents(of: layout.boot, in: raw), try usedExtents(of: layout.rootfs, in: raw)]
        } catch {
            throw failure(error)
        }
    }

    static func used(_ usage: PartitionUsage, of partition: Partition) -> UsedSectors {
        UsedSectors(
            partition: partition.size, extents: usage.extents.map { $0.offset.sectors..<$0.end.sectors })
    }

    /// Refuses what a tenth of the data would not fit: what is hardly ever compressed further. A disk that fills up later
    /// ends the preparation then.
    private func checkSpace(for chunks: [Range<UInt64>], of raw: ImageReader) throws(ImageStoreError) {
        guard let free = StoreFiles.free(at: store.path) else { return }
        var data: UInt64 = 0
        for chunk in chunks {
            do { data += try raw.dataBytes(in: chunk).bytes } catch { throw failure(error) }
        }
        let needed = data / 10 + 1 << 20
        guard free >= needed else {
            throw .tooLittleSpace(store: store.path, free: ByteCount(free), needed: ByteCount(needed))
        }
    }

    private func encode(
        _ number: Int, _ chunk: Range<UInt64>, of raw: ImageReader, with encoder: ChunkEncoder, into queue: ChunkQueue,
        known: [FilePath]
    ) throws(ImageStoreError) {
        let hole: Bool
        do { hole = try raw.data(in: chunk) == nil } catch { throw failure(error) }
        // Holes of the same length are all alike.
        if hole, let encoded = queue.hole(chunk.count) { return queue.done(number, encoded) }
        let encoded = try encoder.encode(
            chunk, of: raw, into: folder, unique: number, known: known, store: store.path)
        queue.done(number, encoded, hole: hole)
    }

    /// Writes `pieces` and `manifest.json`, and brings all to the disk.
    private func finish(
        _ layout: OSImageLayout, _ usages: [PartitionUsage], _ places: [ChunkPlace], _ results: [EncodedChunk],
        _ record: Manifest.RelocationRecord?
    ) throws(ImageStoreError) -> Manifest {
        let (chunks, pieces) = Manifest.placed(zip(places, results).map { $1.placed(at: $0) })
        let partitions = zip([layout.boot, layout.rootfs], usages).map { partition, usage in
            Manifest.PartitionEntry(
                number: partition.number + 1, start: partition.start.sector, sectors: partition.size.sectors,
                filesystem: usage.filesystem,
                usedSectors: usage.used.sectors, note: usage.note)
        }
        let manifest = Manifest(
            name: image.fileName, imageBytes: layout.size.bytes, piecesBytes: UInt64(pieces.count),
            partitions: partitions, chunks: chunks, relocation: record)
        try store.write(manifest, pieces, to: folder)
        return manifest
    }
}

extension ImageStore {
    /// Writes `pieces` and `manifest.json`, and brings all of a folder to the disk.
    func write(_ manifest: Manifest, _ pieces: [UInt8], to folder: FilePath) throws(ImageStoreError) {
        try StoreFiles.write(pieces, to: folder.appending("pieces"), store: path)
        try StoreFiles.writeJSON(manifest, to: folder.appending("manifest.json"), store: path)
        for name in try StoreFiles.names(in: folder) { try StoreFiles.sync(folder.appending(name), store: path) }
        try StoreFiles.sync(folder, store: path)
    }

    /// Makes a folder with all files of an image appear, unless the image is there.
    ///
    /// - Parameters:
    ///   - folder: goes.
    ///   - source: which file gave the image; the record's name and what it says.
    func publish(
        _ manifest: Manifest, from folder: FilePath, source: (name: String, record: SourceRecord)?
    ) async throws -> PreparedImage {
        let lock = try await storeLock()
        var damaged: FilePath?
        let isTooOpen = manifest.relocation?.customized != nil && !StoreFiles.isPrivate(images.appending(manifest.id))
        if load(manifest.id) == nil || isTooOpen {
            // Damaged, with settings that all users can read (from a version before 0.2), or none.
            if try StoreFiles.names(in: images).contains(manifest.id) { damaged = try setAside(manifest.id) }
            try StoreFiles.rename(folder, to: images.appending(manifest.id), store: path)
            try StoreFiles.sync(images, store: path)
        }
        if let source {
            try StoreFiles.makeFolder(folder)
            let unfinished = folder.appending("source.json")
            try StoreFiles.writeJSON(source.record, to: unfinished, store: path)
            try StoreFiles.sync(unfinished, store: path)
            try StoreFiles.rename(unfinished, to: sources.appending(source.name + ".json"), store: path)
            try StoreFiles.sync(sources, store: path)
        }
        _ = consume lock
        if let damaged { try StoreFiles.removeTree(damaged) }
        // Still there where the content was known.
        try StoreFiles.removeTree(folder)
        guard let prepared = load(manifest.id) else { throw ImageStoreError.unknown(id: manifest.id, store: path) }
        // The content may be known by another file's name and size.
        return prepared.named(manifest.name, imageBytes: manifest.imageBytes)
    }
}

/// The chunks that are left, and what became of the others.
private final class ChunkQueue: Sendable {
    private struct State {
        var next = 0
        var done: UInt64 = 0
        var results: [EncodedChunk?]
        var holes: [Int: EncodedChunk] = [:]
    }
    private let chunks: [Range<UInt64>]
    private let state: Mutex<State>

    init(chunks: [Range<UInt64>]) {
        self.chunks = chunks
        state = Mutex(State(results: Array(repeating: nil, count: chunks.count)))
    }

    func next() -> Int? {
        state.withLock { state in
            guard state.next < chunks.count else { return nil }
            defer { state.next += 1 }
            return state.next
        }
    }

    func hole(_ bytes: Int) -> EncodedChunk? { state.withLock { $0.holes[bytes] } }

    func done(_ number: Int, _ encoded: EncodedChunk, hole: Bool = false) {
        state.withLock { state in
            state.results[number] = encoded
            state.done += UInt64(chunks[number].count)
            if hole { state.holes[chunks[number].count] = encoded }
        }
    }

    /// Calls with the bytes that are done, one call at a time, never with less than before.
    func report(_ body: (UInt64) -> Void) { state.withLock { body($0.done) } }

    func results() -> [EncodedChunk] { state.withLock { $0.results.compactMap { $0 } } }
}
