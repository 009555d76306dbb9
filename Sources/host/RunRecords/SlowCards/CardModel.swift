/// Finds a card's maker, product and size in a console, as U-Boot's `mmc info` prints them.
package struct CardModel: Sendable {
    private var values: [String: String] = [:]
    /// Maker (hexadecimal), product and size: `3 SC16G 14.8 GiB`; nil until all were seen.
    package private(set) var text: String?

    /// Nothing seen.
    package init() {}

    /// Takes a line of the console, sanitized.
    package mutating func take(_ line: String) {
        guard line.count < 64, let colon = line.firstIndex(of: ":") else { return }
        let value = line[line.index(after: colon)...].drop { $0 == " " }
        let name = String(line[..<colon])
        switch name {
        case "Manufacturer ID": values = [name: String(value)]
        case "Name", "Capacity": values[name] = String(value)
        default: return
        }
        guard let maker = values["Manufacturer ID"], let product = values["Name"], let size = values["Capacity"] else {
            return
        }
        text = "\(maker) \(product.reversed().drop { $0 == " " }.reversed().map(String.init).joined()) \(size)"
    }
}
