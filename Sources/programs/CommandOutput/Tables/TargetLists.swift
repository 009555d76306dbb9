import FlashEvents
import Configuration
import Flashing
package import Inventory

/// `rpiflash targets --json`. A reset_command may have passwords in it: its text is not there.
package struct TargetList: Encodable {
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

    package init(_ inventory: Inventory, _ hostNames: Set<String>) {
        self.inventory = inventory.file
        targets = inventory.targets.map { Row($0, hostNames) }
    }
}

/// A line for each target.
///
/// - Parameter own: this host's own names and addresses.
package func targetTable(_ inventory: Inventory, _ own: Set<String>) -> String {
    let hasTags = !inventory.tags.isEmpty
    let rows = inventory.targets.map { target in
        [
            target.name ?? "-", target.ip.description, target.mac.description, target.server,
            target.gpio?.description ?? "-", (try? target.checkServed(by: own)) != nil ? "here" : "there",
        ] + (hasTags ? [target.tags.joined(separator: " ")] : [])
            + [target.resetCommand.map { sanitized($0) } ?? "-"]
    }
    let header = ["NAME", "IP", "MAC", "SERVER", "GPIO", "RESET"] + (hasTags ? ["TAGS"] : []) + ["COMMAND"]
    return textTable([header] + rows)
}
