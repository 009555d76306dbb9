public import DiskLayout
internal import FlashPlan
public import Inventory
public import SystemPackage

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
    /// Length of every part but the last.
    public var partSize: ByteCount
    /// From a reset to the first request; then the target is reset once more, in every way that its row has.
    public var requestTimeout: Duration
    /// Without a sign of life after that; nil: two minutes and a second for each MiB of a part, the time that a slow
    /// card needs to write it.
    public var outcomeTimeout: Duration?
    /// The TCP port that shows that the target is up; nil: not waited for.
    public var waitPort: UInt16?
    /// How long that is waited for.
    public var waitTimeout: Duration

    /// A request with the usual times.
    public init(
        image: FilePath, target: Target, card: CardLayout, root: FilePath, partSize: ByteCount,
        requestTimeout: Duration = .seconds(45), outcomeTimeout: Duration? = nil, waitPort: UInt16? = 22,
        waitTimeout: Duration = .seconds(180)
    ) {
        self.image = image
        self.target = target
        self.card = card
        self.root = root
        self.partSize = partSize
        self.requestTimeout = requestTimeout
        self.outcomeTimeout = outcomeTimeout
        self.waitPort = waitPort
        self.waitTimeout = waitTimeout
    }
}

/// A proven flash.
public struct FlashResult: Hashable, Sendable {
    /// Bytes that the target wrote, as it reported and as was expected.
    public let written: ByteCount
    /// How many parts there were.
    public let parts: UInt64
    /// From the reset to the outcome.
    public let flashTime: Duration
    /// From the outcome until the TCP port answered; nil where it was not waited for.
    public let upAfter: Duration?
}

/// Puts an image on a target's card and proves it: validate, lock, stage, serve, reset, follow, compare, wait, clean up.
public struct Flasher<C: Clock>: Sendable where C.Duration == Duration {
    private let ports: FlashPorts
    private let clock: C
    private let start: C.Instant
    private let report: @Sendable (FlashProgress) -> Void

    /// How often events are looked at.
    private static var interval: Duration { .milliseconds(100) }

    /// - Parameters:
    ///   - ports: what it needs of the world.
    ///   - clock: for every time that is measured or waited.
    ///   - report: told what happens.
    public init(ports: FlashPorts, clock: C, report: @escaping @Sendable (FlashProgress) -> Void) {
        self.ports = ports
        self.clock = clock
        self.report = report
        start = clock.now
    }

    private var now: Duration { start.duration(to: clock.now) }

    /// Flashes.
    ///
    /// - Throws: ``FlashError``; `CancellationError` only where the task was cancelled. Either way everything that was
    ///   staged is removed and RESET is released.
    public func run(_ request: FlashRequest) async throws -> FlashResult {
        let job = try check(request)
        let plan = job.plan
        let lock = try FolderLock(root: request.root, target: request.target)
        var folder = try TargetFolder(root: request.root, target: request.target)
        defer { folder.remove() }
        // Its lock was free, so whatever lies here was left by a job that was killed.
        if folder.clean() > 0 { report(.note("removed what an earlier job left in \(folder.path)")) }

        let result: FlashResult
        switch try await claim(request) {
        case .own(let server):
            report(.note("serving \(request.root) on \(server.address)"))
            do {
                let files = try await stage(job.image, plan, in: folder)
                result = try await flash(request, plan) {
                    server.serve(folder: folder.name, files: files, to: request.target)
                } taken: {
                    folder.clean()
                }
            } catch {
                await server.stop()
                throw error
            }
            await server.stop()
        case .foreign(let server):
            report(.note("using the TFTP server that is there, on \(server.address)"))
            try await probe(server, folder, root: request.root)
            _ = try await stage(job.image, plan, in: folder)
            // Files to write to: a server that may not make files takes uploads to these.
            for kind in Outcome.Kind.allCases { try folder.write([], to: kind.fileName, mode: 0o666) }
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
        _ = consume lock
        return result
    }

    // MARK: Before the target is touched

    /// What passed every check.
    private struct CheckedJob: ~Copyable {
        let image: ImageFile
        let plan: PartsPlan
    }

    private func check(_ request: FlashRequest) throws -> CheckedJob {
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
            plan = try PartsPlan(image: layout, partSize: request.partSize)
        } catch {
            throw FlashError.image("\(request.image): \(error)")
        }
        try checkRoot(request.root)
        do {
            try ports.checkReset(request.target)
        } catch {
            throw FlashError.server("cannot reset target \(request.target.displayName): \(error)")
        }
        let needed = try image.dataBytes(in: 0..<min(layout.size.bytes, plan.totalSectors.byteCount.bytes))
        if let free = freeBytes(at: request.root), free < needed {
            throw FlashError.server(
                "TFTP root \(request.root) has \(free) bytes free, the image takes \(needed) bytes; "
                    + "free some space or use another --tftp-root")
        }
        return CheckedJob(image: image, plan: plan)
    }

