package import BootScript
package import DiskLayout
import LinuxHost
package import SystemPackage

/// Makes recovery card images: the card's partition table, partition 1 with all that boots, partition 2 empty, and the
/// first MiB of partition 3. No root, no loop device, no mount.
package struct RecoveryImageMaker: Sendable {
    private let tables: any PartitionTableStore
    private let tools: any CardTools
    private let keys: CardKeys?

    /// Uses these ports.
    ///
    /// - Parameter keys: what cards know; nil: their boot scripts are not signed.
    package init(tables: any PartitionTableStore, tools: any CardTools, keys: CardKeys? = nil) {
        (self.tables, self.tools, self.keys) = (tables, tools, keys)
    }

    /// What was made.
    package struct Result: Hashable, Sendable {
        /// The image.
        package let image: FilePath
        /// Its length in bytes.
        package let size: ByteCount
        /// Its block map.
        package let blockMap: FilePath
        /// Bytes of the blocks in the map: what a writer has to write.
        package let mapped: ByteCount
        /// The image compressed, if asked for.
        package let compressed: FilePath?
    }

    /// How much of partition 3 the image covers, as zeros: no old filesystem is found there.
    private static let rootfsCleared = ByteCount.mebibytes(1)
    /// How much of the card's start is written whatever it holds: an old GPT or boot loader there goes.
    private static let startCleared = ByteCount.mebibytes(1)
    private static let image = "card.img"
    private static let map = "card.bmap"

    /// Makes an image, its block map next to it (`.bmap` for `.img`) and, if asked, a compressed copy (`.img.xz`).
    ///
    /// Each appears complete or not at all; an older compressed copy goes where none is asked for.
    ///
    /// - Parameters:
    ///   - card: the layout; the table in the image describes the whole card.
    ///   - contents: partition 1's files, see ``cardContents(board:card:network:sources:)``.
    ///   - board: names the script image.
    ///   - output: the image.
    ///   - compress: make the compressed copy too.
    /// - Throws: ``RecoveryImageError``; what the ports throw; `CancellationError`. Nothing is left of what was begun.
    package func make(
        card: CardLayout, contents: [CardFile], board: BoardProfile, output: FilePath, compress: Bool
    ) async throws -> Result {
        for path in [output.blockMap, output.compressed] { try OutputFolder.check(path) }
        let folder = try OutputFolder(for: output)
        defer { folder.remove() }
        return try await folder.namingFullDisk {
            try await make(card: card, contents: contents, board: board, output: output, compress: compress, in: folder)
        }
    }

    /// Checks what ``make(card:contents:board:output:compress:)`` would make, and where; makes nothing there.
    ///
    /// The table, the scripts and an empty partition 1 are made in a folder that goes again, so that what cannot work is
    /// found.
    ///
    /// - Parameter scratch: where that folder is, as /tmp.
    /// - Returns: what would be made, without what only the finished files tell.
    /// - Throws: as making it does.
    package func dryRun(
        card: CardLayout, contents: [CardFile], board: BoardProfile, output: FilePath, compress: Bool,
        scratch: FilePath
    ) async throws -> DryRunReport {
        for path in [output.blockMap, output.compressed] { try OutputFolder.check(path) }
        try OutputFolder.checkWritable(output)
        let folder = try OutputFolder(for: scratch.appending("rpiflash-dry-run"))
        defer { folder.remove() }
        return try await folder.namingFullDisk {
            let size = imageSize(of: card)
            try makeTable(card, size: size, in: folder)
            let files = try await stage(contents, board: board, in: folder)
            try await makeFAT(card.uboot, label: "U-BOOT", diskID: card.diskID, in: folder)
            try checkRoom(for: files, in: card.uboot, of: folder)
            return DryRunReport(
                image: output, size: size, blockMap: output.blockMap, compressed: compress ? output.compressed : nil,
                files: files.map { $0.lastComponent?.string ?? "" })
        }
    }

    /// What would be made.
    package struct DryRunReport: Hashable, Sendable {
        /// The image.
        package let image: FilePath
        /// Its length in bytes.
        package let size: ByteCount
        /// Its block map.
        package let blockMap: FilePath
        /// The image compressed, if asked for.
        package let compressed: FilePath?
        /// The files on partition 1, by their names.
        package let files: [String]
    }

    private func imageSize(of card: CardLayout) -> ByteCount {
        card.rootfs.start.byteOffset + min(Self.rootfsCleared, card.rootfs.size.byteCount)
    }

    private func make(
        card: CardLayout, contents: [CardFile], board: BoardProfile, output: FilePath, compress: Bool,
        in folder: OutputFolder
    ) async throws -> Result {
        let size = imageSize(of: card)
        try makeTable(card, size: size, in: folder)

        let files = try await stage(contents, board: board, in: folder)
        try await makeFAT(card.uboot, label: "U-BOOT", diskID: card.diskID, in: folder)
        try checkRoom(for: files, in: card.uboot, of: folder)
        try await tools.copyIntoFAT(files, image: Self.image, folder: folder.path, start: card.uboot.start)
        try await makeFAT(card.boot, label: "NO-IMAGE", diskID: card.diskID, in: folder)

        // Read anew, after all that has written to the file.
        let read = try tables.read(from: folder.path.appending(Self.image))
        guard read == card.table else { throw RecoveryImageError.tableDiffers(written: card.table, read: read) }

        let map = try await makeBlockMap(card, size: size, in: folder)
        if compress { try await tools.compress(Self.image, folder: folder.path) }

        let (mapPath, compressedPath) = (output.blockMap, output.compressed)
        try folder.publish(Self.map, as: mapPath)
        if compress {
            try folder.publish("\(Self.image).xz", as: compressedPath)
        } else {
            try removeFile(compressedPath)
        }
        try folder.publish(Self.image, as: output)
        return Result(
            image: output, size: size, blockMap: mapPath, mapped: map, compressed: compress ? compressedPath : nil)
    }

    /// The image file with the table in it, cut to `size`.
    private func makeTable(_ card: CardLayout, size: ByteCount, in folder: OutputFolder) throws {
        try folder.write([], to: Self.image)
        let path = folder.path.appending(Self.image)
        // libfdisk refuses entries past the end, so the file has the card's length first; it has no blocks yet.
        try resize(path, to: card.cardSize.byteCount)
        try tables.write(card.table, to: path)
        try resize(path, to: size)
    }

    private func resize(_ path: FilePath, to size: ByteCount) throws(RecoveryImageError) {
        do {
            let file = try FileDescriptor.open(path, .writeOnly)
            try file.closeAfter { try file.resize(to: Int64(size.bytes)) }
        } catch {
            throw .unwritable(path: path, errno: error as? Errno ?? .ioError)
        }
    }

    /// Makes what has to be made, and tells where everything is, in the order of `contents`.
    private func stage(
        _ contents: [CardFile], board: BoardProfile, in folder: OutputFolder
    ) async throws -> [FilePath] {
        var files: [FilePath] = []
        for file in contents {
            switch file {
            case .copy(let path):
                files.append(absolute(path))
            case .text(let name, let text):
                try folder.write(Array(text.utf8), to: name)
                files.append(absolute(folder.path.appending(name)))
            case .script(let name, let text):
                try await makeScriptImage(text, name: name, board: board, in: folder)
                files.append(absolute(folder.path.appending(name)))
            case .tree(let path):
                let name = path.lastComponent?.string ?? ""
                try folder.write(try readTree(path), to: name)
                files.append(try await addKeys(to: name, in: folder))
            case .keys(let name):
                try await tools.makeEmptyTree(name, folder: folder.path)
                files.append(try await addKeys(to: name, in: folder))
            case .publicKey(let name):
                if let keys {
                    try await tools.exportPublicKey(name, of: keys, to: "\(name).pem", folder: folder.path)
                    files.append(absolute(folder.path.appending("\(name).pem")))
                }
            }
        }
        return files
    }

    /// - Returns: where the tree is.
    private func addKeys(to tree: String, in folder: OutputFolder) async throws -> FilePath {
        if let keys { try await tools.addKeys(keys, to: tree, folder: folder.path) }
        return absolute(folder.path.appending(tree))
    }

    private func readTree(_ path: FilePath) throws(RecoveryImageError) -> [UInt8] {
        do throws(SmallFileError) {
            return try SmallFile.read(path, limit: 1 << 20)
        } catch {
            switch error {
            case .tooLong: throw .unreadable(path: path, errno: .fileTooLarge)
            case .unreadable(let errno): throw .unreadable(path: path, errno: errno)
            }
        }
    }

    private func makeScriptImage(
        _ script: String, name: String, board: BoardProfile, in folder: OutputFolder
    ) async throws {
        try folder.write(Array(script.utf8), to: "\(name).txt")
        if let keys {
            return try await tools.makeSignedScriptImage(
                of: "\(name).txt", to: name, folder: folder.path, name: "boot", keys: keys)
        }
        try await tools.makeScriptImage(
            of: "\(name).txt", to: name, folder: folder.path, architecture: board.architecture.rawValue,
            name: "rpiflash \(board.name)")
    }

    /// The volume's number comes from the card's and the partition's, so that it is the same each time.
    private func makeFAT(
        _ partition: Partition, label: String, diskID: DiskID, in folder: OutputFolder
    ) async throws {
        try await tools.makeFAT(
            in: Self.image, folder: folder.path, partition: partition, format: FATFormat(size: partition.size),
            volumeID: diskID.value &+ UInt32(partition.number), label: label)
    }

    /// mcopy's own word for a full filesystem does not say what to do.
    private func checkRoom(
        for files: [FilePath], in partition: Partition, of folder: OutputFolder
    ) throws {
        let usage = try usage(of: partition, in: folder)
        let cluster = usage.clusterSize.bytes
        // One cluster for the top folder; longer ones are left to mcopy.
        var needed = cluster
        for path in files {
            let size: Int64
            do {
                size = try Stat(path).size
            } catch {
                throw RecoveryImageError.unreadable(path: path, errno: error)
            }
            needed += (UInt64(size) + cluster - 1) / cluster * cluster
        }
        guard needed <= usage.clusterCount * cluster else {
            throw RecoveryImageError.contentTooLarge(
                needed: ByteCount(needed), room: ByteCount(usage.clusterCount * cluster))
        }
    }

    private func usage(of partition: Partition, in folder: OutputFolder) throws -> FATUsage {
        let path = folder.path.appending(Self.image)
        let file = try FileDescriptor.open(path, .readOnly)
        defer { try? file.close() }
        return try FATUsage(bits: FATFormat(size: partition.size).bits) { offset, count in
            let bytes = try [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
                filled = 0
                while filled < count {
                    let got = try file.read(
                        fromAbsoluteOffset: Int64(partition.start.byteOffset.bytes + offset) + Int64(filled),
                        into: UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[filled...]))
                    guard got > 0 else { throw RecoveryImageError.malformedFAT("it ends early") }
                    filled += got
                }
            }
            return bytes
        }
    }

    /// Writes the block map.
    ///
    /// - Returns: the bytes that it maps.
    private func makeBlockMap(_ card: CardLayout, size: ByteCount, in folder: OutputFolder) async throws -> ByteCount {
        var used = [0..<Self.startCleared.bytes, card.rootfs.start.byteOffset.bytes..<size.bytes]
        for partition in [card.uboot, card.boot] {
            let start = partition.start.byteOffset.bytes
            used += try usage(of: partition, in: folder).ranges.map {
                start + $0.lowerBound..<start + $0.upperBound
            }
        }
        let map = BlockMap(imageSize: size.bytes, used: used)
        let image = folder.path.appending(Self.image)
        var checksums: [String] = []
        var mapped: UInt64 = 0
        for range in map.ranges {
            let bytes = map.bytes(of: range)
            mapped += UInt64(bytes.count)
            checksums.append(
                try await tools.sha256(
                    of: image, from: ByteCount(bytes.lowerBound), count: ByteCount(UInt64(bytes.count))))
        }
        let unsigned = map.text(checksums: checksums)
        try folder.write(Array(unsigned.utf8), to: "unsigned")
        let own = try await tools.sha256(
            of: folder.path.appending("unsigned"), from: ByteCount(0), count: ByteCount(UInt64(unsigned.utf8.count)))
        try folder.write(Array(map.text(checksums: checksums, own: own).utf8), to: Self.map)
        return ByteCount(mapped)
    }

    /// Makes a boot script image, or the script's text, at `output`.
    ///
    /// - Throws: ``RecoveryImageError``; what the ports throw; `CancellationError`. Nothing is left of what was begun.
    package func makeBootScript(_ script: String, board: BoardProfile, output: FilePath, asText: Bool) async throws {
        let folder = try OutputFolder(for: output)
        defer { folder.remove() }
        try await folder.namingFullDisk {
            if asText {
                try folder.write(Array(script.utf8), to: "boot.scr")
            } else {
                try await makeScriptImage(script, name: "boot.scr", board: board, in: folder)
            }
            try folder.publish("boot.scr", as: output)
        }
    }

    /// Checks that a boot script could be made at `output`; makes nothing there.
    ///
    /// - Parameter scratch: where a folder is made that goes again, as /tmp.
    /// - Returns: its length in bytes.
    /// - Throws: as making it does.
    package func dryRunBootScript(
        _ script: String, board: BoardProfile, output: FilePath, asText: Bool, scratch: FilePath
    ) async throws -> ByteCount {
        try OutputFolder.checkWritable(output)
        let folder = try OutputFolder(for: scratch.appending("rpiflash-dry-run"))
        defer { folder.remove() }
        return try await folder.namingFullDisk {
            if asText { return ByteCount(UInt64(script.utf8.count)) }
            try await makeScriptImage(script, name: "boot.scr", board: board, in: folder)
            return ByteCount(UInt64(try Stat(folder.path.appending("boot.scr")).size))
        }
    }

    /// Checks that libfdisk can write this layout, and reads back what was computed, in a sparse file that goes again.
    ///
    /// - Parameter folder: where the file is made, as /tmp.
    /// - Throws: ``RecoveryImageError/tableDiffers(written:read:)``; what the port throws.
    package func check(_ card: CardLayout, in folder: FilePath) throws {
        let folder = try OutputFolder(for: folder.appending("rpiflash-layout"))
        defer { folder.remove() }
        try makeTable(card, size: card.cardSize.byteCount, in: folder)
        let read = try tables.read(from: folder.path.appending(Self.image))
        guard read == card.table else { throw RecoveryImageError.tableDiffers(written: card.table, read: read) }
    }
}

extension FilePath {
    /// `recovery.bmap` for `recovery.img`; bmaptool finds it by itself.
    fileprivate var blockMap: FilePath {
        var path = self
        if path.extension == "img" { path.extension = "bmap" } else { path = path.appendingToName(".bmap") }
        return path
    }

    /// `recovery.img.xz` for `recovery.img`.
    fileprivate var compressed: FilePath { appendingToName(".xz") }

    private func appendingToName(_ suffix: String) -> FilePath { FilePath(string + suffix) }
}
