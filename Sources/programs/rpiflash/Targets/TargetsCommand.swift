import ArgumentParser
import CommandOutput
import Configuration
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
        let hasTags = !inventory.tags.isEmpty
        let rows = inventory.targets.map { target in
            [
                target.name ?? "-", target.ip.description, target.mac.description, target.server,
                target.gpio?.description ?? "-", (try? target.checkServed(by: own)) != nil ? "here" : "there",
            ] + (hasTags ? [target.tags.joined(separator: " ")] : [])
                + [target.resetCommand.map { sanitized($0) } ?? "-"]
        }
        let header = ["NAME", "IP", "MAC", "SERVER", "GPIO", "RESET"] + (hasTags ? ["TAGS"] : []) + ["COMMAND"]
        print(textTable([header] + rows), terminator: "")
        suggest("rpiflash doctor")
    }
}

/// `rpiflash targets --json`. A reset_command may have passwords in it: its text is not there.
struct TargetList: Encodable {
    struct Row: Encodable {
        enum Console: String, Encodable { case serial, network }
        enum Reset: String, Encodable { case gpio, command }

        let name: String?
        let mac: String
        let ip: String
        let server: String
        let here: Bool
        let tags: [String]
        let gpio: String?
        let console: Console
        let resets: [Reset]

        init(_ target: Target, _ hostNames: Set<String>) {
            name = target.name
            mac = target.mac.description
            ip = target.ip.description
            server = target.server
            here = (try? target.checkServed(by: hostNames)) != nil
            tags = target.tags
            gpio = target.gpio?.description
            console = target.console == nil ? .network : .serial
            resets = target.resetMethods.map { method in
                switch method {
                case .line: .gpio
                case .command: .command
                }
            }
        }
    }

    /// Grows when a field changes its meaning or goes.
    let version = 1
    let inventory: String
    let targets: [Row]

    init(_ inventory: Inventory, _ hostNames: Set<String>) {
        self.inventory = inventory.file
        targets = inventory.targets.map { Row($0, hostNames) }
    }
}
