import ArgumentParser
import CommandOutput
import DiskLayout
import RecoveryImage
import SystemPackage

struct BootScriptCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bootscr",
        abstract: "Render the U-Boot boot script of a board.",
        discussion: """
            EXAMPLES
              rpiflash-gen bootscr --board rpi_arm64 --server-ip 192.168.1.10 -o boot.scr
              rpiflash-gen bootscr --board rpi_arm64 --text -o -
              rpiflash-gen bootscr --board rpi_arm64 -o boot.scr --dry-run
            """)

    @OptionGroup var board: BoardOptions
    @OptionGroup var card: CardOptions

    @Option(help: ArgumentHelp("TFTP server where rpiflash.env names none.", valueName: "address"))
    var serverIp: String?

    @Option(
        name: [.short, .long],
        help: ArgumentHelp("The script image to make; with --text, - is standard output.", valueName: "file"))
    var output: FilePath

    @Flag(help: "The script's text, not an image for U-Boot.")
    var text = false

    @OptionGroup var dryRun: DryRunOptions

    private func network() throws -> NetworkSettings { try NetworkSettings(serverAddress: serverIp) }

    func validate() throws {
        try usage { try network() }
        if output == "-", !text { throw ValidationError("a script image cannot go to standard output; give -o a file") }
    }

    func run() async throws {
        let profile = try board.profile()
        let script = try makeBootScript(
            board: profile, card: card.layout(), templates: board.templates,
            serverAddress: network().serverAddress)
        if output == "-" {
            print(script, terminator: "")
        } else if dryRun.isOn {
            let size = try await RecoveryImageMaker.onThisHost().dryRunBootScript(
                script, board: profile, output: output, asText: text, scratch: DryRunOptions.scratch)
            print("would write \(output): \(size.bytes) bytes")
        } else {
            try await RecoveryImageMaker.onThisHost().makeBootScript(
                script, board: profile, output: output, asText: text)
        }
        RPiFlashGen.use("\(card.source), \(board.source)")
    }
}
