import Configuration
import FlashEvents
import FlashPlan
import TFTP

/// Follows a flash from the reset to the outcome: takes what the server sees and says what it means. Reads no clock: each
/// event brings the time at which it happened, whenever it is taken.
///
/// Nothing that the target says is believed (law 7): OK counts only when the target has fetched everything since the
/// reset, when its count is exactly the expected one, and when no FAILED came.
struct Follower<Plan: FlashJob> {
    /// How long FAILED may come after OK and still win.
    static var gracePeriod: Duration { .seconds(1) }
    /// How often a target may start from the beginning: a power cut is forgiven, a loop is not.
    static var restartLimit: Int { 5 }
    /// A target whose console is heard says something for every few MiB: a longer silence is its end.
    static var usualConsoleTimeout: Duration { .seconds(90) }

    let plan: Plan
    let requestTimeout: Duration
    let silenceTimeout: Duration
    let consoleTimeout: Duration
    private var hasHeardConsole = false
    private(set) var lastActivity: Duration
    private var lastEvent: Duration
    private var resetAt: Duration
    private(set) var hasAsked = false
    private(set) var restarts = 0
    private var openedSinceEntry = false
    private var fileBytes: [String: UInt64] = [:]
    private(set) var currentStep: UInt64?
    private var said: TargetReport
    private var settledAt: Duration?
    private var permissions = 0
    private var lost: String?
    /// The file that the target has as a whole and works with now.
    private var loaded: (step: UInt64, bytes: UInt64, at: Duration)?
    private var write: Write?

    /// A step that the card has: what it wrote, and how long that took with unpacking, hashing and reading back.
    struct Write {
        let step: UInt64
        let bytes: UInt64
        let took: Duration
    }

    /// - Parameters:
    ///   - plan: what is flashed.
    ///   - target: its name, for messages.
    ///   - requestTimeout: from a reset to the first request.
    ///   - silenceTimeout: without a sign of life after that.
    ///   - consoleTimeout: the same where the console was heard.
    ///   - start: when the reset was done.
    init(
        plan: Plan, target: String, requestTimeout: Duration, silenceTimeout: Duration,
        consoleTimeout: Duration = usualConsoleTimeout, start: Duration
    ) {
        self.plan = plan
        said = TargetReport(target: target)
        self.requestTimeout = requestTimeout
        self.silenceTimeout = silenceTimeout
        self.consoleTimeout = consoleTimeout
        lastActivity = start
        lastEvent = start
        resetAt = start
    }

    /// Whether the target had its time since the last reset and did not ask for the image.
    func isOverdue(at now: Duration) -> Bool { !hasAsked && settledAt == nil && now - resetAt >= requestTimeout }

    /// The target was reset once more.
    mutating func wasReset(at now: Duration) { resetAt = now }

    /// The target's console said something. That is a sign of life, and no more than that (law 7).
    mutating func heardConsole(at now: Duration) {
        hasHeardConsole = true
        lastActivity = now
    }

    /// Bytes of the steps' files that the target has, as far as the server knows.
    var bytes: UInt64 { fileBytes.values.reduce(0, +) }

    /// What the card has since the last call; nil where nothing new.
    mutating func takeWrite() -> Write? {
        defer { write = nil }
        return write
    }

    /// What the target asks for when it is done with a file tells how long it worked with it. A step that was not the
    /// next one was not the only thing that it did meanwhile.
    private mutating func settleLoaded(next step: UInt64, at now: Duration) {
        if let loaded, step == loaded.step + 1, now > loaded.at {
            write = Write(step: loaded.step, bytes: loaded.bytes, took: now - loaded.at)
        }
        loaded = nil
    }

