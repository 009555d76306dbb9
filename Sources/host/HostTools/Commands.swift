package import SystemPackage

extension ToolRunner {
    /// Makes an empty FAT filesystem in a part of `image`, with the same bytes each time.
    ///
    /// - Parameters:
    ///   - image: a file name in `folder`, so that no path gets anywhere.
    ///   - firstSector: where the filesystem starts, in sectors of 512 bytes.
    ///   - sectors: its length, a multiple of 2.
    ///   - bits: 16 or 32, the FAT's kind.
    ///   - sectorsPerCluster: a power of two.
    ///   - volumeID: the volume's serial number.
    ///   - label: at most 11 characters.
    /// - Throws: ``HostToolError``; `CancellationError`.
    package func makeFAT(
        in image: String, folder: FilePath, firstSector: UInt64, sectors: UInt64, bits: Int, sectorsPerCluster: Int,
        volumeID: UInt32, label: String
    ) async throws {
        try await run(
            .mkfsVFAT,
            [
                // First: it brings a volume ID of its own.
                "--invariant", "-i", String(volumeID, radix: 16), "-n", label, "-F", "\(bits)", "-s",
                "\(sectorsPerCluster)", "-S", "512", "-h", "\(firstSector)", "--offset", "\(firstSector)", image,
                "\(sectors / 2)",
            ], in: folder)
    }

    /// Copies files into the top folder of the FAT filesystem that starts at `byteOffset` of `image`, in this order.
    ///
    /// - Parameters:
    ///   - files: absolute paths; each keeps its own name.
    ///   - image: a file name in `folder`.
    /// - Throws: ``HostToolError``; `CancellationError`.
    package func copyIntoFAT(_ files: [FilePath], image: String, folder: FilePath, byteOffset: UInt64) async throws {
        try await run(.mcopy, ["-i", "\(image)@@\(byteOffset)"] + files.map(\.string) + ["::/"], in: folder)
    }

    /// Repairs what fsck.vfat repairs in a FAT filesystem without asking, its dirty bit among it.
    ///
    /// - Parameter image: a file that begins with the filesystem.
    /// - Returns: whether it is sound now.
    /// - Throws: ``HostToolError/missing(_:)``, ``HostToolError/notStarted(_:reason:)``; `CancellationError`.
    package func repairFAT(_ image: FilePath) async throws -> Bool {
        // Status 1: something was repaired, or cannot be.
        _ = try await status(of: .fsckVFAT, ["-a", image.string])
        return try await isSoundFAT(image)
    }

    /// Whether fsck.vfat finds nothing wrong with a FAT filesystem.
    ///
    /// - Parameter image: a file that begins with the filesystem; it is only read.
    /// - Throws: ``HostToolError/missing(_:)``, ``HostToolError/notStarted(_:reason:)``; `CancellationError`.
    package func isSoundFAT(_ image: FilePath) async throws -> Bool {
        try await status(of: .fsckVFAT, ["-n", image.string]) == 0
    }

    /// Replays the journal of an ext filesystem and repairs what e2fsck repairs without asking.
    ///
    /// - Parameter image: a file that begins with the filesystem.
    /// - Returns: whether it is sound now.
    /// - Throws: ``HostToolError/missing(_:)``, ``HostToolError/notStarted(_:reason:)``; `CancellationError`.
    package func repairExt(_ image: FilePath) async throws -> Bool {
        // 1 and 2: it was repaired.
        try await (0...2).contains(status(of: .e2fsck, ["-f", "-p", image.string]) ?? -1)
    }

    /// Whether e2fsck finds nothing wrong with an ext filesystem.
    ///
    /// - Parameter image: a file that begins with the filesystem; it is only read.
    /// - Throws: ``HostToolError/missing(_:)``, ``HostToolError/notStarted(_:reason:)``; `CancellationError`.
    package func isSoundExt(_ image: FilePath) async throws -> Bool {
        try await status(of: .e2fsck, ["-f", "-n", image.string]) == 0
    }

