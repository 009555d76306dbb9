package import DiskLayout

extension CardLayout {
    /// The layout for people: the partitions in aligned columns, and the numbers that a flash uses.
    package var table: String {
        var rows = [["#", "name", "type", "active", "start LBA", "sectors", "byte offset", "bytes", "size"]]
        for (name, partition) in named {
            rows.append([
                "\(partition.number)", name, partition.type.description, partition.isActive ? "yes" : "",
                "\(partition.start.sector)", "\(partition.size.sectors)", "\(partition.start.byteOffset.bytes)",
                "\(partition.size.byteCount.bytes)", "\(partition.size.byteCount)",
            ])
        }
        let facts = [
            ["card size", "\(cardSize.byteCount.bytes) bytes", "\(cardSize.sectors) sectors"],
            ["disk id", "\(diskID)", ""],
            ["written to MMC block", writeStart.hex, "\(writeStart)"],
            ["boot to rootfs", "\(rootfsOffset.byteCount.bytes) bytes", "\(rootfsOffset.sectors) sectors"],
            [
                "room for an image", "\(largestContent.bytes) bytes",
                "\(SectorCount(roundingUp: largestContent).sectors) sectors",
            ],
        ]
        return textTable(rows, rightAligned: [0, 4, 5, 6, 7, 8], empty: "") + "\n" + textTable(facts, empty: "")
    }
}
