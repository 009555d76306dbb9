import FlashEvents
import DiskLayout
import FlashPlan

/// What a target is asked to do: the files that it fetches for it, and what it must have said in the end.
protocol FlashJob: Sendable {
    /// The file that a target asks for first; asking for it again later is a new start.
    var entryFile: String { get }
    /// How many steps there are; a step is done with one file or a few.
    var steps: UInt64 { get }
    /// Bytes of all steps' files together.
    var totalBytes: UInt64 { get }
    /// How long a target may be silent while it works.
    var timeout: Duration { get }

    /// The number by which a target asks for the permission to run it; nil where nothing of it can be signed.
    var signedJob: ChunkPlan.PlanID? { get }

    /// The step that a file is for, 0 for the first; nil where it is for none.
    func step(of file: String) -> UInt64?
    /// Bytes of a file as a whole; nil where that is not known.
    func size(of file: String) -> UInt64?
    /// Bytes that the card gets for a step whose file this is; nil where it is not all of the step.
    func bytesOnCard(for file: String) -> UInt64?
    /// How far a target is that has begun with a step.
    func progress(step: UInt64, bytes: UInt64, elapsed: Duration) -> FlashProgress
    /// Whether what the target said is a proof (law 2). It is untrusted (law 7).
    func judge(_ said: TargetReport) throws(FlashError) -> FlashProof
}

/// What a target has said and done since the reset.
struct TargetReport {
    /// Its name, for messages.
    var target: String
    /// Its outcomes, as they were uploaded.
    var outcomes: [Outcome.Kind: [UInt8]] = [:]
    /// Its REPORT, as it was uploaded.
    var report: [UInt8]?
    /// Whether it asked for the entry file.
    var hasAsked = false
    /// Steps whose file was sent to it in full.
    var fetched: Set<UInt64> = []

    /// The OK, where it is one.
    func ok() throws(FlashError) -> Outcome {
        let outcome: Outcome
        do throws(OutcomeError) {
            outcome = try Outcome(kind: .ok, bytes: outcomes[.ok] ?? [])
        } catch {
            throw .notProven("\(error); target \(target) is not proven")
        }
        guard hasAsked else { throw .notProven("target \(target) reported OK before it asked for the image") }
        return outcome
    }
}

extension PartsPlan: FlashJob {
    var signedJob: ChunkPlan.PlanID? { nil }
    var entryFile: String { Self.manifestName }
    var steps: UInt64 { partCount }
    var totalBytes: UInt64 { totalSectors.byteCount.bytes }
    /// A second for each MiB of a part: a slow card writes and reads it in that.
    var timeout: Duration { .seconds(120) + .seconds(Int64(min(partSectors, totalSectors).byteCount.bytes >> 20)) }

    func step(of file: String) -> UInt64? {
        guard file.hasPrefix(Self.partNamePrefix), let number = UInt64(file.dropFirst(Self.partNamePrefix.count)),
            number < partCount
        else { return nil }
        return number
    }

    func size(of file: String) -> UInt64? { step(of: file).map { part($0).size.bytes } }

    func bytesOnCard(for file: String) -> UInt64? {
        guard let step = step(of: file) else { return nil }
        let sectors = part(step).size.bytes
        return step == 0 ? sectors - min(sectors, PartsPlan.skip.byteCount.bytes) : sectors
    }

    func progress(step: UInt64, bytes: UInt64, elapsed: Duration) -> FlashProgress {
        .transfer(part: step + 1, parts: steps, bytes: bytes, total: totalBytes, elapsed: elapsed)
    }

