import Configuration
import DiskLayout
package import ImageStore
import SystemPackage

/// As much of an id as tells it from all others, at least 12 digits.
private func shortID(_ id: String, among all: [String]) -> String {
    let length = (12...64).first { length in all.filter { $0.hasPrefix(id.prefix(length)) }.count == 1 }
    return String(id.prefix(length ?? 64))
}

/// `rpiflash images list --json`.
package struct ImageList: Encodable {
    struct Image: Encodable {
        let id: String
        let name: String?
        let imageBytes: UInt64?
        let usedBytes: UInt64?
        let chunkCount: Int?
        let diskBytes: UInt64
        let sources: [String]
        let damaged: Bool
    }

    /// Grows when a field changes its meaning or goes.
    let version = 1
    let images: [Image]

    package init(_ stored: [StoredImage]) {
        images = stored.map { image in
            Image(
                id: image.id, name: image.manifest?.name, imageBytes: image.manifest?.imageBytes,
                usedBytes: image.manifest?.bytes.bytes, chunkCount: image.manifest?.chunks.count,
                diskBytes: image.diskBytes.bytes, sources: image.sources.map(\.string), damaged: image.manifest == nil)
        }
    }
}

/// `rpiflash images size --json`.
package struct StoreSize: Encodable {
    /// Grows when a field changes its meaning or goes.
    let version = 1
    let store: String
    let bytes: UInt64

    /// - Parameters:
    ///   - store: its folder.
    ///   - bytes: what its files take.
    package init(store: String, bytes: UInt64) { (self.store, self.bytes) = (store, bytes) }
}

/// A line for each prepared image.
package func imageTable(_ stored: [StoredImage]) -> String {
    let ids = stored.map(\.id)
    let rows = stored.map { image in
        [
            shortID(image.id, among: ids), image.manifest.map { sanitized($0.name) } ?? "(damaged)",
            image.manifest.map { Figures.mebibytes($0.imageBytes) } ?? "-",
            image.manifest.map { Figures.mebibytes($0.bytes.bytes) } ?? "-",
            image.manifest.map { "\($0.chunks.count)" } ?? "-", Figures.mebibytes(image.diskBytes.bytes),
            origin(of: image),
        ]
    }
    return textTable([["ID", "NAME", "IMAGE", "USED", "CHUNKS", "DISK", "FROM"]] + rows)
}

/// The files that it was prepared from, or whose settings it has.
private func origin(of image: StoredImage) -> String {
    var texts = image.sources.map(\.string)
    if let target = image.manifest?.relocation?.customized { texts.append("settings of \(target)") }
    return texts.map { sanitized($0) }.joined(separator: ", ")
}
