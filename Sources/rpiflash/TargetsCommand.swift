import ArgumentParser
import Flashing
import HostTools
import Inventory
import SystemPackage

/// `rpiflash targets`.
struct TargetsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "targets", abstract: "List the targets, and check the inventory.",
        discussion: "Exit status 0 where the inventory is valid, 6 where it is not: one line a mistake.")

    @Option(help: TargetOptions.inventoryHelp)
    var inventory: String?

    func run() throws {
        let inventory = try loadInventory(inventory.map { FilePath($0) })
        let own = ownHostNames()
        let rows = inventory.targets.map { target in
            [
                target.name ?? "-", target.ip.description, target.mac.description, target.server,
                target.gpio?.description ?? "-", (try? target.checkServed(by: own)) != nil ? "here" : "there",
                target.resetCommand.map(Console.harmless) ?? "-",
            ]
        }
        let header = ["NAME", "IP", "MAC", "SERVER", "GPIO", "RESET", "COMMAND"]
        let widths = header.indices.map { column in ([header] + rows).map { $0[column].count }.max() ?? 0 }
        for row in [header] + rows {
            let cells = zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }
            print(cells.joined(separator: "  ").trimmingSuffix())
        }
    }
}

extension String {
    fileprivate func trimmingSuffix() -> Substring {
        self[..<(lastIndex { $0 != " " }.map { index(after: $0) } ?? startIndex)]
    }
}
