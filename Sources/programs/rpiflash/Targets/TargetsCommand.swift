import FlashEvents
import ArgumentParser
import CommandOutput
import Configuration
import Flashing
import LinuxHost
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
              rpiflash targets --inventory bench.csv --json
            """)

    @Option(help: TargetOptions.inventoryHelp)
    var inventory: String?

    @Flag(help: "One JSON object, for programs, as docs/json.md describes it.")
    var json = false

    func run() throws {
        let inventory = try loadInventory(inventory.map { FilePath($0) })
        let own = ownHostNames()
        if json {
            print(jsonLine(TargetList(inventory, own)))
            return
        }
        print(targetTable(inventory, own), terminator: "")
        suggest("rpiflash doctor")
    }
}
