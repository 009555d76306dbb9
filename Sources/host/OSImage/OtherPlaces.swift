import BootFiles

extension ExtFiles {
    /// What else in /etc names partitions by the image's own table, beside /etc/fstab: one sentence for each place. A file
    /// that cannot be read is none.
    ///
    /// - Parameters:
    ///   - boot: the boot partition's UUID.
    ///   - diskID: the identifier of the image's partition table.
    func otherPlaces(boot: String?, diskID: UInt32?) -> [String] {
        var notes: [String] = []
        func look(_ path: String) {
            guard let content = (try? read(path, limit: 1 << 16)) ?? nil else { return }
            notes += partitionNotes(content, path: path, diskID: diskID)
        }
        let folder = "/etc/systemd/system"
        for name in ((try? names(in: folder)) ?? nil) ?? []
        where [".mount", ".automount", ".swap"].contains(where: { name.hasSuffix($0) }) {
            look("\(folder)/\(name)")
        }
        look("/etc/crypttab")
        return notes
    }
}
