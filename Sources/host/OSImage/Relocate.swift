package import BootFiles
package import DiskLayout
package import HostTools
import LinuxHost
package import SystemPackage

/// Whether a rootfs shall become as large as the card's partition 3 on its first boot.
package enum RootfsGrowth: String, Hashable, Sendable, CaseIterable {
    /// Where the image itself would have grown it, by what has to be taken out of it.
    case automatic
    /// Always.
    case always
    /// Never.
    case never

    /// - Parameter choice: whether it was asked for; nil where it was not said.
    package init(_ choice: Bool?) {
        self = choice.map { $0 ? .always : .never } ?? .automatic
    }
}

/// An image made ready for a card whose first partition belongs to U-Boot.
package struct Relocation: Sendable {
    /// The image with the changes laid over it.
    package let view: ImageReader
    /// What differs in the view, in order.
    package let changes: [FileChange]
    /// What a user should know: one sentence each, lower case.
    package let notes: [String]
    /// Why the image cannot work on a card: one sentence each, lower case. Empty where nothing is known that keeps it
    /// from working.
    package let obstacles: [String]
    /// The rootfs grows to the size of partition 3 on the first boot.
    package let grows: Bool
    /// The form in which the image takes settings for its first boot.
    package let firstBoot: FirstBootMechanism
    /// The boards that start no kernel of it, by name, and why not.
    package let unstartable: [String: String]

    /// A file of the image that differs in the view.
    package struct FileChange: Hashable, Sendable {
        /// The image's partition, 1 or 2.
        package let partition: Int
        /// The file's path in its filesystem, without a slash in front.
        package let path: String
        /// Its content in the image.
        package let before: [UInt8]
        /// Its content in the view; nil where it is removed.
        package let after: [UInt8]?
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
package func relocateOSImage(
    _ image: ImageReader, layout: OSImageLayout, work: FilePath, growth: RootfsGrowth, tools: ToolRunner
) async throws -> Relocation {
    try await relocateOSImage(
        image, layout: layout, work: work, growth: growth, tools: tools, checks: .programs(tools, work: work))
}

/// - Parameter checks: what judges a partition that was changed.
package func relocateOSImage(
    _ image: ImageReader, layout: OSImageLayout, work: FilePath, growth: RootfsGrowth, tools: ToolRunner,
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
