import CommandOutput
import Configuration
package import DiskLayout
package import FlashEvents
import FlashPlan
import Flashing
package import ImageStore
package import OSImage
package import SystemPackage

/// Refuses a prepared image that cannot work on a card, or not on the target's.
///
/// - Parameter board: the board that the target's card was made for; nil where that is not known.
package func checkObstacles(of prepared: PreparedImage, from image: FilePath, board: String? = nil) throws(FlashError) {
    guard let relocation = prepared.manifest.relocation,
        let obstacle = relocation.obstacles.first ?? board.flatMap({ relocation.unstartable?[$0] })
    else { return }
    throw .image("\(image): \(obstacle); --as-is flashes it all the same")
}

/// Has the store prepare an image, or finds it there, and says it in the flash's terms.
package func prepare(
    _ image: ImageReader, _ relocation: RelocationRequest?, in store: ImageStore,
    report: @escaping @Sendable (FlashProgress) -> Void
) async throws -> PreparedImage {
    do {
        return try await store.prepare(image, relocation: relocation) { progress in
            switch progress {
            case .waiting(let holder): report(.note("waiting for \(holder), which prepares the same image"))
            case .unpacking(let progress): report(.unpacking(read: progress.read.bytes, total: progress.total.bytes))
            case .preparing(let done, let total): report(.preparing(bytes: done.bytes, total: total.bytes))
            case .examining, .finishing: break
            }
        }
    } catch let error as ImageStoreError {
        throw FlashError(error)
    }
}

extension FlashError {
    /// What the store says, in the flash's terms.
    package init(_ error: ImageStoreError) { self = error.isAboutImage ? .image("\(error)") : .server("\(error)") }
}

/// Opens an image.
package func openImage(_ image: FilePath) throws(FlashError) -> ImageReader {
    do throws(OSImageError) {
        return try ImageReader(image)
    } catch {
        throw .image("\(error)")
    }
}

extension ImageReader: OpenImage {
    /// As ``inspectOSImage(_:)``.
    package func layout() throws -> OSImageLayout { try inspectOSImage(self) }

    /// Whether it is a raw image.
    package var isRaw: Bool {
        get throws(FlashError) {
            do throws(OSImageError) {
                return try Compression(of: self) == nil
            } catch {
                throw .image("\(error)")
            }
        }
    }
}

extension Manifest.RelocationRecord {
    /// One sentence for the log; nil where there is nothing to say.
    func summary(of image: FilePath) -> String? {
        if changed.isEmpty, notes.isEmpty { return nil }
        let files = changed.map { $0.drop { $0 != ":" }.dropFirst() }.joined(separator: ", ")
        let what = files.isEmpty ? "nothing had to be changed for the card" : "changed for the card: \(files)"
        let count = notes.count
        return notes.isEmpty ? what : "\(what) (\(count) note\(count == 1 ? "" : "s"): rpiflash plan \(image))"
    }
}

extension PreparedImage {
    /// - Parameter raw: the image itself where it is not compressed.
    func forFlashing(raw: ImageReader?, remark: String?) throws -> ChunkedImage {
        let chunks = try manifest.chunks.map { chunk in
            guard let partition = CardPartition(rawValue: UInt64(chunk.partition)),
                let digest = SHA256Digest(hexadecimal: chunk.sha256)
            else { throw FlashError.server("\(folder) is damaged; remove it with rpiflash images") }
            return ChunkedImage.Chunk(
                place: ChunkPlace(
                    partition: partition, offset: SectorCount(chunk.offset), size: SectorCount(chunk.count)),
                digest: digest, encoding: chunk.encoding,
                encodedSize: ByteCount(chunk.encodedBytes), file: chunk.file, pieces: ByteCount(chunk.pieces))
        }
        return ChunkedImage(
            id: manifest.id,
            layout: try layout(), chunks: chunks, table: ("pieces", ByteCount(manifest.piecesBytes)), raw: raw,
            remark: remark,
            isPrivate: isPrivate, link: { try link($0, to: $1, isForEveryone: $2) })
    }
}
