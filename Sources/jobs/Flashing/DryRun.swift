package import FlashEvents
import Configuration
package import DiskLayout
package import FlashPlan
package import Inventory
package import SystemPackage

/// What is known of an image before a flash.
package enum ImageStatus: Sendable {
    /// It is prepared, and this is what is sent.
    case prepared(ChunkedImage)
    /// A flash prepares it first; its partition table as far as it could be read, `size` nil where it is compressed.
    case unprepared(OSImageLayout, size: ByteCount?)
}

/// What a dry run needs of the world. Nothing here resets, prepares, serves a job or writes a file.
package struct DryRunPorts: Sendable {
    /// As ``FlashPorts/openImage``.
    package var openImage: @Sendable (FilePath) async throws -> any OpenImage
    /// Finds out what there is to know of an image. Its errors are ``FlashError``, those of a flash.
    package var imageStatus: @Sendable (FilePath) async throws -> ImageStatus
    /// As ``FlashPorts/renderPlan``.
    package var renderPlan: @Sendable (ChunkPlan) async throws -> [UInt8]
    /// As ``FlashPorts/signer``.
    package var signer: ScriptSigner?
    /// Checks that flash plans can be rendered.
    package var checkTemplates: @Sendable () throws -> Void
    /// Checks that the target can be reset. Never touches its line, also where one was left driven.
    package var checkReset: @Sendable (Target) throws -> Void
    /// As ``FlashPorts/claimServer``.
    package var claimServer: @Sendable (_ root: FilePath, _ target: Target) async throws -> ClaimedServer

    package init(
        openImage: @escaping @Sendable (FilePath) async throws -> any OpenImage,
        imageStatus: @escaping @Sendable (FilePath) async throws -> ImageStatus,
        renderPlan: @escaping @Sendable (ChunkPlan) async throws -> [UInt8],
        signer: ScriptSigner? = nil,
        checkTemplates: @escaping @Sendable () throws -> Void,
        checkReset: @escaping @Sendable (Target) throws -> Void,
        claimServer: @escaping @Sendable (FilePath, Target) async throws -> ClaimedServer
    ) {
        self.openImage = openImage
        self.imageStatus = imageStatus
        self.renderPlan = renderPlan
        self.signer = signer
        self.checkTemplates = checkTemplates
        self.checkReset = checkReset
        self.claimServer = claimServer
    }

    /// For the checks that a flash has as well. What would change the world is not there.
    fileprivate var forChecks: FlashPorts {
        FlashPorts(
            openImage: openImage, prepareImage: { _, _ in throw NotInADryRun() }, renderPlan: renderPlan,
            signer: signer, checkReset: checkReset, reset: { _, _ in throw NotInADryRun() }, claimServer: claimServer,
            answers: { _, _ in throw NotInADryRun() })
    }
}

private struct NotInADryRun: Error {}

/// What a flash would do with a target.
package struct DryRunReport: Hashable, Sendable {
    /// What would be sent.
    package enum Content: Hashable, Sendable {
        /// By plan, and prepared: its content's id, and what is written and sent to a card that has nothing of it.
        case prepared(id: String, chunks: Int, written: ByteCount, sent: ByteCount)
        /// By plan, after it is prepared; its length, nil where that is only known when it is unpacked.
        case unprepared(size: ByteCount?)
        /// Whole, in parts.
        case parts(count: Int, written: ByteCount, sent: ByteCount)
    }

    /// The target.
    package let target: Target
    /// What would be sent to it.
    package let content: Content
    /// Who would serve.
    package let server: String
    /// Whether that is rpiflash. Of another server it is known when it is flashed whether it serves the root and takes
    /// uploads: a test needs files in it.
    package let isOwnServer: Bool
    /// The resets, one after the other for as long as the target does not ask for its image.
    package let resets: [ResetMethod]
}

