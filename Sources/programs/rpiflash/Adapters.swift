import FlashEvents
import BootScript
import CommandOutput
import Configuration
import DiskLayout
import Flashing
import FlashPlan
import FoundationEssentials
import GPIO
import HostTools
import ImageStore
import Inventory
import LinuxHost
import OSImage
import RunRecords
import SystemPackage
import TFTP

/// How long a reset_command may take.
private let resetCommandLimit = Duration.seconds(60)

extension FlashPorts {
    /// The real world.
    ///
    /// - Parameters:
    ///   - share: what the flashes of the run have in common.
    ///   - windows: what is known of the target's window, and where what is learnt of it goes.
    static func real(
        listen: ListenOption?, service: FilePath, store: FilePath, relocation: RelocationRequest?,
        settings: FirstBootSettings?, templates: FilePath, share: FlashShare, board: String?,
        windows: KnownWindows, heardConsole: @escaping @Sendable () -> Bool
    ) -> FlashPorts {
        FlashPorts(
            inspectImage: { try inspectOSImage(at: $0) },
            prepareImage: { image, report in
                let store = ImageStore(at: store)
                var prepared: PreparedImage
                if let known = await share.image {
                    prepared = known
                } else {
                    prepared = try await prepare(image, relocation, in: store, report: report)
                    await share.keep(prepared)
                    Log.shared.line("the image's chunks are in \(prepared.folder)", .detail)
                }
                let record = prepared.manifest.relocation
                try checkObstacles(of: prepared, from: image, board: board)
                if let settings {
                    prepared = try await settings.applied(to: prepared, in: store)
                    Log.shared.line("with settings they are in \(prepared.folder)", .detail)
                }
                return try prepared.forFlashing(
                    raw: try isCompressed(image) ? nil : image, remark: record?.summary(of: image))
            },
            renderPlan: { try $0.scriptImage(templates: try planTemplates(in: templates), time: 0) },
            checkReset: { _ = try checkResetLine(of: $0) },
            reset: { try await resetTarget($0, by: $1, hold: nil) },
            claimServer: {
                try await claim(
                    root: $0, target: $1, listen: listen, service: service, share: share, windows: windows)
            },
            answers: { try await TCPPort(address: $0.ip.description, port: $1).answers(within: .seconds(2)) },
            heardConsole: heardConsole)
    }
}

/// Checks that a target's line is there and free. Nothing is requested, so nothing changes: a request would make a line
/// that is driven an input. A command is only known when it runs.
///
/// - Returns: the line; nil where the target has none.
@discardableResult
func checkResetLine(of target: Target) throws -> LineDescription? {
    guard let gpio = target.gpio else { return nil }
    let line = try findLine(gpio.reference)
    guard !line.isUsed else { throw GPIOError.busy(line: line.place, consumer: line.consumer) }
    logFound(line, of: target)
    if line.isForgotten {
        Log.shared.line(
            "warning: \(line.place) is driven, but nobody uses it: \(target.displayName) may be held in reset; "
                + "its next reset ends that", .warning)
    }
    return line
}

/// Refuses a prepared image that cannot work on a card, or not on the target's.
///
/// - Parameter board: the board that the target's card was made for; nil where that is not known.
func checkObstacles(of prepared: PreparedImage, from image: FilePath, board: String? = nil) throws(FlashError) {
    guard let relocation = prepared.manifest.relocation,
        let obstacle = relocation.obstacles.first ?? board.flatMap({ relocation.unstartable?[$0] })
    else { return }
    throw .image("\(image): \(obstacle); --as-is flashes it all the same")
}

/// The board that a target's card was made for, by the last report that said so; nil where none did.
func knownBoard(of target: Target, in runs: RunStore) -> String? {
    guard let stored = try? runs.list(mac: target.mac.description) else { return nil }
    return stored.reversed().lazy.compactMap { $0.record?.board?.board }.first
}

/// The window that a target takes: what is known of it before a flash, and who is told what the server learns of it.
struct KnownWindows: Sendable {
    /// Where nothing is known the server begins with the largest window.
    var before: WindowMemory?
    var learned: @Sendable (WindowMemory) -> Void

    /// Networks and boards change: what is older than this is tried anew.
    static let longestAge: TimeInterval = 90 * 86400

    /// For what serves nothing to a target.
    static let none = KnownWindows(before: nil) { _ in }

    /// What the last run of a target that tells something of it has.
    init(of target: Target, in runs: RunStore, learned: @escaping @Sendable (WindowMemory) -> Void) {
        let stored = (try? runs.list(mac: target.mac.description)) ?? []
        let now = Date.now
        let last = stored.reversed().lazy.compactMap { run -> (WindowMemory?, started: Date)? in
            run.record.flatMap { record in record.windows.map { ($0.memory, record.started) } }
        }.first
        self.init(
            before: last.flatMap { memory, started in
                (0...Self.longestAge).contains(now.timeIntervalSince(started)) ? memory : nil
            }, learned: learned)
    }

