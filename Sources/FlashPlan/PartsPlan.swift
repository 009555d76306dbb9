public import DiskLayout

/// How an image is cut into parts for the parts protocol, and what the target must have written in the end.
///
/// Source: docs/parts-protocol.md. The parts cover the image from its first byte to the end of its rootfs; what lies
/// behind that is not sent. Part 0 starts with the 4 MiB that the target does not write.
public struct PartsPlan: Hashable, Sendable {
    /// Length of a part where none is asked for: 786,432,000 bytes (750 MiB), as the original system had it.
    public static let defaultPartSize = ByteCount(786_432_000)
    /// The image's first sectors, which the target does not write: 4 MiB.
    public static let skip = SectorCount(roundingUp: CardLayout.imageSkip)
    /// The manifest's file name.
    public static let manifestName = "rpi_image_parts"
    /// What every part's file name starts with; its number in decimal follows.
    public static let partNamePrefix = "rpi_image_part_"

    /// The image that is cut.
    public let image: OSImageLayout
    /// Length of every part but the last; more than ``skip``.
    public let partSectors: SectorCount

    /// One part: a range of the image file, and zeros behind it where the file ends inside the last sector.
    public struct Part: Hashable, Sendable {
        /// 0 for the first.
        public let number: UInt64
        /// Bytes of the image file.
        public let source: Range<UInt64>
        /// Zeros that fill the last sector, 0 to 511.
        public let padding: UInt64

        /// The part's file name: `rpi_image_part_0`.
        public var name: String { PartsPlan.partName(number) }
        /// Length of the part's file in bytes, a multiple of 512.
        public var size: ByteCount { ByteCount(UInt64(source.count) + padding) }
    }

    /// The file name of the part with this number.
    public static func partName(_ number: UInt64) -> String { "\(partNamePrefix)\(number)" }

    /// Cuts an image.
    ///
    /// - Parameters:
    ///   - image: the image's layout.
    ///   - partSize: length of every part but the last, a multiple of 512, more than 4 MiB.
    /// - Throws: ``PartsPlanError``.
    public init(image: OSImageLayout, partSize: ByteCount = Self.defaultPartSize) throws(PartsPlanError) {
        guard let sectors = partSize.wholeSectors else { throw .notWholeSectors(partSize) }
        guard sectors > Self.skip else { throw .partTooSmall(partSize) }
        // U-Boot loads a part into RAM at a 32-bit address and counts it in `filesize`.
        guard partSize.bytes <= Self.largestPart.bytes else { throw .partTooLarge(partSize) }
        guard image.sectors > Self.skip else { throw .nothingToWrite(image.sectors) }
        self.image = image
        self.partSectors = sectors
    }

    /// The largest part: 3 GiB, what a 4 GiB address space has room for beside U-Boot.
    public static let largestPart = ByteCount(3 << 30)

    /// Length of all parts together, the first 4 MiB included.
    public var totalSectors: SectorCount { image.sectors }

    /// How many parts there are, at least 1.
    public var partCount: UInt64 { (totalSectors.sectors - 1) / partSectors.sectors + 1 }

    /// The part with this number, 0 to ``partCount`` - 1.
    public func part(_ number: UInt64) -> Part {
        precondition(number < partCount, "part \(number) of \(partCount)")
        let first = number * partSectors.sectors
        let end = min(first + partSectors.sectors, totalSectors.sectors)
        let (from, to) = (LBA(first).byteOffset.bytes, LBA(end).byteOffset.bytes)
        // The layout holds the file to at least the rootfs's end less a part of its last sector.
        let fileEnd = min(to, image.size.bytes)
        return Part(number: number, source: from..<fileEnd, padding: to - fileEnd)
    }

    /// All parts, in order.
    public var parts: some RandomAccessCollection<Part> { (0..<partCount).lazy.map { part($0) } }

    /// What the target reports with OK: every byte from the image's 4 MiB to the end of its rootfs.
    public var bytesToWrite: ByteCount { (totalSectors - Self.skip).byteCount }

    /// The manifest's text, as U-Boot's `env import -t` takes it.
    public var manifest: String {
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
public enum PartsPlanError: Error, Hashable, Sendable {
    /// The part size is no multiple of 512 bytes.
    case notWholeSectors(ByteCount)
    /// The part size is not more than the 4 MiB that are skipped.
    case partTooSmall(ByteCount)
    /// A part would not fit a target's address space.
    case partTooLarge(ByteCount)
    /// The image ends within its first 4 MiB.
    case nothingToWrite(SectorCount)
}

extension PartsPlanError: CustomStringConvertible {
    /// One sentence for a person.
    public var description: String {
        switch self {
        case .notWholeSectors(let size):
            "part size is \(size.bytes) bytes; must be a multiple of 512 bytes (one sector)"
        case .partTooSmall(let size):
            "part size is \(size.bytes) bytes; must be more than 4194304 bytes (the 4 MiB that a target skips)"
        case .partTooLarge(let size):
            "part size is \(size.bytes) bytes; must be at most \(PartsPlan.largestPart.bytes) bytes (a target's RAM)"
        case .nothingToWrite(let sectors):
            "image ends after \(sectors); must reach behind its first 4 MiB"
        }
    }
}
