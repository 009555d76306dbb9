import ArgumentParser
package import BootScript
import Configuration
import CommandOutput
import LinuxHost
import RecoveryImage
import SystemPackage

struct BoardCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "board",
        abstract: "Show a board's profile, or one of its values.",
        discussion: """
            A list is one word a line where KEY names it, and words with a space between them in the whole profile. \
            uboot/README.md says what the keys mean.

            EXAMPLES
              rpiflash-gen board rpi_arm64
              rpiflash-gen board rpi_arm64 defconfig
              rpiflash-gen board rpi_arm64 --json
            """)

    @Argument(help: "The board: a file in the boards' folder, less .yaml.")
    var board: String

    @Argument(help: ArgumentHelp("Print this value alone.", valueName: "key"))
    var key: BoardProfile.CodingKeys?

    @Option(help: ArgumentHelp("Folder of the board profiles.", valueName: "folder"))
    var boards = sharedFile("uboot/boards")

    @Flag(help: "Print the profile as JSON (docs/json.md).")
    var json = false

    func validate() throws {
        if json, key != nil { throw ValidationError("--json prints the whole profile; leave out the key") }
    }

    func run() throws {
        let profile = try readBoard(board, in: boards)
        if json {
            print(jsonLine(Output(version: 1, profile: profile)))
        } else if let key {
            for word in profile[key].words { print(word) }
        } else {
            for key in profile.keys {
                print("\(key.rawValue): \(profile[key].words.joined(separator: " "))")
            }
        }
    }

    /// docs/schema/board.schema.json.
    private struct Output: Encodable {
        let version: Int
        let profile: BoardProfile

        enum CodingKeys: String, CodingKey { case version }

        func encode(to encoder: any Encoder) throws {
            var values = encoder.container(keyedBy: CodingKeys.self)
            try values.encode(version, forKey: .version)
            try profile.encode(to: encoder)
        }
    }
}

extension BoardProfile.CodingKeys: ExpressibleByArgument {}
