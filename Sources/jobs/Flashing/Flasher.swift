public import FlashEvents
public import DiskLayout
public import FlashPlan
public import Inventory
import LinuxHost
public import SystemPackage
import TFTP

/// What is to be flashed where.
public struct FlashRequest: Sendable {
    /// The image; only ever read (law 4).
    public var image: FilePath
    /// The target.
    public var target: Target
    /// The card that the target has.
    public var card: CardLayout
    /// The TFTP root folder.
    public var root: FilePath
    /// How the image goes over.
    public var delivery: Delivery
    /// From a reset to the first request; then the target is reset once more, in every way that its row has.
    public var requestTimeout: Duration
    /// Without a sign of life after that; nil: two minutes and the time that a slow card needs in between: a second for
    /// each MiB of a part, 5 s for each chunk of a plan. 90 s where its console is heard, and that is shorter.
    public var outcomeTimeout: Duration?
    /// The TCP port that shows that the target is up; nil: not waited for.
    public var waitPort: UInt16?
    /// How long that is waited for.
    public var waitTimeout: Duration
    /// Whether the target sends its console to the server meanwhile, where it is flashed by plan.
    public var sendsConsole: Bool

    /// A request with the usual times.
    public init(
        image: FilePath, target: Target, card: CardLayout, root: FilePath, delivery: Delivery = .plan(.normal),
        requestTimeout: Duration = .seconds(45), outcomeTimeout: Duration? = nil, waitPort: UInt16? = 22,
        waitTimeout: Duration = .seconds(180), sendsConsole: Bool = false
    ) {
        self.image = image
        self.target = target
        self.card = card
        self.root = root
        self.delivery = delivery
        self.requestTimeout = requestTimeout
        self.outcomeTimeout = outcomeTimeout
        self.waitPort = waitPort
        self.waitTimeout = waitTimeout
        self.sendsConsole = sendsConsole
    }
}

/// How an image goes over.
public enum Delivery: Hashable, Sendable {
    /// As a flash plan: chunk by chunk, only what is used and differs. Source: docs/plan-protocol.md.
    case plan(ChunkPlan.Mode)
    /// Whole, in parts of at most this length. Source: docs/parts-protocol.md.
    case parts(ByteCount)
}

/// Puts an image on a target's card and proves it: validate, lock, stage, serve, reset, follow, compare, wait, clean up.
public struct Flasher<C: Clock>: Sendable where C.Duration == Duration {
    let ports: FlashPorts
    private let clock: C
    private let start: C.Instant
    private let beforeReset: @Sendable () async throws -> Void
    private let report: @Sendable (FlashProgress) -> Void

    /// How often events are looked at.
    private static var interval: Duration { .milliseconds(100) }

    /// - Parameters:
    ///   - ports: what it needs of the world.
    ///   - clock: for every time that is measured or waited.
    ///   - beforeReset: waited for before each reset.
    ///   - report: told what happens.
    public init(
        ports: FlashPorts, clock: C, beforeReset: @escaping @Sendable () async throws -> Void = {},
        report: @escaping @Sendable (FlashProgress) -> Void
    ) {
        self.ports = ports
        self.clock = clock
        self.beforeReset = beforeReset
        self.report = report
        start = clock.now
    }

    private var now: Duration { start.duration(to: clock.now) }

    /// Flashes.
    ///
    /// - Throws: ``FlashError``; `CancellationError` only where the task was cancelled. Either way everything that was
    ///   staged is removed and RESET is released.
    public func run(_ request: FlashRequest) async throws -> FlashResult {
        let staging = try await staging(for: request)
        return try await run(ReadyFlash(request: request, staging: staging, lock: try HeldLock(request)))
    }

    /// Flashes what was checked before.
    func run(_ ready: ReadyFlash) async throws -> FlashResult {
        switch ready.staging {
        case .parts(let staging): try await deliver(staging, ready)
        case .plan(let staging): try await deliver(staging, ready)
        }
    }

