public import BootFiles
public import DiskLayout
public import HostTools
public import SystemPackage

/// Whether a rootfs shall become as large as the card's partition 3 on its first boot.
public enum Growth: String, Hashable, Sendable, CaseIterable {
    /// Where the image itself would have grown it, by what has to be taken out of it.
    case automatic
    /// Always.
    case always
    /// Never.
    case never

    /// - Parameter choice: whether it was asked for; nil where it was not said.
    public init(_ choice: Bool?) {
        self = choice.map { $0 ? .always : .never } ?? .automatic
    }
}

/// An image made ready for a card whose first partition belongs to U-Boot.
public struct Relocation: Sendable {
    /// The image with the changes laid over it.
    public let view: ImageReader
    /// What differs in the view, in order.
    public let changes: [FileChange]
    /// What a user should know: one sentence each, lower case.
    public let notes: [String]
    /// Why the image cannot work on a card: one sentence each, lower case. Empty where nothing is known that keeps it
    /// from working.
    public let obstacles: [String]
    /// The rootfs grows to the size of partition 3 on the first boot.
    public let grows: Bool
    /// The form in which the image takes settings for its first boot.
    public let firstBoot: FirstBootForm
    /// The boards that start no kernel of it, by name, and why not.
    public let unstartable: [String: String]

    /// A file of the image that differs in the view.
    public struct FileChange: Hashable, Sendable {
        /// The image's partition, 1 or 2.
        public let partition: Int
        /// The file's path in its filesystem, without a slash in front.
        public let path: String
        /// Its content in the image.
        public let before: [UInt8]
        /// Its content in the view; nil where it is removed.
        public let after: [UInt8]?
    }
}

/// Makes an image ready for a card whose partitions 2 and 3 take its partitions 1 and 2.
///
/// /etc/fstab names the partitions by the UUIDs of their filesystems, cmdline.txt loses what would change the card's
/// partition table, and so does the rootfs. Everything else stays. The image's file is only read (law 4).
///
/// What is done to a partition happens whole or not at all: where something fails, or fsck finds the result not sound where
/// the image's own was, the partition stays as the image has it, byte for byte. That is an obstacle where the change had to
/// be, a note where the image works without it: an overlay of the device tree, a rootfs that grows. What is told is what
/// the view holds.
///
/// - Parameters:
///   - image: a raw image.
///   - layout: its layout.
///   - work: a folder for copies of what fsck.vfat and e2fsck look at, and of a partition that was not unmounted, which they
///     repair; they are removed.
///   - growth: whether the rootfs shall grow.
///   - tools: runs fsck.vfat, e2fsck, fdtoverlay and fdtget.
/// - Throws: ``OSImageError``, `HostToolError` where a program is missing, `CancellationError`.
public func relocateOSImage(
    _ image: ImageReader, layout: OSImageLayout, work: FilePath, growth: Growth, tools: ToolRunner
) async throws -> Relocation {
    try await relocateOSImage(
        image, layout: layout, work: work, growth: growth, tools: tools, checks: .programs(tools, work: work))
}

/// - Parameter checks: what judges a partition that was changed.
package func relocateOSImage(
    _ image: ImageReader, layout: OSImageLayout, work: FilePath, growth: Growth, tools: ToolRunner,
    checks: FilesystemChecks
) async throws -> Relocation {
    var relocator = try Relocator(image, layout, work: work, tools: tools, checks: checks)
    do {
        try await relocator.relocate(growth)
    } catch FATError.image(let error) {
        throw error
    }
    return relocator.result
}

/// Systemd units that resize partitions on the first boot as the image has them: of Debian's images for the Pi, which takes
/// partition 2 for the rootfs, and of Raspberry Pi OS Trixie. The rootfs grows without them.
private let partitioningUnits: Set<String> = ["rpi-resizerootfs.service", "rpi-resize.service"]

private struct Relocator {
    /// The image as it is.
    private let image: ImageReader
    private let overlay: ImageOverlay
    private let view: ImageReader
    private let layout: OSImageLayout
    private let work: FilePath
    private let tools: ToolRunner
    private let checks: FilesystemChecks

    private var changes: [Relocation.FileChange] = []
    private var notes: [String] = []
    private var obstacles: [String] = []
    private var grows = false
    private var firstBoot = FirstBootForm.none
    private var unstartable: [String: String] = [:]

    init(
        _ image: ImageReader, _ layout: OSImageLayout, work: FilePath, tools: ToolRunner, checks: FilesystemChecks
    ) throws(OSImageError) {
        self.image = image
        overlay = ImageOverlay()
        view = try ImageReader(image, overlay: overlay)
        self.layout = layout
        self.work = work
        self.tools = tools
        self.checks = checks
    }

    var result: Relocation {
        Relocation(
            view: view, changes: changes, notes: notes, obstacles: obstacles, grows: grows,
            firstBoot: firstBoot, unstartable: unstartable)
    }

