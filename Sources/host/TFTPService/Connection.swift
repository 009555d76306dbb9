import CUnixSocket
import FoundationEssentials
import Glibc
import SystemPackage

/// One end of a connection between a service and a client. Closed with its last reference.
final class Connection: Sendable {
    private let socket: Int32

    init(owning socket: Int32) { self.socket = socket }

    deinit { close(socket) }

    /// Ends reads and writes of both sides, also those that wait in other threads.
    func shutDown() { Glibc.shutdown(socket, Int32(SHUT_RDWR)) }

    /// Process and user at the other end.
    var peer: (process: Int32, user: UInt32)? {
        var (process, user) = (pid_t(), uid_t())
        return unsafe cunix_peer(socket, &process, &user) == 0 ? (process, user) : nil
    }

    /// Sends a message; waits while the other side does not read.
    ///
    /// - Parameter file: an open file to go along.
    func send(_ message: some Encodable, file: Int32 = -1) throws {
        let bytes = try Self.encode(message)
        let result = unsafe bytes.withUnsafeBytes { unsafe cunix_send(socket, $0.baseAddress, $0.count, file) }
        guard result == 0 else { throw Errno(rawValue: errno) }
    }

    /// A message as it goes over the socket.
    static func encode(_ message: some Encodable) throws -> Data {
        let bytes = try JSONEncoder().encode(message)
        guard bytes.count <= longestMessage else { throw Errno(rawValue: EMSGSIZE) }
        return bytes
    }

    /// Sends a message where there is room for it; never waits.
    ///
    /// - Returns: false where there is no room, as the other side does not read.
    func sendNow(_ bytes: Data) throws(Errno) -> Bool {
        let result = unsafe bytes.withUnsafeBytes { unsafe cunix_send_now(socket, $0.baseAddress, $0.count) }
        if result == 0 { return true }
        let code = Errno(rawValue: errno)
        guard code == .resourceTemporarilyUnavailable else { throw code }
        return false
    }

    /// Waits until the other side says something or closes, `bell` rings, or (`toSend`) there is room to send.
    ///
    /// - Parameter milliseconds: how long at most; -1 for ever.
    /// - Returns: whether the other side said something or closed.
    func wait(for bell: Int32, toSend: Bool, milliseconds: Int32) -> Bool {
        var polled = [
            pollfd(fd: socket, events: Int16(POLLIN) | (toSend ? Int16(POLLOUT) : 0), revents: 0),
            pollfd(fd: bell, events: Int16(POLLIN), revents: 0),
        ]
        guard unsafe poll(&polled, nfds_t(polled.count), milliseconds) > 0 else { return false }
        return polled[0].revents & ~Int16(POLLOUT) != 0
    }

    /// Waits for a message; nil where the other side has closed.
    ///
    /// - Returns: the message, and the open file that came along; its owner closes it.
    func receive<Message: Decodable>(_ type: Message.Type) throws -> (Message, OpenFile?)? {
        var file: Int32 = -1
        var length = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: longestMessage) { buffer, count in
            length = unsafe cunix_receive(socket, buffer.baseAddress, buffer.count, &file)
            count = max(0, length)
        }
        let code = errno
        let open = file >= 0 ? OpenFile(owning: file) : nil
        guard length >= 0 else { throw Errno(rawValue: code) }
        guard length > 0 else { return nil }
        return (try JSONDecoder().decode(type, from: Data(bytes)), open)
    }

    /// How long the other side may take to say something, and to read; 0 for ever.
    func setTimeouts(receiving: Int, sending: Int) {
        for (option, seconds) in [(SO_RCVTIMEO, receiving), (SO_SNDTIMEO, sending)] {
            var time = timeval(tv_sec: seconds, tv_usec: 0)
            _ = unsafe setsockopt(socket, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
        }
    }
}

/// An open file that came from elsewhere. Closed with its last reference.
final class OpenFile: Sendable {
    let descriptor: Int32

    init(owning descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }
}

/// Which folder a path leads to; nil where it leads to none.
func folderIdentity(_ path: FilePath) -> (device: UInt64, inode: UInt64)? {
    var status = stat()
    guard unsafe path.withPlatformString({ unsafe stat($0, &status) }) == 0, status.st_mode & S_IFMT == S_IFDIR else {
        return nil
    }
    return (UInt64(status.st_dev), UInt64(status.st_ino))
}
