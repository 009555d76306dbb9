import ArgumentParser
import CommandOutput
import DiskLayout
import LinuxHost
import OSImage
import RecoveryImage
import SystemPackage

struct LayoutCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "layout",
        abstract: "Show where everything lies on a card.",
        discussion: """
            The layout is also written to a file with libfdisk, read back and compared; a difference is an error.
            --format sfdisk prints what `sfdisk --dump` prints of the recovery image that --device names. --format svg draws
            the card, with --from-image also the image and where its parts go.

            EXAMPLES
              rpiflash-gen layout --card-size 16GB
              rpiflash-gen layout --from-image raspios.img --format json
              rpiflash-gen layout --card-size 16GB --from-image raspios.img --format svg >card.svg
              diff <(rpiflash-gen layout --format sfdisk) <(sfdisk --dump build/recovery-rpi_arm64.img)
            """)

    /// What is printed.
    enum Format: String, ExpressibleByArgument, CaseIterable { case table, json, sfdisk, svg }

    @OptionGroup var card: CardOptions

    @Option(
        help: ArgumentHelp(
            "table for people, json for programs, sfdisk for sfdisk, svg for a picture.", valueName: "format"))
    var format: Format = .table

    @Option(help: ArgumentHelp("The name in sfdisk's dump.", valueName: "name"))
    var device = "build/recovery-rpi_arm64.img"

    func run() throws {
        let layout = try card.layout()
        try RecoveryImageMaker.onThisHost().check(layout, in: DryRunOptions.scratch)
        switch format {
        case .table: print(layout.table, terminator: "")
        case .json: print(layout.json, terminator: "")
        case .sfdisk: print(layout.sfdiskDump(device: device), terminator: "")
        case .svg:
            let image = try card.fromImage.map { try inspectOSImage(at: $0) }
            print(layout.svg(of: image, named: card.fromImage?.lastComponent?.string ?? ""), terminator: "")
        }
        RPiFlashGen.use(card.source)
    }
}