    mutating func relocate(_ growth: Growth) async throws {
        let boot = try await relocateBoot()
        let rootfs = try PartitionArea(layout.rootfs, view)
        if ExtSuperblock.needsRecovery(try rootfs.head()) {
            guard try await recover(rootfs) else {
                obstacles.append(
                    "rootfs was not unmounted cleanly, and e2fsck cannot repair it without asking: run e2fsck -f on the "
                        + "image's partition 2")
                return
            }
            notes.append("rootfs was not unmounted cleanly; its journal was replayed in the view of the image")
        }
        let start = try rootfs.head()
        switch ExtSuperblock.probe(start, bytes: rootfs.bytes) {
        case .found:
            do {
                try await relocateRootfs(rootfs, boot, growth)
            } catch let error as ExtError {
                // It cannot be read.
                notes.append("rootfs \(error.reason); it stays as it is")
            }
        case .doubtful(_, let reason):
            if ExtSuperblock.isTruncated(start, bytes: rootfs.bytes) {
                obstacles.append("rootfs: \(reason)")
            } else {
                notes.append("rootfs: \(reason); it stays as it is")
            }
        case .absent:
            let name = try otherFilesystem(start, rootfs).rawValue
            notes.append(
                "rootfs is \(name); its /etc/fstab cannot be changed and must name the partitions by UUID or LABEL")
            if growth == .always {
                notes.append("the rootfs does not grow at the first boot; it must be ext4 for that")
            }
        }
    }

    // MARK: The boot partition

    /// What the boot partition says to the rest.
    private struct Boot {
        var uuid: String?
        var wouldHaveGrown = false
        var names: Set<String> = []
    }

    /// What became of the boot partition, or of an attempt to change it.
    private struct BootResult {
        /// Paths of files that were written.
        var written: [String] = []
        var notes: [String] = []
        var wouldHaveGrown = false
        /// Command lines that are not as they must be on a card.
        var unfit: [String] = []
        /// Whether the boot script starts a kernel from there.
        var outlook: BootOutlook?
    }

    private mutating func relocateBoot() async throws -> Boot {
        var boot = Boot()
        let area = try PartitionArea(layout.boot, view)
        let start = try area.head()
        let geometry: FATGeometry
        switch FATGeometry.probe(start, sectors: area.sectors) {
        case .absent:
            notes.append("boot partition has no FAT filesystem; its cmdline.txt stays as it is")
            return boot
        case .doubtful(_, let reason):
            notes.append("boot partition: \(reason); its cmdline.txt stays as it is")
            return boot
        case .found(let found): geometry = found
        }
        boot.uuid = geometry.volumeID(start)
        if geometry.isDirty(start) { try await recoverBoot(area) }
        let files = FATFiles(area, geometry)
        let names: [String]
        do {
            names = try files.names()
        } catch {
            if case .image = error { throw error }
            obstacles.append("boot partition \(error); repair it with fsck.vfat, or take another image")
            return boot
        }
        boot.names = Set(names.map { $0.lowercased() })

        let mark = overlay.mark()
        var result: BootResult
        do {
            try files.check()
            result = try await changeBoot(files, names, isWritable: true)
            if overlay.differs(from: mark) {
                try files.check()
                guard try await bootIsStillSound() else {
                    throw FATError.damaged("fsck.vfat finds errors in it once its files are changed")
                }
            }
        } catch let error as FATError {
            if case .image = error { throw error }
            overlay.restore(mark)
            do {
                result = try await changeBoot(files, names, isWritable: false)
            } catch let unreadable as FATError {
                if case .image = unreadable { throw unreadable }
                obstacles.append("boot partition \(unreadable); repair it with fsck.vfat, or take another image")
                return boot
            }
            if result.unfit.isEmpty {
                result.notes.append("boot partition \(error); it stays as it is")
            } else {
                obstacles.append(
                    "boot partition \(error), so that \(result.unfit.joined(separator: ", ")) cannot lose what would "
                        + "change the card's partition table; \(error.remedy)")
            }
        }
        notes += result.notes
        if let outlook = result.outlook {
            notes += outlook.notes
            obstacles += outlook.obstacles
            unstartable = outlook.unstartable
        }
        boot.wouldHaveGrown = result.wouldHaveGrown
        let before = FATFiles(try PartitionArea(layout.boot, image), geometry)
        for name in result.written {
            changes.append(
                .init(partition: 1, path: name, before: try before.read(name), after: try files.read(name)))
        }
        return boot
    }

