import Configuration

/// Names of the image's partitions by its own table in a text of /etc, which mean other partitions on a card: systemd's units
/// for mounts and swap (systemd.mount(5): `What=`), /etc/crypttab (crypttab(5)). One sentence for each line.
///
/// - Parameters:
///   - content: the text.
///   - path: its path, for messages.
///   - diskID: the identifier of the image's partition table; nil where it has none.
package func partitionNotes(_ content: some Sequence<UInt8>, path: String, diskID: UInt32?) -> [String] {
    let own = diskID.map { id in
        let digits = String(id, radix: 16)
        return "partuuid=" + String(repeating: "0", count: 8 - digits.utf8.count) + digits + "-"
    }
    var notes: [String] = []
    for (index, line) in lines(of: content).enumerated() {
        let text = String(decoding: line, as: UTF8.self)
        guard let first = text.first(where: { !$0.isWhitespace }), first != "#", first != ";" else { continue }
        let words = text.split(whereSeparator: { $0.isWhitespace || $0 == "\"" })
        let named = words.compactMap { word -> Substring? in
            let value = word.dropping(prefix: "What=") ?? word
            let lower = value.lowercased()
            let names =
                lower.hasPrefix("/dev/mmcblk0p") || lower.hasPrefix("/dev/disk/by-partuuid/")
                || own.map { lower.hasPrefix($0) } ?? false
            return names ? value : nil
        }.first
        guard let named else { continue }
        notes.append(
            "\(sanitized(path, limit: 120)) line \(index + 1): \(sanitized(named, limit: 120)) stays and names a partition by the image's own table; on "
                + "the card partition 1 is U-Boot's and the image's partitions are 2 and 3: use UUID= or LABEL=")
    }
    return notes
}
