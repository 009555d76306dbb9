/// The settings that go into rpiflash.env when a card is made; all can be changed on the card later.
package struct NetworkSettings: Hashable, Sendable {
    /// Dotted IPv4 address of the TFTP server; nil: the one that DHCP names.
    package let serverAddress: String?
    /// Dotted IPv4 address of the target; nil: DHCP.
    package let address: String?
    /// Its netmask, there if and only if the address is.
    package let netmask: String?
    /// Dotted IPv4 address of the gateway, if any.
    package let gateway: String?
    /// Whether a key on the serial console leads to U-Boot's prompt.
    package let debugConsole: Bool

    /// Settings whose addresses are those of hosts, and go together.
    ///
    /// - Throws: ``RecoveryImageError/badNetwork(_:)``.
    package init(
        serverAddress: String? = nil, address: String? = nil, netmask: String? = nil, gateway: String? = nil,
        debugConsole: Bool = false
    ) throws(RecoveryImageError) {
        let server = try Self.host(serverAddress, "server address")
        let own = try Self.host(address, "address")
        let mask = try Self.parse(netmask, "netmask")
        let router = try Self.host(gateway, "gateway")
        if let own {
            guard let mask, let netmask else {
                throw .badNetwork("target has the fixed address \(Self.dotted(own)) but no netmask; give both or none")
            }
            guard mask != 0, ~mask & (~mask &+ 1) == 0 else {
                throw .badNetwork("netmask is \(netmask); must be ones followed by zeros, as 255.255.255.0")
            }
            try Self.check(own, mask, server, router)
        } else if mask != nil || router != nil {
            throw .badNetwork(
                "target has a netmask or gateway but no fixed address; give the address too, or none of them")
        }
        self.serverAddress = serverAddress
        self.address = address
        self.netmask = netmask
        self.gateway = gateway
        self.debugConsole = debugConsole
    }

    /// What a target with a fixed address can reach.
    private static func check(
        _ own: UInt32, _ mask: UInt32, _ server: UInt32?, _ router: UInt32?
    ) throws(RecoveryImageError) {
        let (network, broadcast) = (own & mask, own | ~mask)
        let names: [(name: String, address: UInt32?)] = [
            ("address", own), ("gateway", router), ("server address", server),
        ]
        // A network of two addresses has neither (RFC 3021), one of a single address has no others.
        for (name, address) in names where ~mask > 1 && (address == network || address == broadcast) {
            throw .badNetwork(
                "\(name) is \(dotted(address ?? 0)), the \(address == network ? "first" : "last") address of the target's "
                    + "network \(dotted(network)) with netmask \(dotted(mask)); must be a host's, from "
                    + "\(dotted(network + 1)) to \(dotted(broadcast - 1))")
        }
        for (name, address) in names.dropFirst() where address == own {
            throw .badNetwork("\(name) is \(dotted(own)), the target's own address; must be another host's")
        }
        if let router, router & mask != network {
            throw .badNetwork(
                "gateway is \(dotted(router)), outside of the target's network \(dotted(network)) with netmask "
                    + "\(dotted(mask)); must be in it")
        }
        if let server, router == nil, server & mask != network {
            throw .badNetwork(
                "server address is \(dotted(server)), outside of the target's network \(dotted(network)) with netmask "
                    + "\(dotted(mask)); give a gateway")
        }
    }

    /// An address that one host has, and others can reach: no loopback, multicast, broadcast or reserved one (RFC 6890).
    private static func host(_ text: String?, _ name: String) throws(RecoveryImageError) -> UInt32? {
        guard let address = try parse(text, name) else { return nil }
        guard address >> 24 != 127 else {
            throw .badNetwork(
                "\(name) is \(dotted(address)), a loopback address; must be one that other hosts can reach")
        }
        guard (1...223).contains(address >> 24) else {
            throw .badNetwork("\(name) is \(dotted(address)); must be a host's, from 1.0.0.0 to 223.255.255.255")
        }
        return address
    }

    /// As U-Boot's `string_to_ip` (net/net_utils.c) takes it, but strict: four decimal numbers, no leading zero.
    private static func parse(_ text: String?, _ name: String) throws(RecoveryImageError) -> UInt32? {
        guard let text else { return nil }
        let fields = text.split(separator: ".", omittingEmptySubsequences: false)
        var address: UInt32 = 0
        for field in fields {
            guard fields.count == 4, (1...3).contains(field.utf8.count),
                field.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                field.utf8.count == 1 || field.first != "0", let number = UInt8(field)
            else { throw .badNetwork("\(name) is '\(text)'; must be four numbers from 0 to 255, as 192.168.1.10") }
            address = address << 8 | UInt32(number)
        }
        return address
    }

    private static func dotted(_ address: UInt32) -> String {
        stride(from: 24, through: 0, by: -8).map { String(address >> UInt32($0) & 0xff) }.joined(separator: ".")
    }
}
