package import DiskLayout

/// What a target uploads as `REPORT` before its outcome: text, `name=value` in each line.
///
/// Source: docs/plan-protocol.md. It comes from the target: only known names, each once, and short values are taken
/// (law 7). Numbers are hexadecimal.
package struct Report: Hashable, Sendable {
    /// The file's name.
    package static let fileName = "REPORT"
    /// The most bytes that are looked at.
    package static let longest = 4096

    /// Why a target failed. templates/plan sets it where it sets the reason.
    package enum Code: String, Hashable, Sendable, CaseIterable {
        /// The card's boot script has other names than the plan uses.
        case oldBootScript = "old_boot_script"
        /// Partitions 2 and 3 are not where the boot script expects them.
        case otherLayout = "other_layout"
        /// A partition of the image is larger than the card's.
        case noFit = "no_fit"
        /// The card ends before its partition table does.
        case shortCard = "short_card"
        /// A chunk's file did not arrive.
        case notLoaded = "not_loaded"
        /// A chunk's file arrived, and its length or SHA-256 is not the plan's.
        case wrongFile = "wrong_file"
        /// The card refused a write, or does not hold what was written.
        case lostWrite = "lost_write"
        /// A chunk lies outside of its partition.
        case outside
        /// The card differs from the image; only where nothing was to be written.
        case differs
        /// All chunks are there, but not all sectors.
        case miscounted
        /// The plan is for another target.
        case otherTarget = "other_target"
        /// The server did not permit the plan while it ran: an old plan, sent again.
        case notPermitted = "not_permitted"
        /// The card knows no key, and the plan is only for cards that do.
        case unsignedCard = "unsigned_card"
        /// No key of the card has signed the plan.
        case notSigned = "not_signed"
        /// The boot script knows a key that U-Boot's device tree does not have.
        case noKey = "no_key"
        /// The server has an image in parts, which nobody can sign.
        case unsignedParts = "unsigned_parts"
        /// What the server has is not a plan that the agent can carry out.
        case noPlan = "no_plan"
        /// The server has an image in parts, and Linux flashes this target: it takes plans only.
        case noParts = "no_parts"

        /// Whether the boot script, or the agent, refused what it was given, without the number of a job.
        package var isRefusal: Bool { [.notSigned, .noKey, .unsignedParts, .noPlan, .noParts].contains(self) }
    }

    /// Whether the target refused to run what the server has, and so could not tell which job that is: `rpi_job` is 0.
    package var isRefusal: Bool { job == ChunkPlan.PlanID(0) && state == .failed && code?.isRefusal == true }

    /// The job that the target says it did.
    package let job: ChunkPlan.PlanID
    /// What it says about how it went.
    package let state: Outcome.Kind
    /// Why it failed, for programs; nil where it did not, or does not say, or says what is unknown here.
    package let code: Code?
    /// Why it failed, for people, in its words; printable ASCII, at most 512 characters. Nothing is decided by it.
    package let reason: String?
    /// Chunks that it says are on the card as planned.
    package let chunks: UInt64
    /// Sectors of these that it wrote, and then read back.
    package let written: SectorCount
    /// Sectors of these that were there already.
    package let same: SectorCount
    /// What it loaded, each file rounded up to sectors; the plan itself is not counted.
    package let fetched: SectorCount
    /// How often a chunk was tried again.
    package let retries: UInt64
    /// Chunks that differ, or could not be written.
    package let badCount: UInt64
    /// The first of these, 1 for the plan's first; nil: none.
    package let badChunk: UInt64?
    /// Where that one starts on the card; nil: none.
    package let badLBA: LBA?
    /// The number of the card's boot script; nil: one from before they had numbers.
    package let script: UInt64?
    /// The board that the card was made for; nil where its boot script does not say.
    package let board: String?
    /// Names of the keys that the card knows; empty: none.
    package let keys: [String]
    /// U-Boot's version, where it has one to tell; nil where Linux flashed.
    package let ubootVersion: String?
    /// Linux's version, where that flashed; else nil.
    package let linuxVersion: String?
    /// The number of the agent that flashed, where Linux did; nil: U-Boot did.
    package let agent: UInt64?
    /// The board's serial number, where it has one.
    package let serial: String?
    /// PARTUUID of the card's partition 1: the disk's signature and `-01`.
    package let card: String?

    /// Reads an uploaded file.
    ///
    /// - Throws: ``ReportError``.
    package init(bytes: some Collection<UInt8>) throws(ReportError) {
        let values = try Self.values(bytes)
        guard values["rpi_report"] == "1" else { throw .unknownVersion(values["rpi_report"] ?? "") }
        func required(_ name: String) throws(ReportError) -> String {
            guard let value = values[name] else { throw .missing(name) }
            return value
        }
        func number(_ name: String, _ text: String) throws(ReportError) -> UInt64 {
            let digits = text.hasPrefix("0x") ? text.dropFirst(2) : text[...]
            guard digits.utf8.count <= 8, digits.allSatisfy(\.isHexDigit), let value = UInt64(digits, radix: 16) else {
                throw .badValue(name, text)
            }
            return value
        }
        func count(_ name: String) throws(ReportError) -> UInt64 { try number(name, try required(name)) }
        let id = try required("rpi_job")
        guard id.utf8.count == 16, id.allSatisfy(\.isHexDigit), let job = UInt64(id, radix: 16) else {
            throw .badValue("rpi_job", id)
        }
        self.job = ChunkPlan.PlanID(job)
        switch try required("rpi_state") {
        case "ok": state = .ok
        case "failed": state = .failed
        case let other: throw .badValue("rpi_state", other)
        }
        // A code that nobody knows tells no more than none. Where all is well there is none to tell.
        code = state == .failed ? values["rpi_code"].flatMap { Code(rawValue: $0) } : nil
        reason = values["rpi_reason"]
        chunks = try count("rpi_chunks")
        written = SectorCount(try count("rpi_written"))
        same = SectorCount(try count("rpi_same"))
        fetched = SectorCount(try count("rpi_fetched"))
        retries = try count("rpi_retries")
        badCount = try count("rpi_bad_count")
        // A chunk's number is decimal, as in the plan and on the console.
        if let text = values["rpi_bad_chunk"] {
            guard text.utf8.count <= 8, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let value = UInt64(text)
            else { throw .badValue("rpi_bad_chunk", text) }
            badChunk = value
        } else {
            badChunk = nil
        }
        if let text = values["rpi_bad_lba"] {
            badLBA = LBA(try number("rpi_bad_lba", text))
        } else {
            badLBA = nil
        }
        if let text = values["rpi_script"] {
            script = try number("rpi_script", text)
        } else {
            script = nil
        }
        board = values["rpi_board"]
        keys = (values["rpi_keys"] ?? "").split(separator: " ").map(String.init)
        if let text = values["rpi_agent"] {
            agent = try number("rpi_agent", text)
        } else {
            agent = nil
        }
        ubootVersion = agent == nil ? values["ver"] : nil
        linuxVersion = agent == nil ? nil : values["ver"]
        serial = values["serial#"]
        card = values["rpi_card"]
    }

    private static let known: Set<String> = [
        "rpi_report", "rpi_job", "rpi_state", "rpi_code", "rpi_reason", "rpi_chunks", "rpi_written", "rpi_same",
        "rpi_fetched",
        "rpi_retries", "rpi_bad_count", "rpi_bad_chunk", "rpi_bad_lba", "rpi_card", "rpi_script", "rpi_board",
        "rpi_agent", "rpi_keys", "ver",
        "serial#",
    ]
    private static let longestValue = 512

    private static func values(_ bytes: some Collection<UInt8>) throws(ReportError) -> [String: String] {
        guard bytes.count <= longest else { throw .tooLong(bytes.count) }
        var result: [String: String] = [:]
        var text = Array(bytes)
        // U-Boot may end the text with a 0.
        if text.last == 0 { text.removeLast() }
        for (index, line) in text.split(separator: UInt8(ascii: "\n")).enumerated() {
            guard line.allSatisfy({ (0x20...0x7e).contains($0) }), let equals = line.firstIndex(of: UInt8(ascii: "="))
            else { throw .badLine(index + 1) }
            let name = String(decoding: line[..<equals], as: UTF8.self)
            let value = String(decoding: line[(equals + 1)...], as: UTF8.self)
            guard known.contains(name) else { throw .unknownName(String(name.prefix(32))) }
            guard value.utf8.count <= longestValue else { throw .badValue(name, String(value.prefix(32))) }
            guard result.updateValue(value, forKey: name) == nil else { throw .twice(name) }
        }
        return result
    }
}

