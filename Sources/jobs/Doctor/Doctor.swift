import Configuration
import DiskLayout
package import Inventory
import LinuxHost
package import SystemPackage

/// Checks whether this server can flash, and says how to fix what is wrong. Nothing is changed, no target is touched.
package struct Doctor: Sendable {
    /// What the checks are about.
    package struct Subject: Sendable {
        /// The TFTP root.
        package var root: FilePath
        /// The folder of prepared images.
        package var store: FilePath
        /// The folder of run records.
        package var runs: FilePath
        /// The folder of templates.
        package var templates: FilePath
        /// The folder of the bench's keys.
        package var keys: FilePath
        /// Where a flash would serve: address and port.
        package var address: String
        /// The UDP port of it.
        package var port: Int
        /// This host's own names and addresses.
        package var hostNames: Set<String>

        package init(
            root: FilePath, store: FilePath, runs: FilePath, templates: FilePath, keys: FilePath, address: String,
            port: Int, hostNames: Set<String>
        ) {
            (self.root, self.store, self.runs, self.templates) = (root, store, runs, templates)
            (self.keys, self.address, self.port, self.hostNames) = (keys, address, port, hostNames)
        }
    }

    let subject: Subject
    let ports: DoctorPorts

    /// - Parameters:
    ///   - subject: what is checked.
    ///   - ports: what is needed of the machine.
    package init(_ subject: Subject, ports: DoctorPorts) { (self.subject, self.ports) = (subject, ports) }

    /// Makes all checks.
    ///
    /// - Returns: what they found, in the order of docs/troubleshooting.md, and this host's targets.
    package func examine() async -> (findings: [Finding], targets: [Target]) {
        let (inventory, targets) = checkInventory()
        var findings = inventory + checkFiles() + checkPrograms()
        findings += checkServer(await ports.server())
        findings += checkFolders() + checkGroups(targets) + checkLines(targets) + checkConsoles(targets)
        // Of every run, so once.
        let records = Result { try ports.records() }
        findings += checkCards(targets, records) + checkKeys(targets, (try? records.get())?.cards ?? [])
        findings += [checkFirewall(await ports.firewall()), checkClock()]
        return (findings, targets)
    }

    /// The checks that need no rights and touch nothing but files: inventory, card's layout, templates, cards of earlier runs.
    package func examineFiles() -> [Finding] {
        let (inventory, targets) = checkInventory()
        return inventory + checkFiles() + ((try? ports.records()).map { checkCards(targets, $0) } ?? [])
    }

    // MARK: Files

    private func checkInventory() -> ([Finding], [Target]) {
        do {
            let inventory = try ports.inventory()
            let own = subject.hostNames
            let targets = inventory.targets.filter { (try? $0.checkServed(by: own)) != nil }
            let count = inventory.targets.count
            let text = "\(inventory.file): \(count) target\(count == 1 ? "" : "s"), \(targets.count) of this host"
            guard targets.isEmpty else { return ([Finding(.ok, "inventory", text)], targets) }
            let names = own.sorted().prefix(4).joined(separator: ", ")
            return ([Finding(.bad, "inventory", "\(text); add a row whose server is one of \(names)")], [])
        } catch {
            return ("\(error)".split(separator: "\n").map { Finding(.bad, "inventory", String($0)) }, [])
        }
    }

    private func checkFiles() -> [Finding] {
        [
            check("card") {
                let layout = try ports.card()
                return "boot partition \(layout.boot.size), rootfs \(layout.rootfs.size); an image's must fit these"
            },
            check("templates") {
                try ports.checkTemplates()
                return "\(subject.templates)"
            },
        ]
    }

    private func checkPrograms() -> [Finding] {
        let missing = ports.programs().compactMap { program in
            program.missing.map { Finding(program.isNeeded ? .bad : .note, "programs", $0) }
        }
        return missing.isEmpty
            ? [Finding(.ok, "programs", "what changes an image for its card is installed")] : missing
    }

    /// What a check says of something that is good, or what it throws.
    private func check(_ topic: String, _ body: () throws -> String) -> Finding {
        do { return Finding(.ok, topic, try body()) } catch { return Finding(.bad, topic, "\(error)") }
    }

    // MARK: The server

    private func checkServer(_ server: DoctorPorts.Server) -> [Finding] {
        let (root, place) = (subject.root, "UDP \(subject.address):\(subject.port)")
        let (level, text): (Finding.Level, String)
        switch server {
        case .service(let own, true): (level, text) = (.ok, "the rpiflash service serves \(own)")
        case .service(let own, false):
            (level, text) = (.bad, "the rpiflash service serves \(own), not \(root); give --tftp-root \(own)")
        case .brokenService(let reason), .trouble(let reason): (level, text) = (.bad, reason)
        case .free:
            (level, text) = (
                .ok,
                "\(place) is free; a flash serves there itself. Two flashes at a time need the service: rpiflash serve"
            )
        case .taken(answers: false):
            (level, text) = (
                .bad,
                "another program has \(place) and does not answer TFTP; end it: ss -ulpn 'sport = :\(subject.port)' "
                    + "names it"
            )
        case .taken(answers: true):
            (level, text) = (
                .note,
                "another TFTP server has \(place); a flash uses it if it serves \(root) and takes uploads, slower and with "
                    + "fewer checks: end it, and rpiflash serves"
            )
        case .noRoot: return []
        }
        return [Finding(level, "server", text)]
    }

    private func checkFolders() -> [Finding] {
        let (root, path) = (subject.root, subject.store)
        func free(_ path: FilePath) -> String { freeBytes(at: path).map(Figures.mebibytes) ?? "unknown" }
        var findings = [
            check("TFTP root") {
                try ports.checkRoot()
                return "\(root), \(free(root)) free"
            }
        ]
        let folder = nearestFolder(path)
        guard isWritable(folder) else {
            let text = "\(folder) cannot be written; run as root, or give a --store of your own"
            return findings + [Finding(.bad, "store", text)]
        }
        let text = "\(path), \(free(folder)) free"
        let isTight = freeBytes(at: folder).map { $0 < 1 << 30 } ?? false
        let remedy = "; an image takes about half of what is used in it: free some, or use another --store"
        findings.append(Finding(isTight ? .note : .ok, "store", text + (isTight ? remedy : "")))
        if let device = fileSystem(of: folder), let other = fileSystem(of: root), device != other {
            findings.append(
                Finding(
                    .note, "store",
                    "\(path) and \(root) are on different file systems; each flash copies the image's chunks, a store on "
                        + "the same one needs none"))
        }
        return findings
    }

    /// Groups that a user is not in: the one that shares the folders and the service's socket, and that of the GPIO chips.
    private func checkGroups(_ targets: [Target]) -> [Finding] {
        let hasLines = targets.contains { $0.gpio != nil }
        var missing: [UInt32: [String]] = [:]
        for place in [subject.root, subject.store, subject.runs] + ports.groupFiles(hasLines) {
            if let group = Accounts.missingGroupID(for: place) { missing[group, default: []].append(place.string) }
        }
        return missing.sorted { $0.key < $1.key }.map { group, places in
            Finding(
                .note, "groups",
                "\(Accounts.notMember(of: group)); it may write to \(places.joined(separator: ", "))")
        }
    }

    // MARK: Targets

    private func checkLines(_ targets: [Target]) -> [Finding] {
        var (findings, free) = ([Finding](), 0)
        for target in targets {
            let name = "target \(target.displayName)"
            guard let gpio = target.gpio else { continue }
            do {
                let line = try ports.line(gpio)
                if let busy = line.busy {
                    findings.append(Finding(.bad, "reset", "\(name): \(busy)"))
                    continue
                }
                free += 1
                guard line.isForgotten else { continue }
                findings.append(
                    Finding(
                        .note, "reset",
                        "\(name): \(line.place) is driven, but nobody uses it, so it may be held in reset; "
                            + "rpiflash reset \(target.displayName) ends that"))
            } catch {
                findings.append(Finding(.bad, "reset", "\(name): \(error)"))
            }
        }
        let commands = targets.count { $0.gpio == nil }
        let parts = [
            free > 0 ? "\(free) line\(free == 1 ? " is" : "s are") there and free" : nil,
            commands > 0 ? "\(commands) target\(commands == 1 ? " has a command" : "s have commands") only" : nil,
        ].compactMap(\.self)
        guard !parts.isEmpty else { return findings }
        return findings + [
            Finding(.ok, "reset", parts.joined(separator: ", ") + "; rpiflash reset TARGET tries it")
        ]
    }

    private func checkConsoles(_ targets: [Target]) -> [Finding] {
        var (findings, good) = ([Finding](), 0)
        for target in targets {
            guard let port = target.console else { continue }
            let name = "target \(target.displayName)"
            if let reason = ports.checkSpeed(port) {
                findings.append(Finding(.note, "console", "\(name): \(reason)"))
            } else if let reason = whyNotReadable(FilePath(port.device)) {
                findings.append(
                    Finding(
                        .note, "console",
                        "\(name): \(port.device): \(reason); its console is not kept: plug it in, or run as root or in "
                            + "the group dialout"))
            } else {
                good += 1
            }
        }
        if good > 0 {
            findings.append(Finding(.ok, "console", "\(good) serial port\(good == 1 ? " is" : "s are") there"))
        }
        guard targets.contains(where: { $0.console == nil }) else { return findings }
        do {
            findings.append(Finding(.ok, "console", "netconsole is heard on \(try ports.listen())"))
        } catch {
            findings.append(Finding(.note, "console", "\(error)"))
        }
        return findings
    }

    /// What runs on the cards, and how they do, as far as earlier runs tell.
    private func checkCards(
        _ targets: [Target], _ read: Result<DoctorPorts.Records, any Error>
    ) -> [Finding] {
        let folder = nearestFolder(subject.runs)
        guard isWritable(folder) else {
            let text = "\(folder) cannot be written, so no records of runs are kept; run as root, or give --runs"
            return [Finding(.note, "records", text)]
        }
        let records: DoctorPorts.Records
        do {
            records = try read.get()
        } catch {
            return [Finding(.note, "records", "\(error)")]
        }
        let count = "\(records.count) run\(records.count == 1 ? "" : "s")"
        let remedy = records.count > 1000 ? "; rpiflash runs prune --older-than 90d removes old ones" : ""
        let text = "\(subject.runs), \(count), \(Figures.mebibytes(records.bytes))\(remedy)"
        return [Finding(.ok, "records", text)] + checkCards(targets, records)
    }

    private func checkCards(_ targets: [Target], _ records: DoctorPorts.Records) -> [Finding] {
        var findings: [Finding] = []
        var seen: [String: Int] = [:]
        let current = ports.bootScript()
        for target in targets {
            guard let card = records.cards.last(where: { $0.mac == target.mac.description }), card.isKnown else {
                continue
            }
            if let warning = card.warning { findings.append(Finding(.note, "cards", warning)) }
            if let agent = card.agent {
                seen["\(card.linux ?? "Linux") with agent \(agent)", default: 0] += 1
                continue
            }
            let uboot = card.uboot.map { $0.split(separator: " ").prefix(2).joined(separator: " ") } ?? "U-Boot"
            let script = card.script.map { "boot script \($0)" } ?? "a boot script without a number"
            seen["\(uboot) with \(script)", default: 0] += 1
            if let current, card.script ?? 0 < current {
                findings.append(
                    Finding(
                        .note, "cards",
                        "target \(target.displayName) has \(script), this version's is \(current); its card can be brought "
                            + "up to date from its running Linux: rpiflash upgrade"))
            }
        }
        let texts = seen.sorted { $0.key < $1.key }.map { "\($0.key) (\($0.value))" }
        let text =
            seen.isEmpty
            ? "none was seen by a flash so far; rpiflash-gen recovery-image makes one"
            : "seen in earlier runs: \(texts.joined(separator: ", "))"
        return findings + [Finding(.ok, "cards", text)]
    }

    // MARK: The host

    /// An input chain that drops what it does not name keeps TFTP out: requests to port 69, and transfers on other ports.
    private func checkFirewall(_ firewall: DoctorPorts.Firewall) -> Finding {
        switch firewall {
        case .none: return Finding(.ok, "firewall", "nftables is not installed")
        case .hidden(let reason):
            return Finding(.note, "firewall", "it cannot be looked at (\(reason)); run as root to see it")
        case .chains(let text):
            guard text.contains(/hook input [^}]*policy drop/) else {
                return Finding(.ok, "firewall", "no input chain drops by its policy")
            }
            return Finding(
                .note, "firewall",
                "an input chain drops what it does not name; let in all UDP from the targets: TFTP answers from other "
                    + "ports than 69")
        }
    }

    /// A Pi has no clock of its own; certificates, logs and file times then lie.
    private func checkClock() -> Finding {
        guard HostClock.isBehindThisProgram else { return Finding(.ok, "clock", HostClock.text) }
        return Finding(
            .note, "clock", "it is set to a time before this program was made; set it: timedatectl set-ntp true")
    }
}
