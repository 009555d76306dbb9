internal import Glibc

/// What this host is called, and who it can reach.
public enum ThisHost {
    /// Host name, its first label, and all IPv4 addresses of its interfaces.
    public static func names() -> [String] {
        var names: [String] = []
        var buffer = [CChar](repeating: 0, count: 256)
        if gethostname(&buffer, buffer.count - 1) == 0 {
            let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            names.append(name)
            if let first = name.split(separator: ".").first { names.append(String(first)) }
        }
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { return names }
        defer { freeifaddrs(list) }
        var next = list
        while let entry = next?.pointee {
            next = entry.ifa_next
            guard let address = entry.ifa_addr, Int32(address.pointee.sa_family) == AF_INET else { continue }
            names.append(address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { dotted($0.pointee.sin_addr) })
        }
        return names
    }

    /// The address of this host that packets to `address` carry, dotted; nil where there is no way to it.
    public static func ownAddress(towards address: String) -> String? {
        guard var peer = socketAddress(address, port: 69) else { return nil }
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        // A connected UDP socket sends nothing; it only chooses the way.
        guard withSocketAddress(&peer, { connect(descriptor, $0, $1) }) == 0 else { return nil }
        var own = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &own) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        return result == 0 ? dotted(own.sin_addr) : nil
    }

    /// Whether a TCP connection to the port is accepted within `patience`.
    public static func answers(_ address: String, port: UInt16, patience: Duration = .seconds(2)) async -> Bool {
        guard var peer = socketAddress(address, port: port) else { return false }
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(AF_INET, kind, 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        if withSocketAddress(&peer, { connect(descriptor, $0, $1) }) == 0 { return true }
        guard errno == EINPROGRESS else { return false }
        let clock = ContinuousClock()
        let end = clock.now + patience
        while clock.now < end, !Task.isCancelled {
            var state = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            if poll(&state, 1, 0) > 0 {
                var code: Int32 = 0
                var length = socklen_t(MemoryLayout<Int32>.size)
                return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length) == 0 && code == 0
            }
            try? await Task.sleep(for: .milliseconds(50))
        }
        return false
    }

    private static func socketAddress(_ address: String, port: UInt16) -> sockaddr_in? {
        var result = sockaddr_in()
        result.sin_family = sa_family_t(AF_INET)
        result.sin_port = port.bigEndian
        return inet_pton(AF_INET, address, &result.sin_addr) == 1 ? result : nil
    }

    private static func withSocketAddress(
        _ address: inout sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
    }

    private static func dotted(_ address: in_addr) -> String {
        (0..<4).map { String(UInt32(bigEndian: address.s_addr) >> (24 - 8 * $0) & 0xff) }.joined(separator: ".")
    }
}
