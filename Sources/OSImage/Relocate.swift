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
    /// What was changed, in order.
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
/// - Parameters:
///   - image: a raw image.
///   - layout: its layout.
///   - work: a folder for copies of what mtools and e2fsck work on: the boot partition, and a rootfs that was not
///     unmounted; they are removed.
///   - growth: whether the rootfs shall grow.
///   - tools: runs mtools, fsck.vfat and e2fsck.
/// - Throws: ``OSImageError``, `HostToolError`, `CancellationError`.
public func relocateOSImage(
    _ image: ImageReader, layout: OSImageLayout, work: FilePath, growth: Growth, tools: ToolRunner
) async throws -> Relocation {
    var relocator = try Relocator(image, layout, work: work, tools: tools)
    try await relocator.relocate(growth)
    return relocator.result
}

/// Systemd units that resize partitions on the first boot as the image has them: of Debian's images for the Pi, which takes
/// partition 2 for the rootfs, and of Raspberry Pi OS Trixie. The rootfs grows without them.
private let partitioningUnits: Set<String> = ["rpi-resizerootfs.service", "rpi-resize.service"]

private struct Relocator {
    private let view: ImageReader
    private let layout: OSImageLayout
    private let work: FilePath
    private let tools: ToolRunner

    private var changes: [Relocation.FileChange] = []
    private var notes: [String] = []
    private var obstacles: [String] = []
    private var grows = false
    private var firstBoot = FirstBootForm.none
    private var unstartable: [String: String] = [:]

    init(
        _ image: ImageReader, _ layout: OSImageLayout, work: FilePath, tools: ToolRunner
    ) throws(OSImageError) {
        view = try ImageReader(image, overlay: ImageOverlay())
        self.layout = layout
        self.work = work
        self.tools = tools
    }

    var result: Relocation {
        Relocation(
            view: view, changes: changes, notes: notes, obstacles: obstacles, grows: grows,
            firstBoot: firstBoot, unstartable: unstartable)
    }

