import FlashEvents
import ArgumentParser
import CommandOptions
import CommandOutput
import Configuration
import Flashing
import GPIO
import Inventory
import LinuxHost
import SystemPackage

/// `rpiflash gpio`.
struct GPIOCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gpio", abstract: "List this host's GPIO chips and lines, and which targets they reset.",
        discussion: """
            Looks, and requests no line. Shown are the lines that somebody uses, that are driven, or that reset a target \
            of this host; the inventory need not be there. An inventory that is invalid ends it with exit status 6, a \
            host without a GPIO chip with 9.

            EXAMPLES
              rpiflash gpio
              rpiflash gpio --all --json
            """)

    @Flag(help: "Every line of every chip.")
    var all = false

    @Flag(help: "One JSON object, for programs.")
    var json = false

    @Option(help: TargetOptions.inventoryHelp)
    var inventory: String?

    func run() throws {
        let report: GPIOReport
        let inventory = try givenInventory()
        do throws(GPIOError) {
            report = try GPIOReport(inventory: inventory, hostNames: ownHostNames(), everyLine: all)
        } catch {
            throw FlashError.server(error.description)
        }
        print(json ? jsonLine(report) + "\n" : report.table, terminator: "")
    }

    /// The inventory; nil where none was asked for and none is at the usual places.
    private func givenInventory() throws -> Inventory? {
        inventory != nil || exists(defaultInventory) ? try loadInventory(inventory.map { FilePath($0) }) : nil
    }
}
