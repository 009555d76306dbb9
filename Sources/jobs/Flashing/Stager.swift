import FlashEvents
import DiskLayout
import FlashPlan
import Inventory
import SystemPackage

/// Puts what a target fetches into its folder.
protocol Stager: Sendable {
    associatedtype Plan: FlashJob

    /// Stages everything, the file that the target asks for first last.
    ///
    /// - Parameters:
    ///   - folder: empty of what jobs stage.
    ///   - reader: who opens the files; one of our own servers can serve ranges of the image too.
    ///   - report: told how far it is.
    /// - Returns: what the target has to do, and what is to be served.
    func stage(
        in folder: borrowing TargetFolder, for reader: StagedFileReader, report: @Sendable (FlashProgress) -> Void
    ) async throws -> (Plan, JobFiles)
}

/// An image in parts: copies of it, behind the filler, which is a hole.
struct PartsStager: Stager {
    let image: any OpenImage
    let plan: PartsPlan

    func stage(
        in folder: borrowing TargetFolder, for reader: StagedFileReader, report: @Sendable (FlashProgress) -> Void
    ) async throws -> (PartsPlan, JobFiles) {
        let total = try image.dataBytes(in: plan.source)
        var done: UInt64 = 0
        var files = JobFiles(folder: folder.name, names: [PartsPlan.manifestName], entry: PartsPlan.manifestName)
        for part in plan.parts {
            let file = try folder.create(part.name)
            defer { try? file.close() }
            try await image.copy(part, to: file, name: folder.path.appending(part.name)) { count in
                done += count
                report(.staging(bytes: done, total: total))
            }
            files.names.insert(part.name)
        }
        try ofImage { try image.checkUnchanged() }
        try folder.publish(Array(plan.manifest.utf8), as: PartsPlan.manifestName)
        return (plan, files)
    }
}

/// A prepared image and a flash plan: links to the store's files, and the script.
struct ChunkStager: Stager {
    let image: ChunkedImage
    let mode: ChunkPlan.Mode
    let target: Target
    let sendsConsole: Bool
    let render: @Sendable (ChunkPlan) async throws -> [UInt8]
    /// Whether `render` signs: then a target with a key asks for a permission too.
    let isSigned: Bool

    func stage(
        in folder: borrowing TargetFolder, for reader: StagedFileReader, report: @Sendable (FlashProgress) -> Void
    ) async throws -> (ChunkPlan, JobFiles) {
        try Self.checkNoForeignPlan(in: folder)
        try folder.markPlan()
        let assignment = try await assignment(folder: folder.name, byOwnServer: reader != .everyone)
        let isForEveryone = reader == .everyone || reader == .group && !folder.isShared
        if image.isPrivate, isForEveryone {
            report(
                .warning(
                    "every user of this server can read the settings in \(folder.path) while this flash runs; "
                        + (reader == .everyone
                            ? "another TFTP server serves, and sends them to whoever asks: end it, and rpiflash serves"
                            : "the TFTP root belongs to no group that the service is in: see docs/security.md")))
        }
        for (file, name) in assignment.links {
            try link(file, name, folder, isForEveryone)
            try Task.checkCancellation()
        }
        try folder.publish(assignment.script, as: ChunkPlan.scriptName)
        return (assignment.plan, assignment.files)
    }

    /// What a target has to do, and what its folder holds then.
    struct ChunkAssignment {
        let plan: ChunkPlan
        /// The plan as the target runs it.
        let script: [UInt8]
        let files: JobFiles
        /// Files of the store, and their names in the folder.
        let links: [(file: String, name: String)]
    }

    /// Works out everything and makes nothing.
    ///
    /// - Parameter folder: the target's folder, by its name.
    func assignment(folder: String, byOwnServer: Bool) async throws -> ChunkAssignment {
        var files = JobFiles(folder: folder, names: [ChunkPlan.scriptName], entry: ChunkPlan.scriptName)
        var links: [(file: String, name: String)] = []
        var names: [String: String] = [:]
        var chunks: [ChunkPlan.Chunk] = []
        for (index, chunk) in image.chunks.enumerated() {
            let name = names[chunk.file] ?? TargetFolder.chunkName(index + 1, chunk.encoding)
            if names.updateValue(name, forKey: chunk.file) == nil {
                links.append((chunk.file, name))
                files.names.insert(name)
            }
            chunks.append(
                ChunkPlan.Chunk(
                    place: chunk.place, digest: chunk.digest,
                    file: .init(name: name, encoding: chunk.encoding, size: chunk.encodedSize), pieces: chunk.pieces))
        }
        if isSigned { files.names.insert(Challenge.answerName) }
        var pieces: ChunkPlan.Pieces?
        // Other servers serve no ranges of files.
        if byOwnServer, mode == .normal, let raw = image.raw {
            links.append((image.table.file, TargetFolder.piecesName))
            files.names.insert(TargetFolder.piecesName)
            files.ranged = .init(name: TargetFolder.imageName, image: raw)
            pieces = ChunkPlan.Pieces(
                imageName: TargetFolder.imageName, tableName: TargetFolder.piecesName, tableSize: image.table.size)
        }
        let plan: ChunkPlan
        let script: [UInt8]
        do {
            plan = try ChunkPlan(
                job: ChunkPlan.PlanID(UInt64.random(in: 0...UInt64.max)), mode: mode, image: image.layout,
                chunks: chunks, pieces: pieces, sendsConsole: sendsConsole,
                target: target.mac, needsKeys: target.requiresSigned)
            script = try await render(plan)
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            throw FlashError.cannotMakePlan(error)
        }
        return ChunkAssignment(plan: plan, script: script, files: files, links: links)
    }

    /// A plan of someone else is never touched.
    static func checkNoForeignPlan(in folder: borrowing TargetFolder) throws(FlashError) {
        guard !folder.hasForeignPlan else { throw .foreignPlan(in: folder.path) }
    }

    private func link(
        _ file: String, _ name: String, _ folder: borrowing TargetFolder, _ isForEveryone: Bool
    ) throws {
        do {
            try image.link(file, folder.path.appending(name), isForEveryone)
        } catch {
            throw FlashError.server("\(error)")
        }
    }
}