    private func claim(_ request: FlashRequest) async throws -> ClaimedServer {
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
        guard !folder.hasForeignPlan else {
            throw FlashError.server(
                "\(folder.path)/flash.scr is there; the target would run it instead of taking the image: remove it")
        }
        let nonce = Array("rpiflash \(UInt64.random(in: 0...UInt64.max))\n".utf8)
        try folder.write(nonce, to: TargetFolder.probeName)
        defer { folder.delete(TargetFolder.probeName) }
        let answer = await server.read("\(folder.name)/\(TargetFolder.probeName)")
        try Task.checkCancellation()
        switch answer {
        case .content(nonce): break
        case .silence:
            throw FlashError.server(
                "another program has UDP \(server.address) and does not answer TFTP; end it or use --listen")
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

    /// Copies the image to the folder, the manifest last.
    ///
    /// - Returns: the names of the files.
    private func stage(
        _ image: borrowing ImageFile, _ plan: PartsPlan, in folder: borrowing TargetFolder
    ) async throws -> Set<String> {
        let total = try image.dataBytes(
            in: 0..<min(plan.image.size.bytes, plan.totalSectors.byteCount.bytes))
        var done: UInt64 = 0
        var files: Set<String> = [PartsPlan.manifestName]
        for part in plan.parts {
            let file = try folder.create(part.name)
            defer { try? file.close() }
            try await image.copy(part, to: file, name: folder.path.appending(part.name)) { count in
                done += count
                report(.staging(bytes: done, total: total))
            }
            files.insert(part.name)
        }
        try image.checkUnchanged()
        try folder.publish(manifest: plan.manifest)
        return files
    }

    // MARK: From the reset on

    private func flash(
        _ request: FlashRequest, _ plan: PartsPlan, serve: () throws -> any ServeEvents, taken: () -> Void
    ) async throws -> FlashResult {
        let target = request.target
        try Task.checkCancellation()
        let attempts = target.resetAttempts
        guard let first = attempts.first else {
            throw FlashError.server("target \(target.displayName) has neither a gpio nor a reset_command")
        }
        let events = try serve()
        report(.note("resetting target \(target.displayName) (\(first))"))
        try await reset(target, first)
        let resetAt = now
        // What was there before the reset proves nothing.
        let early = events.take().filter { if case .uploaded = $0 { false } else { true } }
        var follower = Follower(
            plan: plan, target: target.displayName, requestTimeout: request.requestTimeout,
            silenceTimeout: request.outcomeTimeout ?? Self.patience(for: plan), start: resetAt)
        for event in early { follow(event, &follower, since: resetAt) }
        let outcome: FlashPlan.Outcome
        do {
            outcome = try await follow(&follower, events, since: resetAt, of: target, attempts)
        } catch is CancellationError where follower.hasAsked {
            report(
                .warning(
                    "target \(target.displayName) may have begun to write; "
                        + "a card that is half written does not boot, flash it again"))
            throw CancellationError()
        }
        let flashedAt = now
        report(.note("the target reported OK with \(outcome.written.bytes) bytes, exactly what was to be written"))
        // A target that starts again now boots its card: it must not find the image once more.
        taken()
        let upAt = try await waitUntilUp(request, &follower, events)
        return FlashResult(
            written: outcome.written, parts: plan.partCount, flashTime: flashedAt - resetAt,
            upAfter: upAt.map { $0 - flashedAt })
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

    private static func patience(for plan: PartsPlan) -> Duration {
        .seconds(120) + .seconds(Int64(min(plan.partSectors, plan.totalSectors).byteCount.bytes >> 20))
    }

    private func follow(
        _ follower: inout Follower, _ events: any ServeEvents, since start: Duration, of target: Target,
        _ attempts: [ResetMethod]
    ) async throws -> FlashPlan.Outcome {
        var attempt = 0
        while true {
            for event in events.take() { follow(event, &follower, since: start) }
            if follower.isOverdue(at: now) {
                attempt += 1
                guard attempt < attempts.count else {
                    throw FlashError.neverAsked(
                        target: target.displayName, within: follower.requestTimeout, tried: attempts)
                }
                report(
                    .warning(
                        "target \(target.displayName) did not ask for its image within \(follower.requestTimeout.text); "
                            + "resetting it again (\(attempts[attempt]))"))
                try await reset(target, attempts[attempt])
                follower.wasReset(at: now)
            }
            if let outcome = try follower.outcome(at: now) { return outcome }
            try await clock.sleep(for: Self.interval)
        }
    }

    private func follow(_ event: ServeEvent, _ follower: inout Follower, since reset: Duration) {
        if let progress = follower.take(event, at: now) { report(progress) }
        guard let part = follower.currentPart else { return }
        switch event {
        case .opened, .progress, .sent:
            let plan = follower.plan
            report(
                .transfer(
                    part: part + 1, parts: plan.partCount, bytes: follower.bytes,
                    total: plan.totalSectors.byteCount.bytes, elapsed: now - reset))
        default: break
        }
    }

    /// - Returns: when the port answered; nil where it is not waited for.
    private func waitUntilUp(
        _ request: FlashRequest, _ follower: inout Follower, _ events: any ServeEvents
    ) async throws -> Duration? {
        guard let port = request.waitPort else { return nil }
        let begin = now
        while true {
            for event in events.take() { _ = follower.take(event, at: now) }
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
