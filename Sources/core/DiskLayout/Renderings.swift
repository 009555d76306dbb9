import Configuration

extension CardLayout {
    /// The partitions with their names, as people and programs are shown them.
    package var named: [(name: String, partition: Partition)] {
        [("u-boot", uboot), ("boot", boot), ("rootfs", rootfs)]
    }

    /// The layout for programs: one JSON object in a line, docs/schema/layout.schema.json.
    package var json: String {
        jsonLine(
            LayoutReport(
                card: .init(bytes: cardSize.byteCount.bytes, sectors: cardSize.sectors, diskID: "\(diskID)"),
                partitions: named.map { name, partition in
                    .init(
                        number: partition.number, name: name, type: "\(partition.type)", active: partition.isActive,
                        startLBA: partition.start.sector, sectors: partition.size.sectors,
                        startByte: partition.start.byteOffset.bytes, bytes: partition.size.byteCount.bytes)
                },
                flash: .init(
                    partsSkipBytes: Self.partsSkip.bytes, mmcBlock: writeStart.hex,
                    rootfsOffsetSectors: rootfsOffset.sectors, largestContentBytes: largestContent.bytes)))
            + "\n"
    }

    /// What `sfdisk --dump` prints of a card or image with this layout, byte for byte.
    ///
    /// - Parameter device: the name that sfdisk is given: it stands in the dump.
    package func sfdiskDump(device: String) -> String {
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

/// The fields of ``CardLayout/json``; docs/json.md explains them.
private struct LayoutReport: Encodable {
    struct Card: Encodable {
        let bytes, sectors: UInt64
        let diskID: String
    }
    struct Partition: Encodable {
        let number: Int
        let name, type: String
        let active: Bool
        let startLBA, sectors, startByte, bytes: UInt64
    }
    struct Flash: Encodable {
        let partsSkipBytes: UInt64
        let mmcBlock: String
        let rootfsOffsetSectors, largestContentBytes: UInt64
    }
    /// It grows when a field changes its meaning or goes.
    var version = 2
    var sectorBytes = SectorCount.bytesPerSector
    let card: Card
    let partitions: [Partition]
    let flash: Flash
}

extension PartitionType: CustomStringConvertible {
    /// As fdisk's manual writes it: `0x0c`.
    package var description: String { "0x" + (code < 0x10 ? "0" : "") + String(code, radix: 16) }
}

private func padded(_ number: UInt64, _ width: Int) -> String {
    let text = String(number)
    return String(repeating: " ", count: max(0, width - text.count)) + text
}
