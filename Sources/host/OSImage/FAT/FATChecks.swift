/// Whether a FAT filesystem is sound, and what fsck.vfat needs to see to say so.
extension FATFiles {
    /// Checks what a writer relies on: all FATs are the same, every chain is whole, as long as its file, and ends, no
    /// cluster is in two chains, and none in use is in no chain.
    ///
    /// - Throws: ``FATError/damaged(_:)`` with the first that is not so.
    package func check() throws(FATError) {
        guard geometry.activeFAT == nil else { throw .damaged("only one of its FATs counts (mirroring is off)") }
        try table.checkCopies()
        var seen = ClusterSet(geometry.clusters)
        func take(_ chain: [UInt32], _ path: String) throws(FATError) {
            for cluster in chain {
                guard seen.insert(cluster) else {
                    throw .damaged("cluster \(cluster) belongs to \(path) and to another file")
                }
            }
        }
        if geometry.kind == .fat32 {
            try take(
                try table.chain(from: geometry.rootCluster, atMost: geometry.clusters, of: "the top folder"),
                "the top folder")
        }
        try walk { path, entry, _ throws(FATError) in
            guard entry.isFolder || entry.size > 0 || entry.cluster != 0 else { return }
            guard entry.isFolder || entry.size > 0 else { throw .damaged("\(path) is empty and has clusters") }
            let chain = try table.chain(from: entry.cluster, atMost: geometry.clusters, of: path)
            guard entry.isFolder || UInt64(chain.count) == clusters(for: UInt64(entry.size)) else {
                throw .damaged("\(path) has \(chain.count) clusters and \(entry.size) bytes")
            }
            try take(chain, path)
        }
        let used = geometry.clusters - (try table.countFree()) - (try table.countBad())
        guard used == seen.count else { throw .damaged("\(used - min(used, seen.count)) clusters belong to no file") }
    }

    /// Copies what fsck.vfat looks at into a new file: all but the contents of files, as holes.
    func copyRecords(to file: SparseFile) throws {
        var chains: [UInt32] = []
        if geometry.kind == .fat32 { chains += try topFolder().clusters ?? [] }
        var folders: [(UInt32, String)] = []
        try walk { path, entry, _ throws(FATError) in
            if entry.isFolder { folders.append((entry.cluster, path)) }
        }
        for (cluster, path) in folders { chains += try folder(at: cluster, path).clusters ?? [] }
        try area.copy(0, geometry.dataStart * 512, to: file)
        for run in runs(chains.sorted()) {
            try area.copy(geometry.offset(of: run.lowerBound), UInt64(run.count) * geometry.clusterBytes, to: file)
        }
        file.extend(to: area.bytes)
        try file.finish()
    }
}

/// Bits of clusters.
private struct ClusterSet {
    var words: [UInt64]
    private(set) var count: UInt64 = 0

    init(_ clusters: UInt64) { words = Array(repeating: 0, count: Int(clusters / 64) + 2) }

    /// False where it was there.
    mutating func insert(_ cluster: UInt32) -> Bool {
        let (word, bit) = (Int(cluster / 64), UInt64(1) << UInt64(cluster % 64))
        guard words[word] & bit == 0 else { return false }
        words[word] |= bit
        count += 1
        return true
    }
}
