import ArgumentParser
import BootFiles
import CommandOutput
import DiskLayout
import HostTools
import LinuxHost
import OSImage
import RecoveryImage
import SystemPackage

struct CheckImageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check-image",
        abstract: "Show what would be changed of an OS image for a card, and what cannot work.",
        discussion: """
            The image is only read. A unified diff of each file that a flash by plan changes on its way to the card, then \
            what to know of the image (note:), and what keeps it from working (cannot work:, exit status 1). A compressed \
            image is unpacked into TMPDIR first.

            EXAMPLES
              rpiflash-gen check-image raspios.img
              rpiflash-gen check-image raspios.img.xz --card card.yaml
              TMPDIR=/var/tmp rpiflash-gen check-image ubuntu.img.xz --no-grow
            """)

    @Argument(help: "The OS image, raw or compressed (xz, gz, zst, bz2, zip).")
    var image: FilePath

    @Option(help: ArgumentHelp("The layout of a card that it must fit.", valueName: "file"))
    var card: FilePath?

    @Option(
        help: ArgumentHelp(
            "The board of the card that must start it: \(BootBoard.all.map(\.name).joined(separator: ", ")). "
                + "Default: any.", valueName: "board"))
    var board: String?

    @Flag(
        inversion: .prefixedNo,
        help: "Let the rootfs grow to the size of partition 3 on the first boot. Default: where the image would have.")
    var grow: Bool?

    func validate() throws {
        guard let board, !BootBoard.all.contains(where: { $0.name == board }) else { return }
        throw ValidationError(
            "--board is '\(board)'; must be one of \(BootBoard.all.map(\.name).joined(separator: ", "))")
    }

    func run() async throws {
        let layout = try card.map { try CardConfiguration(yaml: readText($0), file: $0.string).layout(cardSize: nil) }
        let source = try ImageReader(image)
        let obstacles = try await withTemporaryFolder(prefix: "rpiflash-check-") { folder in
            let raw = try await unpacked(source, in: folder)
            let image: OSImageLayout
            do throws(OSImageError) {
                image = try inspectOSImage(raw)
            } catch {
                throw error.about(source.path)
            }
            let tools = ToolRunner(path: environmentValue("PATH"), sourceDate: .standard)
            let relocation = try await relocateOSImage(
                raw, layout: image, work: folder, growth: RootfsGrowth(grow),
                tools: tools)
            try source.checkUnchanged()
            var obstacles = relocation.obstacles
            if obstacles.isEmpty, let reason = board.flatMap({ relocation.unstartable[$0] }) {
                obstacles.append(reason)
            }
            do {
                try layout?.checkPartitionsFit(image)
            } catch {
                obstacles.append("\(error)")
            }
            print(Self.text(relocation, obstacles), terminator: "")
            return obstacles
        }
        if let first = obstacles.first {
            throw CheckError(description: "\(image): cannot work on a card: \(first)")
        }
    }

    private struct CheckError: Error, CustomStringConvertible {
        let description: String
    }

    private func unpacked(_ source: ImageReader, in folder: FilePath) async throws -> ImageReader {
        guard try Compression(of: source) != nil else { return source }
        let path = folder.appending("unpacked.img")
        try await unpackOSImage(source, to: path, limit: ByteCount(2 << 40)) { _ in }
        return try ImageReader(path)
    }

    private static func text(_ relocation: Relocation, _ obstacles: [String]) -> String {
        var text = ""
        for change in relocation.changes {
            let name = "partition \(change.partition)/\(change.path)"
            if let after = change.after {
                // Device trees are not text.
                text +=
                    after.contains(0)
                    ? "changed: \(name), \(change.before.count) bytes to \(after.count) bytes\n"
                    : unifiedDiff(before: change.before, after: after, name: name)
            } else {
                text += "removed: \(name)\n"
            }
        }
        if relocation.changes.isEmpty { text += "nothing has to be changed\n" }
        text += "growth: " + (relocation.grows ? "the rootfs grows to partition 3 on the first boot" : "none") + "\n"
        text += "first boot settings: \(relocation.firstBoot.name)\n"
        for note in relocation.notes { text += "note: \(note)\n" }
        for obstacle in obstacles { text += "cannot work: \(obstacle)\n" }
        return text
    }
}

extension FirstBootMechanism {
    /// As docs/customize.md names them.
    fileprivate var name: String {
        switch self {
        case .firstrun(let mountPoint): "\(mountPoint)/firstrun.sh"
        case .cloudInit: "cloud-init"
        case .sysconf: "sysconf.txt"
        case .none: "none"
        }
    }
}
