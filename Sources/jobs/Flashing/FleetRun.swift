package import FlashEvents
import FlashPlan
package import Inventory
import Synchronization

/// How several targets are flashed.
package struct FleetOptions: Hashable, Sendable {
    /// How many targets at the same time.
    package var jobs: Int
    /// The first target alone; the others only where it is proven and up.
    package var canary: Bool
    /// From the beginning of one reset to that of the next, at least.
    package var stagger: Duration

    /// The usual numbers.
    package init(jobs: Int = 8, canary: Bool = false, stagger: Duration = .milliseconds(500)) {
        (self.jobs, self.canary, self.stagger) = (jobs, canary, stagger)
    }
}

/// What a run tells while it lasts.
package enum FleetEvent: Sendable {
    /// What a flash tells.
    case progress(FlashProgress)
    /// A target's flash is over, or will never start.
    case ended(Verdict)
}

/// Flashes one target or several from one image: everything that can be checked is checked for all of them before the first
/// is touched, and refuses them all; from there on no target's failure concerns another.
package struct FleetRun<C: Clock>: Sendable where C.Duration == Duration {
    private let options: FleetOptions
    private let clock: C
    private let ports: @Sendable (Target) -> FlashPorts
    private let report: @Sendable (_ target: Int?, FleetEvent) -> Void

    /// - Parameters:
    ///   - options: how.
    ///   - clock: for every time that is measured or waited.
    ///   - ports: what the flash of a target needs of the world. Of own servers several must be possible at a time.
    ///   - report: told what happens, with the target's place in the list; nil for what concerns all.
    package init(
        options: FleetOptions, clock: C, ports: @escaping @Sendable (Target) -> FlashPorts,
        report: @escaping @Sendable (_ target: Int?, FleetEvent) -> Void
    ) {
        (self.options, self.clock, self.ports, self.report) = (options, clock, ports, report)
    }

    /// Flashes.
    ///
    /// - Parameter requests: of different targets.
    /// - Returns: every target's verdict, in the same order; also where the task is cancelled meanwhile.
    /// - Throws: where nothing was touched: ``FlashError``, `CancellationError`.
    package func run(_ requests: [FlashRequest]) async throws -> [Verdict] {
        let once = SeenProgress()
        let ports = requests.map { self.ports($0.target) }
        let waiting = Mutex(try await check(requests, ports, once))
        let gate = ResetGate(gap: options.stagger, clock: clock)
        let schedule = Schedule(jobs: options.jobs, canary: options.canary)
        return await schedule.run(requests.map(\.target)) { index in
            // Nobody else keeps it: the target's lock is given back with its job.
            guard let ready = waiting.withLock({ $0[index].take() }) else {
                return Verdict(requests[index].target, CancellationError(), after: nil)
            }
            return await self.flash(ready, index, ports[index], gate, once)
        } ended: { index, verdict in
            waiting.withLock { $0[index] = nil }
            report(index, .ended(verdict))
        }
    }

    private func flash(
        _ ready: PreparedFlash, _ index: Int, _ ports: FlashPorts, _ gate: ResetGate<C>, _ once: SeenProgress
    ) async
        -> Verdict
    {
        let proof = Mutex<(FlashProof, elapsed: Duration)?>(nil)
        let target = ready.request.target
        let flasher = Flasher(ports: ports, clock: clock) {
            try await gate.pass()
        } report: { [report] progress in
            if case .proven(let what, let elapsed) = progress { proof.withLock { $0 = (what, elapsed) } }
            if case .serving = progress {
                // Who serves is the same for most.
                if once.isNew(progress) { report(nil, .progress(progress)) }
            } else {
                report(index, .progress(progress))
            }
        }
        do {
            return Verdict(target, try await flasher.run(ready))
        } catch {
            return Verdict(target, error, after: proof.withLock { $0 })
        }
    }

    /// Checks all targets and locks them.
    private func check(
        _ requests: [FlashRequest], _ ports: [FlashPorts], _ once: SeenProgress
    ) async throws -> [PreparedFlash?] {
        let flashers = ports.map { ports in
            Flasher(ports: ports, clock: clock) { [report] progress in
                // What is said of the image is said once.
                if case .note = progress, !once.isNew(progress) { return }
                report(nil, .progress(progress))
            }
        }
        // What is quick to check comes before an image is prepared, which can take minutes.
        var locks: [SharedLock] = []
        for (flasher, request) in zip(flashers, requests) {
            try flasher.checkServer(request)
            locks.append(try SharedLock(request))
        }
        var ready: [PreparedFlash?] = []
        let copies = max(1, min(options.jobs, requests.count))
        for ((flasher, request), lock) in zip(zip(flashers, requests), locks) {
            let staging = try await flasher.staging(for: request, copies: copies)
            ready.append(PreparedFlash(request: request, staging: staging, lock: lock))
        }
        // One alone is flashed at once: its flash finds the same, and nobody else is touched before it.
        for (flasher, ready) in zip(flashers, ready) where requests.count > 1 {
            try Task.checkCancellation()
            if let ready { try await flasher.dryRun(ready) }
        }
        return ready
    }
}

