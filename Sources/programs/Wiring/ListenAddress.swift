import Configuration

/// An IPv4 address and port: `192.168.1.1`, `192.168.1.1:6969`, `:6969`.
package struct ListenAddress: Hashable, Sendable {
    package let host: String
    package let port: Int

    /// - Parameter host: dotted.
    package init(host: String, port: Int) { (self.host, self.port) = (host, port) }

    /// Reads what an option has, with the usual port where it has none; nil where it is no address.
    package init?(_ text: String, port usual: Int = 69) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first else { return nil }
        if first.isEmpty || first == "0.0.0.0" {
            host = "0.0.0.0"
        } else {
            guard let address = try? IPv4Address(first) else { return nil }
            host = address.description
        }
        guard parts.count == 2 else {
            guard !first.isEmpty else { return nil }
            port = usual
            return
        }
        guard let number = UInt16(parts[1]), number > 0 else { return nil }
        port = Int(number)
    }

    /// Where TFTP is served unless told otherwise: all addresses, port 69.
    package static let usual = ListenAddress(host: "0.0.0.0", port: 69)
}
