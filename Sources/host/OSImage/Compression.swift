import DiskLayout
package import SystemPackage

/// The ways in which OS images are compressed for download.
package enum Compression: String, Hashable, Sendable, CaseIterable {
    case xz, gzip, zip, zstd, bzip2

    /// The first bytes of such a file: the formats' own specifications (xz 2.1.1.1, RFC 1952, APPNOTE 4.3.7, RFC 8878).
    package var magic: [UInt8] {
        switch self {
        case .xz: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]
        case .gzip: [0x1f, 0x8b]
        case .zip: [0x50, 0x4b, 0x03, 0x04]
        case .zstd: [0x28, 0xb5, 0x2f, 0xfd]
        case .bzip2: [0x42, 0x5a, 0x68]
        }
    }

    /// What the names of such files end in, the usual one first.
    private var suffixes: [String] {
        switch self {
        case .xz: ["xz"]
        case .gzip: ["gz", "gzip"]
        case .zip: ["zip"]
        case .zstd: ["zst", "zstd"]
        case .bzip2: ["bz2"]
        }
    }

    /// A shell command that takes off this layer and keeps the file. It works whatever the file's name is.
    package func command(for path: FilePath) -> String {
        let (file, result) = (path.string.shellQuoted, path.less(suffixes).string.shellQuoted)
        return switch self {
        case .xz: "unxz -c <\(file) >\(result)"
        case .gzip: "gunzip -c <\(file) >\(result)"
        // It has a file with a name of its own in it.
        case .zip: "unzip \(file)"
        case .zstd: "unzstd -c <\(file) >\(result)"
        case .bzip2: "bunzip2 -c <\(file) >\(result)"
        }
    }

    /// How an image is compressed, nil where it is not.
    ///
    /// - Throws: ``OSImageError``: ``OSImageError/otherFormat(path:_:)`` where its first bytes are those of an archive or a
    ///   disk image of a kind that is not taken.
    package init?(of image: ImageReader) throws(OSImageError) {
        let start = try FileStart(of: image)
        if let format = OtherFormat(start.bytes) { throw .otherFormat(path: image.path, format) }
        guard let found = try start.compression() else { return nil }
        self = found
    }
}

/// The first bytes of a file, by which formats are told.
struct FileStart {
    /// How many there are, where the file is not shorter: up to the end of a partition table, and of tar's first header.
    static let length = 1024
    let bytes: [UInt8]
    private let image: ImageReader

    /// - Throws: ``OSImageError/unreadable(path:errno:)``.
    init(of image: ImageReader) throws(OSImageError) {
        self.image = image
        bytes = try Self.read(image, at: 0, count: Self.length)
    }

    /// As many bytes as there are.
    private static func read(_ image: ImageReader, at offset: UInt64, count: Int) throws(OSImageError) -> [UInt8] {
        let size = image.size.bytes
        return try image.bytes(at: min(offset, size), count: Int(min(UInt64(count), size - min(offset, size))))
    }

    /// How the file is compressed; nil where it is not.
    func compression() throws(OSImageError) -> Compression? {
        if let known = Compression.allCases.first(where: { bytes.starts(with: $0.magic) }) { return known }
        return try isZstdBehindSkippableFrames() ? .zstd : nil
    }

    /// Whether the file begins with skippable frames and has a zstd frame behind them (RFC 8878, 3.1.2): pzstd begins each
    /// of its frames so. lz4 has such frames too.
    private func isZstdBehindSkippableFrames() throws(OSImageError) -> Bool {
        var (header, place) = (Array(bytes.prefix(8)), UInt64(0))
        // No tool writes more than one before the first frame; each one takes a read.
        for _ in 0..<64 {
            guard header.count == 8, header[0] & 0xf0 == 0x50, header[1...3] == [0x2a, 0x4d, 0x18] else { break }
            place += 8 + header.u32(4)
            header = try Self.read(image, at: place, count: 8)
        }
        return place > 0 && header.starts(with: Compression.zstd.magic)
    }
}

extension FilePath {
    /// Its name without a suffix that is one of these, else with one more.
    fileprivate func less(_ suffixes: [String]) -> FilePath {
        var path = self
        if let last = path.extension, suffixes.contains(last.lowercased()), path.stem?.isEmpty == false {
            path.extension = nil
            return path
        }
        return FilePath(string + ".unpacked")
    }
}

extension String {
    /// As a POSIX shell takes it for one word.
    var shellQuoted: String {
        let plain = allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-+=:,@%".contains($0)) }
        return plain && !isEmpty
            ? self : "'" + split(separator: "'", omittingEmptySubsequences: false).joined(separator: #"'\''"#) + "'"
    }
}
