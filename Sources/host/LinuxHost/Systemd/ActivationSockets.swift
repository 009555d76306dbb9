import Glibc
package import SystemPackage

/// Sockets that systemd has opened for this process (socket activation). Source: sd_listen_fds(3).
package struct ActivationSockets: Sendable {
    /// A bound UDP socket; nil where there is none.
    package private(set) var datagram: FileDescriptor?
    /// A listening SOCK_SEQPACKET Unix socket; nil where there is none.
    package private(set) var control: FileDescriptor?
    /// A stream socket, TCP or Unix; nil where there is none.
    package private(set) var stream: FileDescriptor?

    /// Those that the environment names for this process; none where it names none. Child processes do not get them.
    ///
    /// - Parameters:
    ///   - process: `LISTEN_PID`.
    ///   - count: `LISTEN_FDS`; the sockets are numbers 3 and up.
    /// - Throws: ``ActivationError`` where there is another socket than these.
    package init(process: String?, count: String?) throws(ActivationError) {
        guard let process, Int32(process) == getpid(), let count, let number = Int32(count), number > 0 else { return }
        guard number <= 2 else { throw .tooMany(Int(number)) }
        for descriptor in 3..<3 + number {
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            let kind = Self.option(SO_TYPE, of: descriptor)
            let domain = Self.option(SO_DOMAIN, of: descriptor)
            switch (domain, kind) {
            case (AF_INET, Int32(SOCK_DGRAM.rawValue)) where datagram == nil:
                datagram = FileDescriptor(rawValue: descriptor)
            case (AF_UNIX, Int32(SOCK_SEQPACKET.rawValue)) where control == nil:
                control = FileDescriptor(rawValue: descriptor)
            case (_, Int32(SOCK_STREAM.rawValue)) where stream == nil: stream = FileDescriptor(rawValue: descriptor)
            default: throw .unfit(Int(descriptor))
            }
        }
    }

    private static func option(_ option: Int32, of descriptor: Int32) -> Int32 {
        var value: Int32 = -1
        var length = socklen_t(MemoryLayout<Int32>.size)
        return unsafe getsockopt(descriptor, SOL_SOCKET, option, &value, &length) == 0 ? value : -1
    }
}

/// The sockets that systemd handed over are not those that are expected.
package enum ActivationError: Error, Hashable, Sendable, CustomStringConvertible {
    /// More than two.
    case tooMany(Int)
    /// This one is neither UDP over IPv4 nor a Unix socket that keeps messages apart nor a stream, or the second of its kind.
    case unfit(Int)

    package var description: String {
        switch self {
        case .tooMany(let count):
            "systemd handed over \(count) sockets; must be at most two"
        case .unfit(let number):
            "socket \(number) from systemd is not a ListenDatagram (IPv4), ListenSequentialPacket or ListenStream, or is a second one"
        }
    }
}
