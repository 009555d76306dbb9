import Foundation
import TFTP

/// A bare UDP socket on loopback that speaks TFTP packet by packet, so that a test can do what no client would.
final class UDPClient {
    private let descriptor: Int32
    /// The server's port that the last packet came from.
    private(set) var peer: UInt16

    /// A client of the server on this port of 127.0.0.1; with `host`, one that has another address of loopback.
    init(port: Int, host: String = "127.0.0.1", localPort: UInt16 = 0) throws {
        descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        peer = UInt16(port)
        var local = Self.address(localPort, host: host)
        let bound = withUnsafePointer(to: &local) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard descriptor >= 0, bound == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
    }

    deinit { close(descriptor) }

    private static func address(_ port: UInt16, host: String = "127.0.0.1") -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        inet_pton(AF_INET, host, &address.sin_addr)
        return address
    }

    /// The port that this client sends from.
    var localPort: UInt16 {
        var local = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = withUnsafeMutablePointer(to: &local) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        return UInt16(bigEndian: local.sin_port)
    }

    func send(_ bytes: [UInt8], to port: UInt16? = nil) {
        var address = Self.address(port ?? peer)
        _ = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, bytes, bytes.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    /// What is sent goes there.
    func aim(at port: Int) { peer = UInt16(port) }

    /// Takes packets of this port only, and learns of an ICMP 'port unreachable' from there.
    func connect(to port: UInt16) {
        var address = Self.address(port)
        _ = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        peer = port
    }

    /// Whether the kernel has said that nobody listens on the port that this client is connected to.
    var isRefused: Bool {
        var code: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length)
        return code == ECONNREFUSED
    }

    func send(_ packet: Packet, to port: UInt16? = nil) { send(packet.encoded, to: port) }

    /// The next packet, from ``peer`` from now on; nil where none comes in time.
    func receive(within milliseconds: Int32 = 60_000) -> Packet? {
        var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&poller, 1, milliseconds) == 1 else { return nil }
        var bytes = [UInt8](repeating: 0, count: 65536)
        var sender = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let count = withUnsafeMutablePointer(to: &sender) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                recvfrom(descriptor, &bytes, bytes.count, 0, $0, &length)
            }
        }
        guard count >= 0 else { return nil }
        peer = UInt16(bigEndian: sender.sin_port)
        bytes.removeLast(bytes.count - count)
        return try? Packet(parsing: bytes.span)
    }

    /// Reads a file as plainly as it can be done; nil where the server refuses or is silent.
    func fetch(_ path: String, options: [Packet.Option] = []) -> [UInt8]? {
        send(.readRequest(Packet.Request(path: path, options: options)))
        var content: [UInt8] = []
        var block: UInt16 = 0
        var (blockSize, window) = (512, 1)
        var sinceAcknowledgement = 0
        while let packet = receive() {
            switch packet {
            case .optionAcknowledgement(let options):
                func value(_ name: String) -> Int? {
                    options.first { $0.name == name }.flatMap { Int($0.value) }
                }
                (blockSize, window) = (value("blksize") ?? 512, value("windowsize") ?? 1)
                send(.acknowledgement(block: 0))
            case .data(block &+ 1, let payload):
                content += payload
                block &+= 1
                sinceAcknowledgement += 1
                let isLast = payload.count < blockSize
                if isLast || sinceAcknowledgement == window {
                    send(.acknowledgement(block: block))
                    sinceAcknowledgement = 0
                }
                if isLast { return content }
            case .data: continue
            default: return nil
            }
        }
        return nil
    }
}
