import DiskLayout
import FlashEvents
import FlashPlan
import Inventory
import LinuxHost
import SystemPackage

/// What is checked before the target is touched.
extension Flasher {
    /// Checks that the target's folder can be served and takes what it uploads, and leaves nothing of that.
    func dryRun(_ ready: PreparedFlash) async throws {
        var folder = try makeFolder(ready.request)
        defer {
            folder.remove()
            withExtendedLifetime(ready) {}
        }
        if case .plan = ready.staging { try ChunkStager.checkNoForeignPlan(in: folder) }
        switch try await claim(ready.request) {
        case .own(let server): await server.stop()
        case .foreign(let server): try await probe(server, folder, root: ready.request.root)
        }
    }

    /// Checks everything but what serves.
    ///
    /// - Parameter copies: how many targets' parts are in the TFTP root at the same time.
    func staging(for request: FlashRequest, copies: Int = 1) async throws -> PreparedFlash.Content {
        switch request.delivery {
        case .parts(let partSize): .parts(try await partsStaging(request, partSize, copies))
        case .plan(let mode): .plan(try await chunkStaging(request, mode))
        }
    }

    private func partsStaging(
        _ request: FlashRequest, _ partSize: ByteCount, _ copies: Int
    ) async throws -> PartsStager {
        let plan: PartsPlan
        let (image, layout): (any OpenImage, OSImageLayout)
        do {
            image = try await ports.openImage(request.image)
            layout = try image.layout()
        } catch {
            throw FlashError.image("\(error)")
        }
        do throws(FitError) {
            try request.card.checkFit(layout)
        } catch {
            throw FlashError.image("\(request.image): \(error)")
        }
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
        return PartsStager(image: image, plan: plan)
    }

    private func chunkStaging(_ request: FlashRequest, _ mode: ChunkPlan.Mode) async throws -> ChunkStager {
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
        return ChunkStager(
            image: image, mode: mode, target: request.target, sendsConsole: request.sendsConsole,
            render: ports.renderPlan, isSigned: ports.signer != nil)
    }

    /// What is quick to check: the TFTP root and the RESET line.
    func checkServer(_ request: FlashRequest) throws {
        try checkRoot(request.root)
        try checkSigning(request)
        do {
            try ports.checkReset(request.target)
        } catch {
            throw FlashError.server("cannot reset target \(request.target.displayName): \(error)")
        }
    }

    /// A row may insist on what this server, or the way that the image goes over, cannot give.
    private func checkSigning(_ request: FlashRequest) throws(FlashError) {
        guard request.target.requiresSigned else { return }
        let name = request.target.displayName
        if case .parts = request.delivery {
            throw .server(
                "target \(name) has require_signed in the inventory, and an image in parts cannot be signed; "
                    + "leave out --protocol parts")
        }
        guard ports.signer != nil else {
            throw .server(
                "target \(name) has require_signed in the inventory, and this server has no key; "
                    + "make one with rpiflash keys init, or copy the bench's keys to this server")
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
    func probe(_ server: any ForeignServer, _ folder: borrowing TargetFolder, root: FilePath) async throws {
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
}
