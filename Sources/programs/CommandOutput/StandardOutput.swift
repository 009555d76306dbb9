import Glibc
package import RunRecords
import Synchronization
package import SystemPackage

/// Standard output: a program's result. What of it could not be written is an error, found at the end: a flash goes on
/// without its reader.
package enum StandardOutput {
    private static let failure = Mutex<Errno?>(nil)

    /// Gets the standard streams ready; the first thing that a program does.
    ///
    /// A stream that is closed gets something that cannot be mistaken for it: else the first file that is opened would be
    /// standard output, and be written to. A reader that went away and a file that may not grow are errors of a write
    /// (EPIPE, EFBIG), and end no program.
    package static func prepare() {
        for (descriptor, flags) in [(STDIN_FILENO, O_RDONLY), (STDOUT_FILENO, O_RDONLY), (STDERR_FILENO, O_WRONLY)]
        where fcntl(descriptor, F_GETFD) == -1 && errno == EBADF {
            // The lowest number that is free: this one. Standard output is open for reading only: each write is an error.
            _ = open("/dev/null", flags)
        }
        signal(SIGPIPE, SIG_IGN)
        signal(SIGXFSZ, SIG_IGN)
    }

    /// Writes all of a text, and nothing after an error: what was written has no gap.
    package static func write(_ text: String) {
        failure.withLock { failure in
            guard failure == nil else { return }
            failure = writeAll(Array(text.utf8))
        }
    }

    /// Whether something could not be written. What goes on until it is ended ends then.
    package static var hasFailed: Bool { failure.withLock { $0 != nil } }

    /// Call once, last.
    ///
    /// - Throws: ``StandardOutputError`` where something could not be written.
    package static func finish() throws(StandardOutputError) {
        let failed = failure.withLock { failure -> Errno? in
            // Some file systems say so late (NFS, quotas): when a descriptor is closed.
            let copy = failure == nil ? dup(STDOUT_FILENO) : -1
            if copy >= 0, close(copy) != 0, errno != EINTR { failure = Errno(rawValue: errno) }
            return failure
        }
        if let failed { throw StandardOutputError(errno: failed) }
    }

    private static func writeAll(_ bytes: [UInt8]) -> Errno? {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if count > 0 {
                rest = rest.dropFirst(count)
                continue
            }
            let code = errno
            switch code {
            case EINTR: continue
            case EAGAIN:
                // Somebody made it non-blocking: it takes more later.
                var waiting = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
                _ = poll(&waiting, 1, -1)
            default: return Errno(rawValue: code)
            }
        }
        return nil
    }
}

/// Standard output took not all of a program's result.
package struct StandardOutputError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What the system said to the first write that failed.
    package let errno: Errno

    package var description: String {
        let reason =
            switch errno {
            case .badFileDescriptor: "it is closed"
            case .brokenPipe: "its reader is gone"
            case .fileTooLarge: "file too large for this process (ulimit -f) or for the file system"
            default: errno.description.prefix(1).lowercased() + errno.description.dropFirst()
            }
        return "the result could not be written to standard output: \(reason)"
    }
}

extension EventWriter {
    /// Writes events to standard output. A reader that went away is no reason to stop half-way: it is told at the end.
    package static func toStandardOutput() -> EventWriter { EventWriter { StandardOutput.write($0 + "\n") } }
}
