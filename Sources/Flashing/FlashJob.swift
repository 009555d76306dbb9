internal import DiskLayout
internal import FlashPlan
public import Inventory
internal import SystemPackage

/// One image on one target: check, lock, stage, serve, reset, follow, outcome, wait until it is up, clean up.
public struct FlashJob: Sendable {
    private let target: Target
    private let request: FlashRequest
    private let ports: Ports
    private let tell: @Sendable (FlashEvent) -> Void

    /// A job; nothing happens before ``run()``.
    ///
    /// - Parameter tell: called with what people want to see while it runs.
    public init(
        target: Target, request: FlashRequest, ports: Ports, tell: @escaping @Sendable (FlashEvent) -> Void
    ) {
        self.target = target
        self.request = request
        self.ports = ports
        self.tell = tell
    }

    /// Runs the job. Whatever way it ends, what it staged is removed and RESET is released.
    ///
    /// - Returns: what was proven.
    /// - Throws: ``FlashFailure``; `CancellationError` where the task was cancelled.
    public func run() async throws -> FlashResult {
        // Everything that can be refused is refused before the target, or the disk, is touched (law 6).
        let plan = try checkedPlan()
        let image = try ImageFile(request.image)
        try Staging.check(root: request.tftpRoot, image: image, plan: plan)
        try await asServerTrouble { try await ports.resetting.check(target) }

        let lock = try TargetLock(root: request.tftpRoot, mac: target.mac, target: target.displayName)
        return try await run(plan, image, holding: lock)
    }

    private func run(
        _ plan: PartsPlan, _ image: borrowing ImageFile, holding lock: borrowing TargetLock
    ) async throws -> FlashResult {
        let staging = Staging(root: request.tftpRoot, name: target.mac.description, plan: plan)
        try staging.removeStale()
        defer { staging.clear() }

        let session = try await asServerTrouble {
            try await ports.serving.start(root: request.tftpRoot, target: target)
        }
        let written: ByteCount
        let flashing: Duration
        do {
            tell(.note("staging \(request.image) as \(plan.partCount) part\(plan.partCount == 1 ? "" : "s")"))
            let staged = try staging.stage(image, isWritable: session.writesUploads)
            let events = try await asServerTrouble { try await session.serve(staged) }
            tell(.note(session.description))
            let watch = Stopwatch(ports.clock)
            written = try await follow(events, plan: plan)
            flashing = watch.elapsed
        } catch {
            staging.clear()
            await session.stop()
            throw error
        }
        // Before the new system starts: if it resets, its U-Boot must not find the image once more.
        staging.clear()
        await session.stop()
        tell(.note("target reported OK: \(written.bytes) bytes written, read back and equal"))
        return FlashResult(written: written, flashing: flashing, comingUp: try await waitUntilUp())
    }

    private func checkedPlan() throws(FlashFailure) -> PartsPlan {
        do {
            try target.checkServed(by: ports.hostNames())
        } catch {
            throw FlashFailure(.target, error.description)
        }
        let layout: OSImageLayout
        do {
            layout = try ports.inspectImage(request.image)
        } catch {
            throw FlashFailure(.image, "\(error)")
        }
        do {
            try request.card.checkFit(layout)
        } catch {
            throw FlashFailure(.image, "\(request.image): \(error)")
        }
        do {
            return try PartsPlan(image: layout, partSize: request.partSize)
        } catch {
            throw FlashFailure(.usage, error.description)
        }
    }

    /// What the effects throw is trouble on this server, in their own words.
    private func asServerTrouble<Result>(_ body: () async throws -> Result) async throws -> Result {
        do {
            return try await body()
        } catch let error as FlashFailure {
            throw error
        } catch let error as CancellationError {
            throw error
        } catch {
            try Task.checkCancellation()
            throw FlashFailure(.server, "\(error)")
        }
    }

    // MARK: The target

    /// How a target that does not ask is brought to it, one after the other.
    private enum Attempt {
        case reset, command

        func text(of target: Target) -> String {
            switch self {
            case .reset: target.gpio.map { "RESET on GPIO line \($0)" } ?? "its reset_command"
            case .command: "its reset_command"
            }
        }
    }

    private enum Signal: Sendable {
        case event(ServingEvent)
        case ended
        case tick
    }

