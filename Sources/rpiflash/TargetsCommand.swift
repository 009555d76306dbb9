import ArgumentParser
import Flashing
import HostTools
import Inventory
import SystemPackage

/// `rpiflash targets`.
struct TargetsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "targets", abstract: "List the targets, and check the inventory.",
        discussion: """
            Exit status 0 where the inventory is valid, 6 where it is not: one line a mistake.

            EXAMPLES
              rpiflash targets
              rpiflash targets --inventory bench.csv
            """)

    @Option(help: TargetOptions.inventoryHelp)
    var inventory: String?

    func run() throws {
        let inventory = try loadInventory(inventory.map { FilePath($0) })
        let own = ownHostNames()
        let hasTags = !inventory.tags.isEmpty
        let rows = inventory.targets.map { target in
            [
                target.name ?? "-", target.ip.description, target.mac.description, target.server,
                target.gpio?.description ?? "-", (try? target.checkServed(by: own)) != nil ? "here" : "there",
            ] + (hasTags ? [target.tags.joined(separator: " ")] : [])
                + [target.resetCommand.map(Console.harmless) ?? "-"]
        }
        let header = ["NAME", "IP", "MAC", "SERVER", "GPIO", "RESET"] + (hasTags ? ["TAGS"] : []) + ["COMMAND"]
        print(columns([header] + rows), terminator: "")
        suggest("rpiflash doctor")
    }
}
