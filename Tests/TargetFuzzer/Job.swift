import DiskLayout
import FlashPlan

/// What a target is to do, as it knows it from the files that it has fetched.
enum Job: Sendable {
    case plan(ChunkPlan)
    case parts(PartsPlan)

    /// The file that it asks for first.
    var entry: String {
        switch self {
        case .plan: ChunkPlan.scriptName
        case .parts: PartsPlan.manifestName
        }
    }

    /// The files behind it.
    var files: [String] {
        switch self {
        case .plan(let plan): plan.chunks.map(\.file.name) + (plan.pieces == nil ? [] : ["pieces"])
        case .parts(let plan): plan.parts.map(\.name)
        }
    }

    /// What has to be on the card.
    var bytes: UInt64 {
        switch self {
        case .plan(let plan): plan.totalSectors.byteCount.bytes
        case .parts(let plan): plan.bytesToWrite.bytes
        }
    }

    /// What an honest target uploads under a name.
    func truth(_ name: String, failed: Bool) -> [UInt8] {
        guard name == "REPORT", case .plan(let plan) = self else {
            return (0..<8).map { UInt8(truncatingIfNeeded: (failed ? 0 : bytes) >> (8 * UInt64($0))) }
        }
        let total = plan.totalSectors.sectors
        let written = plan.mode == .full ? total : plan.mode == .verify ? 0 : min(total, 9)
        func hex(_ number: UInt64) -> String { String(number, radix: 16) }
        let text = """
            rpi_report=1
            rpi_job=\(plan.job.hex)
            rpi_state=\(failed ? "failed" : "ok")
            rpi_chunks=\(hex(UInt64(plan.chunks.count)))
            rpi_written=\(hex(written))
            rpi_same=\(hex(total - written))
            rpi_fetched=10
            rpi_retries=0
            rpi_bad_count=\(failed ? 1 : 0)
            rpi_card=0badcafe-01
            rpi_script=5
            rpi_board=sandbox
            ver=U-Boot 2025.01
            \(failed ? "rpi_code=lost_write\nrpi_reason=the card does not hold what was written\n" : "")
            """
        return Array(text.utf8)
    }

    /// Whether an upload of this content under this name is what law 2 asks for. Written without the product's readers.
    func isProof(_ name: String, _ content: [UInt8]) -> Bool {
        guard name == "REPORT" else { return name == "OK" && content == truth("OK", failed: false) }
        guard case .plan(let plan) = self else { return false }
        var values: [Substring: Substring] = [:]
        let text = String(decoding: content.last == 0 ? content.dropLast() : content[...], as: UTF8.self)
        for line in text.split(separator: "\n") {
            guard let equals = line.firstIndex(of: "=") else { return false }
            values[line[..<equals]] = line[line.index(after: equals)...]
        }
        func number(_ name: Substring) -> UInt64? {
            values[name].flatMap { UInt64($0.hasPrefix("0x") ? $0.dropFirst(2) : $0, radix: 16) }
        }
        guard values["rpi_report"] == "1", values["rpi_state"] == "ok",
            values["rpi_job"]?.lowercased() == plan.job.hex, number("rpi_chunks") == UInt64(plan.chunks.count),
            number("rpi_bad_count") == 0, let written = number("rpi_written"), let same = number("rpi_same"),
            written &+ same == plan.totalSectors.sectors
        else { return false }
        switch plan.mode {
        case .normal: return true
        case .full: return same == 0
        case .verify: return written == 0
        }
    }
}

/// What goes wrong with the bench itself: never what a target's deeds show.
struct BenchFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
