import Configuration

extension CardLayout {
    /// The version of ``json``: it grows when a field changes its meaning or goes.
    public static let jsonVersion = 2

    /// The partitions with their names, as people and programs are shown them.
    var named: [(name: String, partition: Partition)] {
        [("u-boot", uboot), ("boot", boot), ("rootfs", rootfs)]
    }

    /// The layout for people: the partitions in aligned columns, and the numbers that a flash uses.
    public var summary: String {
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

    /// The layout for programs, one JSON object.
    ///
    /// - `version`: ``jsonVersion``.
    /// - `sector_bytes`: 512.
    /// - `card`: `bytes`, `sectors`, `disk_id` (0x and eight digits).
    /// - `partitions`: three of `number`, `name` (`u-boot`, `boot`, `rootfs`), `type` (0x and two digits), `active`,
    ///   `start_lba` and `sectors` (sectors of 512 bytes), `start_byte` and `bytes`.
    /// - `flash`: `parts_skip_bytes` (what a target skips of part 0), `mmc_block` (where the image's first partition goes,
    ///   hexadecimal as U-Boot's `mmc write` takes it), `rootfs_offset_sectors` (from the start of the boot partition to
    ///   the start of the rootfs, in parts on the card and in the image), `largest_content_bytes` (from the start of the
    ///   image's first partition to the end of its second, at most).
    public var json: String {
        let partitions = named.map { name, partition in
            """
                {
                  "number": \(partition.number),
                  "name": "\(name)",
                  "type": "\(partition.type)",
                  "active": \(partition.isActive),
                  "start_lba": \(partition.start.sector),
                  "sectors": \(partition.size.sectors),
                  "start_byte": \(partition.start.byteOffset.bytes),
                  "bytes": \(partition.size.byteCount.bytes)
                }
            """
        }
        return """
            {
              "version": \(Self.jsonVersion),
              "sector_bytes": \(SectorCount.bytesPerSector),
              "card": {
                "bytes": \(cardSize.byteCount.bytes),
                "sectors": \(cardSize.sectors),
                "disk_id": "\(diskID)"
              },
              "partitions": [
            \(partitions.joined(separator: ",\n"))
              ],
              "flash": {
                "parts_skip_bytes": \(Self.partsSkip.bytes),
                "mmc_block": "\(writeStart.hex)",
                "rootfs_offset_sectors": \(rootfsOffset.sectors),
                "largest_content_bytes": \(largestContent.bytes)
              }
            }

            """
    }

    /// What `sfdisk --dump` prints of a card or image with this layout, byte for byte.
    ///
    /// - Parameter device: the name that sfdisk is given: it stands in the dump.
    public func sfdiskDump(device: String) -> String {
        // libfdisk, lib/partname.c: a p between a name that ends in a digit and the number.
        let infix = device.last.map { $0.isASCII && $0.isNumber } == true ? "p" : ""
        let lines = named.map { _, partition in
            """
            \(device)\(infix)\(partition.number) : start=\(padded(partition.start.sector, 12)), \
            size=\(padded(partition.size.sectors, 12)), type=\(String(partition.type.code, radix: 16))\
            \(partition.isActive ? ", bootable" : "")
            """
        }
        return """
            label: dos
            label-id: \(diskID)
            device: \(device)
            unit: sectors
            sector-size: \(SectorCount.bytesPerSector)

            \(lines.joined(separator: "\n"))

            """
    }
}

extension PartitionType: CustomStringConvertible {
    /// As fdisk's manual writes it: `0x0c`.
    public var description: String { "0x" + (code < 0x10 ? "0" : "") + String(code, radix: 16) }
}

private func padded(_ number: UInt64, _ width: Int) -> String {
    let text = String(number)
    return String(repeating: " ", count: max(0, width - text.count)) + text
}
