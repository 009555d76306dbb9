/// A sector number counted from the start of the disk, in sectors of 512 bytes. Range 0 to 2^32 - 1 (the DOS label's).
package struct LBA: Hashable, Comparable, Sendable {
    /// Sectors from the start of the disk.
    package let sector: UInt64

    /// The sector with this number.
    package init(_ sector: UInt64) { self.sector = sector }

    /// Byte offset of the sector's first byte, a multiple of 512. Traps past 2^64, which no disk reaches.
    package var byteOffset: ByteCount { ByteCount(sector * SectorCount.bytesPerSector) }

    package static func < (a: LBA, b: LBA) -> Bool { a.sector < b.sector }
    /// The sector `count` sectors on. Traps on overflow: use ``advanced(by:)`` on input.
    package static func + (a: LBA, count: SectorCount) -> LBA { LBA(a.sector + count.sectors) }
    /// Sectors from `b` to `a`; `b` must not lie behind `a`.
    package static func - (a: LBA, b: LBA) -> SectorCount { SectorCount(a.sector - b.sector) }

    /// The sector `count` sectors on, or nil where the sum does not fit 64 bits.
    package func advanced(by count: SectorCount) -> LBA? {
        let (sum, overflow) = sector.addingReportingOverflow(count.sectors)
        return overflow ? nil : LBA(sum)
    }
}

/// A number of sectors of 512 bytes.
package struct SectorCount: Hashable, Comparable, Sendable {
    /// Bytes in a sector, the same on every SD card.
    package static let bytesPerSector: UInt64 = 512

    /// The number of sectors.
    package let sectors: UInt64

    /// This many sectors.
    package init(_ sectors: UInt64) { self.sectors = sectors }

    /// The sectors that `bytes` need, the last one padded to a whole sector.
    package init(roundingUp bytes: ByteCount) {
        let whole = bytes.bytes / Self.bytesPerSector
        sectors = whole + (bytes.bytes % Self.bytesPerSector == 0 ? 0 : 1)
    }

    /// Bytes in these sectors, or nil where the product does not fit 64 bits.
    package var byteCountIfRepresentable: ByteCount? {
        let (product, overflow) = sectors.multipliedReportingOverflow(by: Self.bytesPerSector)
        return overflow ? nil : ByteCount(product)
    }

    /// Bytes in these sectors, a multiple of 512. Traps past 2^64, which no disk reaches.
    package var byteCount: ByteCount { ByteCount(sectors * Self.bytesPerSector) }

    package static func < (a: SectorCount, b: SectorCount) -> Bool { a.sectors < b.sectors }
    /// The sum. Traps on overflow.
    package static func + (a: SectorCount, b: SectorCount) -> SectorCount { SectorCount(a.sectors + b.sectors) }
    /// The difference; `b` must not be larger than `a`.
    package static func - (a: SectorCount, b: SectorCount) -> SectorCount { SectorCount(a.sectors - b.sectors) }
}

/// A number of bytes, or a byte offset.
package struct ByteCount: Hashable, Comparable, Sendable {
    /// The number of bytes.
    package let bytes: UInt64

    /// This many bytes.
    package init(_ bytes: UInt64) { self.bytes = bytes }

    /// This many MiB (1,048,576 bytes).
    package static func mebibytes(_ count: UInt64) -> ByteCount { ByteCount(count << 20) }

    /// Whole sectors, or nil where the count is not a multiple of 512.
    package var wholeSectors: SectorCount? {
        bytes % SectorCount.bytesPerSector == 0 ? SectorCount(bytes / SectorCount.bytesPerSector) : nil
    }

    package static func < (a: ByteCount, b: ByteCount) -> Bool { a.bytes < b.bytes }
    /// The sum. Traps on overflow.
    package static func + (a: ByteCount, b: ByteCount) -> ByteCount { ByteCount(a.bytes + b.bytes) }
    /// The difference; `b` must not be larger than `a`.
    package static func - (a: ByteCount, b: ByteCount) -> ByteCount { ByteCount(a.bytes - b.bytes) }
}

/// An address in the target's RAM, as U-Boot's `tftpboot` and `mmc write` take it.
package struct LoadAddress: Hashable, Comparable, Sendable {
    /// Bytes from the start of the address space.
    package let address: UInt64

    /// This address.
    package init(_ address: UInt64) { self.address = address }

    package static func < (a: LoadAddress, b: LoadAddress) -> Bool { a.address < b.address }
}

extension UInt64 {
    /// As U-Boot reads and prints numbers: hexadecimal with 0x.
    package var hex: String { "0x" + String(self, radix: 16) }
}

extension LBA: CustomStringConvertible {
    package var description: String { "LBA \(sector)" }
    /// As a U-Boot script writes it.
    package var hex: String { sector.hex }
}

extension SectorCount: CustomStringConvertible {
    package var description: String {
        "\(sectors) sectors (\(byteCountIfRepresentable?.description ?? "over 2^64 bytes"))"
    }
    /// As a U-Boot script writes it.
    package var hex: String { sectors.hex }
}

extension ByteCount: CustomStringConvertible {
    /// The largest binary unit that divides the count, else bytes: `4 MiB`, `512 KiB`, `8000000000 bytes`.
    package var description: String {
        for (unit, size) in [("GiB", UInt64(1) << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
        where bytes != 0 && bytes % size == 0 {
            return "\(bytes / size) \(unit)"
        }
        return "\(bytes) bytes"
    }
    /// As a U-Boot script writes it.
    package var hex: String { bytes.hex }
}

extension LoadAddress: CustomStringConvertible {
    package var description: String { address.hex }
}
