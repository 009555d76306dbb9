import FlashEvents
import ArgumentParser
import CommandOutput
import Configuration
import DiskLayout
import Doctor
import Flashing
import GPIO
import HostTools
import ImageStore
import Inventory
import LinuxHost
import RunRecords
import SystemPackage
import TargetConsole
import TFTPServer
import TFTPService

/// `rpiflash doctor`.
struct DoctorCommand: AsyncParsableCommand, ServerCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check whether this server can flash, and how to fix what is wrong.",
        discussion: """
            Looks at the inventory, the card's layout, the templates, the programs that change images, the TFTP port and \
            who has it, the TFTP root, the store, the run records, the RESET lines, the consoles, the cards that were seen \
            in earlier runs (their U-Boot and boot script, and how fast they write), the firewall and the clock. Nothing is changed, no \
            target is touched. Each line begins with ok, note (a flash works without it) or bad (a flash fails). Exit \
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

    @Flag(help: "One JSON object, for programs, as docs/json.md describes it.")
    var json = false

    func run() async throws {
        let listen = listen ?? ListenOption(host: "0.0.0.0", port: 69)
        let subject = Doctor.Subject(
            root: FilePath(tftpRoot), store: store.path, runs: runs.store.path, templates: FilePath(templates),
            address: listen.host, port: listen.port, hostNames: ownHostNames())
        let (findings, targets) = await Doctor(subject, ports: ports(listen)).examine()
        print(json ? jsonLine(DoctorReport(findings: findings)) + "\n" : findingTable(findings), terminator: "")
        let bad = findings.count { $0.level == .bad }
        if bad == 0, !json { suggest("rpiflash flash IMAGE \(targets.first?.displayName ?? "TARGET")") }
        guard bad == 0 else {
            throw FlashError.server("\(bad) check\(bad == 1 ? "" : "s") failed (above); a flash would fail")
        }
    }

    private func ports(_ place: ListenOption) -> DoctorPorts {
        let (inventory, card) = (inventory, card)
        let (templates, service) = (FilePath(templates), FilePath(service))
        let (root, runs, isGiven) = (FilePath(tftpRoot), runs.store, listen != nil)
        return DoctorPorts(
            inventory: { try loadInventory(inventory.map { FilePath($0) }) },
            card: { try loadCard(card.map { FilePath($0) } ?? Installation.current.card) },
            checkTemplates: { _ = try planTemplates(in: templates) },
            bootScript: { bootScriptNumber(in: templates) },
            programs: {
                [(HostTool.fsckVFAT, true), (.e2fsck, true), (.fdtoverlay, false)].map { tool, isNeeded in
                    do {
                        _ = try hostTools().find(tool)
                        return .init(missing: nil, isNeeded: isNeeded)
                    } catch {
                        return .init(missing: "\(error)", isNeeded: isNeeded)
                    }
                }
            },
            server: { await findServer(root, place, service: isGiven ? nil : service) },
            checkRoot: { try Flashing.checkRoot(root) },
            line: { gpio in
                let line = try findLine(gpio.reference)
                return .init(
                    place: line.place,
                    busy: line.isUsed ? "\(GPIOError.busy(line: line.place, consumer: line.consumer))" : nil,
                    isForgotten: line.isForgotten)
            },
            groupFiles: { withLines in
                (exists(service) ? [service] : []) + (withLines ? GPIOChips.paths().map { FilePath($0) } : [])
            },
            checkSpeed: { port in
                SerialSpeed.known.contains { $0.baud == port.baud }
                    ? nil : "\(ConsoleError.speed(device: port.device, baud: port.baud))"
            },
            listen: {
                try ConsoleReader(.network(address: "127.0.0.1")) { _ in }.stop()
                return "UDP port \(ConsoleSource.networkPort)"
            },
            records: {
                let stored = try runs.list()
                return .init(
                    count: stored.count, bytes: stored.reduce(0) { $0 + $1.bytes },
                    cards: CardTrend.all(stored.compactMap(\.record)).map { .init($0) })
            },
            firewall: {
                do {
                    return .chains(try await hostTools().run(.nft, ["list", "chains"]))
                } catch HostToolError.missing {
                    return .none
                } catch {
                    return .hidden("\(error)")
                }
            })
    }
}

/// Who would serve a flash.
///
/// - Parameter service: the service's socket; nil where it is not asked, as an address was given.
private func findServer(_ root: FilePath, _ place: ListenOption, service: FilePath?) async -> DoctorPorts.Server {
    do {
        if let service, let client = try ServiceClient.connect(to: service) {
            defer { client.close() }
            return .service(root: client.root, isOurs: client.serves(root))
        }
    } catch {
        return .brokenService("\(error)")
    }
    do throws(TFTPServerError) {
        let server = try await TFTPServer.start(root: root.string, host: place.host, port: place.port)
        await server.stop()
        return .free
    } catch {
        switch error {
        case .addressInUse:
            let host = place.host == "0.0.0.0" ? "127.0.0.1" : place.host
            let answer = await ServerProbe(host: host, port: place.port).read("rpiflash-doctor")
            return .taken(answers: answer != .silence)
        case .root: return .noRoot
        default: return .trouble("\(error)")
        }
    }
}

extension DoctorPorts.Card {
    fileprivate init(_ trend: CardTrend) {
        let board = trend.runs.last { $0.board != nil }?.board
        self.init(
            mac: trend.key.mac, uboot: board?.uboot, script: board?.script, isKnown: board != nil,
            warning: trend.warning)
    }
}