/// Why an uploaded file is no report.
package enum ReportError: Error, Hashable, Sendable {
    /// More bytes than a report has.
    case tooLong(Int)
    /// The line with this number, empty ones not counted, has no `=` or something that is not printable ASCII.
    case badLine(Int)
    /// A name that no report has; its first 32 characters.
    case unknownName(String)
    /// A name that is there twice.
    case twice(String)
    /// A name that must be there and is not.
    case missing(String)
    /// A value that the name cannot have; its first 32 characters.
    case badValue(String, String)
    /// A report of another version, or no report at all.
    case unknownVersion(String)
}

extension ReportError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .tooLong(let count): "target uploaded REPORT with \(count) bytes; must be at most \(Report.longest)"
        case .badLine(let line): "line \(line) of the target's REPORT is not name=value in printable ASCII"
        case .unknownName(let name): "the target's REPORT has the name \(name.debugDescription), which no report has"
        case .twice(let name): "the target's REPORT has \(name) twice"
        case .missing(let name): "the target's REPORT has no \(name)"
        case .badValue(let name, let value):
            "the target's REPORT has \(name)=\(String(value.prefix(32)).debugDescription), which it cannot have"
        case .unknownVersion(let version):
            "the target's REPORT has version \(version.debugDescription); must be 1"
        }
    }
}