/// What was told already.
private final class SeenProgress: Sendable {
    private let told = Mutex<Set<FlashProgress>>([])

    func isNew(_ progress: FlashProgress) -> Bool { told.withLock { $0.insert(progress).inserted } }
}

/// Keeps resets apart: what a bench draws at once is a few targets' start, not all of them.
final class ResetGate<C: Clock>: Sendable where C.Duration == Duration {
    private let gap: Duration
    private let clock: C
    private let next: Mutex<C.Instant>

    init(gap: Duration, clock: C) {
        (self.gap, self.clock) = (gap, clock)
        next = Mutex(clock.now)
    }

    /// Returns when the next reset may begin.
    func pass() async throws {
        let turn = next.withLock { next in
            let turn = max(next, clock.now)
            next = turn.advanced(by: gap)
            return turn
        }
        if turn > clock.now { try await clock.sleep(until: turn, tolerance: nil) }
    }
}

/// Who is flashed when.
struct Schedule: Sendable {
    let jobs: Int
    let canary: Bool

    /// Runs every target's flash.
    ///
    /// - Parameters:
    ///   - targets: in this order.
    ///   - flash: flashes the target at a place of the list.
    ///   - ended: told of each verdict as it comes.
    /// - Returns: all verdicts, in the targets' order.
    func run(
        _ targets: [Target], flash: @escaping @Sendable (Int) async -> Verdict, ended: (Int, Verdict) -> Void
    ) async -> [Verdict] {
        var verdicts = [Verdict?](repeating: nil, count: targets.count)
        func end(_ index: Int, _ verdict: Verdict) {
            verdicts[index] = verdict
            ended(index, verdict)
        }
        var next = 0
        var reason: String?
        if canary, let first = targets.first, !Task.isCancelled {
            let verdict = await flash(0)
            end(0, verdict)
            next = 1
            if !verdict.isGood { reason = "not started: canary \(first.displayName) failed" }
        }
        await withTaskGroup(of: (Int, Verdict).self) { group in
            var running = 0
            while true {
                while reason == nil, next < targets.count, running < jobs, !Task.isCancelled {
                    let index = next
                    group.addTask { (index, await flash(index)) }
                    next += 1
                    running += 1
                }
                guard let (index, verdict) = await group.next() else { break }
                running -= 1
                end(index, verdict)
            }
        }
        for index in next..<max(next, targets.count) {
            let reason = Task.isCancelled ? "not started: interrupted" : reason ?? "not started: interrupted"
            end(index, Verdict(targets[index], notStarted: reason))
        }
        return verdicts.compactMap { $0 }
    }
}
