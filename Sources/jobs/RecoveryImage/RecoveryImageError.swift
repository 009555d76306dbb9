package import DiskLayout
package import SystemPackage

/// Why a recovery image or boot script cannot be made.
package enum RecoveryImageError: Error, Hashable, Sendable {
    /// A file that goes in is not there; `remedy` says how to get it.
    case missing(path: FilePath, remedy: String)
    /// Another user could have written a file that goes in: the sentence.
    case untrusted(String)
    /// A file that goes in cannot be read.
    case unreadable(path: FilePath, errno: Errno)
    /// A text file is no UTF-8, or over 1 MiB.
    case notText(path: FilePath)
    /// Something that is not a regular file is where the output goes.
    case outputNotAFile(path: FilePath)
    /// The output, or what it is made from next to it, cannot be written.
    case unwritable(path: FilePath, errno: Errno)
    /// The files do not fit partition 1.
    case contentTooLarge(needed: ByteCount, room: ByteCount)
    /// The table read back from the image is not the one that was written.
    case tableDiffers(written: PartitionTable, read: PartitionTable)
    /// mkfs.vfat made something that cannot be understood.
    case malformedFAT(String)
    /// There is no profile of this board in the folder.
    case unknownBoard(String, known: [String], folder: FilePath)
    /// A network setting is wrong.
    case badNetwork(String)
    /// The board is flashed by Linux, not by U-Boot.
    case noBootScript(board: String)
}

extension RecoveryImageError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .missing(let path, let remedy):
            "\(path) does not exist; \(remedy)"
        case .untrusted(let reason): reason
        case .unreadable(let path, let errno):
            "\(path) cannot be read: \(errno.text)"
        case .notText(let path):
            "\(path) is not text; must be UTF-8 and at most 1 MiB"
        case .outputNotAFile(let path):
            "\(path) is not a regular file; the output must be a file, which you then write to a card"
        case .unwritable(let path, let errno):
            "\(path) cannot be written: \(errno.text)"
        case .contentTooLarge(let needed, let room):
            """
            the files for partition 1 take \(needed.bytes) bytes, it has room for \(room.bytes) bytes; \
            use a larger uboot_size
            """
        case .tableDiffers(let written, let read):
            "partition table read back is \(read.text); must be what was written, \(written.text)"
        case .malformedFAT(let reason):
            "filesystem made by mkfs.vfat cannot be read: \(reason)"
        case .unknownBoard(let name, let known, let folder):
            known.isEmpty
                ? "no board profile in \(folder); must hold \(name).yaml"
                : "board is '\(name)'; must be one of \(known.joined(separator: ", "))"
        case .badNetwork(let reason):
            reason
        case .noBootScript(let board):
            "board \(board) is flashed by Linux and has no boot script; make its card with rpiflash-gen recovery-image"
        }
    }
}

extension Errno {
    /// The system's text, which starts with a capital, as messages do not.
    var text: String { description.prefix(1).lowercased() + description.dropFirst() }
}

extension PartitionTable {
    fileprivate var text: String {
        let entries = partitions.map {
            "\($0.number): \($0.start), \($0.size.sectors) sectors, type \($0.type)\($0.isActive ? ", active" : "")"
        }
        return "\(diskID?.description ?? "no id") [\(entries.joined(separator: "; "))]"
    }
}
