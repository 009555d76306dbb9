import ArgumentParser
import Configuration
import DiskLayout
import Flashing
import HostTools
import LinuxHost
import ImageStore
import Inventory
import OSImage
import SystemPackage
import Wiring

/// Which target, out of which inventory.
struct TargetOptions: ParsableArguments {
    @Argument(help: "The target: its name, IP address or MAC address.")
    var target: String

    @Option(help: inventoryHelp)
    var inventory: String?

    static let inventoryHelp = ArgumentHelp(
        "The targets (CSV: mac,ip,server,gpio). Default: \(defaultInventory).",
        valueName: "file")

    /// The target's row; refused where another host resets it.
    func find() throws -> Target { try findTarget(target, inventory: inventory) }
}

/// Which targets, out of which inventory.
struct TargetsOptions: ParsableArguments {
    @Argument(help: ArgumentHelp("The targets: names, IP addresses or MAC addresses.", valueName: "target"))
    var targets: [String] = []

    @Flag(help: "All targets of this host.")
    var all = false

    @Option(
        name: .customLong("tag"),
        help: ArgumentHelp(
            "All targets of this host that have this tag; several times: any of these tags.", valueName: "tag"))
    var tags: [String] = []

    @Option(help: TargetOptions.inventoryHelp)
    var inventory: String?

    /// One target by name: it has messages and events of its own.
    var isOne: Bool { targets.count == 1 }

    func validate() throws {
        switch (targets.isEmpty, all, tags.isEmpty) {
        case (true, false, true):
            throw ValidationError("Missing expected argument '<target>'; name targets, or give --all or --tag")
        case (false, false, true), (true, true, true), (true, false, false): return
        default: throw ValidationError("named targets, --all and --tag exclude each other")
        }
    }

    /// The rows, each once, and how many others belong to other hosts.
    func select() throws -> (targets: [Target], elsewhere: Int) {
        let inventory = try loadInventory(inventory.map { FilePath($0) })
        let found = try selectTargets(
            all ? .all : tags.isEmpty ? .named(targets) : .tagged(tags), in: inventory, hostNames: ownHostNames())
        for target in found.targets { logFound(target, in: inventory) }
        return found
    }
}

private func findTarget(_ text: String, inventory path: String?) throws -> Target {
    let inventory = try loadInventory(path.map { FilePath($0) })
    let target = try findTarget(text, in: inventory, hostNames: ownHostNames())
    logFound(target, in: inventory)
    return target
}

/// How several targets are flashed.
struct SeveralOptions: ParsableArguments {
    @Option(help: ArgumentHelp("How many targets are flashed at the same time, 1 to 64.", valueName: "n"))
    var jobs = 8

    @Flag(help: "Flash the first target alone, and the others only when it is proven and up.")
    var canary = false

    @Option(
        help: ArgumentHelp(
            "How long after the beginning of one reset the next may begin, so that not all draw their peak at once.",
            valueName: "time"))
    var stagger = TimeOption(.milliseconds(500))

    func validate() throws {
        guard (1...64).contains(jobs) else { throw ValidationError("--jobs is \(jobs); must be 1 to 64") }
    }

    var options: FleetOptions { FleetOptions(jobs: jobs, canary: canary, stagger: stagger.duration) }
}

/// Where prepared images are.
struct StoreOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The folder of prepared images.", valueName: "folder"))
    var store = ImageStore.defaultPath.string

    var path: FilePath { FilePath(store) }
}

/// The keys that sign what targets run.
struct KeysOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The folder of the bench's keys, which sign what targets run; none there: nothing is signed.",
            valueName: "folder"))
    var keys = SigningKeys.defaultFolder.string

    var folder: FilePath { FilePath(keys) }
}

/// What is done to an image so that it works on a card.
struct RelocationOptions: ParsableArguments {
    @Flag(
        help: ArgumentHelp(
            "Flash the image as it is: /etc/fstab and cmdline.txt stay, made for a card with two partitions as they are."
        ))
    var asIs = false

    @Flag(
        inversion: .prefixedNo,
        help: ArgumentHelp(
            "Let the rootfs grow to the size of partition 3 on the first boot (systemd, ext4). Default: where the image "
                + "would have grown it itself."))
    var grow: Bool?

    func validate() throws {
        if asIs, grow == true { throw ValidationError("--as-is and --grow exclude each other") }
    }

    /// nil: it stays as it is.
    var request: RelocationRequest? {
        asIs
            ? nil
            : RelocationRequest(
                growth: RootfsGrowth(grow), tools: hostTools())
    }
}

/// A length of time: `45`, `45s`, `500ms`, `2m`, `1h`, `90d`.
struct TimeOption: ExpressibleByArgument {
    let duration: Duration

    init(_ duration: Duration) { self.duration = duration }

    init?(argument: String) {
        let digits = argument.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int64(digits), number <= 1_000_000_000 else { return nil }
        switch argument[digits.endIndex...] {
        case "", "s": duration = .seconds(number)
        case "ms": duration = .milliseconds(number)
        case "m", "min": duration = .seconds(number * 60)
        case "h": duration = .seconds(number * 3600)
        case "d": duration = .seconds(number * 86400)
        default: return nil
        }
    }

    var defaultValueDescription: String {
        let milliseconds = duration.components.attoseconds / 1_000_000_000_000_000
        return milliseconds == 0
            ? "\(duration.components.seconds)s" : "\(duration.components.seconds * 1000 + milliseconds)ms"
    }
}

extension ListenAddress: ExpressibleByArgument {
    package init?(argument: String) {
        guard let address = ListenAddress(argument) else { return nil }
        self = address
    }

    package var defaultValueDescription: String { "\(host):\(port)" }
}
