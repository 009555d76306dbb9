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
    @Option(help: ArgumentHelp("The card's sizes.", valueName: "file"))
    var card = sharedFile("recovery_image/card.yaml")

    @Option(
        help: ArgumentHelp("The whole card, as 8GB or 31914983424, in place of the file's.", valueName: "size"),
        transform: { try ByteCount(parsing: $0, as: "card size") })
    var cardSize: ByteCount?

    @Option(help: ArgumentHelp("Make the card fit this OS image; it is only read.", valueName: "img"))
    var fromImage: FilePath?

    /// The card that the options ask for.
    func layout() throws -> CardLayout {
        let configuration = try CardConfiguration(yaml: readText(card), file: card.string)
        guard let fromImage else { return try configuration.layout(cardSize: cardSize) }
        return try configuration.layout(fitting: inspectOSImage(at: fromImage), cardSize: cardSize)
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
}
