import FlashEvents
import ArgumentParser
import CommandOptions
import CommandOutput
import Configuration
import DiskLayout
import Flashing
import FlashPlan
import FoundationEssentials
import LinuxHost
import Inventory
import RunRecords
import SystemPackage
import TargetConsole
import TFTPService
import Wiring

/// `rpiflash flash`.
struct FlashCommand: AsyncParsableCommand, ServerCommand {
    static let configuration = CommandConfiguration(
        commandName: "flash",
        abstract: "Put an image on a target's card, or on many, and prove it.",
        usage: """
            rpiflash flash [<options>] <image> <target> ...
            rpiflash flash [<options>] <image> --all | --tag <tag>
            """,
        discussion: """
            Checks everything, prepares the image (once, for all targets), stages it under the TFTP root, resets the \
            target, serves, takes its report, compares, waits until the target answers, and cleans up. The image file is \
            only read; /etc/fstab and cmdline.txt are changed for the card in what is sent (rpiflash plan says how). Only \
            what is in use and differs from the card is sent and written. The rpiflash service serves if it runs, else \
            another TFTP server that has the port (tftpd-hpa, atftpd), else rpiflash itself.

            All targets are checked before the first is reset, and a problem with one of them refuses them all. After that \
            each flash is independent of the others: --jobs, --canary and --stagger control their order, a table shows how \
            each ended, and the exit status is the worst of them, which is the highest number.

            EXAMPLES
              rpiflash flash raspios.img.xz pi-left
              rpiflash flash raspios.img.xz pi-left pi-right
              rpiflash flash raspios.img.xz --tag camera --canary --jobs 4
              rpiflash flash raspios.img.xz --all --dry-run
              rpiflash flash raspios.img.xz pi-left --customize bench.yaml
              rpiflash flash raspios.img pi-left --verify-only --no-wait
              rpiflash flash raspios.img 192.168.1.20 --protocol parts --part-size 256MiB
              rpiflash flash raspios.img pi-left --json | tee flash.jsonl

            \(RPiFlash.exitCodes)
            """)

    @Argument(help: "The OS image, raw or compressed (xz, gz, zst, bz2, zip).")
    var image: String

    @OptionGroup var target: TargetsOptions

    @OptionGroup var several: SeveralOptions

    @Option(
        help: ArgumentHelp(
            "The layout of the target's card. \(cardDefault)",
            valueName: "file"))
    var card: String?

    @Option(
        help: ArgumentHelp(
            "Length of a part: bytes, or with KiB, MiB, GiB, kB, MB, GB (default: 786432000, 750 MiB).",
            valueName: "size"),
        transform: { text in
            do {
                return try ByteCount(parsing: text, as: "part size")
            } catch {
                throw ValidationError("\(error)")
            }
        })
    var partSize: ByteCount = PartsPlan.defaultPartSize

    /// How the image goes over.
    enum ProtocolName: String, ExpressibleByArgument, CaseIterable { case plan, parts }

    @Option(
        name: .customLong("protocol"),
        help: "How the image goes over: as a flash plan, or whole in parts (for servers or cards that need it).")
    var protocolName = ProtocolName.plan

    @Flag(help: "Write everything, also what is on the card already.")
    var full = false

    @Flag(help: "Write nothing: fail where the card differs from the image.")
    var verifyOnly = false

    @OptionGroup var relocation: RelocationOptions

    @Option(
        help: ArgumentHelp(
            "Settings for the first boot (host name, user, SSH keys, Wi-Fi, files): YAML, as docs/customize.md has it.",
            valueName: "file"))
    var customize: String?

    @OptionGroup var store: StoreOptions

    @OptionGroup var signing: KeysOptions

    @Option(help: ArgumentHelp("TCP port that shows that the target is up.", valueName: "port"))
    var waitPort: UInt16 = 22

    @Option(help: ArgumentHelp("How long that is waited for.", valueName: "time"))
    var waitTimeout = TimeOption(.seconds(180))

    @Flag(help: "Do not wait until the target is up.")
    var noWait = false

    @Option(
        help: ArgumentHelp(
            "How long the target may take to ask for the image. Then it is reset once more, and at last by the "
                + "row's reset_command where its gpio did not help.",
            valueName: "time"))
    var requestTimeout = TimeOption(.seconds(45))

    @Option(
        help: ArgumentHelp(
            "How long the target may show no sign of life after that (default: 90s where its console is heard, else 2m and "
                + "5s for each chunk or 1s for each MiB of a part).",
            valueName: "time"))
    var outcomeTimeout: TimeOption?

    @OptionGroup var server: ServerOptions

    @OptionGroup var runs: RunsOptions

    @Flag(
        inversion: .prefixedNo,
        help: ArgumentHelp(
            "Have the target send U-Boot's console to this server while it is flashed by plan, where no serial port of its "
                + "row does; it is kept with the run's record."))
    var netconsole = true

    @OptionGroup var labels: LabelOptions

    @OptionGroup var progress: ProgressOptions

