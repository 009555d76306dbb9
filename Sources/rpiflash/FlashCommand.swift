import ArgumentParser
import DiskLayout
import FlashPlan
import Flashing
import Inventory
import SystemPackage

/// `rpiflash flash`.
struct FlashCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flash",
        abstract: "Put an image on a target's card and prove it.",
        discussion: """
            Checks everything, stages the image under the TFTP root, resets the target, serves it, takes its report, \
            compares, waits until the target answers, and cleans up. The image is only read. If another TFTP server has \
            the port (tftpd-hpa, atftpd), it serves, and rpiflash says so.

            \(RPiFlash.exitCodes)
            """)

    @Argument(help: "The OS image, not compressed.")
    var image: String

    @OptionGroup var target: TargetOptions

    @Option(
        help: ArgumentHelp(
            "The layout of the target's card. Default: \(defaultCards.map(\.string).joined(separator: ", then ")).",
            valueName: "file"))
    var card: String?

    @Option(help: ArgumentHelp("The folder that TFTP serves.", valueName: "folder"))
    var tftpRoot = "/srv/tftp"

    @Option(
        help: ArgumentHelp(
            "Length of a part: bytes, or with KiB, MiB, GiB, kB, MB, GB (default: 786432000, 750 MiB).",
            valueName: "size"),
        transform: { text in
            do {
                return try ByteCount(parsing: text, as: "part size")
            } catch {
                throw ValidationError("\(error)")
            }
        })
    var partSize: ByteCount = PartsPlan.defaultPartSize

    /// How the image goes over.
    enum ProtocolName: String, ExpressibleByArgument, CaseIterable { case parts }

    @Option(name: .customLong("protocol"), help: "How the image goes over.")
    var protocolName = ProtocolName.parts

    @Option(help: ArgumentHelp("TCP port that shows that the target is up.", valueName: "port"))
    var waitPort: UInt16 = 22

    @Option(help: ArgumentHelp("How long that is waited for.", valueName: "time"))
    var waitTimeout = TimeOption(.seconds(180))

    @Flag(help: "Do not wait until the target is up.")
    var noWait = false

    @Option(
        help: ArgumentHelp(
            "How long the target may take to ask for the image. Then it is reset once more, and at last by the "
                + "row's reset_command where its gpio did not help.",
            valueName: "time"))
    var requestTimeout = TimeOption(.seconds(45))

    @Option(
        help: ArgumentHelp(
            "How long the target may show no sign of life after that (default: 2m, and 1s for each MiB of a part).",
            valueName: "time"))
    var outcomeTimeout: TimeOption?

    @Option(help: ArgumentHelp("Where to serve: an IPv4 address, or address:port.", valueName: "addr"))
    var listen = ListenOption(host: "0.0.0.0", port: 69)

    func validate() throws {
        guard waitPort > 0 else { throw ValidationError("--wait-port is 0; must be 1 to 65535") }
        do throws(PartsPlanError) {
            try PartsPlan.check(partSize: partSize)
        } catch {
            throw ValidationError(error.description)
        }
        for (name, time) in [("request", requestTimeout), ("outcome", outcomeTimeout ?? requestTimeout)] {
            guard time.duration > .zero else { throw ValidationError("--\(name)-timeout is 0; must be more than 0") }
        }
    }

    func run() async throws {
        let row = try target.find()
        let request = FlashRequest(
            image: FilePath(image), target: row, card: try loadCard(card.map { FilePath($0) }),
            root: FilePath(tftpRoot), partSize: partSize, requestTimeout: requestTimeout.duration,
            outcomeTimeout: outcomeTimeout?.duration, waitPort: noWait ? nil : waitPort,
            waitTimeout: waitTimeout.duration)
        let reporter = Reporter(target: row.displayName)
        let flasher = Flasher(ports: .real(listen: listen), clock: ContinuousClock()) { reporter.report($0) }
        let result = try await flasher.run(request)
        Console.shared.finish()
        let up = result.upAfter.map { ", TCP port \(waitPort) answered \(Reporter.seconds($0)) later" } ?? ""
        print(
            "\(row.displayName) (\(row.mac), \(row.ip)): flashed and proven, \(result.written.bytes) bytes "
                + "in \(Reporter.seconds(result.flashTime))\(up)")
    }
}
