package import DiskLayout
import FDisk
package import SystemPackage

/// Looks at an OS image: what of it matters to a card. The file is only read (law 4).
///
/// Devices are refused as well as directories: a card in a reader has no length that a plain read tells, and what is
/// mounted from it could change while it is flashed.
///
/// - Parameter image: raw (not compressed).
/// - Returns: its two partitions and its length in bytes, which need not be a multiple of 512.
/// - Throws: ``OSImageError``.
package func inspectOSImage(_ image: ImageReader) throws(OSImageError) -> OSImageLayout {
    if let compression = try Compression(of: image) { throw .compressed(path: image.path, by: compression) }
    let table = try partitionTable(of: image)
    do {
        return try OSImageLayout(table: table, size: image.size)
    } catch {
        throw .layout(path: image.path, error)
    }
}

/// Opens an OS image and looks at it, as ``inspectOSImage(_:)`` does.
package func inspectOSImage(at path: FilePath) throws(OSImageError) -> OSImageLayout {
    try inspectOSImage(try ImageReader(path))
}

/// Looks at the start of an OS image, of which the rest is not there: what its partition table says. Whether the image is
/// as long as that is not known.
///
/// - Parameter path: a file with the image's first bytes, raw.
/// - Returns: its two partitions; as its length, where the last one ends.
/// - Throws: ``OSImageError``.
package func inspectStartOfOSImage(at path: FilePath) throws(OSImageError) -> OSImageLayout {
    let table = try partitionTable(of: try ImageReader(path))
    let end = table.partitions.map { ($0.start + $0.size).byteOffset }.max() ?? ByteCount(0)
    do {
        return try OSImageLayout(table: table, size: end)
    } catch {
        throw .layout(path: path, error)
    }
}

/// Its partition table, whatever its partitions are.
package func partitionTable(of image: ImageReader) throws(OSImageError) -> PartitionTable {
    do {
        return try readPartitionTable(of: image.descriptorPath, named: image.path.string)
    } catch .gpt {
        throw .gpt(path: image.path)
    } catch .noLabel {
        throw .noPartitionTable(path: image.path)
    } catch {
        throw .unreadableTable(path: image.path, reason: "\(error)")
    }
}

/// The length of a regular file, symbolic links followed.
func imageSize(of path: FilePath) throws(OSImageError) -> ByteCount {
    let status: Stat
    do {
        status = try Stat(path)
    } catch .noSuchFileOrDirectory {
        throw .missing(path: path)
    } catch {
        throw .unreadable(path: path, errno: error)
    }
    switch status.type {
    case .regular: break
    case .directory: throw .notAFile(path: path, kind: .directory)
    case .blockSpecial: throw .notAFile(path: path, kind: .blockDevice)
    case .characterSpecial: throw .notAFile(path: path, kind: .characterDevice)
    default: throw .notAFile(path: path, kind: .other)
    }
    guard status.size > 0 else { throw .empty(path: path) }
    return ByteCount(UInt64(status.size))
}

/// Why a file cannot be flashed.
package enum OSImageError: Error, Hashable, Sendable {
    /// There is no such file.
    case missing(path: FilePath)
    /// It is something else than a regular file.
    case notAFile(path: FilePath, kind: Kind)
    /// It cannot be opened or read.
    case unreadable(path: FilePath, errno: Errno)
    /// It was replaced, cut short or written to while it was read.
    case changed(path: FilePath)
    /// It has 0 bytes.
    case empty(path: FilePath)
    /// It is compressed, as its first bytes tell.
    case compressed(path: FilePath, by: Compression)
    /// It cannot be unpacked: damaged, cut short, or packed in a way that libarchive does not know; with its reason.
    case cannotUnpack(path: FilePath, by: Compression?, reason: String)
    /// A zip archive with more than one image.
    case otherEntries(path: FilePath, names: [String])
    /// A zip archive with no image; what is in it.
    case noImageEntry(path: FilePath, names: [String])
    /// It is an archive or a disk image of a kind that is not taken, as its first bytes tell.
    case otherFormat(path: FilePath, OtherFormat)
    /// It unpacks to something that is compressed or an archive itself.
    case packedTwice(path: FilePath, by: Compression, PackedContent)
    /// It unpacks to more bytes than it may.
    case tooLarge(path: FilePath, limit: ByteCount)
    /// The file that it is unpacked to cannot be written.
    case cannotWrite(path: FilePath, errno: Errno)
    /// It has a GUID partition table.
    case gpt(path: FilePath)
    /// It has no partition table.
    case noPartitionTable(path: FilePath)
    /// libfdisk cannot read its table, with libfdisk's reason.
    case unreadableTable(path: FilePath, reason: String)
    /// Its partitions are not those that a card takes, or the file is cut short.
    case layout(path: FilePath, ImageLayoutError)

    /// What a path leads to where it is not a regular file.
    package enum Kind: String, Hashable, Sendable {
        case directory
        case blockDevice = "block device"
        case characterDevice = "character device"
        case other = "pipe or socket"
    }
}

