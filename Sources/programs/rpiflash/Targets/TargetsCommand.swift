import FlashEvents
import ArgumentParser
import CommandOptions
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
            Exit status 0 where the inventory is valid, 6 where it is not: one line a mistake. --labgrid prints this \
            host's targets for labgrid, as docs/labgrid.md describes it.

            EXAMPLES
              rpiflash targets
              rpiflash targets --inventory bench.csv --json
              rpiflash targets --labgrid exporter >/etc/labgrid/exporter.yaml.d/rpiflash.yaml
            """)

    @Option(help: TargetOptions.inventoryHelp)
    var inventory: String?

    @Flag(help: "One JSON object, for programs, as docs/json.md describes it.")
    var json = false

    @OptionGroup var labgrid: LabgridOptions

    func validate() throws {
        if json, labgrid.part != nil { throw ValidationError("--json and --labgrid exclude each other") }
    }

    func run() throws {
        let inventory = try loadInventory(inventory.map { FilePath($0) })
        let own = ownHostNames()
        if let part = labgrid.part {
            let targets = try selectTargets(.all, in: inventory, hostNames: own).targets
            do throws(LabgridErrors) {
                let export = try LabgridExport(targets, file: inventory.file, host: ownHostName())
                print(export.text(part, user: labgrid.user, withSerial: labgrid.serial), terminator: "")
            } catch {
                throw FlashError.inventory(error.description)
            }
            return
        }
        if json {
            print(jsonLine(TargetList(inventory, own)))
            return
        }
        print(targetTable(inventory, own), terminator: "")
        suggest("rpiflash doctor")
    }
}
