package import ArgumentParser
import Configuration
package import Inventory
import SystemPackage
import Wiring
import LinuxHost
import Flashing

/// The target, and the inventory that lists it.
package struct TargetOptions: ParsableArguments {
    @Argument(help: "The target: its name, IP address or MAC address.")
    package var target: String

    @Option(help: inventoryHelp)
    package var inventory: String?

    package static let inventoryHelp = ArgumentHelp(
        "The targets (CSV: mac,ip,server,gpio). Default: \(defaultInventory).",
        valueName: "file")

    /// The target's row; refused where another host resets it.
    package func find() throws -> Target { try findTarget(target, inventory: inventory) }

    /// With nothing given.
    package init() {}
}

/// The targets, and the inventory that lists them.
package struct TargetsOptions: ParsableArguments {
    @Argument(help: ArgumentHelp("The targets: names, IP addresses or MAC addresses.", valueName: "target"))
    package var targets: [String] = []

    @Flag(help: "All targets of this host.")
    package var all = false

    @Option(
        name: .customLong("tag"),
        help: ArgumentHelp(
            "All targets of this host that have this tag; several times: any of these tags.", valueName: "tag"))
    package var tags: [String] = []

    @Option(help: TargetOptions.inventoryHelp)
    package var inventory: String?

    /// One target by name: it has messages and events of its own.
    package var isOne: Bool { targets.count == 1 }

    package func validate() throws {
        switch (targets.isEmpty, all, tags.isEmpty) {
        case (true, false, true):
            throw ValidationError("Missing expected argument '<target>'; name targets, or give --all or --tag")
        case (false, false, true), (true, true, true), (true, false, false): return
        default: throw ValidationError("named targets, --all and --tag exclude each other")
        }
    }

    /// The rows, each once, and how many others belong to other hosts.
    package func select() throws -> (targets: [Target], elsewhere: Int) {
        let inventory = try loadInventory(inventory.map { FilePath($0) })
        let found = try selectTargets(
            all ? .all : tags.isEmpty ? .named(targets) : .tagged(tags), in: inventory, hostNames: ownHostNames())
        for target in found.targets { logFound(target, in: inventory) }
        return found
    }

    /// With nothing given.
    package init() {}
}

private func findTarget(_ text: String, inventory path: String?) throws -> Target {
    let inventory = try loadInventory(path.map { FilePath($0) })
    let target = try findTarget(text, in: inventory, hostNames: ownHostNames())
    logFound(target, in: inventory)
    return target
}