    private func deliver(_ staging: some Staging, _ ready: ReadyFlash) async throws -> FlashResult {
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
                result = try await flash(request, plan) {
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
            for name in Outcome.Kind.allCases.map(\.fileName) + [Report.fileName] {
                try folder.write([], to: name, mode: 0o666)
            }
            let path = folder.path
            result = try await flash(request, plan) {
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

    private func makeFolder(_ request: FlashRequest) throws(FlashError) -> TargetFolder {
        var folder = try TargetFolder(root: request.root, target: request.target)
        // Its lock was free, so whatever lies here was left by a job that was killed.
        if folder.clean() > 0 { report(.note("removed what an earlier job left in \(folder.path)")) }
        return folder
    }

    // MARK: Before the target is touched

    /// Checks that the target's folder can be served and takes what it uploads, and leaves nothing of that.
    func rehearse(_ ready: ReadyFlash) async throws {
        var folder = try makeFolder(ready.request)
        defer {
            folder.remove()
            withExtendedLifetime(ready) {}
        }
        if case .plan = ready.staging { try ChunkStaging.checkNoForeignPlan(in: folder) }
        switch try await claim(ready.request) {
        case .own(let server): await server.stop()
        case .foreign(let server): try await probe(server, folder, root: ready.request.root)
        }
    }

    /// Checks everything but what serves.
    ///
    /// - Parameter copies: how many targets' parts are in the TFTP root at the same time.
    func staging(for request: FlashRequest, copies: Int = 1) async throws -> ReadyFlash.Content {
        switch request.delivery {
        case .parts(let partSize): .parts(try partsStaging(request, partSize, copies))
        case .plan(let mode): .plan(try await chunkStaging(request, mode))
        }
    }

    private func partsStaging(_ request: FlashRequest, _ partSize: ByteCount, _ copies: Int) throws -> PartsStaging {
        let layout: OSImageLayout
        let plan: PartsPlan
        let before = ImageFile.state(of: request.image)
        do {
            layout = try ports.inspectImage(request.image)
        } catch {
            throw FlashError.image("\(error)")
        }
        do throws(FitError) {
            try request.card.checkFit(layout)
        } catch {
            throw FlashError.image("\(request.image): \(error)")
        }
        // From here on it is this file, with this content, whatever the path leads to later.
        let image = try ImageFile(request.image, in: before)
        do throws(PartsPlanError) {
            plan = try PartsPlan(image: layout, partSize: partSize)
        } catch {
            throw FlashError.image("\(request.image): \(error)")
        }
        try checkServer(request)
        let needed = try image.dataBytes(in: plan.source)
        if let free = freeBytes(at: request.root), free / UInt64(copies) < needed {
            throw FlashError.server(
                copies == 1
                    ? "TFTP root \(request.root) has \(free) bytes free, the image takes \(needed) bytes; "
                        + "free some space or use another --tftp-root"
                    : "TFTP root \(request.root) has \(free) bytes free, the image takes \(needed) bytes "
                        + "for each of \(copies) targets; free some space, use another --tftp-root or fewer --jobs")
        }
        return PartsStaging(image: image, plan: plan)
    }

    private func chunkStaging(_ request: FlashRequest, _ mode: ChunkPlan.Mode) async throws -> ChunkStaging {
        // What is quick to check comes before an image is prepared, which can take minutes.
        try checkServer(request)
        let image = try await ports.prepareImage(request.image, report)
        do throws(FitError) {
            try request.card.checkPartitionsFit(image.layout)
        } catch {
            throw FlashError.image("\(request.image): \(error)")
        }
        if let remark = image.remark { report(.note(remark)) }
        report(.prepared(id: image.id))
        return ChunkStaging(image: image, mode: mode, sendsConsole: request.sendsConsole, render: ports.renderPlan)
    }

    /// What is quick to check: the TFTP root and the RESET line.
    func checkServer(_ request: FlashRequest) throws {
        try checkRoot(request.root)
        do {
            try ports.checkReset(request.target)
        } catch {
            throw FlashError.server("cannot reset target \(request.target.displayName): \(error)")
        }
    }

    func claim(_ request: FlashRequest) async throws -> ClaimedServer {
        do {
            return try await ports.claimServer(request.root, request.target)
        } catch let error as FlashError {
            throw error
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            throw FlashError.server("\(error)")
        }
    }

    /// Tests with files that mean nothing to a target that another server hands out this folder and takes outcomes.
    private func probe(_ server: any ForeignServer, _ folder: borrowing TargetFolder, root: FilePath) async throws {
        guard !folder.hasForeignPlan else { throw FlashError.foreignPlan(insteadOfImageIn: folder.path) }
        let nonce = Array("rpiflash \(UInt64.random(in: 0...UInt64.max))\n".utf8)
        try folder.write(nonce, to: TargetFolder.probeName)
        defer { folder.delete(TargetFolder.probeName) }
        let answer = await server.read("\(folder.name)/\(TargetFolder.probeName)")
        try Task.checkCancellation()
        switch answer {
        case .content(nonce): break
        case .silence: throw FlashError.mute(server.address)
        case .refused(let reason):
            throw FlashError.server(
                "the TFTP server on \(server.address) does not serve \(root) (it says: \(reason)); "
                    + "give its folder with --tftp-root, or stop it and rpiflash serves for itself")
        case .content, .taken:
            throw FlashError.server(
                "the TFTP server on \(server.address) serves another folder than \(root); "
                    + "give its folder with --tftp-root, or stop it and rpiflash serves for itself")
        }
        try folder.write([], to: TargetFolder.reportName, mode: 0o666)
        defer { folder.delete(TargetFolder.reportName) }
        let taken = await server.write("\(folder.name)/\(TargetFolder.reportName)", content: nonce)
        try Task.checkCancellation()
        guard taken == .taken else {
            let reason = if case .refused(let text) = taken { " (it says: \(text))" } else { "" }
            throw FlashError.server(
                "the TFTP server on \(server.address) takes no uploads\(reason), so the target could not report; "
                    + "stop it and rpiflash serves for itself")
        }
        // The last ACK may overtake the write.
        var attempts = 20
        while folder.read(TargetFolder.reportName, limit: 512) != nonce {
            attempts -= 1
            guard attempts > 0 else {
                throw FlashError.server(
                    "the TFTP server on \(server.address) takes uploads, but not into \(root); "
                        + "stop it and rpiflash serves for itself")
            }
            try await clock.sleep(for: Self.interval)
        }
    }

    // MARK: From the reset on

    private func flash(
        _ request: FlashRequest, _ plan: some Assignment, serve: () throws -> any TransferEvents, taken: () -> Void
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
            silenceTimeout: request.outcomeTimeout ?? plan.patience,
            consoleTimeout: request.outcomeTimeout ?? Follower<PartsPlan>.usualConsoleTimeout, start: resetAt)
        for (event, at) in early { follow(event, &follower, at: at, since: resetAt) }
        let proof: FlashProof
        do {
            proof = try await follow(&follower, events, since: resetAt, of: target, attempts)
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

    private func follow<Plan: Assignment>(
        _ follower: inout Follower<Plan>, _ events: any TransferEvents, since start: Duration, of target: Target,
        _ attempts: [ResetMethod]
    ) async throws -> FlashProof {
        var attempt = 0
        while true {
            for (event, at) in take(events) { follow(event, &follower, at: at, since: start) }
            if ports.heardConsole() { follower.heardConsole(at: now) }
            if follower.isOverdue(at: now) {
                attempt += 1
                guard attempt < attempts.count else {
                    throw FlashError.neverAsked(
                        target: target.displayName, within: follower.requestTimeout, tried: attempts)
                }
                try await beforeReset()
                // It may have asked while others were reset.
                for (event, at) in take(events) { follow(event, &follower, at: at, since: start) }
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

    /// What happened since the last call, and when.
    private func take(_ events: any TransferEvents) -> [(event: TransferEvent, at: Duration)] {
        let taken = events.take()
        let now = now
        return taken.map { ($0.event, now - $0.age) }
    }

    private func follow<Plan: Assignment>(
        _ event: TransferEvent, _ follower: inout Follower<Plan>, at instant: Duration, since reset: Duration
    ) {
        if case .completed(let file, _, let packets, let repeated, let window) = event {
            report(.completed(file: file, packets: packets, repeated: repeated, window: window))
        }
        if let progress = follower.take(event, at: instant) { report(progress) }
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
        _ request: FlashRequest, _ follower: inout Follower<some Assignment>, _ events: any TransferEvents
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
