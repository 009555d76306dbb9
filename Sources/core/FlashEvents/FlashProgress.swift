import DiskLayout
package import FlashPlan

/// What a flash tells while it runs.
package enum FlashProgress: Hashable, Sendable {
    /// Something worth a line in the log.
    case note(String)
    /// Something that may be wrong.
    case warning(String)
    /// This server hands out the root from now on; another one that was there before, where it is not our own.
    case serving(root: String, address: String, isOwn: Bool)
    /// The image is prepared; its content has this id.
    case prepared(id: String)
    /// The target is reset, the `attempt`th time, 1 for the first.
    case resetting(target: String, method: ResetMethod, attempt: Int)
    /// The target asks for its image, from this IPv4 address; nil where another server serves.
    case asked(from: String?)
    /// The target has all of a file. `packets` and `repeated` count DATA packets, `window` is the
    /// one that was agreed on, in blocks. Another server tells nothing of it.
    case completed(file: String, packets: UInt64, repeated: UInt64, window: Int = 1)
    /// The target has written a chunk or part of this many bytes and compared it; it took that long from the file's last
    /// packet to what the target asked next. Another server tells nothing of it.
    case wrote(number: UInt64, bytes: UInt64, took: Duration)
    /// The target uploaded this REPORT, untrusted; its outcome is told afterwards.
    case reported([UInt8])
    /// This run is recorded under this name.
    case recording(id: String)
    /// The target has proven what is on its card, this long after the reset.
    case proven(FlashProof, elapsed: Duration)
    /// A compressed image is unpacked; bytes are of the compressed file.
    case unpacking(read: UInt64, total: UInt64)
    /// The image is prepared: read, hashed and compressed.
    case preparing(bytes: UInt64, total: UInt64)
    /// The image is copied to the TFTP root.
    case staging(bytes: UInt64, total: UInt64)
    /// The target takes a part; bytes are of all parts together. `bytes` is nil where another server serves.
    case transfer(part: UInt64, parts: UInt64, bytes: UInt64?, total: UInt64, elapsed: Duration)
    /// The target is at a chunk. `bytes` counts the chunk files that it has loaded: only those that differ are needed.
    case chunk(number: UInt64, chunks: UInt64, bytes: UInt64, total: UInt64, elapsed: Duration)
    /// The target is waited for.
    case waiting(port: UInt16, elapsed: Duration)

    /// The line that a log should have of it; nil for how far something is.
    package var logLine: String? {
        switch self {
        case .note(let text): text
        case .warning(let text): "warning: \(text)"
        case .serving(let root, let address, true): "serving \(root) on \(address)"
        case .serving(_, let address, false): "using the TFTP server that is there, on \(address)"
        case .resetting(let target, let method, 1): "resetting target \(target) (\(method))"
        case .asked: "the target asks for its image"
        case .proven(let proven, _):
            "the target reported OK with \(proven.bytes.bytes) bytes, exactly what was to be on its card"
        // Of a further reset a warning has told.
        case .resetting, .completed, .prepared, .wrote, .reported, .recording, .unpacking, .preparing, .staging,
            .transfer, .chunk, .waiting:
            nil
        }
    }
}
