import ArgumentParser
import CommandOutput
import Configuration
import DiskLayout
import Flashing
import Glibc
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
        var findings: [Finding] = []
        let targets = lookAtInventory(&findings)
        lookAtFiles(&findings)
        await lookAtServer(&findings)
        lookAtFolders(&findings)
        lookAtGroups(targets, &findings)
        lookAtLines(targets, &findings)
        lookAtConsoles(targets, &findings)
        lookAtCards(targets, &findings)
        await lookAtHost(&findings)
        if json {
            print(jsonLine(DoctorReport(findings: findings)))
        } else {
            let table = textTable(findings.map { [$0.level.rawValue, $0.topic, sanitized($0.text)] })
            let lines = table.split(separator: "\n")
            for (finding, line) in zip(findings, lines) {
                let level = finding.level.rawValue
                print(Palette.standardOutput.paint(level, finding.level.style) + line.dropFirst(level.count))
            }
        }
        let bad = findings.count { $0.level == .bad }
        if bad == 0, !json { suggest("rpiflash flash IMAGE \(targets.first?.displayName ?? "TARGET")") }
        guard bad == 0 else {
            throw FlashError.server("\(bad) check\(bad == 1 ? "" : "s") failed (above); a flash would fail")
        }
    }

    // MARK: What is looked at

    /// - Returns: this host's targets.
    private func lookAtInventory(_ findings: inout [Finding]) -> [Target] {
        do {
            let inventory = try loadInventory(inventory.map { FilePath($0) })
            let own = ownHostNames()
            let targets = inventory.targets.filter { (try? $0.checkServed(by: own)) != nil }
            let count = inventory.targets.count
            let text = "\(inventory.file): \(count) target\(count == 1 ? "" : "s"), \(targets.count) of this host"
            if targets.isEmpty {
                findings.add(
                    .bad, "inventory",
                    "\(text); add a row whose server is one of \(own.sorted().prefix(4).joined(separator: ", "))")
            } else {
                findings.add(.ok, "inventory", text)
            }
            return targets
        } catch {
            for line in "\(error)".split(separator: "\n") { findings.add(.bad, "inventory", String(line)) }
            return []
        }
    }

    private func lookAtFiles(_ findings: inout [Finding]) {
        findings.check("card") {
            let layout = try loadCard(card.map { FilePath($0) } ?? Installation.current.card)
            return "boot partition \(layout.boot.size), rootfs \(layout.rootfs.size); an image's must fit these"
        }
        findings.check("templates") {
            _ = try planTemplates(in: FilePath(templates))
            return templates
        }
        let tools = hostTools()
        for (tool, level) in [
            (HostTool.fsckVFAT, Finding.Level.bad), (.e2fsck, .bad), (.fdtoverlay, .note),
        ] {
            do {
                _ = try tools.find(tool)
            } catch {
                findings.add(level, "programs", "\(error)")
            }
        }
        if !findings.contains(where: { $0.topic == "programs" }) {
            findings.add(.ok, "programs", "what changes an image for its card is installed")
        }
    }

    private func lookAtServer(_ findings: inout [Finding]) async {
        if listen == nil {
            do {
                if let client = try ServiceClient.connect(to: FilePath(service)) {
                    defer { client.close() }
                    let serves = client.serves(FilePath(tftpRoot))
                    findings.add(
                        serves ? .ok : .bad, "server",
                        serves
                            ? "the rpiflash service serves \(client.root)"
                            : "the rpiflash service serves \(client.root), not \(tftpRoot); give --tftp-root \(client.root)"
                    )
                    return
                }
            } catch {
                findings.add(.bad, "server", "\(error)")
                return
            }
        }
        let listen = listen ?? ListenOption(host: "0.0.0.0", port: 69)
        let place = "UDP \(listen.host):\(listen.port)"
        do throws(TFTPServerError) {
            let server = try await TFTPServer.start(root: tftpRoot, host: listen.host, port: listen.port)
            await server.stop()
            findings.add(
                .ok, "server",
                "\(place) is free; a flash serves there by itself. Two flashes at a time need the service: rpiflash serve"
            )
        } catch {
            switch error {
            case .addressInUse:
                let host = listen.host == "0.0.0.0" ? "127.0.0.1" : listen.host
                let answer = await ServerProbe(host: host, port: listen.port).read("rpiflash-doctor")
                if case .silence = answer {
                    findings.add(
                        .bad, "server",
                        "another program has \(place) and does not answer TFTP; end it: ss -ulpn 'sport = :\(listen.port)' names it"
                    )
                } else {
                    findings.add(
                        .note, "server",
                        "another TFTP server has \(place); a flash uses it if it serves \(tftpRoot) and takes uploads, "
                            + "slower and with fewer checks: end it, and rpiflash serves")
                }
            case .root: break  // It is looked at below.
            default: findings.add(.bad, "server", "\(error)")
            }
        }
    }

    private func lookAtFolders(_ findings: inout [Finding]) {
        let root = FilePath(tftpRoot)
        findings.check("TFTP root") {
            try checkRoot(root)
            return "\(root), \(Self.free(at: root)) free"
        }
        let folder = Self.existing(store.path)
        guard access(folder.string, W_OK) == 0 else {
            findings.add(.bad, "store", "\(folder) cannot be written; run as root, or give a --store of your own")
            return
        }
        let (space, device) = (freeBytes(at: folder), Self.device(of: folder))
        let text = "\(store.path), \(Self.free(at: folder)) free"
        if let space, space < 1 << 30 {
            findings.add(
                .note, "store",
                "\(text); an image takes about half of what is used in it: free some, or use another --store")
        } else {
            findings.add(.ok, "store", text)
        }
        if let device, let other = Self.device(of: root), device != other {
            findings.add(
                .note, "store",
                "\(store.path) and \(root) are on different file systems; each flash copies the image's chunks, "
                    + "a store on the same one needs none")
        }
    }

    /// Groups that a user lacks: the one that shares the folders and the service's socket, and that of the GPIO chips.
    private func lookAtGroups(_ targets: [Target], _ findings: inout [Finding]) {
        var places = [FilePath(tftpRoot), store.path, runs.store.path]
        if access(service, F_OK) == 0 { places.append(FilePath(service)) }
        if targets.contains(where: { $0.gpio != nil }) { places += GPIOChips.paths().map { FilePath($0) } }
        var missing: [UInt32: [FilePath]] = [:]
        for place in places {
            if let group = Accounts.missingGroupID(for: place) { missing[group, default: []].append(place) }
        }
        for (group, places) in missing.sorted(by: { $0.key < $1.key }) {
            findings.add(
                .note, "groups",
                "\(Accounts.notMember(of: group)); it may write to \(places.map(\.string).joined(separator: ", "))")
        }
    }

    /// A folder that is made when it is needed first; until then its parent counts.
    private static func existing(_ path: FilePath) -> FilePath {
        var folder = path
        while access(folder.string, F_OK) != 0, !folder.removingLastComponent().isEmpty, folder != "/" {
            folder = folder.removingLastComponent()
        }
        return folder
    }

    private func lookAtConsoles(_ targets: [Target], _ findings: inout [Finding]) {
        var good = 0
        for target in targets {
            guard let port = target.console else { continue }
            if !SerialSpeed.known.contains(where: { $0.baud == port.baud }) {
                findings.add(
                    .note, "console",
                    "target \(target.displayName): \(ConsoleError.speed(device: port.device, baud: port.baud))")
            } else if access(port.device, R_OK) == 0 {
                good += 1
            } else {
                findings.add(
                    .note, "console",
                    "target \(target.displayName): \(port.device): \(Errno(rawValue: errno)); "
                        + "its console is not kept: plug it in, or run as root or in the group dialout")
            }
        }
        if good > 0 {
            findings.add(.ok, "console", "\(good) serial port\(good == 1 ? " is" : "s are") there")
        }
        guard targets.contains(where: { $0.console == nil }) else { return }
        do throws(ConsoleError) {
            try ConsoleReader(.network(address: "127.0.0.1")) { _ in }.stop()
            findings.add(.ok, "console", "netconsole is heard on UDP port \(ConsoleSource.networkPort)")
        } catch {
            findings.add(.note, "console", "\(error)")
        }
    }

    /// What runs on the cards, and how they do, as far as earlier runs tell.
    private func lookAtCards(_ targets: [Target], _ findings: inout [Finding]) {
        let folder = Self.existing(runs.store.path)
        guard access(folder.string, W_OK) == 0 else {
            findings.add(
                .note, "records",
                "\(folder) cannot be written, so no records of runs are kept; run as root, or give --runs")
            return
        }
        let stored: [StoredRun]
        do throws(RunStoreError) {
            stored = try runs.store.list()
        } catch {
            findings.add(.note, "records", "\(error)")
            return
        }
        let bytes = stored.reduce(0) { $0 + $1.bytes }
        findings.add(
            .ok, "records",
            "\(runs.store.path), \(stored.count) run\(stored.count == 1 ? "" : "s"), \(Figures.mebibytes(bytes))"
                + (stored.count > 1000 ? "; rpiflash runs prune --older-than 90d removes old ones" : ""))
        let trends = CardTrend.all(stored.compactMap(\.record))
        let current = bootScriptNumber(in: FilePath(templates))
        var seen: [String: Int] = [:]
        for target in targets {
            // The card that it was seen with last.
            let trend = trends.last { $0.key.mac == target.mac.description }
            guard let trend, let board = trend.runs.last(where: { $0.board != nil })?.board else { continue }
            let uboot = board.uboot.map { $0.split(separator: " ").prefix(2).joined(separator: " ") } ?? "U-Boot"
            let script = board.script.map { "boot script \($0)" } ?? "a boot script without a number"
            seen["\(uboot) with \(script)", default: 0] += 1
            if let current, board.script ?? 0 < current {
                findings.add(
                    .note, "cards",
                    "target \(target.displayName) has \(script), this version's is \(current); its card can be brought "
                        + "up to date from its running Linux: rpiflash-upgrade-card")
            }
            if let warning = trend.warning { findings.add(.note, "cards", warning) }
        }
        if seen.isEmpty {
            findings.add(.ok, "cards", "none was seen by a flash so far; rpiflash-gen recovery-image makes one")
        } else {
            let texts = seen.sorted { $0.key < $1.key }.map { "\($0.key) (\($0.value))" }
            findings.add(.ok, "cards", "seen in earlier runs: \(texts.joined(separator: ", "))")
        }
    }

    private func lookAtLines(_ targets: [Target], _ findings: inout [Finding]) {
        var good = 0
        for target in targets {
            guard let gpio = target.gpio else {
                if target.resetCommand == nil {
                    findings.add(.bad, "reset", "target \(target.displayName) has neither a gpio nor a reset_command")
                }
                continue
            }
            do {
                let line = try findLine(gpio.reference)
                if line.isUsed {
                    findings.add(
                        .bad, "reset",
                        "target \(target.displayName): \(GPIOError.busy(line: line.place, consumer: line.consumer))")
                } else {
                    good += 1
                    if line.isForgotten {
                        findings.add(
                            .note, "reset",
                            "target \(target.displayName): \(line.place) is driven, but nobody uses it, so it may be held "
                                + "in reset; rpiflash reset \(target.displayName) ends that")
                    }
                }
            } catch {
                findings.add(.bad, "reset", "target \(target.displayName): \(error)")
            }
        }
        let commands = targets.count { $0.gpio == nil && $0.resetCommand != nil }
        let parts = [
            good > 0 ? "\(good) line\(good == 1 ? " is" : "s are") there and free" : nil,
            commands > 0 ? "\(commands) target\(commands == 1 ? " has a command" : "s have commands") only" : nil,
        ].compactMap(\.self)
        if !parts.isEmpty {
            findings.add(.ok, "reset", parts.joined(separator: ", ") + "; rpiflash reset TARGET tries it")
        }
    }

    private func lookAtHost(_ findings: inout [Finding]) async {
        await lookAtFirewall(&findings)
        // A Pi has no clock of its own; certificates, logs and file times then lie.
        var (now, program) = (time(nil), stat())
        if stat("/proc/self/exe", &program) == 0, now < program.st_mtim.tv_sec {
            findings.add(
                .note, "clock", "it is set to a time before this program was made; set it: timedatectl set-ntp true")
        } else {
            var text = [CChar](repeating: 0, count: 32)
            var parts = tm()
            gmtime_r(&now, &parts)
            strftime(&text, text.count, "%Y-%m-%d %H:%M UTC", &parts)
            findings.add(
                .ok, "clock", String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
        }
    }

    /// An input chain that drops what it does not name keeps TFTP out: requests to port 69, and transfers on other ports.
    private func lookAtFirewall(_ findings: inout [Finding]) async {
        let chains: String
        do {
            chains = try await hostTools().run(.nft, ["list", "chains"])
        } catch HostToolError.missing {
            findings.add(.ok, "firewall", "nftables is not installed")
            return
        } catch {
            findings.add(.note, "firewall", "it cannot be looked at (\(error)); run as root to see it")
            return
        }
        if chains.contains("hook input"), chains.matches(of: /hook input [^}]*policy drop/).count > 0 {
            findings.add(
                .note, "firewall",
                "an input chain drops what it does not name; let in all UDP from the targets: TFTP answers from other ports than 69"
            )
        } else {
            findings.add(.ok, "firewall", "no input chain drops by its policy")
        }
    }

    // MARK: Figures

    private static func free(at path: FilePath) -> String { freeBytes(at: path).map(Figures.mebibytes) ?? "unknown" }

    private static func device(of path: FilePath) -> UInt64? {
        var status = stat()
        return path.withPlatformString { stat($0, &status) } == 0 ? UInt64(status.st_dev) : nil
    }
}

/// One thing that was looked at.
struct Finding: Encodable, Sendable {
    enum Level: String, Encodable, Sendable {
        case ok, note, bad

        var style: Palette.Style {
            switch self {
            case .ok: .success
            case .note: .warning
            case .bad: .error
            }
        }
    }

    let level: Level
    let topic: String
    let text: String
}

/// What `rpiflash doctor --json` prints; docs/json.md has its fields.
struct DoctorReport: Encodable {
    /// Grows when a field changes its meaning or goes.
    let version = 1
    let findings: [Finding]
}

extension [Finding] {
    fileprivate mutating func add(_ level: Finding.Level, _ topic: String, _ text: String) {
        append(Finding(level: level, topic: topic, text: text))
    }

    /// Adds what `look` says of something that is good, or what it throws.
    fileprivate mutating func check(_ topic: String, _ look: () throws -> String) {
        do {
            add(.ok, topic, try look())
        } catch {
            add(.bad, topic, "\(error)")
        }
    }
}
