public import ArgumentParser
import BootScript
import DiskLayout
import Glibc
import HostTools
import OSImage
import RecoveryImage
public import SystemPackage

/// Which card.
struct CardOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The card's sizes. Default: recovery_image/card.yaml in the working folder, then /etc/rpiflash/card.yaml.",
            valueName: "file"))
    var card: FilePath?

    @Option(
        help: ArgumentHelp("The whole card, as 8GB or 31914983424, in place of the file's.", valueName: "size"),
        transform: { try ByteCount(parsing: $0, as: "card size") })
    var cardSize: ByteCount?

    @Option(help: ArgumentHelp("Make the card fit this OS image; it is only read.", valueName: "img"))
    var fromImage: FilePath?

    /// The card that the options ask for.
    func layout() throws -> CardLayout {
        let card = card ?? Places.card
        let configuration = try CardConfiguration(yaml: readText(card), file: card.string)
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

    @Option(help: ArgumentHelp("Folder of boot.cmd.", valueName: "folder"))
    var templates = sharedFile("templates")

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
enum Places {
    /// Folder of everything that is built: RPIFLASH_BUILD, else `build`.
    static var build: FilePath { FilePath(environmentValue("RPIFLASH_BUILD") ?? "build") }

    /// The card's sizes: the working folder's, then this host's, which a flash takes too, then the product's own.
    static var card: FilePath {
        let name = "recovery_image/card.yaml"
        let host = "/etc/rpiflash/card.yaml"
        return access(name, F_OK) != 0 && access(host, F_OK) == 0 ? FilePath(host) : sharedFile(name)
    }

    /// What was built or fetched: in the folder that RPIFLASH_BUILD names, else in `build`, else, installed with the
    /// product, in its `prebuilt`. The first of these for the message where none has it.
    static func built(_ path: String) -> FilePath {
        let own = build.appending(path)
        let isElsewhere = environmentValue("RPIFLASH_BUILD") == nil && access(own.string, F_OK) != 0
        let installed = sharedFile("prebuilt/\(path)")
        return isElsewhere && access(installed.string, F_OK) == 0 ? installed : own
    }
}
