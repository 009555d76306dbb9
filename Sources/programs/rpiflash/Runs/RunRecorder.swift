import CommandOutput
import Configuration
import DiskLayout
import Flashing
import FlashPlan
import FoundationEssentials
import Glibc
import HostTools
import Inventory
import LinuxHost
import RunRecords
import Synchronization
import SystemPackage
import TargetConsole
import TFTP

/// Keeps the record of one target's flash: from its first reset on, with what was told before. What cannot be kept is
/// a warning and never the end of a flash.
final class RunRecorder: Sendable {
    private struct State {
        var record: RunRecord
        /// What was told before the run began.
        var early: [String] = []
        var run: OpenRun?
        var hasBegun = false
        var begin: ContinuousClock.Instant?
        var reader: ConsoleReader?
        var text = ConsoleText()
        var model = CardModel()
        var hasHeard = false
        var hasEverHeard = false
        var warnings: [String] = []
    }

    /// Smaller writes say nothing of the card: to start the network again takes a target a second or two for each.
    private static let leastTimed: UInt64 = 4 << 20

    private let store: RunStore
    private let console: ConsoleSource?
    private let state: Mutex<State>
    private let writer: EventWriter
    private let events: EventReporter
    private let sink: Sink

    /// Where the events go: early ones are kept until there is a record.
    private final class Sink: Sendable {
        let take = Mutex<(@Sendable (String) -> Void)?>(nil)
    }

    /// - Parameters:
    ///   - store: where the record will be.
    ///   - record: what is known before.
    ///   - start: the first event.
    ///   - console: whence the target's console is taken; nil: it is not.
    init(_ store: RunStore, _ record: RunRecord, start: FlashEvent, console: ConsoleSource?) {
        self.store = store
        self.console = console
        state = Mutex(State(record: record))
        let sink = Sink()
        self.sink = sink
        writer = EventWriter { line in sink.take.withLock { $0 }?(line) }
        events = EventReporter(writer)
        sink.take.withLock { take in
            take = { [weak self] line in self?.add(line) }
        }
        writer.write(start)
    }

    private func add(_ line: String) {
        let run = state.withLock { state -> OpenRun? in
            if state.run == nil, !state.hasBegun { state.early.append(line) }
            return state.run
        }
        run?.addEvent(line)
    }

    /// Takes what a flash tells.
    ///
    /// - Returns: what is to be told beside that.
    func report(_ progress: FlashProgress) -> [FlashProgress] {
        if case .resetting(_, _, 1) = progress { begin() }
        let run = state.withLock { state -> OpenRun? in
            func seconds() -> Double? {
                state.begin.map { FlashEvent.seconds(ContinuousClock.now - $0) }
            }
            switch progress {
            case .prepared(let id): state.record.image.id = id
            case .asked: state.record.timings.asked = seconds()
            case .wrote(_, let bytes, let took) where bytes >= Self.leastTimed:
                var card = state.record.card ?? RunRecord.CardEntry()
                card.writeBytes += bytes
                card.writeSeconds += Figures.number(took)
                state.record.card = card
            case .proven(let proof, let elapsed):
                state.record.proven = proof
                state.record.timings.flash = FlashEvent.seconds(elapsed)
            case .reported(let bytes):
                keep(report: bytes, &state)
            default: break
            }
            return state.run
        }
        events.report(progress)
        var told = state.withLock { state in
            defer { state.warnings = [] }
            return state.warnings.map { FlashProgress.warning($0) }
        }
        if case .resetting(_, _, 1) = progress, let run { told.append(.recording(id: run.id)) }
        return told
    }

    private func keep(report bytes: [UInt8], _ state: inout State) {
        var lines = ConsoleText()
        state.run?.keepReport(lines.take(bytes.prefix(Report.longest)) + (lines.flush().map { [$0] } ?? []))
        guard let report = try? Report(bytes: bytes) else { return }
        var card = state.record.card ?? RunRecord.CardEntry()
        card.partuuid = report.card.map { sanitized($0) }
        card.retries = report.retries
        state.record.card = card
        state.record.board = .init(
            uboot: report.ubootVersion.map { sanitized($0) }, script: report.script,
            board: report.board.map { sanitized($0) },
            serial: report.serial.map { sanitized($0) })
    }

    private func begin() {
        let run: OpenRun?
        do {
            run = try store.begin(
                state.withLock { state in
                    state.record.started = .now
                    return state.record
                })
        } catch {
            run = nil
            state.withLock {
                $0.warnings.append(
                    "no record of this run is kept: \(error); give a folder that can be written with --runs")
            }
        }
        let early = state.withLock { state in
            defer { state.early = [] }
            (state.run, state.hasBegun, state.begin) = (run, true, ContinuousClock.now)
            if let run { state.record.id = run.id }
            return state.early
        }
        guard let run else { return }
        for line in early { run.addEvent(line) }
        guard let console, let error = listen(to: console) else { return }
        guard case .busy = error else { return warn(error) }
        // Who watches the serial port lets it go when a run begins.
        Task { [weak self] in
            for _ in 0..<10 {
                try await Task.sleep(for: .milliseconds(300))
                guard let self, state.withLock({ $0.run != nil }), listen(to: console) != nil else { return }
            }
            self?.warn(error)
        }
    }