    func judge(_ said: TargetReport) throws(FlashError) -> FlashProof {
        if let content = said.outcomes[.failed] {
            if let report = said.report.flatMap({ try? Report(bytes: $0) }), report.isRefusal {
                throw .planFailed(
                    target: said.target, code: report.code, reason: report.reason, proven: ByteCount(0),
                    expected: bytesToWrite)
            }
            throw .targetFailed(
                target: said.target, written: (try? Outcome(kind: .failed, bytes: content))?.written,
                expected: bytesToWrite)
        }
        let outcome = try said.ok()
        if let missing = (0..<partCount).first(where: { !said.fetched.contains($0) }) {
            throw .notProven(
                "target \(said.target) reported OK, but did not fetch \(Self.partName(missing)) in full since the reset"
            )
        }
        guard outcome.written == bytesToWrite else {
            throw .notProven(
                "target \(said.target) reported OK with \(outcome.written.bytes) bytes; "
                    + "must be \(bytesToWrite.bytes) bytes")
        }
        return FlashProof(
            bytes: outcome.written, written: outcome.written, loaded: totalSectors.byteCount, retries: 0)
    }
}

extension ChunkPlan: FlashJob {
    var signedJob: ChunkPlan.PlanID? { job }
    var entryFile: String { Self.scriptName }
    var steps: UInt64 { UInt64(chunks.count) }
    var totalBytes: UInt64 { encodedSize.bytes }
    /// While it finds chunks that are there already a target asks for nothing: 5 s for each, which is 16 MiB at the
    /// slowest card's 5 MB/s and the time to hash them.
    var timeout: Duration { .seconds(120) + .seconds(5 * Int64(chunks.count)) }

    func step(of file: String) -> UInt64? {
        if let chunk = chunks.firstIndex(where: { $0.file.name == file }) { return UInt64(chunk) }
        guard let pieces, let at = file.lastIndex(of: "@"), file[..<at] == pieces.imageName,
            let sector = UInt64(file[file.index(after: at)...].prefix { $0 != "+" && $0 != "-" }, radix: 16)
        else { return nil }
        let chunk = chunks.firstIndex { chunk in
            let start = image.partition(for: chunk.place.partition).start + chunk.place.offset
            return (start.sector..<start.sector + chunk.place.size.sectors).contains(sector)
        }
        return chunk.map { UInt64($0) }
    }

    func size(of file: String) -> UInt64? { chunks.first { $0.file.name == file }?.file.size.bytes }

    func bytesOnCard(for file: String) -> UInt64? { chunks.first { $0.file.name == file }?.place.size.byteCount.bytes }

    func progress(step: UInt64, bytes: UInt64, elapsed: Duration) -> FlashProgress {
        .chunk(number: step + 1, chunks: steps, bytes: bytes, total: totalBytes, elapsed: elapsed)
    }

    func judge(_ said: TargetReport) throws(FlashError) -> FlashProof {
        let report: Report?
        var reportProblem = "it uploaded no REPORT"
        do throws(ReportError) {
            report = try said.report.map { bytes throws(ReportError) in try Report(bytes: bytes) }
        } catch {
            report = nil
            reportProblem = error.description
        }
        if let content = said.outcomes[.failed] {
            let own = report.flatMap { ($0.job == job || $0.isRefusal) && $0.state == .failed ? $0 : nil }
            throw .planFailed(
                target: said.target, code: own?.code, reason: own.flatMap { failure(in: $0) },
                proven: (try? Outcome(kind: .failed, bytes: content))?.written, expected: totalSectors.byteCount)
        }
        let outcome = try said.ok()
        guard let report else {
            throw .notProven("target \(said.target) reported OK, but proves nothing: \(reportProblem)")
        }
        do throws(JudgementError) {
            return try judge(report: report, outcome: outcome)
        } catch {
            throw .notProven("target \(said.target) reported OK, but is not proven: \(error)")
        }
    }

    /// Why the target failed, for people.
    private func failure(in report: Report) -> String? {
        guard let chunk = report.badChunk else { return report.reason }
        let lba = report.badLBA.map { " at LBA \($0.sector)" } ?? ""
        if report.code == .differs {
            let count = report.badCount
            return "\(count) of \(chunks.count) chunks differ\(count == 1 ? "s" : "") from the image"
                + "\(count == 1 ? ": " : ", the first is ")chunk \(chunk)\(lba)"
        }
        return ["chunk \(chunk) of \(chunks.count)\(lba)", report.reason].compactMap { $0 }.joined(separator: ": ")
    }
}
