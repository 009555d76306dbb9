import ArgumentParser
import CommandOutput
import Configuration
import DiskLayout
import Flashing
import ImageStore
import SystemPackage

/// `rpiflash images`.
struct ImagesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "images",
        abstract: "List, measure or remove prepared images.",
        discussion: """
            A flash by plan and rpiflash plan prepare an image once and keep the result, for all targets. Removing one \
            is always safe: a flash that uses it goes on, and the next one prepares the image anew.

            EXAMPLES
              rpiflash images
              rpiflash images remove 3f9a
              rpiflash images size --json
            """,
        subcommands: [ListCommand.self, RemoveCommand.self, SizeCommand.self], defaultSubcommand: ListCommand.self)

    struct ListCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List them.",
            discussion: """
                DISK is what its files take; images share chunks that are the same, so that all together may take less.

                EXAMPLES
                  rpiflash images list
                  rpiflash images list --json
                """)

        @OptionGroup var store: StoreOptions

        @Flag(help: "One JSON object, for programs, as docs/json.md describes it.")
        var json = false

        func run() throws {
            let stored = try inStore { () throws(ImageStoreError) in try ImageStore(at: store.path).list() }
            if json {
                print(jsonLine(ImageList(stored)))
                return
            }
            let rows = stored.map { image in
                [
                    shortID(image.id, among: stored.map(\.id)),
                    image.manifest.map { sanitized($0.name) } ?? "(damaged)",
                    image.manifest.map { Figures.mebibytes($0.imageBytes) } ?? "-",
                    image.manifest.map { Figures.mebibytes($0.bytes.bytes) } ?? "-",
                    image.manifest.map { "\($0.chunks.count)" } ?? "-", Figures.mebibytes(image.diskBytes.bytes),
                    ImagesCommand.origin(of: image),
                ]
            }
            print(textTable([["ID", "NAME", "IMAGE", "USED", "CHUNKS", "DISK", "FROM"]] + rows), terminator: "")
        }
    }

    /// The files that it was prepared from, or whose settings it has.
    private static func origin(of image: StoredImage) -> String {
        var texts = image.sources.map(\.string)
        if let target = image.manifest?.relocation?.customized { texts.append("settings of \(target)") }
        return texts.map { sanitized($0) }.joined(separator: ", ")
    }

    struct RemoveCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "remove", abstract: "Remove some.",
            discussion: """
                EXAMPLES
                  rpiflash images remove 3f9a
                  rpiflash images remove 3f9a 77b0 --store /srv/images
                  rpiflash images remove 3f9a --dry-run
                """)

        @Argument(help: "Their ids, or as much of one as no other has.")
        var id: [String]

        @OptionGroup var store: StoreOptions

        @OptionGroup var dryRun: DryRunOptions

        func run() async throws {
            let images = ImageStore(at: store.path)
            let stored = try inStore { () throws(ImageStoreError) in try images.list() }
            // All must be known before one goes.
            var chosen: [StoredImage] = []
            for text in id {
                let image = try find(text, in: stored)
                if !chosen.contains(image) { chosen.append(image) }
            }
            for image in chosen {
                do {
                    if !dryRun.isOn { try await images.remove(image.id) }
                } catch let error as ImageStoreError {
                    throw FlashError(error)
                }
                print(
                    "\(dryRun.isOn ? "would remove" : "removed") \(image.id)"
                        + (image.manifest.map { " (\(sanitized($0.name)))" } ?? ""))
            }
        }

        private func find(_ text: String, in stored: [StoredImage]) throws -> StoredImage {
            let wanted = text.lowercased()
            let found = stored.filter { $0.id.hasPrefix(wanted) }
            switch found.count {
            case 1: return found[0]
            case 0: throw FlashError.server("image store \(store.path) has no image \(text)")
            default:
                throw FlashError.server(
                    "\(found.count) images of image store \(store.path) have ids that start with '\(text)'; "
                        + "must be one: give more of it")
            }
        }

        func validate() throws {
            if id.contains("") { throw ValidationError("an id is empty; must be at least one digit of one") }
        }
    }

    struct SizeCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "size", abstract: "Show what all of them take on the disk.",
            discussion: """
                EXAMPLES
                  rpiflash images size
                  rpiflash images size --store /srv/images --json
                """)

        @OptionGroup var store: StoreOptions

        @Flag(help: "One JSON object, for programs, as docs/json.md describes it.")
        var json = false

        func run() throws {
            let bytes = try inStore { () throws(ImageStoreError) in try ImageStore(at: store.path).size() }.bytes
            print(
                json
                    ? jsonLine(StoreSize(store: store.path.string, bytes: bytes))
                    : "\(store.path): \(bytes) bytes (\(Figures.mebibytes(bytes)))")
        }
    }
}

private func inStore<Value>(_ body: () throws(ImageStoreError) -> Value) throws(FlashError) -> Value {
    do throws(ImageStoreError) { return try body() } catch { throw FlashError(error) }
}

/// As much of an id as tells it from all others, at least 12 digits.
private func shortID(_ id: String, among all: [String]) -> String {
    let length = (12...64).first { length in all.filter { $0.hasPrefix(id.prefix(length)) }.count == 1 }
    return String(id.prefix(length ?? 64))
}

/// `rpiflash images list --json`.
struct ImageList: Encodable {
    struct Image: Encodable {
        let id: String
        let name: String?
        let imageBytes: UInt64?
        let usedBytes: UInt64?
        let chunkCount: Int?
        let diskBytes: UInt64
        let sources: [String]
        let damaged: Bool

        enum CodingKeys: String, CodingKey {
            case id, name, sources, damaged
            case imageBytes = "image_bytes"
            case usedBytes = "used_bytes"
            case chunkCount = "chunk_count"
            case diskBytes = "disk_bytes"
        }
    }

    /// Grows when a field changes its meaning or goes.
    let version = 1
    let images: [Image]

    init(_ stored: [StoredImage]) {
        images = stored.map { image in
            Image(
                id: image.id, name: image.manifest?.name, imageBytes: image.manifest?.imageBytes,
                usedBytes: image.manifest?.bytes.bytes, chunkCount: image.manifest?.chunks.count,
                diskBytes: image.diskBytes.bytes, sources: image.sources.map(\.string), damaged: image.manifest == nil)
        }
    }
}

/// `rpiflash images size --json`.
struct StoreSize: Encodable {
    /// Grows when a field changes its meaning or goes.
    let version = 1
    let store: String
    let bytes: UInt64
}
