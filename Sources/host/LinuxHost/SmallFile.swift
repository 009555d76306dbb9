import Glibc
package import SystemPackage

/// Why a file was not read whole.
package enum SmallFileError: Error, Hashable, Sendable {
    /// It has more bytes than this.
    case tooLong(limit: Int)
    /// What the system says.
    case unreadable(Errno)
}

/// Files that are read whole into memory: inventories, scripts, records, what a target uploaded.
package enum SmallFile {
    /// A file's content. Links are followed, and it may be a pipe: somebody named it.
    ///
    /// - Parameter limit: bytes at most.
    /// - Throws: ``SmallFileError``.
    package static func read(_ path: FilePath, limit: Int) throws(SmallFileError) -> [UInt8] {
        let content = try start(of: path, count: limit + 1, O_RDONLY)
        guard content.count <= limit else { throw .tooLong(limit: limit) }
        return content
    }

    /// A regular file's first bytes; nil where there is none that can be read. A link is not followed, for others write in
    /// its folder.
    ///
    /// - Parameter count: bytes at most.
    package static func start(of path: FilePath, count: Int) -> [UInt8]? {
        try? start(of: path, count: count, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    }

    /// The end of such a file, whole lines of it; of a shorter file all.
    package static func end(of path: FilePath, count: Int) -> [UInt8]? {
        let end = try? start(of: path, count: count + 1, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, fromEnd: true)
        return end.map { $0.count <= count ? $0 : Array($0.drop { $0 != UInt8(ascii: "\n") }.dropFirst()) }
    }

    private static func start(
        of path: FilePath, count: Int, _ flags: Int32, fromEnd: Bool = false
    ) throws(SmallFileError) -> [UInt8] {
        let descriptor = unsafe path.withPlatformString { unsafe open($0, flags | O_CLOEXEC) }
        guard descriptor >= 0 else { throw .unreadable(Errno(rawValue: errno)) }
        defer { close(descriptor) }
        if flags & O_NOFOLLOW != 0 {
            var status = stat()
            guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
                throw .unreadable(.invalidArgument)
            }
        }
        // Fails where the file is shorter, and then it is read from its beginning.
        if fromEnd { lseek(descriptor, -off_t(count), SEEK_END) }
        var content: [UInt8] = []
        while content.count < count {
            var failure: Int32 = 0
            let part = unsafe [UInt8](unsafeUninitializedCapacity: min(65536, count - content.count)) {
                buffer, filled in
                var done: Int
                repeat {
                    done = unsafe Glibc.read(descriptor, buffer.baseAddress, buffer.count)
                } while done < 0 && errno == EINTR
                if done < 0 { failure = errno }
                filled = max(0, done)
            }
            guard failure == 0 else { throw .unreadable(Errno(rawValue: failure)) }
            if part.isEmpty { break }
            content += part
        }
        return content
    }
}
