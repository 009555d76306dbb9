/// A block map: which blocks of an image a writer must write; `bmaptool copy` reads it.
///
/// The format is bmap-tools' version 2.0 (bmaptools/BmapCreate.py). What is mapped is computed from the filesystems and
/// not from the holes of the file, which differ between the file systems of build machines.
struct BlockMap {
    static let blockSize: UInt64 = 4096

    /// Bytes of the image.
    let imageSize: UInt64
    /// Mapped blocks, sorted, apart from each other.
    let ranges: [ClosedRange<UInt64>]

    /// - Parameter used: byte ranges within the image, in any order.
    init(imageSize: UInt64, used: [Range<UInt64>]) {
        self.imageSize = imageSize
        var ranges: [ClosedRange<UInt64>] = []
        for bytes in used.filter({ !$0.isEmpty }).sorted(by: { $0.lowerBound < $1.lowerBound }) {
            let blocks = bytes.lowerBound / Self.blockSize...(bytes.upperBound - 1) / Self.blockSize
            if let last = ranges.last, blocks.lowerBound <= last.upperBound + 1 {
                ranges[ranges.count - 1] = last.lowerBound...max(last.upperBound, blocks.upperBound)
            } else {
                ranges.append(blocks)
            }
        }
        self.ranges = ranges
    }

    /// The image's bytes of a range of blocks; the last block may be cut short.
    func bytes(of blocks: ClosedRange<UInt64>) -> Range<UInt64> {
        blocks.lowerBound * Self.blockSize..<min((blocks.upperBound + 1) * Self.blockSize, imageSize)
    }

    /// The file's text.
    ///
    /// - Parameters:
    ///   - checksums: SHA-256 of each range, hexadecimal.
    ///   - own: SHA-256 of this very text with 64 zeros in this place, as the format wants it.
    func text(checksums: [String], own: String = String(repeating: "0", count: 64)) -> String {
        let blocks = (imageSize + Self.blockSize - 1) / Self.blockSize
        let mapped = ranges.reduce(0) { $0 + UInt64($1.count) }
        let lines = zip(ranges, checksums).map { range, checksum in
            let numbers =
                range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound)-\(range.upperBound)"
            return "        <Range chksum=\"\(checksum)\"> \(numbers) </Range>\n"
        }
        return """
            <?xml version="1.0" ?>
            <!-- Which blocks of the image to write. Use it with: bmaptool copy IMAGE DEVICE -->
            <bmap version="2.0">
                <ImageSize> \(imageSize) </ImageSize>
                <BlockSize> \(Self.blockSize) </BlockSize>
                <BlocksCount> \(blocks) </BlocksCount>
                <MappedBlocksCount> \(mapped) </MappedBlocksCount>
                <ChecksumType> sha256 </ChecksumType>
                <BmapFileChecksum> \(own) </BmapFileChecksum>
                <BlockMap>
            \(lines.joined())    </BlockMap>
            </bmap>

            """
    }
}
