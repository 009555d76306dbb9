import FlashEvents
import ArgumentParser
import CommandOptions
import CommandOutput
import Configuration
import DiskLayout
import Flashing
import ImageStore
import LinuxHost
import OSImage
import SystemPackage
import Wiring

/// `rpiflash plan`.
struct PlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Show what flashing an image would do: what is used, written and sent.",
        discussion: """
            Prepares the image in the store, or finds it prepared there, as a flash does; a flash after that starts at \
            once. No target is needed and none is touched. 'At most' is a card that holds nothing of the image: what is \
            on a card already is neither sent nor written. An image that does not fit the card ends it with exit status 7.

            EXAMPLES
              rpiflash plan raspios.img.xz
              rpiflash plan raspios.img --card card.yaml --rate 40MiB --chunks
              rpiflash plan raspios.img --json
            """)

    @Argument(help: "The OS image, raw or compressed (xz, gz, zst, bz2, zip).")
    var image: String

    @Option(
        help: ArgumentHelp(
            "The layout of a card that it must fit. Default: \(Installation.hostCard), if there.", valueName: "file"))
    var card: String?

    @OptionGroup var relocation: RelocationOptions

    @OptionGroup var store: StoreOptions

    @Option(
        help: ArgumentHelp(
            "Bytes a second of the network, for the time: a number, or with KiB, MiB, GiB, kB, MB, GB, and /s.",
            valueName: "rate"))
    var rate = RateOption(bytes: 10 << 20)

    @Flag(help: "Each chunk too.")
    var chunks = false

    @Flag(help: "One JSON object, for programs, as docs/json.md describes it.")
    var json = false

    @OptionGroup var log: LogOptions

    func run() async throws {
        log.apply()
        let path = FilePath(image)
        let reporter = FlashLog(target: "")
        // A card that cannot be read is found before minutes of preparation.
        let cardPath =
            card.map { FilePath($0) }
            ?? (exists(Installation.hostCard) ? Installation.hostCard : nil)
        let layout = try cardPath.map { try loadCard($0) }
        let source = try openImage(path)
        let prepared = try await prepare(source, relocation.request, in: ImageStore(at: store.path)) {
            reporter.report($0)
        }
        Log.shared.finish()
        let record = prepared.manifest.relocation
        var report = PlanReport(prepared, image: image, isRaw: try source.isRaw, rate: rate.bytes, withChunks: chunks)
        var misfit: FlashError?
        if let cardPath, let layout {
            report.card = .init(path: cardPath.string)
            do {
                try layout.checkPartitionsFit(try prepared.layout())
            } catch {
                report.card = .init(path: cardPath.string, reason: "\(error)")
                misfit = .image("\(image): \(error)")
            }
        }
        print(json ? jsonLine(report) + "\n" : report.text, terminator: "")
        if !json { suggest("rpiflash flash \(image) TARGET") }
        if let misfit { throw misfit }
        if let obstacle = record?.obstacles.first { throw FlashError.image("\(image): \(obstacle)") }
    }
}

/// Bytes a second: `10MiB/s`, `10MiB`, `1000000`.
struct RateOption: ExpressibleByArgument {
    let bytes: UInt64

    init(bytes: UInt64) { self.bytes = bytes }

    init?(argument: String) {
        let text = argument.hasSuffix("/s") ? String(argument.dropLast(2)) : argument
        guard let size = try? ByteCount(parsing: text, as: "rate"), size.bytes > 0 else { return nil }
        bytes = size.bytes
    }

    var defaultValueDescription: String { bytes % (1 << 20) == 0 ? "\(bytes >> 20)MiB/s" : "\(bytes)/s" }
}
