package import DiskLayout
import HostTools
package import LinuxHost
package import OSImage
package import SystemPackage

/// Why an image cannot be prepared or a store not be used.
package enum ImageStoreError: Error, Hashable, Sendable {
    /// The image is none that a card takes, or cannot be read.
    case image(OSImageError)
    /// A call on a file of the store failed.
    case io(path: FilePath, errno: Errno)
    /// The disk that the store is on has no room left.
    case full(store: FilePath)
    /// The disk that the store is on has too little room from the start.
    case tooLittleSpace(store: FilePath, free: ByteCount, needed: ByteCount)
    /// Someone else has been preparing the same image for longer than one may wait.
    case busy(image: FilePath, holder: LockHolder?, seconds: Int)
    /// There is no such prepared image.
    case unknown(id: String, store: FilePath)
    /// A file could not be linked to where a target loads it, and for a copy there is no room.
    case targetFull(target: FilePath)
    /// What is in use of the image makes no sense.
    case cannotBeCut(image: FilePath, reason: String)
    /// Memory or a compressor is not to be had.
    case outOfMemory
    /// Its boot partition cannot be given other files, and why.
    case cannotCustomize(String)
    /// A program of the host that changes filesystems is missing or failed, and what it said.
    case tool(String)
}

extension ImageStoreError {
    /// Whether the image is to blame, and not the store.
    package var isAboutImage: Bool {
        switch self {
        case .image, .cannotBeCut, .cannotCustomize: true
        default: false
        }
    }
}

extension ImageStore {
    /// An error of what works for the store, in the store's words; others as they are.
    ///
    /// - Parameters:
    ///   - image: what an error about an image is about for the user, whatever was made of it.
    ///   - folder: where work was done.
    func failure(_ error: any Error, about image: FilePath, in folder: FilePath) -> any Error {
        switch error {
        case OSImageError.cannotWrite(let path, let errno): failure(errno, at: path)
        case let error as OSImageError: ImageStoreError.image(error.about(image))
        case let error as HostToolError:
            error.isDiskFull ? ImageStoreError.full(store: path) : .tool("\(error)")
        case let errno as Errno: failure(errno, at: folder)
        default: error
        }
    }

    private func failure(_ errno: Errno, at place: FilePath) -> ImageStoreError {
        errno == .noSpace || errno == .diskQuotaExceeded ? .full(store: path) : .io(path: place, errno: errno)
    }
}

extension ImageStoreError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .image(let error):
            "\(error)"
        case .io(let path, .fileTooLarge):
            "\(path): file too large for this process (ulimit -f) or for the file system; raise the limit, or use another --store"
        case .io(let path, let errno):
            "\(path): \(errno.description.prefix(1).lowercased() + errno.description.dropFirst())"
                + (errno == .permissionDenied ? Accounts.missingGroup(for: path).map { "; \($0)" } ?? "" : "")
        case .full(let store):
            "the disk with the image store \(store) is full; free some space, remove images that are not needed, or use another --store"
        case .tooLittleSpace(let store, let free, let needed):
            "the disk with the image store \(store) has \(free.bytes) bytes free; must have at least \(needed.bytes) bytes: free some space, remove images that are not needed, or use another --store"
        case .busy(let image, let holder, let seconds):
            "\(image): is being prepared by \(holder?.description ?? "process unknown") for over \(seconds) s; wait for it or end it"
        case .unknown(let id, let store):
            "image store \(store) has no image \(id)"
        case .targetFull(let target):
            "the disk with \(target) is full; free some space, or use a --store on the same file system, which needs none"
        case .cannotBeCut(let image, let reason):
            "\(image): \(reason)"
        case .cannotCustomize(let reason): "image cannot be customized: \(reason)"
        case .tool(let reason): reason
        case .outOfMemory:
            "out of memory while the image was prepared"
        }
    }
}
