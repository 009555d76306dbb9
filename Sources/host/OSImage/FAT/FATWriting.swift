/// Files are written, and folders made.
extension FATFiles {
    /// Writes a file in place of what has this path, and reads it back. Folders that are missing are made.
    ///
    /// A file that is there keeps its name, attributes and times.
    ///
    /// - Throws: ``FATError``; nothing is changed then.
    package func write(_ content: [UInt8], to path: String) throws(FATError) {
        guard let overlay = area.image.overlay else { throw .tooManyChanges }
        let mark = overlay.mark()
        do throws(FATError) {
            let parts = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
            guard let name = parts.last, parts.allSatisfy({ FATName.isValid($0) }) else { throw FATError.badName(path) }
            var folder = try topFolder()
            for part in parts.dropLast() {
                let below = folder.path.isEmpty ? part : "\(folder.path)/\(part)"
                if let entry = Self.match(part, in: folder.entries) {
                    guard entry.isFolder else { throw FATError.isNoFolder(below) }
                    folder = try self.folder(at: entry.cluster, below)
                } else {
                    folder = try makeFolder(part, in: folder, below)
                }
            }
            if let entry = Self.match(name, in: folder.entries) {
                guard !entry.isFolder else { throw FATError.isFolder(path) }
                try replace(entry, by: content, path)
            } else {
                let chain = try store(content, in: [], path)
                try add(name, isFolder: false, cluster: chain.first ?? 0, size: content.count, to: folder, path)
            }
            let (written, _) = try find(path)
            guard let written, !written.isFolder, Int(written.size) == content.count,
                try self.content(of: written, path) == content
            else { throw FATError.damaged("\(path) does not hold what was written to it") }
        } catch {
            overlay.restore(mark)
            throw error
        }
    }

    func replace(_ entry: Entry, by content: [UInt8], _ path: String) throws(FATError) {
        // As many as a file can have: what is behind its length is given back.
        let most = clusters(for: UInt64(UInt32.max))
        let old = entry.cluster == 0 ? [] : try table.chain(from: entry.cluster, atMost: most, of: path)
        let chain = try store(content, in: old, path)
        let first = chain.first ?? 0
        var record = try area.fatBytes(at: entry.offset, count: 32)
        record.set(UInt64(first) & 0xffff, 2, at: 26)
        if geometry.kind == .fat32 { record.set(UInt64(first) >> 16, 2, at: 20) }
        record.set(UInt64(content.count), 4, at: 28)
        try area.put(record, at: entry.offset)
    }

    /// Lays a content into clusters: those of `old` first, free ones behind them. What is left of `old` becomes free.
    ///
    /// - Returns: the content's chain.
    func store(_ content: [UInt8], in old: [UInt32], _ path: String) throws(FATError) -> [UInt32] {
        guard content.count <= Int(UInt32.max) else {
            throw .tooLong(path, bytes: UInt64(content.count), limit: UInt64(UInt32.max))
        }
        let needed = Int(clusters(for: UInt64(content.count)))
        var chain = Array(old.prefix(needed))
        if needed > old.count {
            let (found, free) = try table.findFree(needed - old.count)
            guard found.count == needed - old.count else {
                throw .noRoom(
                    path, needed: UInt64(content.count), free: (free + UInt64(old.count)) * geometry.clusterBytes)
            }
            chain += found
        }
        try table.link(chain, freeing: Array(old.dropFirst(needed)), isNew: max(0, needed - old.count))
        var done = 0
        for run in runs(chain) {
            let room = run.count * Int(geometry.clusterBytes)
            let part = content[done..<min(done + room, content.count)]
            try area.put(
                part + [UInt8](repeating: 0, count: room - part.count), at: geometry.offset(of: run.lowerBound))
            done += part.count
        }
        return chain
    }

    func makeFolder(_ name: String, in parent: Folder, _ path: String) throws(FATError) -> Folder {
        let (found, free) = try table.findFree(1)
        guard let cluster = found.first else {
            throw .noRoom(path, needed: geometry.clusterBytes, free: free * geometry.clusterBytes)
        }
        try table.link([cluster], freeing: [], isNew: 1)
        var bytes = [UInt8](repeating: 0, count: Int(geometry.clusterBytes))
        // The top folder is number 0 here, also with FAT32.
        let isTop = parent.clusters == nil || parent.clusters?.first == geometry.rootCluster
        let above = isTop ? 0 : parent.clusters?.first ?? 0
        for (index, (name, number)) in [(".", cluster), ("..", above)].enumerated() {
            let short = Array(name.utf8) + [UInt8](repeating: 0x20, count: 11 - name.utf8.count)
            bytes.replaceSubrange(
                index * 32..<index * 32 + 32, with: FATName.record(short, isFolder: true, cluster: number, size: 0))
        }
        try area.put(bytes, at: geometry.offset(of: cluster))
        try add(name, isFolder: true, cluster: cluster, size: 0, to: parent, path)
        return try folder(at: cluster, path)
    }

    /// Adds an entry to a folder, which grows where it has no room for it.
    func add(
        _ name: String, isFolder: Bool, cluster: UInt32, size: Int, to folder: Folder, _ path: String
    ) throws(FATError) {
        let (short, hasLongName) = try FATName.short(for: name, taken: Set(folder.entries.map(\.short)))
        var records: [UInt8] = []
        if hasLongName { records += FATName.longRecords(name, short) }
        records += FATName.record(short, isFolder: isFolder, cluster: cluster, size: size)
        let needed = records.count / 32

        // A run of entries that are free; all behind the first that starts with 0 are.
        var (first, count, endsThere) = (0, 0, false)
        let slots = folder.bytes.count / 32
        for slot in 0..<slots where count < needed {
            let start = folder.bytes[slot * 32]
            endsThere = endsThere || start == 0
            if endsThere || start == 0xe5 {
                if count == 0 { first = slot }
                count += 1
            } else {
                count = 0
            }
        }
        if count == 0 { first = slots }
        var clusters = folder.clusters
        if count < needed {
            guard let old = clusters else {
                throw .folderFull(folder.path, entries: slots)
            }
            let more = Int(self.clusters(for: UInt64(needed - count) * 32))
            guard folder.bytes.count + more * Int(geometry.clusterBytes) <= Self.largestFolder else {
                throw .folderFull(folder.path, entries: slots)
            }
            let (found, free) = try table.findFree(more)
            guard found.count == more else {
                throw .noRoom(
                    path, needed: UInt64(more) * geometry.clusterBytes, free: free * geometry.clusterBytes)
            }
            try table.link(old + found, freeing: [], isNew: more)
            for cluster in found {
                let zeros = [UInt8](repeating: 0, count: Int(geometry.clusterBytes))
                try area.put(zeros, at: geometry.offset(of: cluster))
            }
            clusters = old + found
        }
        for (index, start) in stride(from: 0, to: records.count, by: 32).enumerated() {
            try area.put(Array(records[start..<start + 32]), at: offset(ofSlot: first + index, clusters))
        }
        // What was behind the end is not an entry.
        if endsThere, first + needed < slots, folder.bytes[(first + needed) * 32] != 0 {
            try area.put([0], at: offset(ofSlot: first + needed, clusters))
        }
    }
}
