import BootFiles
import DiskLayout
import HostTools
import LinuxHost
import SystemPackage

/// Systemd units that resize partitions on the first boot as the image has them: of Debian's images for the Pi, which takes
/// partition 2 for the rootfs, and of Raspberry Pi OS Trixie. The rootfs grows without them.
private let partitioningUnits: Set<String> = ["rpi-resizerootfs.service", "rpi-resize.service"]

/// The rootfs: /etc/fstab, the units that would partition the card, and growth.
extension Relocator {
    /// Replays the journal, and repairs what e2fsck repairs without asking. libext2fs would write past what the journal
    /// holds.
    ///
    /// - Returns: false where all stays as it is.
    func recover(_ area: PartitionArea) async throws -> Bool {
        // A file for itself: after the journal e2fsck 1.47 opens its file again and forgets an offset.
        let copy = work.appending("rootfs.ext")
        defer { try? unlinkFile(copy) }
        let mark = overlay.mark()
        try await area.copy(to: copy)
        guard try await tools.repairExt(copy), try area.takeChanges(from: copy) else {
            overlay.restore(mark)
            return false
        }
        return true
    }

    /// What is to be done to the rootfs.
    struct RootfsPlan {
        /// Units that are not to be started.
        var removed: [(folder: String, name: String)] = []
        /// /etc/fstab as it is and as it must be; nil where it stays.
        var fstab: (before: [UInt8], after: [UInt8])?
        /// What is told where this is done.
        var notes: [String] = []
        /// The rootfs grows where this is done.
        var grows = false
        /// It would not grow without.
        var isForGrowth = false

        var isEmpty: Bool { fstab == nil && removed.isEmpty }
    }

    mutating func relocateRootfs(_ area: PartitionArea, _ boot: Boot, _ growth: RootfsGrowth) async throws {
        let plan = try plan(area, boot, growth)
        if let failure = try await carryOut(plan, area) {
            // Only a rootfs that does not grow is no reason to refuse the image.
            let lean = try self.plan(area, boot, .never)
            let second = plan.isForGrowth ? try await carryOut(lean, area) : failure
            if let second {
                let files = (plan.fstab == nil ? [] : ["/etc/fstab"]) + plan.removed.map { "\($0.folder)/\($0.name)" }
                obstacles.append(
                    "rootfs \(second.reason), so that \(files.joined(separator: ", ")) cannot be changed for the card; "
                        + (second.isFull
                            ? "free some space in the image's partition 2"
                            : "run e2fsck -f on the image's partition 2, or take another image"))
            } else {
                notes.append("the rootfs does not grow at the first boot: \(failure.reason)")
            }
        }
        firstBoot = try form(area, boot)
    }

    /// Reads what is to be done.
    func plan(_ area: PartitionArea, _ boot: Boot, _ growth: RootfsGrowth) throws(ExtError) -> RootfsPlan {
        var plan = RootfsPlan()
        let reading = try ExtFiles(area, isWritable: false)
        for folder in try reading.names(in: "/etc/systemd/system") ?? []
        where folder.hasSuffix(".wants") || folder.hasSuffix(".requires") {
            let path = "/etc/systemd/system/\(folder)"
            for name in try reading.names(in: path) ?? [] where partitioningUnits.contains(name) {
                plan.removed.append((path, name))
                plan.notes.append("\(name) is not started: it resizes partitions as a card has them that has two")
            }
        }
        let wouldHaveGrown = boot.wouldHaveGrown || !plan.removed.isEmpty
        var shallGrow = growth == .always || (growth == .automatic && wouldHaveGrown)
        if shallGrow, !Self.hasSystemd(reading) {
            plan.notes.append(
                "the rootfs does not grow at the first boot; that needs systemd, which is not in the image")
            shallGrow = false
        }
        plan.notes += reading.otherPlaces(boot: boot.uuid, diskID: diskID)
        guard let fstab = try reading.read("/etc/fstab") else {
            plan.notes.append("rootfs has no /etc/fstab; the boot partition is not mounted by it")
            return plan
        }
        let parsed = Fstab(fstab)
        let identity = ImageIdentity(diskID: diskID, bootUUID: boot.uuid, rootfsUUID: reading.uuid)
        let relocated = parsed.relocated(identity, grow: shallGrow)
        plan.notes += relocated.notes
        plan.grows = relocated.grows
        plan.isForGrowth = shallGrow && relocated.bytes != parsed.relocated(identity, grow: false).bytes
        if relocated.bytes != fstab { plan.fstab = (fstab, relocated.bytes) }
        return plan
    }