    /// Resets the target and follows what it does until its outcome.
    private func follow(_ events: AsyncStream<ServingEvent>, plan: PartsPlan) async throws -> ByteCount {
        let (signals, feed) = AsyncStream.makeStream(of: Signal.self)
        let pump = Task {
            for await event in events { feed.yield(.event(event)) }
            feed.yield(.ended)
        }
        let ticker = Task { [clock = ports.clock] in
            while !Task.isCancelled {
                guard (try? await clock.sleep(for: .milliseconds(200))) != nil else { return }
                feed.yield(.tick)
            }
        }
        defer {
            pump.cancel()
            ticker.cancel()
            feed.finish()
        }

        // One more reset, since a line that was busy bouncing is cheap to pull again; then the row's command.
        var attempts: [Attempt] = [.reset, .reset]
        if target.gpio != nil, target.resetCommand != nil { attempts.append(.command) }
        var tried: [String] = []
        func next() async throws -> Stopwatch {
            let attempt = attempts.removeFirst()
            tried.append(attempt.text(of: target))
            tell(.note("resetting \(target.displayName) by \(attempt.text(of: target))"))
            try await asServerTrouble {
                switch attempt {
                case .reset: try await ports.resetting.reset(target)
                case .command: try await ports.resetting.runCommand(of: target)
                }
            }
            return Stopwatch(ports.clock)
        }

        var follower = Follower(plan: plan)
        var silence = try await next()
        for await signal in signals {
            try Task.checkCancellation()
            switch signal {
            case .event(let event):
                let hadAsked = follower.hasAsked
                let step = follower.take(event)
                if hadAsked || follower.hasAsked { silence = Stopwatch(ports.clock) }
                switch step {
                case .goOn: break
                case .tell(let event): tell(event)
                case .done(let written): return written
                case .fail(let failure): throw failure
                }
            case .ended:
                throw FlashFailure(.server, "the TFTP server stopped before the target reported")
            case .tick where follower.hasAsked:
                guard silence.elapsed < request.outcomeTimeout else {
                    throw FlashFailure(
                        .noOutcome,
                        "no outcome: target \(target.displayName) has been silent for "
                            + "\(request.outcomeTimeout.seconds) s; its console says why, and it can be flashed again")
                }
            case .tick:
                guard silence.elapsed >= request.requestTimeout else { break }
                guard !attempts.isEmpty else {
                    throw FlashFailure(
                        .neverAsked,
                        "target \(target.displayName) never asked for its image within "
                            + "\(request.requestTimeout.seconds) s after \(tried.joined(separator: ", then "))")
                }
                tell(.warning("no request within \(request.requestTimeout.seconds) s"))
                silence = try await next()
            }
        }
        throw CancellationError()
    }

    /// Waits until the flashed system answers.
    ///
    /// - Returns: how long that took; nil where it was not asked for.
    private func waitUntilUp() async throws -> Duration? {
        guard let port = request.waitPort else { return nil }
        tell(.note("waiting until \(target.ip) answers on TCP port \(port)"))
        let watch = Stopwatch(ports.clock)
        while watch.elapsed < request.waitTimeout {
            try Task.checkCancellation()
            if await ports.answers(target.ip, port) { return watch.elapsed }
            try await ports.clock.sleep(for: .milliseconds(500))
        }
        throw FlashFailure(
            .notUp,
            "target \(target.displayName) is flashed, but \(target.ip) did not answer on TCP port \(port) within "
                + "\(request.waitTimeout.seconds) s")
    }
}

/// Time since it was made, on any clock.
struct Stopwatch {
    private let read: () -> Duration

    init(_ clock: any Clock<Duration>) { self.init(opening: clock) }

    private init(opening clock: some Clock<Duration>) {
        let start = clock.now
        read = { start.duration(to: clock.now) }
    }

    var elapsed: Duration { read() }
}

extension Duration {
    /// Whole seconds, or with three digits behind the point where it is not whole.
    package var seconds: String {
        let (whole, rest) = components
        let milliseconds = rest / 1_000_000_000_000_000
        guard milliseconds != 0 else { return "\(whole)" }
        let digits = String(milliseconds)
        return "\(whole)." + String(repeating: "0", count: 3 - digits.count) + digits
    }
}
