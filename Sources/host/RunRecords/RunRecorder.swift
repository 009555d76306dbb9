import Configuration
package import FlashEvents
import FlashPlan
import FoundationEssentials
import Synchronization
package import TFTP
package import TargetConsole

/// Keeps the record of one target's flash: from its first reset on, with what was told before. What cannot be kept is
/// a warning and never the end of a flash.
package final class RunRecorder: Sendable {
    private struct State {
        var record: RunRecord
        /// What was told before the run began.
        var early: [String] = []
        var run: OpenRun?
        var hasBegun = false
        var begin: ContinuousClock.Instant?
        var readers: [ConsoleReader] = []
        var port: NetconsolePort?
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
    package init(_ store: RunStore, _ record: RunRecord, start: FlashEvent, console: ConsoleSource?) {
        (self.store, self.console) = (store, console)
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
    package func report(_ progress: FlashProgress) -> [FlashProgress] {
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
        if case .asked(let address?) = progress, case .network(let expected)? = console, address != expected,
            run != nil,
            let error = listen(to: .network(address: address))
        {
            warn(error)
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
            linux: report.linuxVersion.map { sanitized($0) }, agent: report.agent,
            board: report.board.map { sanitized($0) },
            serial: report.serial.map { sanitized($0) }, keys: report.keys.map { sanitized($0) })
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
        let port = NetconsolePort()
        state.withLock { $0.port = port }
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
            state.withLock { if $0.run != nil { $0.readers.append(reader) } }
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
    package func learned(_ windows: WindowMemory) { state.withLock { $0.record.windows = KeptWindows(windows) } }

    /// Whether the console said something since the last call.
    package func takeHeard() -> Bool {
        state.withLock { state in
            defer { state.hasHeard = false }
            return state.hasHeard
        }
    }

    /// Ends the record.
    ///
    /// - Returns: what is to be told beside that.
    package func end(_ verdict: Verdict) -> [FlashProgress] {
        // It was never touched: there is no record.
        guard let status = verdict.status else { return [] }
        let readers = state.withLock { state in
            defer { (state.readers, state.port) = ([], nil) }
            return state.readers
        }
        for reader in readers { reader.stop() }
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
