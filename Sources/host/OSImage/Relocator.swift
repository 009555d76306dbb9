import BootFiles
import DiskLayout
import HostTools
import LinuxHost
import SystemPackage

/// Changes the view of an image, partition by partition, and keeps what is to be told of it.
struct Relocator {
    /// The image as it is.
    let image: ImageReader
    let overlay: ImageOverlay
    let view: ImageReader
    let layout: OSImageLayout
    let work: FilePath
    let tools: ToolRunner
    let checks: FilesystemChecks

    var changes: [Relocation.FileChange] = []
    var notes: [String] = []
    var obstacles: [String] = []
    var grows = false
    var firstBoot = FirstBootMechanism.none
    var unstartable: [String: String] = [:]

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

    mutating func relocate(_ growth: RootfsGrowth) async throws {
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
}
