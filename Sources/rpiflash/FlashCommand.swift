import ArgumentParser
import DiskLayout
import FlashPlan
import Flashing
import HostTools
import Inventory
import OSImage
import SystemPackage

/// How image and outcome travel.
enum WireProtocol: String, ExpressibleByArgument, CaseIterable {
    case parts
}

struct FlashCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flash",
        abstract: "Flash an OS image to a target and prove it.",
        discussion: """
            Checks everything first, stages the image in the target's TFTP folder, resets the target, serves it, and \
            accepts nothing but OK with the exact number of bytes. The image is only read. Serves by itself if the port \
            is free, else uses the TFTP server that is there (tftpd-hpa with --create, atftpd).

            EXAMPLES
              rpiflash flash raspios.img camera-1
              rpiflash flash raspios.img b8:27:eb:3d:60:b9 --wait-port 80 --wait-timeout 5m
              rpiflash flash raspios.img 192.168.1.51 --no-wait --tftp-root /var/tftp

            EXIT STATUS
            \(ExitStatus.table)
            """)

    @Argument(help: "The OS image: two partitions, boot at 4 MiB and rootfs.")
    var image: FilePath

    @Argument(help: "The target: IP address, MAC address or name.")
    var target: String

    @OptionGroup var inventory: InventoryOptions
    @OptionGroup var card: CardOptions

    @Option(help: ArgumentHelp("The TFTP root.", valueName: "folder"))
    var tftpRoot: FilePath = "/srv/tftp"

    @Option(
        help: ArgumentHelp(
            "Length of a part, as 256MiB; a multiple of 512 bytes, more than 4 MiB. It must fit the target's RAM.",
            valueName: "size"),
        transform: { try ByteCount(parsing: $0, as: "part size") })
    var partSize: ByteCount = PartsPlan.defaultPartSize

    @Option(name: .customLong("protocol"), help: "How the image travels.")
    var wireProtocol: WireProtocol = .parts

    @Option(help: ArgumentHelp("The address and port to serve on.", valueName: "address[:port]"))
    var listen = ListenAddress.standard

    @Option(help: ArgumentHelp("From a reset to the target's first request, at most.", valueName: "time"))
    var requestTimeout = TimeSpan(.seconds(45))

    @Option(
        help: ArgumentHelp(
            "Silence of a target that flashes, at most; it writes and reads back a whole part in silence.",
            valueName: "time"))
    var outcomeTimeout = TimeSpan(.seconds(900))

    @Option(help: ArgumentHelp("TCP port that the flashed system answers on.", valueName: "port"))
    var waitPort: UInt16 = 22

    @Option(help: ArgumentHelp("From the outcome until it answers, at most.", valueName: "time"))
    var waitTimeout = TimeSpan(.seconds(180))

    @Flag(help: "Do not wait until the flashed system answers.")
    var noWait = false

    func validate() throws {
        guard waitPort > 0 else { throw ValidationError("--wait-port is 0; must be 1 to 65535") }
    }

    func run() async throws {
        let row = try inventory.target(target)
        let request = FlashRequest(
            image: image, card: try card.layout(), tftpRoot: tftpRoot, partSize: partSize,
            requestTimeout: requestTimeout.duration, outcomeTimeout: outcomeTimeout.duration,
            waitPort: noWait ? nil : waitPort, waitTimeout: waitTimeout.duration)
        let printer = ProgressPrinter()
        defer { printer.finish() }
        let ports = Ports(
            inspectImage: { try inspectOSImage(at: $0) }, serving: TFTPServing(listen: listen),
            resetting: TargetResetting(), answers: { await ThisHost.answers($0.description, port: $1) },
            hostNames: ThisHost.names)
        let result = try await FlashJob(target: row, request: request, ports: ports, tell: printer.show).run()
        printer.finish()
        var text = "\(row.displayName): OK, \(result.written.bytes) bytes in \(result.flashing.rounded) s"
        if let time = result.comingUp { text += ", up after \(time.rounded) s" }
        print(text)
    }
}

extension ListenAddress {
    /// Every address, TFTP's port.
    static let standard = ListenAddress(host: "0.0.0.0", port: 69)

    private init(host: String, port: Int) {
        self.host = host
        self.port = port
    }
}

extension Duration {
    /// Seconds with one digit.
    var rounded: String {
        let tenths = Int64((self / .milliseconds(100)).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
