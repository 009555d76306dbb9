import ArgumentParser
import Configuration
import DiskLayout
import FlashPlan
import Flashing
import FoundationEssentials
import HostTools
import Inventory
import RunRecords
import SystemPackage
import TFTPService

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
            target, serves, takes its report, compares, waits until the target answers, and cleans up. The image is only \
            read: /etc/fstab and cmdline.txt are changed for the card in what is sent (rpiflash plan says what). Only what is in use and differs from the card is sent and written. The rpiflash service serves if it \
            runs, else another TFTP server that has the port (tftpd-hpa, atftpd), else rpiflash itself.

            Several targets are all checked before the first is reset: what is wrong with one refuses them all. From there on \
            each ends by itself. --jobs, --canary and --stagger say how they are flashed; a table has how each ended, and \
            the exit status is the worst, which is the highest number.

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

    @OptionGroup var end: EndOptions

    @OptionGroup var dryRun: DryRunOptions

    @Flag(help: "Print one JSON object a line, for programs, as docs/json.md describes them; the log stays.")
    var json = false

    @OptionGroup var log: LogOptions

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
        log.apply()
        end.apply()
        guard !dryRun.isOn else { return try await rehearse() }
        guard target.isOne else { return try await flashSeveral() }
        guard json else { return try await flash() }
        let events = EventWriter()
        var start = start
        start.target = target.targets[0]
        events.write(start)
        let reporter = EventReporter(events)
        do {
            let result = try await flash(events, reporter)
            events.end(proven: result.proven, flashTime: result.flashTime, upAfter: result.upAfter, error: nil)
        } catch {
            let proven = reporter.proven
            events.end(proven: proven?.0, flashTime: proven?.elapsed, upAfter: nil, error: error)
            throw error
        }
    }

    /// The first event, without the target.
    var start: FlashEvent {
        var start = FlashEvent(.start)
        start.version = FlashEvent.version
        start.image = image
        start.flashProtocol = protocolName.rawValue
        start.mode = protocolName == .plan ? mode.rawValue : nil
        start.labels = labels.all
        return start
    }

    private func flashSeveral() async throws {
        let reporter = BenchReporter(json: json)
        let endings: [TargetEnding]
        do {
            let (rows, elsewhere) = try target.select()
            reporter.start(start, rows)
            if elsewhere > 0 {
                reporter.report(nil, .progress(.note(leftOut(elsewhere))))
            }
            endings = try await flash(rows, reporter)
        } catch {
            reporter.refuse(start, error)
            throw error
        }
        try reporter.finish(endings)
    }

    private func flash(_ rows: [Target], _ reporter: BenchReporter) async throws -> [TargetEnding] {
        let card = try cardLayout()
        var settings: [Target: FirstBootSettings] = [:]
        if let customize {
            for row in rows { settings[row] = try FirstBootSettings(FilePath(customize), for: row) }
        }
        let share = FlashShare(rows)
        let recorders = rows.map { recorder($0) }
        let relocation = relocation.request
        let bench = Bench(options: several.options, clock: ContinuousClock()) {
            [listen, service, store, settings, templates, runs] row in
            .real(
                listen: listen, service: FilePath(service), store: store.path, relocation: relocation,
                settings: settings[row], templates: FilePath(templates), share: share,
                board: knownBoard(of: row, in: runs.store),
                windows: KnownWindows(of: row, in: runs.store) { windows in
                    rows.firstIndex(of: row).map { recorders[$0].learned(windows) }
                },
                heardConsole: { rows.firstIndex(of: row).map { recorders[$0].takeHeard() } ?? false })
        } report: { index, event in
            for (place, recorder) in recorders.enumerated() where index == nil || index == place {
                switch event {
                case .progress(let progress):
                    for remark in recorder.report(progress) { reporter.report(place, .progress(remark)) }
                case .ended(let ending):
                    for remark in recorder.end(ending) { reporter.report(place, .progress(remark)) }
                }
            }
            reporter.report(index, event)
        }
        let result: [TargetEnding]
        do {
            result = try await bench.run(rows.map { request($0, card) })
        } catch {
            await share.close()
            throw error
        }
        await share.close()
        return result
    }

    /// The layout of the targets' cards. The log names what the flash is made of.
    func cardLayout() throws(FlashError) -> CardLayout {
        let path = card.map { FilePath($0) } ?? Installation.current.card
        let layout = try loadCard(path)
        if protocolName == .plan { try checkPlanTemplates(in: FilePath(templates)) }
        Console.shared.line(
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
        start.target = row.displayName
        var record = RunRecord(
            program: RPiFlash.version, started: .now,
            target: .init(name: row.name, mac: row.mac.description, ip: row.ip.description),
            image: .init(path: sanitized(image)), delivery: protocolName.rawValue, mode: start.mode,
            by: .current())
        record.labels = labels.all
        return RunRecorder(runs.store, record, start: start, console: row.consoleSource)
    }

    private func flash() async throws {
        let row = try target.find()
        let result = try await flash(row) { _ in }
        let proven = result.proven
        let done = Palette.standardOutput.paint(verifyOnly ? "verified and proven" : "flashed and proven", .good)
        let how =
            protocolName == .parts
            ? ""
            : " (\(proven.written.bytes) written, \(proven.loaded.bytes) loaded"
                + (proven.retries > 0 ? ", \(proven.retries) retries)" : ")")
        let up = result.upAfter.map { ", TCP port \(waitPort) answered \(Reporter.seconds($0)) later" } ?? ""
        print(
            "\(row.displayName) (\(row.mac), \(row.ip)): \(done), \(proven.bytes.bytes) bytes\(how) "
                + "in \(Reporter.seconds(result.flashTime))\(up)")
        suggest("rpiflash runs show \(row.displayName)")
    }

    private func flash(_ events: EventWriter, _ reporter: EventReporter) async throws -> FlashResult {
        let row = try target.find()
        var found = FlashEvent(.target)
        (found.name, found.mac, found.ip) = (row.name, row.mac.description, row.ip.description)
        events.write(found)
        return try await flash(row) { reporter.report($0) }
    }

    /// - Parameter report: told what happens, beside the log.
    private func flash(
        _ row: Target, report: @escaping @Sendable (FlashProgress) -> Void
    ) async throws -> FlashResult {
        let request = request(row, try cardLayout())
        let settings = try customize.map { try FirstBootSettings(FilePath($0), for: row) }
        let reporter = Reporter(target: row.displayName)
        let recorder = recorder(row)
        @Sendable func tell(_ progress: FlashProgress) {
            reporter.report(progress)
            report(progress)
        }
        let flasher = Flasher(
            ports: .real(
                listen: listen, service: FilePath(service), store: store.path,
                relocation: relocation.request, settings: settings, templates: FilePath(templates),
                board: knownBoard(of: row, in: runs.store),
                windows: KnownWindows(of: row, in: runs.store) { recorder.learned($0) },
                heardConsole: { recorder.takeHeard() }),
            clock: ContinuousClock()
        ) { progress in
            let remarks = recorder.report(progress)
            tell(progress)
            for remark in remarks { tell(remark) }
        }
        do {
            let result = try await flasher.run(request)
            Console.shared.finish()
            for remark in recorder.end(result, nil) { tell(remark) }
            return result
        } catch {
            for remark in recorder.end(nil, error) { tell(remark) }
            throw error
        }
    }

    private var mode: ChunkPlan.Mode { full ? .full : verifyOnly ? .verify : .normal }

    private var delivery: Delivery {
        switch protocolName {
        case .parts: .parts(partSize)
        case .plan: .plan(mode)
        }
    }
}