    /// Applies an overlay to a device tree.
    ///
    /// - Parameter result: does not exist yet.
    /// - Returns: false where the overlay does not fit the tree, or one of them is damaged.
    /// - Throws: ``HostToolError/missing(_:)``, ``HostToolError/notStarted(_:reason:)``; `CancellationError`.
    package func applyOverlay(_ overlay: FilePath, to tree: FilePath, into result: FilePath) async throws -> Bool {
        try await status(of: .fdtoverlay, ["-i", tree.string, "-o", result.string, overlay.string]) == 0
    }

    /// A node's properties as text; nil where there is no such node.
    ///
    /// - Throws: ``HostToolError``; `CancellationError`.
    package func deviceTreeProperties(_ tree: FilePath, node: String) async throws -> [String: String]? {
        let names: String
        do {
            names = try await run(.fdtget, ["-p", tree.string, node])
        } catch HostToolError.failed {
            return nil
        }
        var properties: [String: String] = [:]
        for name in names.split(whereSeparator: \.isNewline).map(String.init) {
            do {
                let value = try await run(.fdtget, ["-t", "s", "-d", "", tree.string, node, name])
                properties[name] = value.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
            } catch HostToolError.failed {
                // Its value is not text.
                continue
            }
        }
        return properties
    }

    /// Makes a U-Boot script image (legacy format) of a script's text.
    ///
    /// - Parameters:
    ///   - script, image: file names in `folder`.
    ///   - architecture: as mkimage's `-A` takes it: `arm64`, `arm`.
    ///   - name: at most 31 characters, shown by `dumpimage -l` and U-Boot's `iminfo`.
    /// - Throws: ``HostToolError``; `CancellationError`.
    package func makeScriptImage(
        of script: String, to image: String, folder: FilePath, architecture: String, name: String
    ) async throws {
        try await run(
            .mkimage,
            [
                "-A", architecture, "-O", "linux", "-T", "script", "-C", "none", "-a", "0", "-e", "0", "-n", name, "-d",
                script, image,
            ], in: folder)
    }

    /// Compresses `file` to `file`.xz and keeps it.
    ///
    /// One thread and a dictionary of 1 MiB: the same bytes on every machine, and little memory here and where it is
    /// unpacked; a card is mostly zeros, which any setting packs.
    ///
    /// - Parameter file: a file name in `folder`.
    /// - Throws: ``HostToolError``; `CancellationError`.
    package func compress(_ file: String, folder: FilePath) async throws {
        try await run(
            .xz,
            [
                "--compress", "--keep", "--format=xz", "--check=crc64", "--threads=1",
                "--lzma2=preset=3,dict=1MiB", "--", file,
            ], in: folder)
    }

    /// SHA-256 of a range of a file, 64 hexadecimal digits.
    ///
    /// - Parameters:
    ///   - path: the file.
    ///   - offset, count: the range in bytes, within the file.
    /// - Throws: ``HostToolError``; `Errno` where the file cannot be read; `CancellationError`.
    package func sha256(of path: FilePath, from offset: UInt64, count: UInt64) async throws -> String {
        let output = try await run(.sha256sum, ["--binary"]) { input in
            let file = try FileDescriptor.open(path, .readOnly)
            defer { try? file.close() }
            var done: UInt64 = 0
            while done < count {
                let chunk = unsafe try [UInt8](unsafeUninitializedCapacity: Int(min(count - done, 1 << 20))) {
                    buffer, filled in
                    filled = unsafe try file.read(
                        fromAbsoluteOffset: Int64(offset + done), into: UnsafeMutableRawBufferPointer(buffer))
                }
                guard !chunk.isEmpty else { throw Errno.ioError }
                try await input.write(chunk)
                done += UInt64(chunk.count)
            }
        }
        let digits = output.prefix { $0.isHexDigit }
        guard digits.count == 64 else { throw HostToolError.unexpectedOutput(.sha256sum, output: output) }
        return String(digits)
    }
}