    private func warn(_ error: ConsoleError) {
        state.withLock { $0.warnings.append("the target's console is not kept: \(error)") }
    }

    /// - Returns: why not; nil where it is heard from now on.
    private func listen(to console: ConsoleSource) -> ConsoleError? {
        do throws(ConsoleError) {
            let reader = try ConsoleReader(console) { [weak self] bytes in self?.hear(bytes) }
            state.withLock { if $0.run != nil { $0.reader = reader } }
            return nil
        } catch {
            return error
        }
    }

    private func hear(_ bytes: [UInt8]) {
        state.withLock { state in
            guard let run = state.run, let begin = state.begin else { return }
            if !bytes.isEmpty { (state.hasHeard, state.hasEverHeard) = (true, true) }
            let seconds = FlashEvent.seconds(ContinuousClock.now - begin)
            for line in state.text.take(bytes) {
                state.model.take(line)
                run.addConsole(line, seconds: seconds)
            }
        }
    }

    /// Keeps what the server knows of the window that the target takes.
    func learned(_ windows: WindowMemory) { state.withLock { $0.record.windows = KeptWindows(windows) } }

    /// Whether the console said something since the last call.
    func takeHeard() -> Bool {
        state.withLock { state in
            defer { state.hasHeard = false }
            return state.hasHeard
        }
    }

    /// Ends the record.
    ///
    /// - Returns: what is to be told beside that.
    func end(_ verdict: Verdict) -> [FlashProgress] {
        // It was never touched: there is no record.
        guard let status = verdict.status else { return [] }
        let reader = state.withLock { state in
            defer { state.reader = nil }
            return state.reader
        }
        reader?.stop()
        writer.write(FlashEvent(verdict))
        writer.finish()
        let (run, record) = state.withLock { state -> (OpenRun?, RunRecord) in
            guard let run = state.run else { return (nil, state.record) }
            if let line = state.text.flush(), let begin = state.begin {
                state.model.take(line)
                run.addConsole(line, seconds: FlashEvent.seconds(ContinuousClock.now - begin))
            }
            state.record.card?.model = state.model.text
            state.record.ended = .now
            state.record.proven = verdict.proof
            state.record.timings.flash = verdict.flashTime.map { FlashEvent.seconds($0) }
            state.record.timings.up = verdict.upAfter.map { FlashEvent.seconds($0) }
            (state.record.status, state.record.error) = (status, verdict.sentence.map { sanitized($0) })
            state.record.code = verdict.reportCode?.rawValue
            // The record is over with its last file: what waits for that may read it all.
            state.run = nil
            return (run, state.record)
        }
        guard let run else { return [] }
        run.write(record)
        var told: [FlashProgress] = []
        if case .failed = verdict.ending, state.withLock({ $0.hasEverHeard }) {
            told.append(.note("what the target said: rpiflash runs show \(record.id) --console"))
        }
        if let problem = run.problem { told.append(.warning("the record of this run is not complete: \(problem)")) }
        if record.card != nil, let trend = Self.trend(of: record, in: store), let text = trend.warning {
            told.append(.warning(text))
        }
        return told
    }

    private static func trend(of record: RunRecord, in store: RunStore) -> CardTrend? {
        let runs = (try? store.list(mac: record.target.mac)) ?? []
        return CardTrend.all(runs.compactMap(\.record)).last { $0.runs.last?.id == record.id }
    }
}

extension Target {
    /// Whence its console comes: the row's serial port, else U-Boot's netconsole.
    var consoleSource: ConsoleSource {
        console.map { .serial(device: $0.device, baud: $0.baud) } ?? .network(address: ip.description)
    }
}

extension RunRecord.Author {
    /// Who runs this process.
    static func current() -> Self {
        Self(
            user: environmentValue("SUDO_USER") ?? userName() ?? "\(getuid())", host: hostName(), from: sshClient(),
            command: CommandLine.arguments.map { sanitized($0) })
    }

    private static func userName() -> String? { getpwuid(getuid()).map { String(cString: $0.pointee.pw_name) } }

    private static func hostName() -> String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "unknown" }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// The address of the SSH client that this process descends from. sudo takes the variable away, so the parents are
    /// asked for theirs.
    private static func sshClient() -> String? {
        var process = getpid()
        for _ in 0..<32 where process > 1 {
            let environment = SmallFile.start(of: FilePath("/proc/\(process)/environ"), count: (1 << 20) + 1) ?? []
            for variable in environment.split(separator: 0) {
                let text = String(decoding: variable, as: UTF8.self)
                guard text.hasPrefix("SSH_CONNECTION=") else { continue }
                return text.dropFirst(15).split(separator: " ").first.map { sanitized(String($0.prefix(64))) }
            }
            // pid (name) state parent: the name may have blanks and brackets.
            let status = String(
                decoding: SmallFile.start(of: FilePath("/proc/\(process)/stat"), count: 4096 + 1) ?? [], as: UTF8.self)
            guard let end = status.lastIndex(of: ")") else { return nil }
            let fields = status[status.index(after: end)...].split(separator: " ")
            guard fields.count > 1, let parent = pid_t(fields[1]) else { return nil }
            process = parent
        }
        return nil
    }
}
