import ArgumentParser
import Flashing
import HostTools
import Inventory

struct TargetsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "targets",
        abstract: "List the inventory's targets and check the file.",
        discussion: """
            Says which targets this host can flash, and every error of the file with line and column (exit status 6).

            EXAMPLES
              rpiflash targets
              rpiflash targets --inventory bench.csv
            """)

    @OptionGroup var inventory: InventoryOptions

    func run() throws {
        let inventory = try inventory.read()
        let names = ThisHost.names()
        let header = ["name", "ip", "mac", "server", "reset", "here"]
        let rows = inventory.targets.map { target in
            [
                target.name ?? "-", target.ip.description, target.mac.description, target.server,
                target.gpio.map { "gpio \($0)" } ?? "command",
                (try? target.checkServed(by: names)) == nil ? "no" : "yes",
            ]
        }
        let widths = header.indices.map { column in ([header] + rows).map { $0[column].count }.max() ?? 0 }
        for row in [header] + rows {
            let cells = zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }
            print(cells.joined(separator: "  ").trimmingTrailingSpaces)
        }
    }
}

extension String {
    fileprivate var trimmingTrailingSpaces: String {
        guard let last = lastIndex(where: { $0 != " " }) else { return "" }
        return String(self[...last])
    }
}
