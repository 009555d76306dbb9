internal import DiskLayout
internal import FlashPlan

/// Follows a flash from the reset to the outcome: takes what the server sees and says what it means. Reads no clock.
///
/// Nothing that the target says is believed (law 7): OK counts only when the target has fetched everything since the
/// reset, when its count is exactly the expected one, and when no FAILED came.
struct Follower {
    /// How long FAILED may come after OK and still win.
    static let settling = Duration.seconds(1)
    /// How often a target may start from the beginning: a power cut is forgiven, a loop is not.
    static let restartLimit = 5

    let plan: PartsPlan
    let target: String
    let requestTimeout: Duration
    let silenceTimeout: Duration
    private(set) var lastActivity: Duration
    private var resetAt: Duration
    private(set) var hasAsked = false
    private(set) var restarts = 0
    private var openedSinceManifest = false
    private var openedManifest = false
    private var sent: Set<UInt64> = []
    private var partBytes: [UInt64: UInt64] = [:]
    private(set) var currentPart: UInt64?
    private var outcomes: [Outcome.Kind: [UInt8]] = [:]
    private var settledAt: Duration?

    /// - Parameters:
    ///   - plan: what is flashed.
    ///   - target: its name, for messages.
    ///   - requestTimeout: from a reset to the first request.
    ///   - silenceTimeout: without a sign of life after that.
    ///   - start: when the reset was done.
    init(plan: PartsPlan, target: String, requestTimeout: Duration, silenceTimeout: Duration, start: Duration) {
        self.plan = plan
        self.target = target
        self.requestTimeout = requestTimeout
        self.silenceTimeout = silenceTimeout
        lastActivity = start
        resetAt = start
    }

    /// Whether the target had its time since the last reset and did not ask for the image.
    func isOverdue(at now: Duration) -> Bool { !hasAsked && settledAt == nil && now - resetAt >= requestTimeout }

    /// The target was reset once more.
    mutating func wasReset(at now: Duration) { resetAt = now }

    /// Bytes of the parts that the target has, as far as the server knows.
    var bytes: UInt64 { partBytes.values.reduce(0, +) }

    /// Takes one event; returns what is worth a line in the log.
    mutating func take(_ event: ServeEvent, at now: Duration) -> FlashProgress? {
        if case .refused(let text) = event { return .note(text) }
        lastActivity = now
        switch event {
        case .opened(PartsPlan.manifestName): return openManifest()
        case .opened(let file):
            guard let part = number(of: file) else { return nil }
            hasAsked = true
            openedSinceManifest = true
            currentPart = part
            partBytes[part] = 0
            return nil
        case .progress(let file, let bytes):
            if let part = number(of: file) { partBytes[part] = bytes }
            return nil
        case .sent(let file):
            guard let part = number(of: file) else { return nil }
            sent.insert(part)
            partBytes[part] = plan.part(part).size.bytes
            return nil
        case .completed(let file, let packets, let repeated):
            // Every network loses some; this much wants a look at cable or switch.
            guard packets >= 1000, repeated * 10 >= packets else { return nil }
            return .warning(
                "\(repeated) of \(packets) packets of \(file) had to be repeated; the network loses packets")
        case .interrupted(let file, let reason): return .warning("the target stopped reading \(file): \(reason)")
        case .uploaded(let name, let content):
            guard let kind = Outcome.Kind(rawValue: name), outcomes[kind] == nil else { return nil }
            outcomes[kind] = content
            if settledAt == nil { settledAt = now + Self.settling }
            return nil
        case .activity, .refused: return nil
        }
    }

    private mutating func openManifest() -> FlashProgress? {
        defer { (openedManifest, openedSinceManifest, hasAsked) = (true, false, true) }
        guard openedManifest else { return .note("the target asks for its image") }
        // The same question again, after a lost answer, is no new start.
        guard openedSinceManifest else { return nil }
        restarts += 1
        sent = []
        partBytes = [:]
        currentPart = nil
        return .warning("the target started over")
    }

    private func number(of file: String) -> UInt64? {
        guard file.hasPrefix(PartsPlan.partNamePrefix),
            let number = UInt64(file.dropFirst(PartsPlan.partNamePrefix.count)), number < plan.partCount
        else { return nil }
        return number
    }

    /// The target's outcome once it is settled: nil while it is awaited.
    ///
    /// - Throws: where it failed, or took too long.
    func outcome(at now: Duration) throws(FlashError) -> Outcome? {
        if let settledAt {
            return now >= settledAt ? try judge() : nil
        }
        if restarts > Self.restartLimit {
            throw .noOutcome("target \(target) started over \(restarts) times without an outcome; its console says why")
        }
        if hasAsked, now - lastActivity >= silenceTimeout {
            throw .noOutcome(
                "target \(target) asked for its image, but sent no outcome and no sign of life for \(silenceTimeout.text)"
            )
        }
        return nil
    }

    /// The outcome if it is a FAILED that came late.
    func checkNoLateFailure() throws(FlashError) {
        if let content = outcomes[.failed] { throw failure(content) }
    }

    private func failure(_ content: [UInt8]) -> FlashError {
        .targetFailed(
            target: target, written: (try? Outcome(kind: .failed, bytes: content))?.written,
            expected: plan.bytesToWrite)
    }

    private func judge() throws(FlashError) -> Outcome {
        try checkNoLateFailure()
        let outcome: Outcome
        do throws(OutcomeError) {
            outcome = try Outcome(kind: .ok, bytes: outcomes[.ok] ?? [])
        } catch {
            throw .notProven("\(error); target \(target) is not proven")
        }
        guard openedManifest else { throw .notProven("target \(target) reported OK before it asked for the image") }
        if let missing = (0..<plan.partCount).first(where: { !sent.contains($0) }) {
            throw .notProven(
                "target \(target) reported OK, but did not fetch \(PartsPlan.partName(missing)) in full since the reset"
            )
        }
        guard outcome.written == plan.bytesToWrite else {
            throw .notProven(
                "target \(target) reported OK with \(outcome.written.bytes) bytes; must be \(plan.bytesToWrite.bytes) bytes"
            )
        }
        return outcome
    }
}
