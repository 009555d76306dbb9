import Dispatch
import DiskLayout
import FlashPlan
import Flashing
import FoundationEssentials
import HostTools
import Synchronization

/// What `rpiflash flash --json` prints: one JSON object a line. docs/json.md has the table of events and fields.
struct FlashEvent: Encodable {
    /// The version of this format: it grows when an event or a field changes its meaning or goes.
    static let version = 1

    enum Kind: String, Encodable, CaseIterable {
        case start, target, note, warning, unpacking, preparing, staging, serving, reset, asked, chunk, part, file
        case proven, waiting, result, summary, prepared, wrote, report, recording
        case dryRun = "dry_run"
    }

    enum CodingKeys: String, CodingKey, CaseIterable {
        case event, time, version, image, target, name, mac, ip, text, bytes, total, server, attempt, method, number
        case count, rate, packets, repeated, window, written, loaded, retries, port, status, error
        case flashProtocol = "protocol"
        case mode, targets, methods, run, uboot, script, board, serial, card, seconds, code, labels
        case imageID = "image_id"
        case provenCount = "proven_count"
        case failedCount = "failed_count"
        case notStartedCount = "not_started_count"
        case isOwn = "own"
        case isDryRun = "dry_run"
        case secondsLeft = "seconds_left"
        case isProven = "proven"
        case flashSeconds = "flash_seconds"
        case upSeconds = "up_seconds"
        case elapsedSeconds = "elapsed_seconds"
    }

    var event: Kind
    /// Seconds since the command began.
    var time = 0.0
    var version: Int?
    var image: String?
    var flashProtocol: String?
    var mode: String?
    var labels: [String: String]?
    var target: String?
    var targets: [String]?
    var methods: [String]?
    var isDryRun: Bool?
    var name: String?
    var mac: String?
    var ip: String?
    var text: String?
    var bytes: UInt64?
    var total: UInt64?
    var server: String?
    var isOwn: Bool?
    var attempt: Int?
    var method: String?
    var number: UInt64?
    var count: UInt64?
    /// Bytes a second.
    var rate: UInt64?
    var secondsLeft: UInt64?
    var packets: UInt64?
    var repeated: UInt64?
    var window: Int?
    var written: UInt64?
    var loaded: UInt64?
    var retries: UInt64?
    var port: UInt16?
    var elapsedSeconds: Double?
    var status: Int32?
    var isProven: Bool?
    var error: String?
    var code: String?
    var flashSeconds: Double?
    var upSeconds: Double?
    var provenCount: UInt64?
    var failedCount: UInt64?
    var notStartedCount: UInt64?
    var imageID: String?
    var run: String?
    var uboot: String?
    var script: UInt64?
    var board: String?
    var serial: String?
    var card: String?
    var seconds: Double?

    init(_ event: Kind) { self.event = event }
}

extension FlashEvent {
    /// - Parameter rate: bytes a second, where it is known.
    init(_ progress: FlashProgress, rate: Double?) {
        switch progress {
        case .note(let text):
            self.init(.note)
            self.text = text
        case .warning(let text):
            self.init(.warning)
            self.text = text
        case .unpacking(let bytes, let total): self.init(.unpacking, bytes, of: total)
        case .preparing(let bytes, let total): self.init(.preparing, bytes, of: total)
        case .staging(let bytes, let total): self.init(.staging, bytes, of: total)
        case .serving(_, let address, let isOwn):
            self.init(.serving)
            server = address
            self.isOwn = isOwn
        case .resetting(_, let method, let attempt):
            self.init(.reset)
            self.method = method.description
            self.attempt = attempt
        case .asked: self.init(.asked)
        case .prepared(let id):
            self.init(.prepared)
            imageID = id
        case .recording(let id):
            self.init(.recording)
            run = id
        case .wrote(let number, let bytes, let took):
            self.init(.wrote)
            (self.number, self.bytes, seconds) = (number, bytes, Self.seconds(took))
        case .reported(let bytes):
            self.init(.report)
            do throws(ReportError) {
                let report = try Report(bytes: bytes)
                (uboot, script, board) = (report.ubootVersion, report.script, report.board)
                (serial, card, retries) = (report.serial, report.card, report.retries)
            } catch {
                self.error = error.description
            }
        case .chunk(let number, let count, let bytes, let total, let elapsed):
            self.init(.chunk, bytes, of: total)
            (self.number, self.count) = (number, count)
            self.rate = rate.map { UInt64($0) }
            elapsedSeconds = Self.seconds(elapsed)
            secondsLeft = Reporter.secondsLeft(chunk: number, of: count, elapsed: elapsed)
        case .transfer(let number, let count, let bytes, let total, let elapsed):
            self.init(.part, bytes, of: total)
            (self.number, self.count) = (number, count)
            self.rate = rate.map { UInt64($0) }
            elapsedSeconds = Self.seconds(elapsed)
            secondsLeft = bytes.flatMap { Reporter.secondsLeft(bytes: $0, of: total, rate: rate) }
        case .completed(let file, let packets, let repeated, let window):
            self.init(.file)
            name = file
            (self.packets, self.repeated, self.window) = (packets, repeated, window)
        case .proven(let proven, let elapsed):
            self.init(.proven)
            add(proven)
            elapsedSeconds = Self.seconds(elapsed)
        case .waiting(let port, let elapsed):
            self.init(.waiting)
            self.port = port
            elapsedSeconds = Self.seconds(elapsed)
        }
    }

