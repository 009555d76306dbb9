import FlashEvents

/// A lock that goes from hand to hand with its flash.
final class SharedLock: Sendable {
    private let lock: FolderLock

    init(_ request: FlashRequest) throws(FlashError) {
        lock = try FolderLock(root: request.root, target: request.target)
    }
}

/// A flash of which everything was checked, and whose target no other job may have.
struct PreparedFlash: Sendable {
    /// What is staged.
    enum Content: Sendable {
        case parts(PartsStager)
        case plan(ChunkStager)
    }

    let request: FlashRequest
    let staging: Content
    let lock: SharedLock
}
