/// Why a file of a FAT filesystem cannot be read or written: what of the filesystem is so, to be read behind its name.
package enum FATError: Error, Hashable, Sendable {
    /// There is no such file.
    case noFile(String)
    /// It is a folder.
    case isFolder(String)
    /// Another file is where a folder must be.
    case isNoFolder(String)
    /// A file is longer than it may be.
    case tooLong(String, bytes: UInt64, limit: UInt64)
    /// The bytes that a file or folder needs, and those that are free for it.
    case noRoom(String, needed: UInt64, free: UInt64)
    /// A folder, "" the top one, cannot take another entry.
    case folderFull(String, entries: Int)
    /// A name that FAT does not take.
    case badName(String)
    /// It is not as a FAT filesystem must be.
    case damaged(String)
    /// More is changed than a view can hold.
    case tooManyChanges
    /// The image cannot be read.
    case image(OSImageError)
}

extension FATError: CustomStringConvertible {
    /// One clause that goes behind 'boot partition': lower case, with numbers.
    package var description: String {
        switch self {
        case .noFile(let path): "has no file \(path)"
        case .isFolder(let path): "has a folder \(path); must be a file"
        case .isNoFolder(let path): "has a file \(path); must be a folder"
        case .tooLong(let path, let bytes, let limit):
            "has a file \(path) of \(bytes) bytes; must be at most \(limit) bytes"
        case .noRoom(let path, let needed, let free):
            "has no room for \(path): \(needed) bytes are needed, \(free) bytes are free"
        case .folderFull(let path, let entries):
            "has no room for another entry in its \(path.isEmpty ? "top folder" : "folder \(path)"): it takes \(entries)"
        case .badName(let path): "cannot have a file named \(path)"
        case .damaged(let reason): "is damaged: \(reason)"
        case .tooManyChanges: "would get more than 64 MiB of changes"
        case .image(let error): "\(error)"
        }
    }
}

extension FATError {
    /// What a user can do about it.
    package var remedy: String {
        switch self {
        case .noRoom, .folderFull: "free some space in the image's partition 1, or take an image with a larger one"
        case .noFile, .isFolder, .isNoFolder, .badName, .tooLong, .tooManyChanges:
            "change the file or take another image"
        case .damaged, .image: "repair it with fsck.vfat, or take another image"
        }
    }
}

/// What reading an image throws, as a FAT's error.
func imageFailure<Value>(_ body: () throws(OSImageError) -> Value) throws(FATError) -> Value {
    do {
        return try body()
    } catch {
        throw .image(error)
    }
}

extension PartitionArea {
    /// Bytes of the partition; what reading the image throws, as a FAT's error.
    func fatBytes(at offset: UInt64, count: UInt64) throws(FATError) -> [UInt8] {
        try imageFailure { () throws(OSImageError) in try bytes(at: offset, count: count) }
    }

    /// Changes bytes of the partition in its view.
    func put(_ bytes: [UInt8], at offset: UInt64) throws(FATError) {
        let taken = try imageFailure { () throws(OSImageError) in try write(bytes, at: offset) }
        guard taken else { throw .tooManyChanges }
    }
}

extension [UInt8] {
    /// Little endian; the caller knows that the bytes are there.
    mutating func set(_ value: UInt64, _ count: Int, at offset: Int) {
        for index in 0..<count { self[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(index * 8)) }
    }
}
