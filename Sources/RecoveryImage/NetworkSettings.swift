/// The settings that go into rpiflash.env when a card is made; all can be changed on the card later.
public struct NetworkSettings: Hashable, Sendable {
    /// Dotted IPv4 address of the TFTP server; nil: the one that DHCP names.
    public let serverAddress: String?
    /// Dotted IPv4 address of the target; nil: DHCP.
    public let address: String?
    /// Its netmask, there if and only if the address is.
    public let netmask: String?
    /// Dotted IPv4 address of the gateway, if any.
    public let gateway: String?
    /// Whether a key on the serial console leads to U-Boot's prompt.
    public let debugConsole: Bool

    /// Settings whose addresses are addresses and go together.
    ///
    /// - Throws: ``RecoveryImageError/badNetwork(_:)``.
    public init(
        serverAddress: String? = nil, address: String? = nil, netmask: String? = nil, gateway: String? = nil,
        debugConsole: Bool = false
    ) throws(RecoveryImageError) {
        let server = try Self.parse(serverAddress, "server address")
        let own = try Self.parse(address, "address")
        let mask = try Self.parse(netmask, "netmask")
        let router = try Self.parse(gateway, "gateway")
        if let own {
            guard let mask, let netmask else {
                throw .badNetwork("target has the fixed address \(Self.dotted(own)) but no netmask; give both or none")
            }
            guard mask != 0, ~mask & (~mask &+ 1) == 0 else {
                throw .badNetwork("netmask is \(netmask); must be ones followed by zeros, as 255.255.255.0")
            }
            if let router, router & mask != own & mask {
                throw .badNetwork(
                    "gateway is \(Self.dotted(router)), outside of the target's network \(Self.dotted(own & mask))")
            }
            if let server, router == nil, server & mask != own & mask {
                throw .badNetwork(
                    """
                    server address is \(Self.dotted(server)), outside of the target's network \
                    \(Self.dotted(own & mask)); give a gateway
                    """)
            }
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
        guard address != 0 else { throw .badNetwork("\(name) is 0.0.0.0; must be an address") }
        return address
    }

    private static func dotted(_ address: UInt32) -> String {
        stride(from: 24, through: 0, by: -8).map { String(address >> UInt32($0) & 0xff) }.joined(separator: ".")
    }
}
