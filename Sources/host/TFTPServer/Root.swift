import Glibc

/// A file of a job, or parts of one, open for reading. Closed with its last reference.
final class ServedFile: Sendable {
    private let descriptor: Int32
    /// Its parts: where each begins in what is served, and where it lies in the file, in bytes.
    private let parts: [(offset: UInt64, range: Range<UInt64>)]
    /// Its length in bytes.
    let size: UInt64

    /// - Parameter ranges: of the file, in bytes; none empty.
    fileprivate init(descriptor: Int32, ranges: [Range<UInt64>]) {
        self.descriptor = descriptor
        var parts: [(offset: UInt64, range: Range<UInt64>)] = []
        var size: UInt64 = 0
        for range in ranges {
            parts.append((size, range))
            size += UInt64(range.count)
        }
        (self.parts, self.size) = (parts, size)
    }

    deinit { close(descriptor) }

    /// The part that has what is served at `offset`: where that lies in the file, and how much there is from there on.
    private func place(of offset: UInt64) -> (start: UInt64, count: UInt64)? {
        // The last part that does not begin behind it.
        var (low, high) = (0, parts.count)
        while low < high {
            let middle = (low + high) / 2
            if parts[middle].offset <= offset { low = middle + 1 } else { high = middle }
        }
        guard low > 0 else { return nil }
        let (begin, range) = parts[low - 1]
        let start = range.lowerBound + (offset - begin)
        return start < range.upperBound ? (start, range.upperBound - start) : nil
    }

    /// Reads `buffers` one behind the other from `offset` on.
    ///
    /// - Returns: false where the file ends before the buffers are full, or cannot be read.
    func read(into buffers: inout [iovec], at offset: UInt64) -> Bool {
        var offset = offset
        var first = 0
        while unsafe first < buffers.count {
            if unsafe buffers[first].iov_len == 0 {
                first += 1
                continue
            }
            guard let (start, available) = place(of: offset) else { return false }
            // What goes on in the next part is left for another call.
            var wanted: [iovec] = unsafe []
            var room = Int(min(available, UInt64(Int.max)))
            for index in unsafe buffers.indices.dropFirst(first) where room > 0 {
                let length = unsafe min(buffers[index].iov_len, room)
                unsafe wanted.append(iovec(iov_base: buffers[index].iov_base, iov_len: length))
                room -= length
            }
            let count = unsafe wanted.withUnsafeBufferPointer {
                unsafe preadv(descriptor, $0.baseAddress, Int32($0.count), Int(start))
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            offset += UInt64(count)
            var rest = count
            while rest > 0 {
                let taken = unsafe min(rest, buffers[first].iov_len)
                unsafe buffers[first].iov_base = unsafe buffers[first].iov_base.map { unsafe $0 + taken }
                unsafe buffers[first].iov_len -= taken
                rest -= taken
                if unsafe buffers[first].iov_len == 0 { first += 1 }
            }
        }
        return true
    }
}

/// The TFTP root. Opens `<folder>/<name>` one step at a time and follows no link, so nothing outside is reached.
final class Root: Sendable {
    private let descriptor: Int32

    init(_ path: String) throws(TFTPServerError) {
        descriptor = unsafe Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .root(path, reason: systemMessage(errno)) }
    }

    deinit { close(descriptor) }

    /// Why a file cannot be had, for the log.
    struct Unavailable: Error { let reason: String }

    /// Opens what a grant names; only a regular file is ever opened.
    func open(_ grant: Grant) throws(Unavailable) -> ServedFile {
        let file: Int32? =
            switch grant.source {
            case .folder: descriptor(folder: grant.folder, name: grant.file)
            case .open(let shared): fcntl(shared.descriptor, F_DUPFD_CLOEXEC, 0)
            }
        guard let file, file >= 0 else { throw Unavailable(reason: "the file is not there or cannot be opened") }
        var status = stat()
        guard unsafe fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(file)
            throw Unavailable(reason: "the file is not a regular file")
        }
        let size = UInt64(status.st_size)
        let sectors = size / Self.sectorSize
        switch grant.part {
        case .all: return ServedFile(descriptor: file, ranges: size > 0 ? [0..<size] : [])
        case .range(let range):
            guard range.upperBound <= sectors else {
                close(file)
                throw Unavailable(reason: "the range ends behind the file's \(sectors) sectors")
            }
            return ServedFile(descriptor: file, ranges: [Self.bytes(range)])
        case .pieces(let runs):
            let last = runs.last?.upperBound ?? 0
            guard last < sectors + ServedFolder.pieceSectors else {
                close(file)
                throw Unavailable(reason: "a piece lies behind the file's \(sectors) sectors")
            }
            return ServedFile(
                descriptor: file, ranges: runs.map { Self.bytes($0.lowerBound..<min($0.upperBound, sectors)) })
        }
    }

    private static func bytes(_ sectors: Range<UInt64>) -> Range<UInt64> {
        sectors.lowerBound * sectorSize..<sectors.upperBound * sectorSize
    }

    private static let sectorSize: UInt64 = 512
    // Without O_NONBLOCK a FIFO would hang the server.
    private static let flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC

    /// Opens `<folder>/<name>`; both must be single names, what else comes in is refused.
    private func descriptor(folder: String, name: String) -> Int32? {
        for part in [folder, name] {
            guard !part.isEmpty, part != ".", part != "..", !part.utf8.contains(UInt8(ascii: "/")) else { return nil }
        }
        let directory = unsafe openat(descriptor, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard directory >= 0 else { return nil }
        defer { close(directory) }
        return unsafe openat(directory, name, Self.flags | O_NOFOLLOW)
    }
}

/// The system's text for an error number, as strerror has it, lower case at the start.
func systemMessage(_ code: Int32) -> String {
    let text = unsafe String(cString: strerror(code))
    return text.prefix(1).lowercased() + text.dropFirst()
}

/// MAC addresses of hosts on the same network, as the kernel knows them.
enum ARPTable {
    /// The MAC address of a host, lower case with colons; nil where the kernel knows none. Source: `/proc/net/arp`.
    static func mac(of address: String) -> String? {
        let file = unsafe open("/proc/net/arp", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var text: [UInt8] = []
        while text.count < 1 << 20 {
            let chunk = unsafe [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
                count = unsafe max(0, read(file, buffer.baseAddress, buffer.count))
            }
            if chunk.isEmpty { break }
            text += chunk
        }
        return mac(of: address, table: String(decoding: text, as: UTF8.self))
    }

    /// The same in a table's text: columns address, type, flags, MAC, mask, device; flag 0x2 says that it is complete.
    static func mac(of address: String, table: String) -> String? {
        for line in table.split(separator: "\n").dropFirst() {
            let columns = line.split(separator: " ")
            guard columns.count >= 4, columns[0] == address, columns[2] != "0x0" else { continue }
            return columns[3].lowercased()
        }
        return nil
    }
}
