import FlashEvents
import ArgumentParser
import CommandOptions
import CommandOutput
import Configuration
import DiskLayout
import Flashing
import ImageStore
import SystemPackage
import Wiring

/// `rpiflash images`.
struct ImagesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "images",
        abstract: "List, measure or remove prepared images.",
        discussion: """
            A flash by plan and rpiflash plan prepare an image once and keep the result, for all targets. Removing one \
            is always safe: a flash that uses it continues, and the next one prepares the image again.

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
            print(imageTable(stored), terminator: "")
        }
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
