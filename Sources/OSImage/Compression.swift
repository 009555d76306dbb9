package import SystemPackage

/// The ways in which OS images are compressed for download.
public enum Compression: String, Hashable, Sendable, CaseIterable {
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

    /// A shell command that makes the raw image and keeps the file.
    package func command(for path: FilePath) -> String {
        let file = path.string.shellQuoted
        return switch self {
        case .xz: "unxz --keep \(file)"
        case .gzip: "gunzip --keep \(file)"
        case .zip: "unzip \(file)"
        case .zstd: "unzstd --keep \(file)"
        case .bzip2: "bunzip2 --keep \(file)"
        }
    }

    /// How the file is compressed, nil where it is not.
    package init?(of path: FilePath) throws(OSImageError) {
        let start: [UInt8]
        do {
            let file = try FileDescriptor.open(path, .readOnly)
            start = try file.closeAfter {
                try unsafe [UInt8](unsafeUninitializedCapacity: 8) { buffer, count in
                    count = try unsafe file.read(into: UnsafeMutableRawBufferPointer(buffer))
                }
            }
        } catch let error as Errno {
            throw .unreadable(path: path, errno: error)
        } catch {
            throw .unreadable(path: path, errno: .ioError)
        }
        guard let found = Self.allCases.first(where: { start.starts(with: $0.magic) }) else { return nil }
        self = found
    }
}

extension String {
    /// As a POSIX shell takes it for one word.
    fileprivate var shellQuoted: String {
        let plain = allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-+=:,@%".contains($0)) }
        return plain && !isEmpty
            ? self : "'" + split(separator: "'", omittingEmptySubsequences: false).joined(separator: #"'\''"#) + "'"
    }
}
