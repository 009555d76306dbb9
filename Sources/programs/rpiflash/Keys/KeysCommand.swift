import ArgumentParser
import CommandOptions
import CommandOutput
import FlashEvents
import HostTools
import LinuxHost
import SystemPackage
import Wiring

/// `rpiflash keys`.
struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys",
        abstract: "Make, show or change the keys that sign what targets run.",
        discussion: """
            Where the bench has a key, every flash plan is signed. A card that was made with the key (rpiflash-gen \
            recovery-image --key) runs nothing else. Without the key such cards can only be brought up to date by rpiflash \
            upgrade or in a card reader: keep a copy of its folder. docs/security.md says what this stops, and what it \
            does not.

            EXAMPLES
              rpiflash keys init
              rpiflash keys show
              rpiflash keys rotate
            """,
        subcommands: [InitCommand.self, ShowCommand.self, RotateCommand.self], defaultSubcommand: ShowCommand.self)

    struct InitCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "init", abstract: "Make the bench's key, unless it has one.",
            discussion: """
                EXAMPLES
                  rpiflash keys init
                  rpiflash keys init --keys /srv/keys
                """)

        @OptionGroup var signing: KeysOptions

        func run() async throws {
            let keys = try signingKeys(in: signing.folder)
            guard keys.names.isEmpty else {
                print("\(signing.folder) has \(keys.names.joined(separator: ", ")) already")
                return
            }
            let name = try await makeKey(in: signing.folder)
            print(
                "made \(signing.folder)/\(name).key, which signs what targets run: keep a copy of the folder elsewhere")
            suggest("rpiflash-gen recovery-image --board rpi_arm64 --key \(signing.folder)/\(SigningKeys.currentName)")
        }
    }

    struct ShowCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "List the bench's keys.",
            discussion: """
                All of them sign every plan. The current one is what new cards get.

                EXAMPLES
                  rpiflash keys show
                """)

        @OptionGroup var signing: KeysOptions

        func run() throws {
            let keys = try signingKeys(in: signing.folder)
            guard !keys.names.isEmpty else {
                print("no key in \(signing.folder): nothing is signed")
                return suggest("rpiflash keys init")
            }
            for name in keys.names {
                print("\(signing.folder)/\(name).key\(name == keys.current ? " (current)" : "")")
            }
        }
    }

    struct RotateCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rotate", abstract: "Make another key, which new cards get; the old ones go on signing.",
            discussion: """
                Then make a recovery image with both keys and bring it to the cards with rpiflash upgrade, then one with \
                the new key alone. When every card has that, remove the old key's two files.

                EXAMPLES
                  rpiflash keys rotate
                """)

        @OptionGroup var signing: KeysOptions

        func run() async throws {
            let keys = try signingKeys(in: signing.folder)
            guard !keys.names.isEmpty else {
                throw FlashError.server("no key in \(signing.folder) to change; make one with rpiflash keys init")
            }
            let name = try await makeKey(in: signing.folder)
            print("made \(signing.folder)/\(name).key; still signing too: \(keys.names.joined(separator: ", "))")
            let old = keys.current ?? keys.names[0]
            suggest(
                "rpiflash-gen recovery-image --board rpi_arm64 --key \(signing.folder)/\(name).key "
                    + "--key \(signing.folder)/\(old).key")
        }
    }
}
