import FlashEvents
import ArgumentParser
import CommandOptions
import CommandOutput
import Configuration
import DiskLayout
import Doctor
import Flashing
import GPIO
import ImageStore
import Inventory
import LinuxHost
import RunRecords
import SystemPackage
import TargetConsole
import TFTPServer
import TFTPService
import Wiring

/// `rpiflash doctor`.
struct DoctorCommand: AsyncParsableCommand, ServerCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check whether this server can flash, and how to fix what is wrong.",
        discussion: """
            Looks at the inventory, the card's layout, the templates, the programs that change images, the TFTP port and \
            who has it, the TFTP root, the store, the run records, the RESET lines, the consoles, the cards that were seen \
            in earlier runs (their U-Boot and boot script, and how fast they write), the keys that sign plans and those \
            that the cards know, the firewall and the clock. Nothing is changed, no target is touched. Each line begins with ok, note (a flash works without it) or bad (a flash fails). Exit \
            status 9 where something is bad, else 0.

            EXAMPLES
              rpiflash doctor
              rpiflash doctor --inventory bench.csv --tftp-root /srv/bench
              rpiflash doctor --json
            """)

    @Option(help: TargetOptions.inventoryHelp)
    var inventory: String?

    @Option(
        help: ArgumentHelp(
            "The layout of the targets' cards. \(cardDefault)",
            valueName: "file"))
    var card: String?

    @OptionGroup var store: StoreOptions

    @OptionGroup var server: ServerOptions

    @OptionGroup var runs: RunsOptions

    @OptionGroup var signing: KeysOptions

    @Flag(help: "One JSON object, for programs, as docs/json.md describes it.")
    var json = false

    func run() async throws {
        let place = listen ?? .usual
        let subject = Doctor.Subject(
            root: FilePath(tftpRoot), store: store.path, runs: runs.store.path, templates: FilePath(templates),
            keys: signing.folder, address: place.host, port: place.port, hostNames: ownHostNames())
        let (findings, targets) = await Doctor(
            subject,
            ports: .real(
                inventory: inventory.map { FilePath($0) }, card: card.map { FilePath($0) } ?? Installation.current.card,
                templates: FilePath(templates), root: FilePath(tftpRoot), listen: listen, service: FilePath(service),
                runs: runs.store, keys: signing.folder)
        ).examine()
        print(json ? jsonLine(DoctorReport(findings: findings)) + "\n" : findingTable(findings), terminator: "")
        let bad = findings.count { $0.level == .bad }
        if bad == 0, !json { suggest("rpiflash flash IMAGE \(targets.first?.displayName ?? "TARGET")") }
        guard bad == 0 else {
            throw FlashError.server("\(bad) check\(bad == 1 ? "" : "s") failed (above); a flash would fail")
        }
    }
}
