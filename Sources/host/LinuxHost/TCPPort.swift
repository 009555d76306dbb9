import Glibc

/// A TCP port of another host.
package struct TCPPort: Hashable, Sendable {
    /// The host's IPv4 address, dotted.
    package let address: String
    /// 1 to 65535.
    package let port: UInt16

    /// The port.
    package init(address: String, port: UInt16) { (self.address, self.port) = (address, port) }

    /// Whether a connection is accepted there within a time; it is closed at once. A refusal is not an answer: the host may
    /// be up, but what is waited for is not.
    package func answers(within limit: Duration) async throws -> Bool {
        guard var remote = socketAddress(address, port: port) else { return false }
        let descriptor = socket(
            AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        if unsafe withSocketAddress(&remote, { unsafe connect(descriptor, $0, size) }) == 0 { return true }
        guard errno == EINPROGRESS else { return false }
        let end = ContinuousClock.now + limit
        repeat {
            var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            if unsafe poll(&entry, 1, 0) > 0 {
                var code: Int32 = 0
                var length = socklen_t(MemoryLayout<Int32>.size)
                return unsafe getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length) == 0 && code == 0
            }
            try await Task.sleep(for: .milliseconds(20))
        } while ContinuousClock.now < end
        return false
    }
}
