import Configuration
import DiskLayout
import FlashPlan

/// What `rpiflash flash --json` and `rpiflash upgrade --json` print: one JSON object a line. docs/json.md has the tables of
/// events and fields.
package struct FlashEvent: Hashable, Codable, Sendable {
    /// The version of this format: it grows when an event or a field changes its meaning or goes.
    package static let version = 1

    package enum Kind: String, Codable, CaseIterable, Sendable {
        case start, target, note, warning, unpacking, preparing, staging, serving, reset, asked, chunk, part, file
        case proven, waiting, result, summary, prepared, wrote, report, recording
        case dryRun = "dry_run"
        // Of an upgrade only.
        case compared, differs, copied, renamed
    }

    package enum CodingKeys: String, CodingKey, CaseIterable {
        case event, time, version, image, target, name, mac, ip, text, bytes, total, server, attempt, method, number
        case count, rate, packets, repeated, window, written, loaded, retries, port, status, error
        case flashProtocol = "protocol"
        case mode, targets, methods, run, uboot, script, linux, agent, board, serial, keys, card, seconds, code, labels,
            device,
            changed
        case oldBytes = "old_bytes"
        case keepsOld = "old_kept"
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

    package var event: Kind
    /// Seconds since the command began.
    package var time = 0.0
    package var version: Int?
    package var image: String?
    package var flashProtocol: String?
    package var mode: String?
    package var labels: [String: String]?
    package var target: String?
    package var targets: [String]?
    package var methods: [String]?
    package var isDryRun: Bool?
    package var name: String?
    package var mac: String?
    package var ip: String?
    package var text: String?
    package var bytes: UInt64?
    package var total: UInt64?
    package var server: String?
    package var isOwn: Bool?
    package var attempt: Int?
    package var method: String?
    package var number: UInt64?
    package var count: UInt64?
    /// Bytes a second.
    package var rate: UInt64?
    package var secondsLeft: UInt64?
    package var packets: UInt64?
    package var repeated: UInt64?
    package var window: Int?
    package var written: UInt64?
    package var loaded: UInt64?
    package var retries: UInt64?
    package var port: UInt16?
    package var elapsedSeconds: Double?
    package var status: Int32?
    package var isProven: Bool?
    package var error: String?
    package var code: String?
    package var flashSeconds: Double?
    package var upSeconds: Double?
    package var provenCount: UInt64?
    package var failedCount: UInt64?
    package var notStartedCount: UInt64?
    package var imageID: String?
    package var run: String?
    package var uboot: String?
    /// Linux's version, where that flashed.
    package var linux: String?
    /// The number of that Linux's agent.
    package var agent: UInt64?
    package var script: UInt64?
    package var board: String?
    package var serial: String?
    package var keys: [String]?
    package var card: String?
    package var seconds: Double?
    package var device: String?
    package var changed: UInt64?
    package var oldBytes: UInt64?
    package var keepsOld: Bool?

    package init(_ event: Kind) { self.event = event }
}

extension FlashEvent {
    /// - Parameter rate: bytes a second, where it is known.
    package init(_ progress: FlashProgress, rate: Double?) {
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
        case .asked(let address):
            self.init(.asked)
            ip = address
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
                (linux, agent) = (report.linuxVersion, report.agent)
                (serial, card, retries) = (report.serial, report.card, report.retries)
                keys = report.keys.isEmpty ? nil : report.keys
            } catch {
                self.error = error.description
            }
        case .chunk(let number, let count, let bytes, let total, let elapsed):
            self.init(.chunk, bytes, of: total)
            (self.number, self.count) = (number, count)
            self.rate = rate.map { UInt64($0) }
            elapsedSeconds = Self.seconds(elapsed)
            secondsLeft = TransferRate.secondsLeft(chunk: number, of: count, elapsed: elapsed)
        case .transfer(let number, let count, let bytes, let total, let elapsed):
            self.init(.part, bytes, of: total)
            (self.number, self.count) = (number, count)
            self.rate = rate.map { UInt64($0) }
            elapsedSeconds = Self.seconds(elapsed)
            secondsLeft = bytes.flatMap { TransferRate.secondsLeft(bytes: $0, of: total, rate: rate) }
        case .completed(let file, let packets, let repeated, let window):
            self.init(.file)
            name = file
            (self.packets, self.repeated, self.window) = (packets, repeated, window)
        case .proven(let proof, let elapsed):
            self.init(.proven)
            add(proof)
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

    private mutating func add(_ proof: FlashProof) {
        bytes = proof.bytes.bytes
        written = proof.written.bytes
        loaded = proof.loaded.bytes
        retries = proof.retries
    }

    /// To the millisecond.
    package static func seconds(_ duration: Duration) -> Double { (Figures.number(duration) * 1000).rounded() / 1000 }

    /// How a target's flash ended.
    package init(_ verdict: Verdict) {
        self.init(.result)
        isProven = verdict.proof != nil
        if let proof = verdict.proof { add(proof) }
        flashSeconds = verdict.flashTime.map { Self.seconds($0) }
        upSeconds = verdict.upAfter.map { Self.seconds($0) }
        (status, error, code) = (verdict.status, verdict.sentence, verdict.reportCode?.rawValue)
    }

    /// How a run ended that started at least one target.
    package init(_ verdict: RunVerdict) {
        self.init(.summary)
        status = verdict.status
        count = UInt64(verdict.count)
        (provenCount, notStartedCount) = (UInt64(verdict.proven), UInt64(verdict.notStarted))
        failedCount = UInt64(verdict.failed)
    }

    /// The last event of a run that touched no target: it was refused, or was a dry run.
    ///
    /// - Parameters:
    ///   - count: how many targets were found.
    ///   - isOne: whether one target was named.
    ///   - error: why; nil where nothing was wrong.
    package init(untouched count: Int, isOne: Bool, status: Int32, error: String?) {
        self.init(isOne ? .result : .summary)
        (self.status, self.error) = (status, error)
        if isOne {
            isProven = false
        } else {
            (self.count, notStartedCount, provenCount, failedCount) = (UInt64(count), UInt64(count), 0, 0)
        }
    }
}
