internal import Glibc

/// Watches a job's folder that somebody else's TFTP server hands out: what it opens, and what it is sent.
///
/// Source: inotify(7). The kernel tells that a file was opened, not how far it was read.
public final class FolderWatch: Sendable {
    /// What happened in the folder.
    public enum Event: Hashable, Sendable {
        /// Another process opened a file to read it.
        case opened(String)
        /// A file that was read has been closed.
        case closed(String)
        /// A file was written and closed.
        case written(String)
    }

    /// What happens; ends when ``run()`` does.
    public let events: AsyncStream<Event>
    private let descriptor: Int32
    private let feed: AsyncStream<Event>.Continuation

    /// Starts to watch.
    ///
    /// - Throws: ``TFTPServerError/root(_:reason:)``.
    public init(folder: String) throws(TFTPServerError) {
        descriptor = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        guard descriptor >= 0 else { throw .root(folder, reason: systemMessage(errno)) }
        let mask = UInt32(IN_OPEN | IN_CLOSE_WRITE | IN_CLOSE_NOWRITE)
        guard inotify_add_watch(descriptor, folder, mask) >= 0 else {
            let code = errno
            _ = close(descriptor)
            throw .root(folder, reason: systemMessage(code))
        }
        (events, feed) = AsyncStream.makeStream(of: Event.self)
    }

    deinit { _ = close(descriptor) }

    /// Reads what has happened and feeds it to ``events``, until the task is cancelled.
    public func run() async {
        while !Task.isCancelled {
            for event in pending() { feed.yield(event) }
            // The kernel queues 16,384 events; a target causes a few in a second.
            try? await Task.sleep(for: .milliseconds(50))
        }
        feed.finish()
    }

    private func pending() -> [Event] {
        var result: [Event] = []
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: 64 << 10, alignment: MemoryLayout<inotify_event>.alignment)
        defer { buffer.deallocate() }
        while true {
            let count = read(descriptor, buffer.baseAddress, buffer.count)
            guard count > 0 else { return result }
            var offset = 0
            while offset < count {
                let event = buffer.load(fromByteOffset: offset, as: inotify_event.self)
                let start = offset + MemoryLayout<inotify_event>.size
                let bytes = buffer[start..<start + Int(event.len)].prefix { $0 != 0 }
                offset = start + Int(event.len)
                let name = String(decoding: bytes, as: UTF8.self)
                guard !name.isEmpty else { continue }
                if event.mask & UInt32(IN_OPEN) != 0 { result.append(.opened(name)) }
                if event.mask & UInt32(IN_CLOSE_NOWRITE) != 0 { result.append(.closed(name)) }
                if event.mask & UInt32(IN_CLOSE_WRITE) != 0 { result.append(.written(name)) }
            }
        }
    }
}
