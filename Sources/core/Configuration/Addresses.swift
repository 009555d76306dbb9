/// An Ethernet address of one station, 6 bytes. Printed as U-Boot's `${ethaddr}` is: lower case with colons.
package struct MACAddress: Hashable, Sendable, CustomStringConvertible {
    /// The 6 bytes, first on the wire first.
    package let bytes: [UInt8]

    /// Reads `b8:27:eb:3d:60:b9`; upper case and dashes are taken too.
    ///
    /// - Throws: ``AddressError`` where the text is no such address, or one of a group of stations (lowest bit of the
    ///   first byte set) or of none (all zero).
    package init(_ text: some StringProtocol) throws(AddressError) {
        let separator: Character = text.contains("-") ? "-" : ":"
        let groups = text.split(separator: separator, omittingEmptySubsequences: false)
        var bytes: [UInt8] = []
        for group in groups {
            guard group.utf8.count == 2, group.utf8.allSatisfy(\.isHexDigit), let byte = UInt8(group, radix: 16) else {
                throw .notMAC(String(text))
            }
            bytes.append(byte)
        }
        guard bytes.count == 6 else { throw .notMAC(String(text)) }
        guard bytes[0] & 1 == 0, bytes.contains(where: { $0 != 0 }) else { throw .notUnicastMAC(String(text)) }
        self.bytes = bytes
    }

    /// Lower case with colons, as the TFTP folder is named.
    package var description: String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
    }
}

/// An IPv4 address of one host.
package struct IPv4Address: Hashable, Sendable, CustomStringConvertible {
    /// The address as a number, the first group highest.
    package let value: UInt32

    /// Reads four decimal groups, 0 to 255 each, without leading zeros (which some programs take for octal).
    ///
    /// - Throws: ``AddressError`` where the text is no such address, or no host's (0.0.0.0/8, 224.0.0.0 and above).
    package init(_ text: some StringProtocol) throws(AddressError) {
        let groups = text.split(separator: ".", omittingEmptySubsequences: false)
        guard groups.count == 4 else { throw .notIPv4(String(text)) }
        var value: UInt32 = 0
        for group in groups {
            guard (1...3).contains(group.utf8.count), group.utf8.allSatisfy(\.isDigit), let number = UInt8(group),
                group.utf8.count == 1 || group.utf8.first != UInt8(ascii: "0")
            else { throw .notIPv4(String(text)) }
            value = value << 8 | UInt32(number)
        }
        guard value >> 24 != 0, value >> 24 < 224 else { throw .notHostIPv4(String(text)) }
        self.value = value
    }

    /// Four decimal groups.
    package var description: String {
        [24, 16, 8, 0].map { String(value >> $0 & 0xff) }.joined(separator: ".")
    }
}

/// Why a text is not an address.
package enum AddressError: Error, Hashable, Sendable {
    /// Not six groups of two hexadecimal digits.
    case notMAC(String)
    /// A multicast address or all zero.
    case notUnicastMAC(String)
    /// Not four decimal groups.
    case notIPv4(String)
    /// Not an address that a host can have.
    case notHostIPv4(String)
}

extension AddressError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .notMAC(let text):
            "\(quoted(text)) is not a MAC address; must be six pairs of hexadecimal digits, as in b8:27:eb:3d:60:b9"
        case .notUnicastMAC(let text):
            "\(quoted(text)) is not the MAC address of a single station; the first byte must be even, and not all may be 0"
        case .notIPv4(let text):
            "\(quoted(text)) is not an IPv4 address; must be four numbers from 0 to 255 without leading zeros"
        case .notHostIPv4(let text):
            "\(quoted(text)) is not a host address; must lie in 1.0.0.0 to 223.255.255.255"
        }
    }
}

extension UInt8 {
    package var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }
    package var isLetter: Bool { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self | 0x20) }
    package var isHexDigit: Bool { isDigit || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(self | 0x20) }
}
