public import ArgumentParser
import BootScript
import DiskLayout
import Glibc
import LinuxHost
import OSImage
import RecoveryImage
public import SystemPackage

/// Which card.
struct CardOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The card's sizes. \(cardDefault)", valueName: "file"))
    var card: FilePath?

    @Option(
        help: ArgumentHelp("The whole card, as 8GB or 31914983424, in place of the file's.", valueName: "size"),
        transform: { try ByteCount(parsing: $0, as: "card size") })
    var cardSize: ByteCount?

    @Option(help: ArgumentHelp("Make the card fit this OS image; it is only read.", valueName: "img"))
    var fromImage: FilePath?

    /// Where the card's sizes are from, for the log.
    var source: String { (card ?? Installation.current.card)?.string ?? "the program's own sizes" }

    /// The card that the options ask for.
    func layout() throws -> CardLayout {
        let configuration =
            if let card = card ?? Installation.current.card {
                try CardConfiguration(yaml: readText(card), file: card.string)
            } else {
                try CardConfiguration(yaml: "{}\n", file: "card.yaml")
            }
        guard let fromImage else { return try configuration.layout(cardSize: cardSize) }
        let image = try inspectOSImage(at: fromImage)
        let layout = try configuration.layout(fitting: image, cardSize: cardSize)
        if layout.rootfsOffset != image.rootfsOffset {
            RPiFlashGen.note(
                "\(fromImage): image's rootfs starts \(image.rootfsOffset) behind its boot partition's start, "
                    + "which is not a multiple of 4 MiB; this card takes the image by plan, not in parts")
        }
        return layout
    }
}

/// Which board.
struct BoardOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The board: a file in the boards' folder, less .yaml.", valueName: "board"))
    var board: String

    @Option(help: ArgumentHelp("Folder of the board profiles.", valueName: "folder"))
    var boards = sharedFile("uboot/boards")

    @Option(help: ArgumentHelp("Folder of the boot script's templates.", valueName: "folder"))
    var templates = sharedFile("templates")

    /// Where the board's profile and the script's template are from, for the log.
    var source: String { "\(boards.appending("\(board).yaml")) and \(templates.appending("boot"))" }

    /// The board's profile.
    func profile() throws -> BoardProfile { try readBoard(board, in: boards) }
}

/// For commands that write files.
struct DryRunOptions: ParsableArguments {
    @Flag(
        name: .customLong("dry-run"),
        help: "Check everything, and say what would be written; nothing is, but for a scratch folder in TMPDIR.")
    var isOn = false

    /// Where a scratch folder is made.
    ///
    /// - Throws: `TemporaryFolderError`.
    static var scratch: FilePath { get throws { try temporaryFolder() } }
}

extension FilePath: @retroactive ExpressibleByArgument {
    /// Any text but an empty one.
    public init?(argument: String) {
        guard !argument.isEmpty else { return nil }
        self.init(argument)
    }
}

/// Where things are when no option names them.
enum DefaultPaths {
    private static var named: FilePath? { environmentValue("RPIFLASH_BUILD").map { FilePath($0) } }

    /// Folder of everything that is made: RPIFLASH_BUILD, else `build` in the working folder.
    static var build: FilePath { named ?? "build" }

    /// What was built or fetched: in the folder that RPIFLASH_BUILD names, else where the program runs from.
    static func built(_ path: String) -> FilePath { Installation.current.built(path, in: named) }
}
