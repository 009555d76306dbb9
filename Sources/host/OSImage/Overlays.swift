import BootFiles
import Glibc
import HostTools
import LinuxHost
import SystemPackage

/// Applies config.txt's overlays to an image's device trees: U-Boot loads these as they lie there, the firmware would have
/// added the overlays.
struct OverlayApplier {
    let files: FATFiles
    let tools: ToolRunner
    /// Device trees on their way in and out.
    let work: FilePath

    private static let scratch = ["overlay_map.dtb", "tree.dtb", "overlay.dtbo", "new.dtb"]
    /// A device tree at most; a Pi's has 60 KiB. U-Boot has 1 MiB of room for it (include/configs/rpi.h, fdt_addr_r).
    private static let largestTree = 1 << 20

    /// What became of the overlays.
    struct Result {
        /// Device trees that differ now.
        var changed: [String] = []
        /// Overlays that every device tree of ours has now.
        var applied: Set<String> = []
        var notes: [String] = []
    }

    /// - Parameters:
    ///   - overlays: names, in order, without parameters.
    ///   - prefix: config.txt's `os_prefix`.
    ///   - names: all files of the boot partition.
    /// - Returns: what is in the view now. A device tree gets all overlays that fit it in one go, or stays as it is.
    /// - Throws: `HostToolError` where fdtoverlay or fdtget is missing; `FATError/image(_:)`; `CancellationError`.
    func apply(_ overlays: [String], prefix: String, among names: [String]) async throws -> Result {
        var result = Result()
        guard !overlays.isEmpty else { return result }
        // Nothing may stay behind, however it ends: the folder becomes a prepared image.
        defer { for name in Self.scratch { try? unlinkFile(work.appending(name)) } }
        let folders = prefix.isEmpty ? [""] : [prefix.lowercased(), ""]
        func find(_ path: String) -> String? {
            folders.lazy.compactMap { folder in names.first { $0.lowercased() == folder + path.lowercased() } }.first
        }
        let trees = names.filter { name in
            let name = name.lowercased()
            return folders.contains { folder in
                name.hasPrefix(folder) && Self.isTree(String(name.dropFirst(folder.count)))
            }
        }
        var map: FilePath?
        if let path = find("overlays/overlay_map.dtb") {
            do {
                map = try copyOut(try read(path), as: "overlay_map.dtb")
            } catch let error as FATError {
                result.notes.append("the overlays of config.txt are not applied: boot partition \(error)")
                return result
            }
        }
        var failed: Set<String> = []
        for tree in trees {
            do {
                let before = try read(tree)
                let (after, unfit) = try await applied(overlays, to: before, tree, find: find, map: map, &result.notes)
                failed.formUnion(unfit)
                guard after != before else { continue }
                try files.write(after, to: tree)
                result.changed.append(tree)
            } catch let error as FATError {
                if case .image = error { throw error }
                failed.formUnion(overlays)
                let kinds = overlays.map { "dtoverlay=\($0)" }.joined(separator: ", ")
                result.notes.append("\(tree) stays as the image has it, without \(kinds): boot partition \(error)")
            }
        }
        result.applied = trees.isEmpty ? [] : Set(overlays).subtracting(failed)
        return result
    }

    /// Device trees of boards that rpiflash flashes.
    private static func isTree(_ name: String) -> Bool {
        name.hasSuffix(".dtb") && !name.contains("/")
            && ["bcm2710-rpi-3", "bcm2710-rpi-cm3", "bcm2711-", "bcm2837-rpi-3", "bcm2837-rpi-cm3"].contains {
                name.hasPrefix($0)
            }
    }

    /// A device tree with overlays, and those of them that it does not take.
    private func applied(
        _ overlays: [String], to tree: [UInt8], _ name: String, find: (String) -> String?, map: FilePath?,
        _ notes: inout [String]
    ) async throws -> (tree: [UInt8], unfit: Set<String>) {
        var tree = tree
        var unfit: Set<String> = []
        for overlay in overlays {
            let platform = name.lowercased().contains("bcm2711") ? "bcm2711" : "bcm2835"
            guard let own = try await mapped(overlay, on: platform, by: map) else {
                notes.append("dtoverlay=\(overlay) is not for \(name), says overlays/overlay_map.dtb")
                continue
            }
            guard let path = find("overlays/\(own).dtbo") else {
                unfit.insert(overlay)
                continue
            }
            let overlayFile = try copyOut(try read(path), as: "overlay.dtbo")
            let base = try copyOut(tree, as: "tree.dtb")
            let new = work.appending("new.dtb")
            try? unlinkFile(new)
            // A damaged overlay can make fdtoverlay write anything.
            if try await tools.applyOverlay(overlayFile, to: base, into: new),
                let result = try? SmallFile.read(new, limit: Self.largestTree), result.starts(with: Self.magic)
            {
                tree = result
            } else {
                unfit.insert(overlay)
                notes.append("dtoverlay=\(overlay) does not fit \(name); it is left out there")
            }
        }
        return (tree, unfit)
    }

    /// Of a device tree. Source: the Devicetree Specification, 5.2.
    private static let magic: [UInt8] = [0xd0, 0x0d, 0xfe, 0xed]

    private func read(_ path: String) throws(FATError) -> [UInt8] {
        let content = try files.read(path)
        guard content.count <= Self.largestTree else {
            throw .tooLong(path, bytes: UInt64(content.count), limit: UInt64(Self.largestTree))
        }
        return content
    }

    /// Puts a content into the folder for work.
    private func copyOut(_ content: [UInt8], as name: String) throws -> FilePath {
        let path = work.appending(name)
        let file = try FileDescriptor.open(
            path, .writeOnly, options: [.create, .truncate, .closeOnExec], permissions: [.ownerReadWrite])
        defer { try? file.close() }
        try file.writeAll(content)
        return path
    }

    /// The name of the overlay's file on a kind of board; nil where it is for others. Source: the firmware's
    /// overlays/README, 'overlay_map': a node for each overlay that differs, a property for each kind of board.
    private func mapped(_ overlay: String, on platform: String, by map: FilePath?) async throws -> String? {
        guard let map, let properties = try await tools.deviceTreeProperties(map, node: "/\(overlay)") else {
            return overlay
        }
        guard let value = properties[platform] else {
            // What was renamed for all has its new name there.
            return properties["renamed"].flatMap { $0.isEmpty ? nil : $0 }
        }
        return value.isEmpty ? overlay : value
    }
}
