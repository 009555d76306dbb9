/// Folders of a FAT filesystem, as their entries lie there.
extension FATFiles {
    /// A folder's entries as they lie there.
    struct Folder {
        /// nil: the top folder of FAT12 and FAT16.
        var clusters: [UInt32]?
        var path: String
        var bytes: [UInt8]
        var entries: [Entry]
    }

    func topFolder() throws(FATError) -> Folder {
        guard geometry.kind != .fat32 else { return try folder(at: geometry.rootCluster, "") }
        let start = (geometry.dataStart - geometry.rootSectors) * 512
        let bytes = try area.fatBytes(at: start, count: geometry.rootSectors * 512)
        return Folder(clusters: nil, path: "", bytes: bytes, entries: entries(in: bytes, nil))
    }

    func folder(at cluster: UInt32, _ path: String) throws(FATError) -> Folder {
        let shown = path.isEmpty ? "the top folder" : path
        let most = UInt64(Self.largestFolder) / geometry.clusterBytes
        let chain = try table.chain(from: cluster, atMost: max(1, most) + 1, of: shown)
        guard UInt64(chain.count) <= max(1, most) else {
            throw .damaged("\(shown) has more than \(Self.largestFolder) bytes")
        }
        var bytes: [UInt8] = []
        for run in runs(chain) {
            let (offset, count) = (geometry.offset(of: run.lowerBound), UInt64(run.count) * geometry.clusterBytes)
            bytes += try area.fatBytes(at: offset, count: count)
        }
        return Folder(clusters: chain, path: path, bytes: bytes, entries: entries(in: bytes, chain))
    }

    /// What a path leads to, and the folder that it is in.
    func find(_ path: String) throws(FATError) -> (Entry?, Folder) {
        var folder = try topFolder()
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        for part in parts.dropLast() {
            let below = folder.path.isEmpty ? part : "\(folder.path)/\(part)"
            guard let entry = Self.match(part, in: folder.entries) else { return (nil, folder) }
            guard entry.isFolder else { throw .isNoFolder(below) }
            folder = try self.folder(at: entry.cluster, below)
        }
        return (parts.last.flatMap { Self.match($0, in: folder.entries) }, folder)
    }

    static func match(_ name: String, in entries: [Entry]) -> Entry? {
        if let same = entries.first(where: { $0.name == name }) { return same }
        let lower = name.lowercased()
        return entries.first {
            $0.name.lowercased() == lower || FATName.shown($0.short, lowerCase: 0).lowercased() == lower
        }
    }

    /// Calls with everything below the top folder, a folder before what is in it.
    func walk(
        _ body: (_ path: String, Entry, _ folder: [UInt32]?) throws(FATError) -> Void
    ) throws(FATError) {
        var count = 0
        var seen: Set<UInt32> = geometry.kind == .fat32 ? [geometry.rootCluster] : []
        var folders = [try topFolder()]
        while let folder = folders.popLast() {
            for entry in folder.entries {
                count += 1
                guard count <= Self.mostEntries else {
                    throw .damaged("it has more than \(Self.mostEntries) files")
                }
                let path = folder.path.isEmpty ? entry.name : "\(folder.path)/\(entry.name)"
                try body(path, entry, folder.clusters)
                guard entry.isFolder else { continue }
                guard seen.insert(entry.cluster).inserted else {
                    throw .damaged("folder \(path) begins where another one does")
                }
                guard path.utf8.count <= 4096 else { throw .damaged("folder \(path.prefix(60))… is too deep") }
                folders.append(try self.folder(at: entry.cluster, path))
            }
        }
    }

    /// The entries of a folder: no volume label, nothing that was removed, neither `.` nor `..`.
    func entries(in bytes: [UInt8], _ clusters: [UInt32]?) -> [Entry] {
        var entries: [Entry] = []
        // What long-name entries, which lie before the entry that they name, have told: the last part comes first.
        var (units, expected, sum): ([UInt16], UInt8, UInt8) = ([], 0, 0)
        var isWhole = false
        for slot in 0..<bytes.count / 32 {
            let at = slot * 32
            let first = bytes[at]
            if first == 0 { break }
            let attributes = bytes[at + 11]
            if first != 0xe5, attributes & 0x3f == 0x0f {
                let order = first & 0x3f
                if first & 0x40 != 0 {
                    (units, expected, sum, isWhole) = ([], order, bytes[at + 13], false)
                }
                guard order > 0, order <= 20, order == expected, bytes[at + 13] == sum else {
                    (expected, isWhole) = (0, false)
                    continue
                }
                let part = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30].map { UInt16(bytes.u16(at + $0)) }
                units = part + units
                expected -= 1
                isWhole = expected == 0
                continue
            }
            defer { (expected, isWhole) = (0, false) }
            guard first != 0xe5, attributes & 0x08 == 0 else { continue }
            let short = Array(bytes[at..<at + 11])
            guard first != UInt8(ascii: ".") else { continue }
            let name: String
            if isWhole, sum == FATName.checksum(short) {
                name = String(decoding: units.prefix { $0 != 0 && $0 != 0xffff }, as: UTF16.self)
            } else {
                name = FATName.shown(short, lowerCase: bytes[at + 12])
            }
            let high = geometry.kind == .fat32 ? bytes.u16(at + 20) << 16 : 0
            entries.append(
                Entry(
                    name: name, short: short, isFolder: attributes & 0x10 != 0,
                    cluster: UInt32(high | bytes.u16(at + 26)) & 0x0fff_ffff, size: UInt32(bytes.u32(at + 28)),
                    offset: offset(ofSlot: slot, clusters)))
        }
        return entries
    }

    func offset(ofSlot slot: Int, _ clusters: [UInt32]?) -> UInt64 {
        let byte = UInt64(slot) * 32
        guard let clusters else { return (geometry.dataStart - geometry.rootSectors) * 512 + byte }
        return geometry.offset(of: clusters[Int(byte / geometry.clusterBytes)]) + byte % geometry.clusterBytes
    }
}
