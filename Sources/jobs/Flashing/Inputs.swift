package import FlashEvents
package import DiskLayout
import Glibc
package import Inventory
import LinuxHost
package import SystemPackage

/// Where the inventory is when none is given. Nowhere else: its rows have commands, and the working folder may be anybody's.
package let defaultInventory: FilePath = "/etc/rpiflash/targets.csv"

/// Reads an inventory.
///
/// - Parameter path: the file; nil: ``defaultInventory``.
/// - Throws: ``FlashError/inventory(_:)``.
package func loadInventory(_ path: FilePath?) throws(FlashError) -> Inventory {
    if path == nil, !exists(defaultInventory) {
        throw .inventory(
            "no inventory: \(defaultInventory) is not there; make one (mac,ip,server,gpio) or give --inventory")
    }
    let path = path ?? defaultInventory
    guard let content = try contents(of: path, limit: Inventory.largestFile, as: FlashError.inventory) else {
        throw .inventory("\(path) is larger than \(Inventory.largestFile) bytes; that is not an inventory")
    }
    do throws(InventoryErrors) {
        return try Inventory(csv: content, file: path.string)
    } catch {
        throw .inventory(error.description)
    }
}

/// Finds a target and checks that this host resets it.
///
/// - Parameter hostNames: this host's own names and addresses.
/// - Throws: ``FlashError/target(_:)``.
package func findTarget(
    _ text: String, in inventory: Inventory, hostNames: Set<String>
) throws(FlashError) -> Target {
    do throws(TargetError) {
        let target = try inventory.target(text)
        try target.checkServed(by: hostNames)
        return target
    } catch {
        throw .target(error.description)
    }
}

/// Which targets are meant.
package enum TargetSelection: Hashable, Sendable {
    /// These, by name, IP address or MAC address.
    case named([String])
    /// Those that have one of these tags.
    case tagged([String])
    /// All of this host.
    case all
}

/// Finds several targets that this host resets, each once. One that is named must be this host's; of the others those
/// of other hosts are left out.
///
/// - Parameter hostNames: this host's own names and addresses.
/// - Returns: at least one target, and how many others belong to other hosts.
/// - Throws: ``FlashError/target(_:)``.
package func selectTargets(
    _ selection: TargetSelection, in inventory: Inventory, hostNames: Set<String>
) throws(FlashError) -> (targets: [Target], elsewhere: Int) {
    let found: [Target]
    switch selection {
    case .named(let names):
        var targets: [Target] = []
        for name in names {
            let target = try findTarget(name, in: inventory, hostNames: hostNames)
            if !targets.contains(target) { targets.append(target) }
        }
        return (targets, 0)
    case .tagged(let tags):
        do throws(TargetError) {
            found = try inventory.targets(tagged: tags)
        } catch {
            throw .target(error.description)
        }
    case .all: found = inventory.targets
    }
    let targets = found.filter { target in (try? target.checkServed(by: hostNames)) != nil }
    guard let other = found.first else { throw .target("\(inventory.file) has no targets") }
    guard !targets.isEmpty else {
        let one = found.count == 1
        throw .target(
            "\(one ? "the target belongs" : "all \(found.count) targets belong") to other servers, "
                + "\(other.displayName) to '\(other.server)'; run rpiflash there")
    }
    return (targets, found.count - targets.count)
}

/// Reads the layout of the card that targets have.
///
/// - Parameter path: the file; nil: the defaults of card.yaml.
/// - Throws: ``FlashError/server(_:)``.
package func loadCard(_ path: FilePath?) throws(FlashError) -> CardLayout {
    do {
        guard let path else { return try CardConfiguration(yaml: "{}\n", file: "card.yaml").layout() }
        guard let content = try contents(of: path, limit: 1 << 20, as: FlashError.server) else {
            throw FlashError.server("\(path) is larger than 1 MiB; that is not a card.yaml")
        }
        guard let text = String(validating: content, as: UTF8.self) else {
            throw FlashError.server("\(path) is not UTF-8 text")
        }
        return try CardConfiguration(yaml: text, file: path.string).layout()
    } catch let error as FlashError {
        throw error
    } catch {
        throw .server("\(error)")
    }
}

/// Checks that the TFTP root is a folder that can be written to.
package func checkRoot(_ root: FilePath) throws(FlashError) {
    var status = stat()
    guard unsafe root.withPlatformString({ unsafe stat($0, &status) }) == 0 else {
        throw .server("TFTP root \(root): \(Errno(rawValue: errno)); make it or give another --tftp-root")
    }
    guard status.st_mode & S_IFMT == S_IFDIR else { throw .server("TFTP root \(root) is not a folder") }
    guard unsafe root.withPlatformString({ unsafe access($0, W_OK | X_OK) }) == 0 else {
        let reason = "\(Errno(rawValue: errno))"
        throw .server("TFTP root \(root) cannot be written to: \(reason)\(TargetFolder.remedy(for: root))")
    }
}

/// The content of a file; nil where it is longer than `limit`. One that another user could have written is refused: what
/// an inventory has is run, and a card's layout says where a flash writes.
private func contents(
    of path: FilePath, limit: Int, as failure: (String) -> FlashError
) throws(FlashError) -> [UInt8]? {
    do throws(UntrustedFile) {
        try FileTrust.current.check(path)
    } catch {
        throw failure("\(error)")
    }
    do throws(SmallFileError) {
        return try SmallFile.read(path, limit: limit)
    } catch {
        switch error {
        case .tooLong: return nil
        case .unreadable(let errno): throw failure("cannot read \(path): \(errno)")
        }
    }
}