/// Says what a flash would do: every check of it that touches nothing, in its order, with its errors. Nothing is made,
/// also not for a moment: no file, no lock, no reset.
package struct DryRun: Sendable {
    private let ports: @Sendable (Target) -> DryRunPorts

    /// - Parameter ports: what it needs of the world for a target.
    package init(ports: @escaping @Sendable (Target) -> DryRunPorts) { self.ports = ports }

    /// Checks.
    ///
    /// - Parameters:
    ///   - requests: of different targets, at least one.
    ///   - jobs: how many would be flashed at the same time.
    /// - Returns: what would be done, in the same order.
    /// - Throws: ``FlashError``; `CancellationError`.
    package func run(_ requests: [FlashRequest], jobs: Int) async throws -> [DryRunReport] {
        let flashers = requests.map { request in
            Flasher(ports: ports(request.target).forChecks, clock: ContinuousClock()) { _ in }
        }
        // A flash locks all targets before it looks at the image.
        for (flasher, request) in zip(flashers, requests) {
            try flasher.checkServer(request)
            try FolderLock.checkFree(root: request.root, target: request.target)
        }
        var contents: [Content] = []
        for (flasher, request) in zip(flashers, requests) {
            contents.append(try await content(request, flasher, copies: max(1, min(jobs, requests.count))))
        }
        var reports: [DryRunReport] = []
        for ((flasher, request), content) in zip(zip(flashers, requests), contents) {
            try Task.checkCancellation()
            reports.append(try await report(request, flasher, content))
        }
        return reports
    }

    private struct Content {
        let content: DryRunReport.Content
        /// What would be staged, where that is known.
        var staging: ChunkStager?
    }

    private func content(
        _ request: FlashRequest, _ flasher: Flasher<ContinuousClock>, copies: Int
    ) async throws -> Content {
        guard case .plan(let mode) = request.delivery else {
            guard case .parts(let staging) = try await flasher.staging(for: request, copies: copies) else {
                throw NotInADryRun()
            }
            let plan = staging.plan
            return Content(
                content: .parts(
                    count: Int(plan.partCount), written: plan.bytesToWrite, sent: plan.totalSectors.byteCount))
        }
        try flasher.checkServer(request)
        let ports = ports(request.target)
        let status = try await ports.imageStatus(request.image)
        let layout =
            switch status {
            case .prepared(let image): image.layout
            case .unprepared(let layout, _): layout
            }
        do throws(FitError) {
            try request.card.checkPartitionsFit(layout)
        } catch {
            throw FlashError.image("\(request.image): \(error)")
        }
        switch status {
        case .prepared(let image):
            let written = image.chunks.reduce(UInt64(0)) { $0 + $1.place.size.byteCount.bytes }
            let sent = image.chunks.reduce(UInt64(0)) { $0 + $1.encodedSize.bytes }
            return Content(
                content: .prepared(
                    id: image.id, chunks: image.chunks.count, written: ByteCount(written), sent: ByteCount(sent)),
                staging: ChunkStager(
                    image: image, mode: mode, target: request.target, sendsConsole: request.sendsConsole,
                    render: ports.renderPlan,
                    isSigned: ports.signer != nil))
        case .unprepared(_, let size):
            do {
                try ports.checkTemplates()
            } catch {
                throw FlashError.cannotMakePlan(error)
            }
            return Content(content: .unprepared(size: size))
        }
    }

    private func report(
        _ request: FlashRequest, _ flasher: Flasher<ContinuousClock>, _ content: Content
    ) async throws -> DryRunReport {
        let folder = try TargetFolder.inspect(root: request.root, target: request.target)
        let name = request.target.mac.description
        let (address, isOwn): (String, Bool)
        switch try await flasher.claim(request) {
        case .own(let server):
            (address, isOwn) = (server.address, true)
            await server.stop()
        case .foreign(let server):
            (address, isOwn) = (server.address, false)
            if folder.hasForeignPlan { throw FlashError.foreignPlan(insteadOfImageIn: folder.path) }
            if case .silence = await server.read("\(name)/\(TargetFolder.probeName)") {
                try Task.checkCancellation()
                throw FlashError.mute(address)
            }
        }
        if case .plan = request.delivery, folder.hasForeignPlan { throw FlashError.foreignPlan(in: folder.path) }
        _ = try await content.staging?.assignment(folder: name, byOwnServer: isOwn)
        let resets = request.target.resetAttempts
        guard !resets.isEmpty else { throw FlashError.noReset(request.target.displayName) }
        return DryRunReport(
            target: request.target, content: content.content, server: address, isOwnServer: isOwn, resets: resets)
    }
}
