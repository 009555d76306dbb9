package import FlashEvents
import Configuration
import DiskLayout
import FlashPlan
import Inventory
import LinuxHost
import SystemPackage
import TFTP

/// Puts an image on a target's card and proves it: validate, lock, stage, serve, reset, follow, compare, wait, clean up.
package struct Flasher<C: Clock>: Sendable where C.Duration == Duration {
    let ports: FlashPorts
    let clock: C
    private let start: C.Instant
    private let beforeReset: @Sendable () async throws -> Void
    let report: @Sendable (FlashProgress) -> Void

    /// How often events are looked at.
    static var interval: Duration { .milliseconds(100) }

    /// - Parameters:
    ///   - ports: what it needs of the world.
    ///   - clock: for every time that is measured or waited.
    ///   - beforeReset: waited for before each reset.
    ///   - report: told what happens.
    package init(
        ports: FlashPorts, clock: C, beforeReset: @escaping @Sendable () async throws -> Void = {},
        report: @escaping @Sendable (FlashProgress) -> Void
    ) {
        (self.ports, self.clock, self.beforeReset, self.report) = (ports, clock, beforeReset, report)
        start = clock.now
    }

    private var now: Duration { start.duration(to: clock.now) }

    /// Flashes.
    ///
    /// - Throws: ``FlashError``; `CancellationError` only where the task was cancelled. Either way everything that was
    ///   staged is removed and RESET is released.
    package func run(_ request: FlashRequest) async throws -> FlashResult {
        let staging = try await staging(for: request)
        return try await run(PreparedFlash(request: request, staging: staging, lock: try SharedLock(request)))
    }

    /// Flashes what was checked before.
    func run(_ ready: PreparedFlash) async throws -> FlashResult {
        switch ready.staging {
        case .parts(let staging): try await deliver(staging, ready)
        case .plan(let staging): try await deliver(staging, ready)
        }
    }

    private func deliver(_ staging: some Stager, _ ready: PreparedFlash) async throws -> FlashResult {
        let request = ready.request
        var folder = try makeFolder(request)
        defer {
            folder.remove()
            // Its lock is given back when nothing of the job is left.
            withExtendedLifetime(ready) {}
        }
        let result: FlashResult
        switch try await claim(request) {
        case .own(let server):
            report(.serving(root: request.root.string, address: server.address, isOwn: true))
            do {
                let (plan, files) = try await staging.stage(in: folder, for: server.reader, report: report)
                result = try await flash(request, plan, in: folder.path) {
                    do {
                        return try server.serve(files, to: request.target)
                    } catch {
                        throw FlashError.server("\(error)")
                    }
                } taken: {
                    folder.clean()
                }
            } catch {
                await server.stop()
                throw error
            }
            await server.stop()
        case .foreign(let server):
            report(.serving(root: request.root.string, address: server.address, isOwn: false))
            try await probe(server, folder, root: request.root)
            let (plan, _) = try await staging.stage(in: folder, for: .everyone, report: report)
            // Files to write to: a server that may not make files takes uploads to these.
            for name in Outcome.Kind.allCases.map(\.fileName) + [Report.fileName, Challenge.fileName] {
                try folder.write([], to: name, mode: 0o666)
            }
            let path = folder.path
            result = try await flash(request, plan, in: path) {
                do {
                    return try server.watch(path)
                } catch {
                    throw FlashError.server("cannot watch \(path): \(error)")
                }
            } taken: {
                folder.clean()
            }
        }
        return result
    }

    func makeFolder(_ request: FlashRequest) throws(FlashError) -> TargetFolder {
        var folder = try TargetFolder(root: request.root, target: request.target)
        // Its lock was free, so whatever lies here was left by a job that was killed.
        if folder.clean() > 0 { report(.note("removed what an earlier job left in \(folder.path)")) }
        return folder
    }

    // MARK: From the reset on

    private func flash(
        _ request: FlashRequest, _ plan: some FlashJob, in folder: FilePath, serve: () throws -> any TransferEvents,
        taken: () -> Void
    ) async throws -> FlashResult {
        let target = request.target
        try Task.checkCancellation()
        let attempts = target.resetAttempts
        guard let first = attempts.first else {
            throw FlashError.noReset(target.displayName)
        }
        try await beforeReset()
        let events = try serve()
        report(.resetting(target: target.displayName, method: first, attempt: 1))
        try await reset(target, first)
        let resetAt = now
        // What was there before the reset proves nothing.
        let early = take(events).filter { if case .uploaded = $0.event { false } else { true } }
        var follower = Follower(
            plan: plan, target: target.displayName, requestTimeout: request.requestTimeout,
            silenceTimeout: request.outcomeTimeout ?? plan.timeout,
            consoleTimeout: request.outcomeTimeout ?? Follower<PartsPlan>.usualConsoleTimeout, start: resetAt)
        for (event, at) in early { follow(event, &follower, at: at, since: resetAt, of: target) }
        let proof: FlashProof
        do {
            proof = try await follow(&follower, events, since: resetAt, of: target, in: folder, attempts)
        } catch is CancellationError {
            // It may have asked since events were taken last.
            for (event, at) in take(events) { _ = follower.take(event, at: at) }
            if follower.hasAsked {
                report(
                    .warning(
                        "target \(target.displayName) may have begun to write; "
                            + "a card that is half written does not boot, flash it again"))
            }
            throw CancellationError()
        }
        let flashedAt = now
        report(.proven(proof, elapsed: flashedAt - resetAt))
        // A target that starts again now boots its card: it must not find the image once more.
        taken()
        let upAt = try await waitUntilUp(request, &follower, events)
        return FlashResult(
            proof: proof, flashTime: flashedAt - resetAt, upAfter: upAt.map { $0 - flashedAt })
    }

    private func reset(_ target: Target, _ method: ResetMethod) async throws {
        do {
            try await ports.reset(target, method)
        } catch is CancellationError {
            try Task.checkCancellation()
            // Something in there timed out and said it the wrong way.
            throw FlashError.server("cannot reset target \(target.displayName): the reset was given up")
        } catch {
            throw FlashError.server("cannot reset target \(target.displayName): \(error)")
        }
    }

    private func follow<Plan: FlashJob>(
        _ follower: inout Follower<Plan>, _ events: any TransferEvents, since start: Duration, of target: Target,
        in folder: FilePath, _ attempts: [ResetMethod]
    ) async throws -> FlashProof {
        var attempt = 0
        while true {
            try await followNew(events, &follower, since: start, of: target, in: folder)
            if ports.heardConsole() { follower.heardConsole(at: now) }
            if follower.isOverdue(at: now) {
                attempt += 1
                guard attempt < attempts.count else {
                    throw FlashError.neverAsked(
                        target: target.displayName, within: follower.requestTimeout, tried: attempts)
                }
                try await beforeReset()
                // It may have asked while others were reset.
                try await followNew(events, &follower, since: start, of: target, in: folder)
                guard follower.isOverdue(at: now) else { continue }
                report(
                    .warning(
                        "target \(target.displayName) did not ask for its image within \(follower.requestTimeout.text); "
                            + "resetting it again (\(attempts[attempt]))"))
                report(.resetting(target: target.displayName, method: attempts[attempt], attempt: attempt + 1))
                try await reset(target, attempts[attempt])
                follower.wasReset(at: now)
            }
            if let outcome = try follower.outcome(at: now) { return outcome }
            try await clock.sleep(for: Self.interval)
        }
    }

    /// Follows what has happened since the last call, and answers what the target asks.
    private func followNew<Plan: FlashJob>(
        _ events: any TransferEvents, _ follower: inout Follower<Plan>, since start: Duration, of target: Target,
        in folder: FilePath
    ) async throws {
        for (event, at) in take(events) {
            follow(event, &follower, at: at, since: start, of: target)
            if let script = follower.permission(for: event, of: target.mac) {
                try await permit(script, in: folder)
            }
        }
    }

    /// Signs what a target waits for; it asks again until it is there.
    private func permit(_ script: String, in folder: FilePath) async throws {
        guard let signer = ports.signer else { return }
        do {
            let image = try await signer.sign(script, Challenge.answerName)
            try TargetFolder.replace(Challenge.answerName, in: folder, with: image)
        } catch is CancellationError {
            throw CancellationError()
        } catch let error as FlashError {
            throw error
        } catch {
            throw FlashError.server("cannot sign the target's challenge: \(error)")
        }
    }

    /// What happened since the last call, and when.
    private func take(_ events: any TransferEvents) -> [(event: TransferEvent, at: Duration)] {
        let taken = events.take()
        let now = now
        return taken.map { ($0.event, now - $0.age) }
    }

    private func follow<Plan: FlashJob>(
        _ event: TransferEvent, _ follower: inout Follower<Plan>, at instant: Duration, since reset: Duration,
        of target: Target
    ) {
        if case .completed(let file, _, let packets, let repeated, let window) = event {
            report(.completed(file: file, packets: packets, repeated: repeated, window: window))
        }
        if let progress = follower.take(event, at: instant) {
            report(progress)
            if case .asked(let address?) = progress, address != target.ip.description {
                report(
                    .warning(
                        "target \(target.displayName) asked from \(address), but its row has \(target.ip): correct the row "
                            + "or what gives the address; its system is waited for at the row's"))
            }
        }
        if let write = follower.takeWrite() {
            report(.wrote(number: write.step + 1, bytes: write.bytes, took: write.took))
        }
        if case .uploaded(Report.fileName, let content) = event { report(.reported(content)) }
        guard let step = follower.currentStep else { return }
        switch event {
        case .opened, .progress, .sent:
            report(
                follower.plan.progress(
                    step: step, bytes: follower.bytes, elapsed: max(.zero, instant - reset)))
        default: break
        }
    }

    /// - Returns: when the port answered; nil where it is not waited for.
    private func waitUntilUp(
        _ request: FlashRequest, _ follower: inout Follower<some FlashJob>, _ events: any TransferEvents
    ) async throws -> Duration? {
        guard let port = request.waitPort else { return nil }
        let begin = now
        while true {
            for (event, at) in take(events) { _ = follower.take(event, at: at) }
            try follower.checkNoLateFailure()
            if try await ports.answers(request.target, port) { return now }
            guard now - begin < request.waitTimeout else {
                throw FlashError.notUp(
                    target: request.target.displayName, port: port, within: request.waitTimeout)
            }
            report(.waiting(port: port, elapsed: now - begin))
            try await clock.sleep(for: .milliseconds(500))
        }
    }
}
