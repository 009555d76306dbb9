import Glibc

/// This host's own names and addresses: host name, short and full, and the IPv4 addresses of its interfaces.
package func ownHostNames() -> Set<String> {
    let name = ownHostName()
    var names: Set<String> = ["localhost", name, String(name.prefix { $0 != "." })]
    names.formUnion(fullNames(of: name))
    names.formUnion(ownAddresses())
    names.remove("")
    return Set(names.map { $0.lowercased() })
}

/// This host's name as the kernel has it, gethostname(2); empty where it cannot be had.
package func ownHostName() -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard unsafe gethostname(&buffer, buffer.count - 1) == 0 else { return "" }
    return unsafe buffer.withUnsafeBufferPointer {
        unsafe $0.baseAddress.map { unsafe String(cString: $0) } ?? ""
    }
}

/// What the resolver makes of the host's name: lab1.example.org for lab1.
private func fullNames(of name: String) -> [String] {
    guard !name.isEmpty else { return [] }
    var hints = unsafe addrinfo()
    unsafe hints.ai_flags = AI_CANONNAME
    unsafe hints.ai_family = AF_INET
    var list: UnsafeMutablePointer<addrinfo>?
    guard unsafe getaddrinfo(name, nil, &hints, &list) == 0, let list = unsafe list else { return [] }
    defer { unsafe freeaddrinfo(list) }
    return unsafe list.pointee.ai_canonname.map { unsafe [String(cString: $0)] } ?? []
}

private func ownAddresses() -> [String] {
    var list: UnsafeMutablePointer<ifaddrs>?
    guard unsafe getifaddrs(&list) == 0 else { return [] }
    defer { unsafe freeifaddrs(list) }
    var addresses: [String] = []
    var next = unsafe list
    while let entry = unsafe next {
        if let address = unsafe entry.pointee.ifa_addr, unsafe address.pointee.sa_family == sa_family_t(AF_INET) {
            unsafe addresses.append(
                address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { unsafe dotted($0.pointee) })
        }
        unsafe next = unsafe entry.pointee.ifa_next
    }
    return addresses
}

func dotted(_ address: sockaddr_in) -> String {
    let value = UInt32(bigEndian: address.sin_addr.s_addr)
    return [24, 16, 8, 0].map { String(value >> $0 & 0xff) }.joined(separator: ".")
}

func socketAddress(_ dotted: String, port: UInt16) -> sockaddr_in? {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    guard unsafe inet_pton(AF_INET, dotted, &address.sin_addr) == 1 else { return nil }
    return address
}

/// The address that this host talks to another one from; nil where there is no way to it.
///
/// - Parameter address: the other host's IPv4 address, dotted.
package func localAddress(towards address: String) -> String? {
    guard var remote = socketAddress(address, port: 69) else { return nil }
    let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    // Connecting UDP sends nothing; it only chooses the way.
    let isConnected = unsafe withSocketAddress(&remote) {
        unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
    guard isConnected == 0 else { return nil }
    var own = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    guard unsafe withSocketAddress(&own, { unsafe getsockname(descriptor, $0, &length) }) == 0 else { return nil }
    return dotted(own)
}

func withSocketAddress<Result>(
    _ address: inout sockaddr_in, _ body: (UnsafeMutablePointer<sockaddr>) -> Result
) -> Result {
    unsafe withUnsafeMutablePointer(to: &address) { unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1, body) }
}
