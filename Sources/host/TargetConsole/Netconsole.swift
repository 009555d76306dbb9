import Glibc

/// UDP port 6666, open for as long as this lives, whoever sends there.
///
/// A console's packet to a closed port is answered by ICMP's "port unreachable", and U-Boot takes any of these for the end
/// of its TFTP server (net/tftp.c, icmp_handler): it begins the transfer anew, or gives up. So the port is open during a
/// flash even where nobody listens: for a target whose console comes from an address that no row has, or is listened to on
/// its serial port. What comes here is never read: the kernel keeps a few packets and drops the rest.
package final class NetconsolePort: Sendable {
    private let descriptor: Int32?

    /// Opens it. Where another program has the port for itself, it is open already.
    package init() {
        descriptor = try? openNetworkConsole(nil)
        guard let descriptor else { return }
        var least: Int32 = 1
        _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &least, socklen_t(MemoryLayout<Int32>.size))
    }

    deinit { if let descriptor { close(descriptor) } }
}

/// A socket for netconsole.
///
/// - Parameter address: the only one that is heard; nil for all that no other socket hears.
func openNetworkConsole(_ address: String?) throws(ConsoleError) -> Int32 {
    let descriptor = socket(
        AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    func check(_ call: String, _ result: Int32) throws(ConsoleError) {
        guard result < 0 else { return }
        let code = errno
        if descriptor >= 0 { close(descriptor) }
        throw .system(.network(address: address ?? "any address"), call: call, code: code)
    }
    try check("socket", descriptor)
    var yes: Int32 = 1
    try check(
        "setsockopt", unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
    )
    func name(_ address: in_addr_t) -> sockaddr_in {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = ConsoleSource.networkPort.bigEndian
        name.sin_addr.s_addr = address
        return name
    }
    func withName(_ name: sockaddr_in, _ call: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        unsafe withUnsafePointer(to: name) { name in
            unsafe name.withMemoryRebound(to: sockaddr.self, capacity: 1) { name in
                unsafe call(descriptor, name, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
    try check("bind", unsafe withName(name(INADDR_ANY)) { unsafe bind($0, $1, $2) })
    guard let address else { return descriptor }
    try check("connect", unsafe withName(name(unsafe inet_addr(address))) { unsafe connect($0, $1, $2) })
    // What came from others before it was connected.
    var byte: UInt8 = 0
    while unsafe recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT)) >= 0 {}
    return descriptor
}
