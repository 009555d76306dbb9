/// What a placeholder in a customization stands for: a target's row of the inventory.
public struct PlaceholderValues: Hashable, Sendable {
    /// `{{name}}`; nil or empty where the row has none.
    public var name: String?
    /// `{{mac}}`.
    public var mac: String?
    /// `{{ip}}`.
    public var ip: String?
    /// `{{server}}`.
    public var server: String?

    /// These values.
    public init(name: String? = nil, mac: String? = nil, ip: String? = nil, server: String? = nil) {
        self.name = name
        self.mac = mac
        self.ip = ip
        self.server = server
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
