package import DiskLayout

/// How an image is cut into parts for the parts protocol, and what the target must have written in the end.
///
/// Source: docs/parts-protocol.md. A target skips the first 4 MiB of part 0, and writes what follows from the start of its
/// partition 2 on. So the parts are 4 MiB of filler and then the image, from the start of its boot partition, wherever that
/// is, to the end of its rootfs. What the image has before and behind that is not sent.
package struct PartsPlan: Hashable, Sendable {
    /// Length of a part where none is asked for: 786,432,000 bytes (750 MiB), as the original system had it.
    package static let defaultPartSize = ByteCount(786_432_000)
    /// The first sectors of part 0, which the target does not write: 4 MiB of filler.
    package static let skip = SectorCount(roundingUp: CardLayout.partsSkip)
    /// The manifest's file name.
    package static let manifestName = "rpi_image_parts"
    /// What every part's file name starts with; its number in decimal follows.
    package static let partNamePrefix = "rpi_image_part_"

    /// The image that is cut.
    package let image: OSImageLayout
    /// Length of every part but the last; at least ``smallestPart``.
    package let partSectors: SectorCount

    /// One part: filler, a range of the image file, and zeros behind it where the file ends inside the last sector.
    package struct Part: Hashable, Sendable {
        /// 0 for the first.
        package let number: UInt64
        /// Zeros before the range: ``PartsPlan/skip`` in part 0, none in any other.
        package let filler: ByteCount
        /// Bytes of the image file.
        package let source: Range<UInt64>
        /// Zeros that fill the last sector, 0 to 511.
        package let padding: UInt64

        /// The part's file name: `rpi_image_part_0`.
        package var name: String { PartsPlan.partName(number) }
        /// Length of the part's file in bytes, a multiple of 512.
        package var size: ByteCount { ByteCount(filler.bytes + UInt64(source.count) + padding) }
    }

    /// The file name of the part with this number.
    package static func partName(_ number: UInt64) -> String { "\(partNamePrefix)\(number)" }

    /// Cuts an image.
    ///
    /// - Parameters:
    ///   - image: the image's layout.
    ///   - partSize: length of every part but the last, a multiple of 512, at least ``smallestPart``.
    /// - Throws: ``PartsPlanError``.
    package init(image: OSImageLayout, partSize: ByteCount = Self.defaultPartSize) throws(PartsPlanError) {
        let sectors = try Self.check(partSize: partSize)
        self.image = image
        self.partSectors = sectors
    }

    /// Checks a part size before there is an image.
    ///
    /// - Returns: the size in sectors.
    /// - Throws: ``PartsPlanError``.
    @discardableResult
    package static func check(partSize: ByteCount) throws(PartsPlanError) -> SectorCount {
        guard let sectors = partSize.wholeSectors else { throw .notWholeSectors(partSize) }
        guard sectors >= smallestPart else { throw .partTooSmall(partSize) }
        // U-Boot loads a part into RAM at a 32-bit address and counts it in `filesize`.
        guard partSize <= largestPart else { throw .partTooLarge(partSize) }
        return sectors
    }

    /// The shortest part: the filler, the block that is written last, and one that is written with the part.
    package static let smallestPart = skip + SectorCount(2)
    /// The largest part: 3 GiB, what a 4 GiB address space has room for beside U-Boot.
    package static let largestPart = ByteCount(3 << 30)

    /// Length of all parts together, the filler included; at least ``smallestPart``, as an image has two partitions.
    package var totalSectors: SectorCount { Self.skip + image.content }

    /// Bytes of the image file that are sent: from the start of its boot partition to the end of its rootfs, or of the file
    /// where that ends within the last sector.
    package var source: Range<UInt64> {
        // The layout holds the file to at least the rootfs's end less a part of its last sector.
        image.boot.start.byteOffset.bytes..<min(image.rootfs.end.byteOffset.bytes, image.size.bytes)
    }

    /// How many parts there are, at least 1.
    package var partCount: UInt64 { (totalSectors.sectors - 1) / partSectors.sectors + 1 }

    /// The part with this number, 0 to ``partCount`` - 1.
    package func part(_ number: UInt64) -> Part {
        precondition(number < partCount, "part \(number) of \(partCount)")
        let first = number * partSectors.sectors
        let end = min(first + partSectors.sectors, totalSectors.sectors)
        // Part 0 is longer than the filler, so that is all in it.
        let filler = number == 0 ? Self.skip : SectorCount(0)
        let before = image.boot.start.sector
        let from = LBA(before + first + filler.sectors - Self.skip.sectors).byteOffset.bytes
        let to = LBA(before + end - Self.skip.sectors).byteOffset.bytes
        let fileEnd = min(to, source.upperBound)
        return Part(number: number, filler: filler.byteCount, source: from..<fileEnd, padding: to - fileEnd)
    }

    /// All parts, in order.
    package var parts: some RandomAccessCollection<Part> { (0..<partCount).lazy.map { part($0) } }

    /// What the target reports with OK: every byte from the start of the image's boot partition to the end of its rootfs.
    package var bytesToWrite: ByteCount { (totalSectors - Self.skip).byteCount }

    /// The manifest's text, as U-Boot's `env import -t` takes it.
    package var manifest: String {
        """
        rpi_parts=\(partCount.hex)
        rpi_part_sectors=\(partSectors.hex)
        rpi_total_sectors=\(totalSectors.hex)
        rpi_skip_sectors=\(Self.skip.hex)
        rpi_rootfs_offset=\(image.rootfsOffset.hex)

        """
    }
}

/// Why an image cannot be cut as asked.
package enum PartsPlanError: Error, Hashable, Sendable {
    /// The part size is not a multiple of 512 bytes.
    case notWholeSectors(ByteCount)
    /// The part size leaves nothing to write of the first part.
    case partTooSmall(ByteCount)
    /// A part would not fit a target's address space.
    case partTooLarge(ByteCount)
}

extension PartsPlanError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .notWholeSectors(let size):
            "part size is \(size.bytes) bytes; must be a multiple of 512 bytes (one sector)"
        case .partTooSmall(let size):
            "part size is \(size.bytes) bytes; must be at least 4195328 bytes (the 4 MiB that a target skips and two sectors)"
        case .partTooLarge(let size):
            "part size is \(size.bytes) bytes; must be at most \(PartsPlan.largestPart.bytes) bytes (a target's RAM)"
        }
    }
}
