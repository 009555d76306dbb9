internal import BootFiles
internal import Glibc
internal import HostTools
internal import SystemPackage

/// Applies config.txt's overlays to an image's device trees: U-Boot loads these as they lie there, the firmware would have
/// added the overlays.
struct OverlayApplier {
    let files: FATFiles
    let tools: ToolRunner
    /// Device trees on their way in and out.
    let work: FilePath

    private static let scratch = ["overlay_map.dtb", "tree.dtb", "overlay.dtbo", "new.dtb"]

    /// What became of the overlays.
    struct Result {
        /// Device trees that differ now.
        var changes: [(name: String, before: [UInt8], after: [UInt8])] = []
        /// Overlays that every device tree of ours has now.
        var applied: Set<String> = []
        var notes: [String] = []
    }

    /// - Parameters:
    ///   - overlays: names, in order, without parameters.
    ///   - prefix: config.txt's `os_prefix`.
    ///   - names: all files of the boot partition.
    func apply(_ overlays: [String], prefix: String, among names: [String]) async throws -> Result {
        var result = Result()
        guard !overlays.isEmpty else { return result }
        // Nothing may stay behind, however it ends: the folder becomes a prepared image.
        defer { for name in Self.scratch { try? removeFile(work.appending(name)) } }
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
        if let path = find("overlays/overlay_map.dtb") { map = try await take(path, as: "overlay_map.dtb") }
        var failed: Set<String> = []
        for tree in trees {
            let base = try await take(tree, as: "tree.dtb")
            let before = try readFile(base)
            var isChanged = false
            for overlay in overlays {
                let platform = tree.lowercased().contains("bcm2711") ? "bcm2711" : "bcm2835"
                guard let name = try await mapped(overlay, on: platform, by: map) else {
                    result.notes.append("dtoverlay=\(overlay) is not for \(tree), says overlays/overlay_map.dtb")
                    continue
                }
                guard let path = find("overlays/\(name).dtbo") else {
                    failed.insert(overlay)
                    continue
                }
                let overlayFile = try await take(path, as: "overlay.dtbo")
                let new = work.appending("new.dtb")
                do {
                    try await tools.applyOverlay(overlayFile, to: base, into: new)
                    try removeFile(base)
                    let moved = unsafe new.withPlatformString { from in
                        unsafe base.withPlatformString { unsafe rename(from, $0) }
                    }
                    guard moved == 0 else { throw Errno(rawValue: errno) }
                    isChanged = true
                } catch let error as HostToolError {
                    try? removeFile(new)
                    if case .missing = error { throw error }
                    failed.insert(overlay)
                    result.notes.append("dtoverlay=\(overlay) cannot be applied to \(tree): \(error)")
                }
                try removeFile(overlayFile)
            }
            if isChanged {
                let after = try readFile(base)
                try await files.write(after, to: tree)
                result.changes.append((tree, before, after))
            }
            try removeFile(base)
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

    private func take(_ name: String, as copy: String) async throws -> FilePath {
        let path = work.appending(copy)
        try await tools.copyOutOfFAT(files.image, name: name, to: path)
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