    func validate() throws {
        guard waitPort > 0 else { throw ValidationError("--wait-port is 0; must be 1 to 65535") }
        do throws(PartsPlanError) {
            try PartsPlan.check(partSize: partSize)
        } catch {
            throw ValidationError(error.description)
        }
        if full, verifyOnly { throw ValidationError("--full and --verify-only exclude each other") }
        if protocolName == .parts, full || verifyOnly {
            throw ValidationError(
                "--full and --verify-only go with --protocol plan only; parts are always written whole")
        }
        if protocolName == .parts, relocation.grow == true || customize != nil {
            throw ValidationError(
                "--grow and --customize go with --protocol plan only; parts lay the image down as it is")
        }
        for (name, time) in [("request", requestTimeout), ("outcome", outcomeTimeout ?? requestTimeout)] {
            guard time.duration > .zero else { throw ValidationError("--\(name)-timeout is 0; must be more than 0") }
        }
    }

    func run() async throws {
        progress.apply()
        guard !progress.dryRun.isOn else { return try await sayWhatWouldBeDone() }
        let reporter = RunReporter(
            isOne: target.isOne,
            wording: .init(
                done: verifyOnly ? "verified and proven" : "flashed and proven", port: waitPort,
                hasCounts: protocolName == .plan),
            start: start, json: progress.json)
        let verdicts: [Verdict]
        do {
            let (rows, elsewhere) = try target.select()
            reporter.begin(rows)
            if elsewhere > 0 { reporter.report(nil, .progress(.note(leftOut(elsewhere)))) }
            verdicts = try await flash(rows, reporter)
        } catch {
            let end = RPiFlash.ending(error)
            reporter.refuse(status: end.status, end.text)
            throw error
        }
        let verdict = reporter.finish(verdicts)
        if verdict.isInterrupted { throw CancellationError() }
        // Of several each has told its own already.
        if target.isOne, case .failed(let error)? = verdicts.first?.ending { throw error }
        guard verdict.status == 0 else { throw ExitCode(verdict.status) }
    }

    /// The first event, without several targets.
    var start: FlashEvent {
        var start = FlashEvent(.start)
        if target.isOne { start.target = target.targets[0] }
        start.version = FlashEvent.version
        start.image = image
        start.flashProtocol = protocolName.rawValue
        start.mode = protocolName == .plan ? mode.rawValue : nil
        start.labels = labels.all
        return start
    }

    private func flash(_ rows: [Target], _ reporter: RunReporter) async throws -> [Verdict] {
        let card = try cardLayout()
        let settings = try settings(for: rows)
        let share = FlashShare(rows)
        let keys = try signingKeys(in: signing.folder)
        let recorders = rows.map { recorder($0) }
        let recorded = RecordedReporter(recorders, reporter)
        let relocation = relocation.request
        let run = FleetRun(options: several.options, clock: ContinuousClock()) {
            [listen, service, store, settings, templates, runs] row in
            .real(
                listen: listen, service: FilePath(service), store: store.path, relocation: relocation,
                settings: settings[row], templates: FilePath(templates), keys: keys, share: share,
                earlier: EarlierRuns(of: row, in: runs.store),
                learned: { windows in rows.firstIndex(of: row).map { recorders[$0].learned(windows) } },
                heardConsole: { rows.firstIndex(of: row).map { recorders[$0].takeHeard() } ?? false })
        } report: { index, event in
            recorded.report(index, event)
        }
        do {
            let verdicts = try await run.run(rows.map { request($0, card) })
            await share.close()
            return verdicts
        } catch {
            await share.close()
            throw error
        }
    }

    /// The settings for each target's first boot; none without `--customize`.
    func settings(for rows: [Target]) throws -> [Target: FirstBootSettings] {
        guard let customize else { return [:] }
        return try Dictionary(
            uniqueKeysWithValues: rows.map { ($0, try FirstBootSettings(FilePath(customize), for: $0)) })
    }

    /// The layout of the targets' cards. The log names what the flash is made of.
    func cardLayout() throws(FlashError) -> CardLayout {
        let path = card.map { FilePath($0) } ?? Installation.current.card
        let layout = try loadCard(path)
        if protocolName == .plan { try checkPlanTemplates(in: FilePath(templates)) }
        Log.shared.line(
            "card layout: \(path.map { "\($0)" } ?? "the program's own"); templates: \(templates)", .detail)
        return layout
    }

    func request(_ row: Target, _ card: CardLayout) -> FlashRequest {
        FlashRequest(
            image: FilePath(image), target: row, card: card, root: FilePath(tftpRoot), delivery: delivery,
            requestTimeout: requestTimeout.duration, outcomeTimeout: outcomeTimeout?.duration,
            waitPort: noWait ? nil : waitPort, waitTimeout: waitTimeout.duration,
            sendsConsole: netconsole && row.console == nil)
    }

    private func recorder(_ row: Target) -> RunRecorder {
        var start = start
        (start.target, start.targets) = (row.displayName, nil)
        var record = RunRecord(
            program: RPiFlash.version, started: .now,
            target: .init(name: row.name, mac: row.mac.description, ip: row.ip.description),
            image: .init(path: sanitized(image)), delivery: protocolName.rawValue, mode: start.mode,
            by: .current())
        record.labels = labels.all
        return RunRecorder(runs.store, record, start: start, console: row.consoleSource)
    }

    private var mode: ChunkPlan.Mode { full ? .full : verifyOnly ? .verify : .normal }

    var delivery: TransferMode {
        switch protocolName {
        case .parts: .parts(partSize)
        case .plan: .plan(mode)
        }
    }
}
