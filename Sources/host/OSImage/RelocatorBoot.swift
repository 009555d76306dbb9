import BootFiles
import DiskLayout
import HostTools
import LinuxHost
import SystemPackage

/// The boot partition: cmdline.txt, overlays of the device tree, and whether a kernel is started from it.
extension Relocator {
    /// What the boot partition says to the rest.
    struct Boot {
        var uuid: String?
        var wouldHaveGrown = false
        var names: Set<String> = []
    }

    /// What became of the boot partition, or of an attempt to change it.
    struct BootResult {
        /// Paths of files that were written.
        var written: [String] = []
        var notes: [String] = []
        var wouldHaveGrown = false
        /// Command lines that are not as they must be on a card.
        var unfit: [String] = []
        /// Whether the boot script starts a kernel from there.
        var outlook: BootOutlook?
    }

    mutating func relocateBoot() async throws -> Boot {
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
    func changeBoot(_ files: FATFiles, _ names: [String], isWritable: Bool) async throws -> BootResult {
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
    func bootIsStillSound() async throws -> Bool {
        if try await checks.isSoundFAT(view, layout.boot) { return true }
        return try await !checks.isSoundFAT(image, layout.boot)
    }

    /// Has fsck.vfat repair what was not unmounted. Where it cannot, all stays as it is.
    mutating func recoverBoot(_ area: PartitionArea) async throws {
        let mark = overlay.mark()
        let copy = work.appending("boot.fat")
        defer { try? unlinkFile(copy) }
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
}