    mutating func relocate(_ growth: Growth) async throws {
        let boot = try await relocateBoot()
        let rootfs = try PartitionArea(layout.rootfs, view)
        if ExtSuperblock.needsRecovery(try rootfs.head()) { try await recover(rootfs) }
        let start = try rootfs.head()
        switch ExtSuperblock.probe(start, bytes: rootfs.bytes) {
        case .found:
            do throws(ExtError) {
                try relocateRootfs(rootfs, boot, growth)
            } catch {
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
        let copy = work.appending("boot.fat")
        try await area.copy(to: copy)
        defer { try? removeFile(copy) }
        var isChanged = false
        if geometry.isDirty(start) {
            let complaint = try await tools.mendFAT(copy)
            isChanged = true
            notes.append(
                complaint.map { "boot partition was not unmounted cleanly, and fsck.vfat cannot mend it: \($0)" }
                    ?? "boot partition was not unmounted cleanly; it was mended")
        }
        let files = FATFiles(copy, scratch: work.appending("boot.file"), tools: tools)
        let names = try await files.names()
        boot.names = Set(names.map { $0.lowercased() })

        let configuration = try await files.firmwareConfiguration(among: names)
        if let configuration {
            var applied: Set<String> = []
            do {
                let overlays = OverlayApplier(files: files, tools: tools, work: work)
                let result = try await overlays.apply(
                    configuration.overlaysWithoutParameters, prefix: configuration.osPrefix ?? "", among: names)
                applied = result.applied
                notes += result.notes
                for change in result.changes {
                    changes.append(.init(partition: 1, path: change.name, before: change.before, after: change.after))
                    isChanged = true
                }
            } catch let error as HostToolError {
                // Without it the image boots all the same.
                notes.append("the overlays of config.txt cannot be applied: \(error)")
            }
            notes += configuration.lost(applied: applied)
        }
        let commandLines = files.commandLineNames(configuration, among: names)
        var commandLineObstacles: [String: String] = [:]
        for name in commandLines {
            let before = try await files.read(name)
            let relocated = KernelCommandLine(before).relocated()
            notes += relocated.notes.filter { !notes.contains($0) }
            let result = KernelCommandLine(relocated.bytes)
            notes += result.textNotes(name: name).filter { !notes.contains($0) }
            commandLineObstacles[name] = result.obstacle(name: name)
            if relocated.wouldHaveGrown { boot.wouldHaveGrown = true }
            if relocated.bytes != before {
                try await files.write(relocated.bytes, to: name)
                changes.append(.init(partition: 1, path: name, before: before, after: relocated.bytes))
                isChanged = true
            }
        }
        let outlook = try await files.bootOutlook(configuration, among: names, commandLines: commandLineObstacles)
        notes += outlook.notes
        obstacles += outlook.obstacles
        unstartable = outlook.unstartable
        if isChanged { try area.takeChanges(from: copy) }
        return boot
    }

    // MARK: The rootfs

    /// Replays the journal, and mends what e2fsck mends without asking. libext2fs would write past what the journal holds.
    private mutating func recover(_ area: PartitionArea) async throws {
        // A file for itself: after the journal e2fsck 1.47 opens its file again and forgets an offset.
        let copy = work.appending("rootfs.ext")
        defer { try? removeFile(copy) }
        try await area.copy(to: copy)
        if let complaint = try await tools.mendExt(copy) {
            notes.append("rootfs was not unmounted cleanly, and e2fsck cannot mend it by itself: \(complaint)")
        } else {
            try area.takeChanges(from: copy)
            notes.append("rootfs was not unmounted cleanly; its journal was replayed in the view of the image")
        }
    }

    private mutating func relocateRootfs(
        _ area: PartitionArea, _ boot: Boot, _ growth: Growth
    ) throws(ExtError) {
        let reading = try ExtFiles(area, isWritable: false)
        let hasSystemd = reading.exists("/usr/lib/systemd/systemd") || reading.exists("/lib/systemd/systemd")
        var removed: [(folder: String, name: String)] = []
        for folder in try reading.names(in: "/etc/systemd/system") ?? []
        where folder.hasSuffix(".wants") || folder.hasSuffix(".requires") {
            let path = "/etc/systemd/system/\(folder)"
            for name in try reading.names(in: path) ?? [] where partitioningUnits.contains(name) {
                removed.append((path, name))
            }
        }
        let wouldHaveGrown = boot.wouldHaveGrown || !removed.isEmpty
        var shallGrow = growth == .always || (growth == .automatic && wouldHaveGrown)
        if shallGrow, !hasSystemd {
            notes.append("the rootfs does not grow at the first boot; that needs systemd, which is not in the image")
            shallGrow = false
        }
        let fstab = try reading.read("/etc/fstab")
        var relocated: Fstab.Relocated?
        var mountPoint: String?
        if let fstab {
            let parsed = Fstab(fstab)
            let identity = ImageIdentity(diskID: diskID, bootUUID: boot.uuid, rootfsUUID: reading.uuid)
            let result = parsed.relocated(identity, grow: shallGrow)
            notes += result.notes
            grows = result.grows
            if result.bytes != fstab { relocated = result }
            // A script that cannot take itself away would run at every boot.
            if !parsed.bootIsOptional(identity), !parsed.bootIsReadOnly(identity) {
                mountPoint = parsed.bootMountPoint(identity)
            }
        } else {
            notes.append("rootfs has no /etc/fstab; the boot partition is not mounted by it")
        }
        notes += reading.otherPlaces(boot: boot.uuid, diskID: diskID)
        firstBoot = form(reading, boot, mountPoint: mountPoint, hasSystemd)
        guard relocated != nil || !removed.isEmpty else { return }

        var files = try ExtFiles(area, isWritable: true)
        for (folder, name) in removed {
            try files.remove(name, in: folder)
            notes.append(
                "\(name) is not started: it resizes partitions as a card has them that has two")
        }
        if let relocated { try files.replace("/etc/fstab", with: relocated.bytes) }
        try files.finish()
        // Read back, as another reader sees it.
        let again = try ExtFiles(area, isWritable: false)
        if let relocated, let fstab {
            guard try again.read("/etc/fstab") == relocated.bytes else {
                throw ExtError("does not hold the changed /etc/fstab")
            }
            changes.append(.init(partition: 2, path: "etc/fstab", before: fstab, after: relocated.bytes))
        }
        for (folder, name) in removed {
            guard try again.names(in: folder)?.contains(name) == false else {
                throw ExtError("still holds \(folder)/\(name)")
            }
            changes.append(
                .init(partition: 2, path: "\(folder.dropFirst())/\(name)", before: [], after: nil))
        }
    }

    /// The table's signature, which PARTUUIDs begin with: 4 bytes at 440. Source: libfdisk, dos.c.
    private var diskID: UInt32? {
        (try? view.bytes(at: 440, count: 4)).map { UInt32($0.u32(0)) }
    }

    private func form(
        _ rootfs: borrowing ExtFiles, _ boot: Boot, mountPoint: String?, _ hasSystemd: Bool
    ) -> FirstBootForm {
        let cloudInit = ["/usr/bin/cloud-init", "/usr/lib/cloud-init"].contains { rootfs.exists($0) }
        if cloudInit, boot.names.contains("user-data") || boot.names.contains("meta-data") { return .cloudInit }
        if ["/usr/sbin/rpi-set-sysconf", "/usr/local/sbin/rpi-set-sysconf"].contains(where: { rootfs.exists($0) }) {
            return .sysconf
        }
        if hasSystemd, let mountPoint { return .firstrun(bootMountPoint: mountPoint) }
        return .none
    }
}