extension OSImageError {
    /// The same about another path: a file that was made from the user's is nothing to the user.
    package func about(_ path: FilePath) -> OSImageError {
        switch self {
        case .missing: .missing(path: path)
        case .notAFile(_, let kind): .notAFile(path: path, kind: kind)
        case .unreadable(_, let errno): .unreadable(path: path, errno: errno)
        case .changed: .changed(path: path)
        case .empty: .empty(path: path)
        case .compressed(_, let compression): .compressed(path: path, by: compression)
        case .cannotUnpack(_, let compression, let reason):
            .cannotUnpack(path: path, by: compression, reason: reason)
        case .otherEntries(_, let names): .otherEntries(path: path, names: names)
        case .noImageEntry(_, let names): .noImageEntry(path: path, names: names)
        case .otherFormat(_, let format): .otherFormat(path: path, format)
        case .packedTwice(_, let compression, let content): .packedTwice(path: path, by: compression, content)
        case .tooLarge(_, let limit): .tooLarge(path: path, limit: limit)
        case .cannotWrite(_, let errno): .cannotWrite(path: path, errno: errno)
        case .gpt: .gpt(path: path)
        case .noPartitionTable: .noPartitionTable(path: path)
        case .unreadableTable(_, let reason):
            .unreadableTable(path: path, reason: reason.split(separator: ": ").last.map(String.init) ?? reason)
        case .layout(_, let error): .layout(path: path, error)
        }
    }
}

extension OSImageError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .missing(let path):
            "\(path): image does not exist"
        case .notAFile(let path, .blockDevice):
            "\(path): is a block device; must be an image file: copy the device to a file first"
        case .notAFile(let path, let kind):
            "\(path): is a \(kind.rawValue); must be an image file"
        case .unreadable(let path, let errno):
            "\(path): image cannot be read: \(errno.description.lowercasedFirst)"
        case .changed(let path):
            "\(path): image changed while it was read; wait until it is complete"
        case .empty(let path):
            "\(path): image is empty (0 bytes); must have a partition table and two partitions"
        case .compressed(let path, let compression):
            "\(path): image is compressed (\(compression.rawValue)); decompress it first: \(compression.command(for: path))"
        case .cannotUnpack(let path, let compression, let reason):
            "\(path): image cannot be unpacked\(compression.map { " (\($0.rawValue))" } ?? ""): \(reason)"
        case .otherEntries(let path, let names):
            "\(path): archive has more than one image (\(listed(names))); must have exactly one: unpack it, and give one of them"
        case .noImageEntry(let path, let names):
            "\(path): archive has no file that ends in .img, only \(names.isEmpty ? "folders" : listed(names)); must have exactly one"
        case .otherFormat(let path, let format):
            "\(path): is \(format.named); must be an image, raw or compressed (xz, gz, zst, bz2, zip): \(format.remedy(for: path))"
        case .packedTwice(let path, let compression, .compressed(let inner)):
            "\(path): is compressed twice (\(inner.rawValue) in \(compression.rawValue)); take off the outer one first: \(compression.command(for: path))"
        case .packedTwice(let path, let compression, .other(.tar)) where compression != .zip:
            "\(path): is a tar archive, compressed (\(compression.rawValue)); must be an image: unpack it first: tar xf \(path.string.shellQuoted)"
        case .packedTwice(let path, let compression, .other(let inner)):
            "\(path): has \(inner.named) in it; must have an image: take off the outer layer, and see what that is: \(compression.command(for: path))"
        case .tooLarge(let path, let limit):
            "\(path): image unpacks to more than \(limit.bytes) bytes; must be at most that"
        case .cannotWrite(let path, .fileTooLarge):
            "\(path): cannot be written: file too large for this process (ulimit -f) or for the file system"
        case .cannotWrite(let path, let errno):
            "\(path): cannot be written: \(errno.description.lowercasedFirst)"
        case .gpt(let path):
            "\(path): image's partition table is GPT; must be a DOS one (MBR), as Raspberry Pi images have"
        case .noPartitionTable(let path):
            "\(path): image has no partition table; must have a DOS one (MBR) with two partitions"
        case .unreadableTable(let path, let reason):
            reason.hasPrefix(path.string) ? reason : "\(path): \(reason)"
        case .layout(let path, let error):
            "\(path): \(error)"
        }
    }
}

/// The first few names, and how many others there are.
private func listed(_ names: [String]) -> String {
    let shown = names.prefix(4).joined(separator: ", ")
    return names.count > 4 ? "\(shown) and \(names.count - 4) more" : shown
}

extension String {
    /// The system's texts start with a capital, messages do not.
    fileprivate var lowercasedFirst: String { prefix(1).lowercased() + dropFirst() }
}
