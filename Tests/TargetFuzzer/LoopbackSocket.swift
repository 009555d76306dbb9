import Foundation
import Glibc

/// A UDP socket on an address of loopback.
final class LoopbackSocket {
    private let descriptor: Int32
    /// How many packets were sent.
    private(set) var sent = 0

    init(address: String, port: UInt16 = 0) throws(BenchFailure) {
        descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw BenchFailure("cannot make a socket: errno \(errno)") }
        var yes: Int32 = 1
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        let bound = Self.with(address, port) { unsafe bind(descriptor, $0, $1) }
        guard bound == 0 else {
            let code = errno
            close(descriptor)
            throw BenchFailure("cannot bind \(address):\(port): errno \(code)")
        }
    }

    deinit { close(descriptor) }

    private static func with(_ host: String, _ port: UInt16, _ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32)
        -> Int32
    {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        unsafe inet_pton(AF_INET, host, &address.sin_addr)
        return unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe call($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    /// Sends a packet to the server's address.
    func send(_ bytes: [UInt8], to port: UInt16) {
        sent += 1
        _ = Self.with("127.0.0.1", port) { address, length in
            Int32(clamping: unsafe sendto(descriptor, bytes, bytes.count, 0, address, length))
        }
    }

    /// The next packet and the port that it comes from; nil where none comes in time.
    func receive(milliseconds: Int32) -> (bytes: [UInt8], port: UInt16)? {
        var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard unsafe poll(&poller, 1, milliseconds) == 1 else { return nil }
        var bytes = [UInt8](repeating: 0, count: 65536)
        var sender = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let count = unsafe withUnsafeMutablePointer(to: &sender) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe recvfrom(descriptor, &bytes, bytes.count, 0, $0, &length)
            }
        }
        guard count >= 0 else { return nil }
        return (Array(bytes[..<count]), UInt16(bigEndian: sender.sin_port))
    }
}

/// Runs something on a thread of its own, which may wait there.
func startThread(_ work: @escaping @Sendable () -> Void) {
    let thread = Thread { work() }
    thread.stackSize = 512 << 10
    thread.start()
}