extension ChunkPlan {
    /// Compares what a target reported with what was planned; only what fits in every number is a proof (law 2).
    ///
    /// - Throws: ``JudgementError``.
    package func judge(report: Report, outcome: Outcome) throws(JudgementError) -> FlashProof {
        guard report.job == job else { throw .otherJob(report.job, expected: job) }
        guard report.state == outcome.kind else { throw .contradiction(report: report.state, outcome: outcome.kind) }
        guard report.state == .ok else {
            throw .failed(reason: report.reason, chunk: report.badChunk, of: chunks.count, at: report.badLBA)
        }
        func check(_ what: String, _ value: UInt64, _ expected: UInt64) throws(JudgementError) {
            guard value == expected else { throw .wrongCount(what, value, expected: expected) }
        }
        try check("chunks", report.chunks, UInt64(chunks.count))
        try check("bad chunks", report.badCount, 0)
        // Both have at most 32 bits.
        try check("sectors", report.written.sectors + report.same.sectors, totalSectors.sectors)
        try check("bytes in OK", outcome.written.bytes, totalSectors.byteCount.bytes)
        switch mode {
        case .normal: break
        case .full: try check("sectors written", report.written.sectors, totalSectors.sectors)
        case .verify: try check("sectors written", report.written.sectors, 0)
        }
        return FlashProof(
            bytes: totalSectors.byteCount, written: report.written.byteCount, loaded: report.fetched.byteCount,
            retries: report.retries)
    }
}

/// Why a report is not proof.
package enum JudgementError: Error, Hashable, Sendable {
    /// It is about another job.
    case otherJob(ChunkPlan.PlanID, expected: ChunkPlan.PlanID)
    /// The report says one thing, the outcome's file name another.
    case contradiction(report: Outcome.Kind, outcome: Outcome.Kind)
    /// The target says that it failed.
    case failed(reason: String?, chunk: UInt64?, of: Int, at: LBA?)
    /// A number is not what it must be.
    case wrongCount(String, UInt64, expected: UInt64)
}

extension JudgementError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .otherJob(let job, let expected):
            "the target's REPORT is about job \(job.hex); must be about \(expected.hex)"
        case .contradiction(let report, let outcome):
            "the target uploaded \(outcome.fileName), but its REPORT says \(report.fileName)"
        case .failed(let reason, let chunk, let count, let lba):
            "target failed: \(reason ?? "it gave no reason")"
                + (chunk.map { "; first bad chunk \($0) of \(count)" } ?? "") + (lba.map { " at \($0)" } ?? "")
        case .wrongCount(let what, let value, let expected):
            "target reported \(value) \(what); must be \(expected)"
        }
    }
}