    private init(before: WindowMemory?, learned: @escaping @Sendable (WindowMemory) -> Void) {
        (self.before, self.learned) = (before, learned)
    }
}

/// Resets a target in one of the ways that its row has.
func resetTarget(_ target: Target, by method: ResetMethod, hold: Duration?) async throws {
    switch method {
    case .line(let gpio):
        try await pulse(
            try findLine(gpio.reference), hold: hold ?? .milliseconds(Int64(target.resetHoldMilliseconds)))
    case .command:
        guard let command = target.resetCommand else { return }
        try await ShellCommand(command).run(within: resetCommandLimit)
    }
}

/// Refuses templates of flash plans that another user could have written: targets run them.
func checkPlanTemplates(in folder: FilePath) throws(FlashError) {
    for name in ["plan.cmd", "plan-chunk.cmd"] { try checkTrust(of: folder.appending(name)) }
}

private func checkTrust(of path: FilePath) throws(FlashError) {
    do throws(UntrustedFile) {
        try FileTrust.current.check(path)
    } catch {
        throw .server("\(error)")
    }
}

/// The templates of flash plans.
func planTemplates(in folder: FilePath) throws -> PlanTemplates {
    func template(_ name: String) throws -> Template {
        let path = folder.appending(name)
        try checkTrust(of: path)
        guard let content = try? SmallFile.read(path, limit: 1 << 20),
            let text = String(validating: content, as: UTF8.self)
        else { throw FlashError.server("cannot read the template \(path); give its folder with --templates") }
        return try Template(text, file: path.string)
    }
    return PlanTemplates(plan: try template("plan.cmd"), chunk: try template("plan-chunk.cmd"))
}

/// The number of the boot script that this version's cards get; nil where the template is not there or has none.
func bootScriptNumber(in folder: FilePath) -> UInt64? {
    guard let content = try? SmallFile.read(folder.appending("boot.cmd"), limit: 1 << 20) else { return nil }
    let text = String(decoding: content, as: UTF8.self)
    return text.firstMatch(of: /(?m)^setenv l_script ([0-9a-f]+)$/).flatMap { UInt64($0.output.1, radix: 16) }
}

/// Has the store prepare an image, or finds it there, and says it in the flash's terms.
func prepare(
    _ image: FilePath, _ relocation: RelocationRequest?, in store: ImageStore,
    report: @escaping @Sendable (FlashProgress) -> Void
) async throws -> PreparedImage {
    do {
        return try await store.prepare(image, relocation: relocation) { progress in
            switch progress {
            case .waiting(let holder): report(.note("waiting for \(holder), which prepares the same image"))
            case .unpacking(let progress): report(.unpacking(read: progress.read.bytes, total: progress.total.bytes))
            case .preparing(let done, let total): report(.preparing(bytes: done.bytes, total: total.bytes))
            case .examining, .finishing: break
            }
        }
    } catch let error as ImageStoreError {
        throw FlashError(error)
    }
}

extension FlashError {
    /// What the store says, in the flash's terms.
    init(_ error: ImageStoreError) { self = error.isAboutImage ? .image("\(error)") : .server("\(error)") }
}

/// Whether an image is no raw one.
func isCompressed(_ image: FilePath) throws(FlashError) -> Bool {
    do throws(OSImageError) {
        return try Compression(of: image) != nil
    } catch {
        throw .image("\(error)")
    }
}

extension Manifest.RelocationRecord {
    /// One sentence for the log; nil where there is nothing to say.
    fileprivate func summary(of image: FilePath) -> String? {
        if changed.isEmpty, notes.isEmpty { return nil }
        let files = changed.map { $0.drop { $0 != ":" }.dropFirst() }.joined(separator: ", ")
        let what = files.isEmpty ? "nothing had to be changed for the card" : "changed for the card: \(files)"
        let count = notes.count
        return notes.isEmpty ? what : "\(what) (\(count) note\(count == 1 ? "" : "s"): rpiflash plan \(image))"
    }
}

extension PreparedImage {
    /// - Parameter raw: the image itself where it is not compressed.
    func forFlashing(raw: FilePath?, remark: String?) throws -> ChunkedImage {
        let chunks = try manifest.chunks.map { chunk in
            guard let partition = CardPartition(rawValue: UInt64(chunk.partition)),
                let digest = SHA256Digest(hexadecimal: chunk.sha256)
            else { throw FlashError.server("\(folder) is damaged; remove it with rpiflash images") }
            return ChunkedImage.Chunk(
                place: ChunkPlace(
                    partition: partition, offset: SectorCount(chunk.offset), size: SectorCount(chunk.count)),
                digest: digest, encoding: chunk.encoding == .gzip ? .gzip : .raw,
                encodedSize: ByteCount(chunk.encodedBytes), file: chunk.file, pieces: ByteCount(chunk.pieces))
        }
        return ChunkedImage(
            id: manifest.id,
            layout: try layout(), chunks: chunks, table: ("pieces", ByteCount(manifest.piecesBytes)), raw: raw,
            remark: remark,
            isPrivate: isPrivate, link: { try link($0, to: $1, isForEveryone: $2) })
    }
}
