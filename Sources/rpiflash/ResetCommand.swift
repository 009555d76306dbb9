import ArgumentParser
import Flashing
import HostTools
import Inventory

struct ResetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset",
        abstract: "Reset a target: pull its RESET line low for a while, or run its reset_command.",
        discussion: """
            EXAMPLES
              rpiflash reset camera-1
            """)

    @Argument(help: "The target: IP address, MAC address or name.")
    var target: String

    @OptionGroup var inventory: InventoryOptions

    func run() async throws {
        let row = try inventory.target(target)
        do {
            try row.checkServed(by: ThisHost.names())
        } catch {
            throw FlashFailure(.target, error.description)
        }
        let resetting = TargetResetting()
        try await resetting.check(row)
        try await resetting.reset(row)
        print("\(row.displayName): reset")
    }
}