    /// Reads the boot partition's configuration and, in a view, changes what must be changed.
    ///
    /// - Parameter isWritable: false: all stays as it is, and what would have been changed is told.
    /// - Throws: ``FATError`` where a change fails that must be.
    private func changeBoot(_ files: FATFiles, _ names: [String], isWritable: Bool) async throws -> BootResult {
        var result = BootResult()
        let configuration = try files.firmwareConfiguration(among: names)
        if let configuration {
            var applied: Set<String> = []
            if isWritable {
                do {
                    let overlays = OverlayApplier(files: files, tools: tools, work: work)
                    let found = try await overlays.apply(
                        configuration.overlaysWithoutParameters, prefix: configuration.osPrefix ?? "", among: names)
                    applied = found.applied
                    result.notes += found.notes
                    result.written += found.changed
                } catch let error as HostToolError {
                    // Without it the image boots all the same.
                    result.notes.append("the overlays of config.txt cannot be applied: \(error)")
                }
            }
            result.notes += configuration.lost(applied: applied)
        }
        let commandLines = files.commandLineNames(configuration, among: names)
        var commandLineObstacles: [String: String] = [:]
        for name in commandLines {
            let before = try files.read(name)
            let relocated = KernelCommandLine(before).relocated()
            let commandLine = KernelCommandLine(relocated.bytes)
            let textNotes = commandLine.textNotes(name: name)
            commandLineObstacles[name] = commandLine.obstacle(name: name)
            if relocated.wouldHaveGrown { result.wouldHaveGrown = true }
            if relocated.bytes != before {
                guard isWritable else {
                    result.unfit.append(name)
                    continue
                }
                try files.write(relocated.bytes, to: name)
                result.written.append(name)
            }
            result.notes += (relocated.notes + textNotes).filter { !result.notes.contains($0) }
        }
        result.outlook = try files.bootOutlook(configuration, among: names, commandLines: commandLineObstacles)
        return result
    }

    /// Whether fsck.vfat finds the view sound, or the image's own partition neither.
    private func bootIsStillSound() async throws -> Bool {
        if try await checks.isSoundFAT(view, layout.boot) { return true }
        return try await !checks.isSoundFAT(image, layout.boot)
    }

    /// Has fsck.vfat repair what was not unmounted. Where it cannot, all stays as it is.
    private mutating func recoverBoot(_ area: PartitionArea) async throws {
        let mark = overlay.mark()
        let copy = work.appending("boot.fat")
        defer { try? removeFile(copy) }
        try await area.copy(to: copy)
        if try await tools.repairFAT(copy), try area.takeChanges(from: copy) {
            notes.append("boot partition was not unmounted cleanly; it was repaired")
        } else {
            overlay.restore(mark)
            notes.append(
                "boot partition was not unmounted cleanly, and fsck.vfat cannot repair it without asking; run fsck.vfat on "
                    + "the image's partition 1")
        }
    }

    // MARK: The rootfs

    /// Replays the journal, and repairs what e2fsck repairs without asking. libext2fs would write past what the journal
    /// holds.
    ///
    /// - Returns: false where all stays as it is.
    private func recover(_ area: PartitionArea) async throws -> Bool {
        // A file for itself: after the journal e2fsck 1.47 opens its file again and forgets an offset.
        let copy = work.appending("rootfs.ext")
        defer { try? removeFile(copy) }
        let mark = overlay.mark()
        try await area.copy(to: copy)
        guard try await tools.repairExt(copy), try area.takeChanges(from: copy) else {
            overlay.restore(mark)
            return false
        }
        return true
    }

    /// What is to be done to the rootfs.
    private struct RootfsPlan {
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

    private mutating func relocateRootfs(_ area: PartitionArea, _ boot: Boot, _ growth: Growth) async throws {
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
    private func plan(_ area: PartitionArea, _ boot: Boot, _ growth: Growth) throws(ExtError) -> RootfsPlan {
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
    private mutating func carryOut(_ plan: RootfsPlan, _ area: PartitionArea) async throws -> ExtError? {
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
    private func change(_ area: PartitionArea, _ plan: RootfsPlan) throws(ExtError) {
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
    private var diskID: UInt32? {
        (try? view.bytes(at: 440, count: 4)).map { UInt32($0.u32(0)) }
    }

    private static func hasSystemd(_ rootfs: borrowing ExtFiles) -> Bool {
        rootfs.exists("/usr/lib/systemd/systemd") || rootfs.exists("/lib/systemd/systemd")
    }

    /// How the image takes settings, by what the view holds.
    private func form(_ area: PartitionArea, _ boot: Boot) throws(ExtError) -> FirstBootForm {
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

extension FATError {
    /// What a user can do about it.
    package var remedy: String {
        switch self {
        case .noRoom, .folderFull: "free some space in the image's partition 1, or take an image with a larger one"
        case .noFile, .isFolder, .isNoFolder, .badName, .tooLong, .tooManyChanges:
            "change the file or take another image"
        case .damaged, .image: "repair it with fsck.vfat, or take another image"
        }
    }
}
