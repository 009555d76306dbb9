import BootFiles
import Configuration
import FlashEvents
import ImageStore
package import Inventory
import LinuxHost
package import SystemPackage

/// Settings for an image's first boot on one target: `--customize`.
package struct FirstBootSettings: Sendable {
    private let customization: Customization
    private let values: PlaceholderValues
    private let sources: [String: [UInt8]]
    private let target: String

    /// Bytes of a file for the boot partition at most.
    private static let longestSource = 16 << 20

    /// Reads the file, and the files that it names.
    ///
    /// - Throws: `FlashError`.
    package init(_ path: FilePath, for row: Target) throws {
        guard let content = SmallFile.start(of: path, count: (1 << 20) + 1), content.count <= 1 << 20,
            let text = String(validating: content, as: UTF8.self)
        else {
            throw FlashError.image(
                "\(path): settings cannot be read; must be a text file of at most 1 MiB, and no link")
        }
        values = PlaceholderValues(
            name: row.name, mac: row.mac.description, ip: row.ip.description, server: row.server)
        target = row.displayName
        do throws(ConfigurationError) {
            customization = try Customization(yaml: text, file: path.string)
            var sources: [String: [UInt8]] = [:]
            for name in try customization.sources(values: values) {
                let source = path.removingLastComponent().pushing(FilePath(name))
                let content = SmallFile.start(of: source, count: Self.longestSource + 1)
                guard let content, content.count <= Self.longestSource else {
                    let what = content == nil ? "cannot be read" : "has more than \(Self.longestSource) bytes"
                    throw ConfigurationError(
                        file: path.string, position: nil,
                        reason: "\(source) \(what); must be a file of at most \(Self.longestSource) bytes, and no link")
                }
                sources[name] = content
            }
            self.sources = sources
        } catch {
            throw FlashError.image("\(error)")
        }
    }

    /// Checks that an image takes them and has room for them: tries it, without the store.
    ///
    /// - Throws: `FlashError`, `CancellationError`.
    func tryOut(on image: PreparedImage, in store: ImageStore) async throws {
        let edit = try edit(of: image)
        do {
            try await store.checkCustomization(of: image, edit, tools: hostTools())
        } catch let error as ImageStoreError {
            throw FlashError(error)
        }
    }

    private func edit(of image: PreparedImage) throws(FlashError) -> BootPartitionEdit {
        do throws(ConfigurationError) {
            return try customization.files(
                for: image.manifest.relocation?.firstBoot ?? .none, values: values, sources: sources)
        } catch {
            throw .image("\(error)")
        }
    }

    /// The image with these settings, as it takes them.
    ///
    /// - Throws: `FlashError`, `CancellationError`.
    func applied(to image: PreparedImage, in store: ImageStore) async throws -> PreparedImage {
        let edit = try edit(of: image)
        do {
            return try await store.customize(image, edit, for: target, tools: hostTools())
        } catch let error as ImageStoreError {
            throw FlashError(error)
        }
    }
}