    /// Does what a plan says, whole or not at all, and tells it.
    ///
    /// - Returns: why all stays as it was; nil where it is done.
    mutating func carryOut(_ plan: RootfsPlan, _ area: PartitionArea) async throws -> ExtError? {
        let mark = overlay.mark()
        do {
            if !plan.isEmpty { try change(area, plan) }
        } catch {
            overlay.restore(mark)
            return error
        }
        if overlay.differs(from: mark), try await !checks.isSoundExt(view, layout.rootfs) {
            overlay.restore(mark)
            guard try await !checks.isSoundExt(view, layout.rootfs) else {
                return ExtError("has errors once its files are changed")
            }
            // It had errors before. Where they can be repaired, it is tried once more.
            guard try await recover(area) else {
                return ExtError("has errors that e2fsck cannot repair without asking")
            }
            do {
                try change(area, plan)
            } catch {
                overlay.restore(mark)
                return error
            }
            guard try await checks.isSoundExt(view, layout.rootfs) else {
                overlay.restore(mark)
                return ExtError("has errors")
            }
            notes.append("rootfs had errors; e2fsck repaired them in the view of the image")
        }
        notes += plan.notes
        grows = plan.grows
        if let fstab = plan.fstab {
            changes.append(.init(partition: 2, path: "etc/fstab", before: fstab.before, after: fstab.after))
        }
        for (folder, name) in plan.removed {
            changes.append(.init(partition: 2, path: "\(folder.dropFirst())/\(name)", before: [], after: nil))
        }
        return nil
    }

    /// Changes the view, and reads it back as another reader sees it.
    func change(_ area: PartitionArea, _ plan: RootfsPlan) throws(ExtError) {
        var files = try ExtFiles(area, isWritable: true)
        for (folder, name) in plan.removed { try files.remove(name, in: folder) }
        if let fstab = plan.fstab { try files.replace("/etc/fstab", with: fstab.after) }
        try files.finish()
        let again = try ExtFiles(area, isWritable: false)
        if let fstab = plan.fstab {
            guard try again.read("/etc/fstab") == fstab.after else {
                throw ExtError("does not hold the changed /etc/fstab")
            }
        }
        for (folder, name) in plan.removed {
            guard try again.names(in: folder)?.contains(name) == false else {
                throw ExtError("still holds \(folder)/\(name)")
            }
        }
    }

    /// The table's signature, which PARTUUIDs begin with: 4 bytes at 440. Source: libfdisk, dos.c.
    var diskID: UInt32? {
        (try? view.bytes(at: 440, count: 4)).map { UInt32($0.u32(0)) }
    }

    static func hasSystemd(_ rootfs: borrowing ExtFiles) -> Bool {
        rootfs.exists("/usr/lib/systemd/systemd") || rootfs.exists("/lib/systemd/systemd")
    }

    /// How the image takes settings, by what the view holds.
    func form(_ area: PartitionArea, _ boot: Boot) throws(ExtError) -> FirstBootMechanism {
        let rootfs = try ExtFiles(area, isWritable: false)
        let cloudInit = ["/usr/bin/cloud-init", "/usr/lib/cloud-init"].contains { rootfs.exists($0) }
        if cloudInit, boot.names.contains("user-data") || boot.names.contains("meta-data") { return .cloudInit }
        if ["/usr/sbin/rpi-set-sysconf", "/usr/local/sbin/rpi-set-sysconf"].contains(where: { rootfs.exists($0) }) {
            return .sysconf
        }
        guard Self.hasSystemd(rootfs), let fstab = try rootfs.read("/etc/fstab") else { return .none }
        let parsed = Fstab(fstab)
        let identity = ImageIdentity(diskID: diskID, bootUUID: boot.uuid, rootfsUUID: rootfs.uuid)
        // A script that cannot take itself away would run at every boot.
        guard !parsed.bootIsOptional(identity), !parsed.bootIsReadOnly(identity),
            let mountPoint = parsed.bootMountPoint(identity)
        else { return .none }
        return .firstrun(bootMountPoint: mountPoint)
    }
}