    /// Takes one event; returns what is worth a line in the log.
    ///
    /// - Parameter instant: when it happened. Events come in order: one that seems older than the one before is as old.
    mutating func take(_ event: TransferEvent, at instant: Duration) -> FlashProgress? {
        let now = max(instant, lastEvent)
        lastEvent = now
        switch event {
        // A target asks for a plan first; that there is none is not news.
        case .refused(let path, _, _) where path.hasSuffix("/\(ChunkPlan.scriptName)"): break
        // It is there once the target's challenge is signed.
        case .refused(let path, _, _) where path.hasSuffix("/\(Challenge.answerName)"): break
        case .refused(let path, let address, let reason):
            return .note("refused \(address) the file \(path): \(reason)")
        case .lost(let text):
            lost = text
            return nil
        default: break
        }
        lastActivity = max(lastActivity, now)
        switch event {
        case .opened(plan.entryFile, _, let address): return openEntry(from: address)
        case .opened(let file, _, _):
            guard let step = plan.step(of: file) else { return nil }
            hasAsked = true
            openedSinceEntry = true
            settleLoaded(next: step, at: now)
            currentStep = step
            fileBytes[file] = 0
            return nil
        case .progress(let file, let bytes):
            if plan.step(of: file) != nil { fileBytes[file] = bytes }
            return nil
        case .sent(let file):
            guard let step = plan.step(of: file) else { return nil }
            if let size = plan.size(of: file) {
                said.fetched.insert(step)
                fileBytes[file] = size
            }
            return nil
        case .completed(let file, _, let packets, let repeated, _):
            if let step = plan.step(of: file), let bytes = plan.bytesOnCard(for: file) { loaded = (step, bytes, now) }
            // Every network loses some; this much wants a look at cable or switch.
            guard packets >= 1000, repeated * 10 >= packets else { return nil }
            return .warning(
                "\(repeated) of \(packets) packets of \(file) had to be repeated; the network loses packets")
        case .interrupted(let file, let reason): return .warning("the target stopped reading \(file): \(reason)")
        case .uploaded(Report.fileName, let content):
            settleLoaded(next: plan.steps, at: now)
            if said.report == nil { said.report = content }
            return nil
        case .uploaded(Challenge.fileName, _): return nil
        case .uploaded(let name, let content):
            settleLoaded(next: plan.steps, at: now)
            guard let kind = Outcome.Kind(rawValue: name), said.outcomes[kind] == nil else { return nil }
            said.outcomes[kind] = content
            if settledAt == nil { settledAt = now + Self.gracePeriod }
            return nil
        case .activity, .refused, .lost: return nil
        }
    }

    /// The script that permits the run that a target asks for; nil where it asks for none, for another job's, or where
    /// this flash has permitted as many as it has starts.
    mutating func permission(for event: TransferEvent, of target: MACAddress) -> String? {
        guard case .uploaded(Challenge.fileName, let content) = event, let challenge = Challenge(bytes: content),
            challenge.job == plan.signedJob, permissions <= Self.restartLimit
        else { return nil }
        permissions += 1
        return challenge.permission(for: target)
    }

    private mutating func openEntry(from address: String?) -> FlashProgress? {
        defer { (said.hasAsked, openedSinceEntry, hasAsked) = (true, false, true) }
        loaded = nil
        // A report from before the target began belongs to another try.
        said.report = nil
        guard said.hasAsked else { return .asked(from: address) }
        // The same question again, after a lost answer, is not a new start.
        guard openedSinceEntry else { return nil }
        restarts += 1
        said.fetched = []
        fileBytes = [:]
        currentStep = nil
        return .warning("the target started over")
    }

    /// The target's outcome once it is settled: nil while it is awaited.
    ///
    /// - Throws: where it failed, or took too long.
    func outcome(at now: Duration) throws(FlashError) -> FlashProof? {
        if let settledAt {
            return now >= settledAt ? try plan.judge(said) : nil
        }
        if let lost { throw .server(lost) }
        if restarts > Self.restartLimit {
            throw .noOutcome(
                "target \(said.target) started over \(restarts) times without an outcome; its console says why")
        }
        let timeout = hasHeardConsole ? min(silenceTimeout, consoleTimeout) : silenceTimeout
        if hasAsked, now - lastActivity >= timeout {
            throw .noOutcome(
                "target \(said.target) asked for its image, but sent no outcome and no sign of life for \(timeout.text)"
            )
        }
        return nil
    }

    /// The outcome if it is a FAILED that came late.
    func checkNoLateFailure() throws(FlashError) {
        if said.outcomes[.failed] != nil { _ = try plan.judge(said) }
    }
}
