import Glibc
package import SystemPackage

/// Tells what other programs do with the files of a folder, through inotify.
package final class FolderWatch: Sendable {
    /// What was done with a file.
    package enum Event: Hashable, Sendable {
        /// Opened.
        case opened(String)
        /// Read from; reads that follow each other are told once.
        case read(String)
        /// Closed after it was open for reading only.
        case closed(String)
        /// Closed after it was open for writing.
        case written(String)
    }

    private let descriptor: Int32

    /// Watches a folder from now on.
    ///
    /// - Throws: `Errno`.
    package init(_ folder: FilePath) throws(Errno) {
        descriptor = inotify_init1(Int32(IN_CLOEXEC) | Int32(IN_NONBLOCK))
        guard descriptor >= 0 else { throw Errno(rawValue: errno) }
        let events = UInt32(IN_OPEN | IN_ACCESS | IN_CLOSE_NOWRITE | IN_CLOSE_WRITE | IN_ONLYDIR)
        guard unsafe folder.withPlatformString({ unsafe inotify_add_watch(descriptor, $0, events) }) >= 0 else {
            let code = errno
            close(descriptor)
            throw Errno(rawValue: code)
        }
    }

    deinit { close(descriptor) }

    /// What happened since the last call. The kernel joins equal events that follow each other, so a file that is read
    /// in a million steps between two calls is one event.
    package func take() -> [Event] {
        var events: [Event] = []
        unsafe withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 8) { buffer in
            while true {
                let count = unsafe read(descriptor, buffer.baseAddress, buffer.count)
                guard count > 0 else { return }
                var offset = 0
                while offset + MemoryLayout<inotify_event>.size <= count {
                    let header = unsafe buffer.loadUnaligned(fromByteOffset: offset, as: inotify_event.self)
                    let start = offset + MemoryLayout<inotify_event>.size
                    let name = unsafe buffer[start..<start + Int(header.len)].prefix { $0 != 0 }
                    offset = start + Int(header.len)
                    guard unsafe !name.isEmpty else { continue }
                    let file = unsafe String(decoding: name, as: UTF8.self)
                    if header.mask & UInt32(IN_OPEN) != 0 { events.append(.opened(file)) }
                    if header.mask & UInt32(IN_ACCESS) != 0, events.last != .read(file) { events.append(.read(file)) }
                    if header.mask & UInt32(IN_CLOSE_NOWRITE) != 0 { events.append(.closed(file)) }
                    if header.mask & UInt32(IN_CLOSE_WRITE) != 0 { events.append(.written(file)) }
                }
            }
        }
        return events
    }
}
