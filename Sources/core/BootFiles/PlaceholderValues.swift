/// What a placeholder in a customization stands for: a target's row of the inventory.
package struct PlaceholderValues: Hashable, Sendable {
    /// `{{name}}`; nil or empty where the row has none.
    package var name: String?
    /// `{{mac}}`.
    package var mac: String?
    /// `{{ip}}`.
    package var ip: String?
    /// `{{server}}`.
    package var server: String?

    /// These values.
    package init(name: String? = nil, mac: String? = nil, ip: String? = nil, server: String? = nil) {
        (self.name, self.mac, self.ip, self.server) = (name, mac, ip, server)
    }

    static let names = ["name", "mac", "ip", "server"]

    subscript(name: String) -> String? {
        switch name {
        case "name": self.name
        case "mac": mac
        case "ip": ip
        case "server": server
        default: nil
        }
    }
}