    private init(_ event: Kind, _ bytes: UInt64?, of total: UInt64) {
        self.init(event)
        (self.bytes, self.total) = (bytes, total)
    }

    mutating func add(_ proven: Proven) {
        bytes = proven.bytes.bytes
        written = proven.written.bytes
        loaded = proven.loaded.bytes
        retries = proven.retries
    }

    /// To the millisecond.
    static func seconds(_ duration: Duration) -> Double { (Reporter.number(duration) * 1000).rounded() / 1000 }
}

/// One line of JSON: ASCII only, so that nothing in it means anything to a terminal (law 7).
func jsonLine(_ value: some Encodable) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // As in a run's record, docs/runs.md.
    encoder.dateEncodingStrategy = .iso8601
    // Numbers here are finite and texts are valid: what cannot fail, but must not end a flash.
    guard let data = try? encoder.encode(value) else { return "{}" }
    var line = ""
    for unit in String(decoding: data, as: UTF8.self).utf16 {
        if (0x20..<0x7f).contains(unit) {
            line.unicodeScalars.append(Unicode.Scalar(UInt8(unit)))
        } else {
            // Others than ASCII are in strings only.
            let digits = String(unit, radix: 16)
            line += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        }
    }
    return line
}

/// Writes events, without ever keeping a flash waiting for who reads them.
final class EventWriter: Sendable {
    private let begin = ContinuousClock.now
    private let queue = DispatchQueue(label: "events")
    private let sink: @Sendable (String) -> Void

    /// - Parameter sink: takes each line, without its end. By default standard output.
    init(
        // A reader that went away is no reason to stop half-way: it is told at the end.
        to sink: @escaping @Sendable (String) -> Void = { StandardOutput.write($0 + "\n") }
    ) {
        self.sink = sink
    }

    private let order = Mutex(())

    func write(_ event: FlashEvent) {
        var event = event
        // Several flashes write: what is later in time comes later.
        order.withLock { _ in
            event.time = FlashEvent.seconds(ContinuousClock.now - begin)
            let line = jsonLine(event)
            queue.async { [sink] in sink(line) }
        }
    }

    /// Returns when everything is written.
    func finish() { queue.sync {} }

    /// The last event.
    ///
    /// - Parameters:
    ///   - proven: what the target has proven, also where it did not come up then.
    ///   - flashTime: from the reset to that.
    ///   - upAfter: from that until it was up.
    ///   - error: what ended the flash; nil where it is proven.
    func end(proven: Proven?, flashTime: Duration?, upAfter: Duration?, error: (any Error)?) {
        write(result(proven: proven, flashTime: flashTime, upAfter: upAfter, error: error))
        finish()
    }

    /// How a target's flash ended, with the parameters of ``end(proven:flashTime:upAfter:error:)``.
    func result(proven: Proven?, flashTime: Duration?, upAfter: Duration?, error: (any Error)?) -> FlashEvent {
        // A FAILED that came late wins over the OK before it: then nothing is proven.
        let isProven = RPiFlash.leavesProof(error)
        let (proven, flashTime) = isProven ? (proven, flashTime) : (nil, nil)
        var result = FlashEvent(.result)
        result.isProven = proven != nil
        if let proven { result.add(proven) }
        result.flashSeconds = flashTime.map { FlashEvent.seconds($0) }
        result.upSeconds = upAfter.map { FlashEvent.seconds($0) }
        result.status = 0
        if let error {
            let end = RPiFlash.ending(error)
            (result.status, result.error) = (end.status, end.text)
            result.code = (error as? FlashError)?.reportCode?.rawValue
        }
        return result
    }
}

/// Turns what a flash tells into events, at most five a second of a kind that only says how far it is.
final class EventReporter: Sendable {
    private struct State {
        var lastKind: FlashEvent.Kind?
        var lastNumber: UInt64?
        var lastShown: ContinuousClock.Instant?
        var rate = TransferRate()
        var proven: (Proven, elapsed: Duration)?
    }

    private let writer: EventWriter
    private let target: String?
    private let state = Mutex(State())

    /// - Parameter target: its name where it is one of several.
    init(_ writer: EventWriter, target: String? = nil) {
        self.writer = writer
        self.target = target
    }

    /// What the target has proven so far.
    var proven: (Proven, elapsed: Duration)? { state.withLock { $0.proven } }

    func report(_ progress: FlashProgress) {
        let event: FlashEvent? = state.withLock { state in
            var rate: Double?
            switch progress {
            case .chunk(_, _, let bytes, _, let elapsed), .transfer(_, _, let bytes?, _, let elapsed):
                rate = state.rate.take(bytes, at: elapsed)
            case .proven(let proven, let elapsed): state.proven = (proven, elapsed)
            default: break
            }
            var event = FlashEvent(progress, rate: rate)
            event.target = target
            let isStep = event.total != nil || event.event == .waiting
            let now = ContinuousClock.now
            let isLast = event.total != nil && event.bytes == event.total
            let isNew = event.event != state.lastKind || event.number != state.lastNumber || isLast
            guard !isStep || isNew || state.lastShown.map({ now - $0 >= .milliseconds(200) }) ?? true else {
                return nil
            }
            if isStep { (state.lastKind, state.lastNumber, state.lastShown) = (event.event, event.number, now) }
            return event
        }
        if let event { writer.write(event) }
    }
}
