import CommandOutput
import Configuration
import Flashing
import FoundationEssentials
import RunRecords
import SystemPackage

extension RunRecord.TargetEntry {
    /// Whether a user who writes this means it.
    func answers(to text: String) -> Bool {
        let text = text.lowercased()
        return text == name?.lowercased() || text == ip || text.replacing("-", with: ":") == mac
    }
}

extension RunRecord {
    /// The image without its folder.
    var imageName: String { image.path.split(separator: "/").last.map(String.init) ?? image.path }
}

extension RunRecord.CardEntry {
    /// What is known of it.
    var text: String {
        [
            model, partuuid.map { "PARTUUID \($0)" },
            writeRate.map { "\(Figures.mebibytes(UInt64($0)))/s written and read back" },
            "\(retries) \(retries == 1 ? "retry" : "retries")",
        ].compactMap(\.self).joined(separator: ", ")
    }
}

extension StoredRun {
    /// How it ended, for people.
    func outcome(_ record: RunRecord) -> String {
        guard let status = record.status else { return isRunning ? "running" : "killed" }
        let how = record.proven == nil ? "not proven" : record.mode == "verify" ? "verified" : "proven"
        return status == 0 ? how : "\(status): \(sanitized(record.error ?? how))"
    }
}

extension CardTrend {
    /// What the numbers say of the card.
    var text: String {
        switch verdict {
        case .tooFewRuns: "too few runs to compare"
        case .steady: "as usual"
        case .slower(let percent): "slow: \(percent) % of the usual rate; it is wearing out, replace it"
        case .retries(let now, let before):
            "\(now) \(now == 1 ? "retry" : "retries"), never more than \(before) before; "
                + "the card or its network is getting bad"
        case .lostWrites: "it did not hold what was written; replace it"
        }
    }

    /// One sentence where something is wrong.
    var warning: String? {
        let name = runs.last?.target.displayName ?? key.mac
        switch verdict {
        case .tooFewRuns, .steady: return nil
        case .slower(let percent):
            return "the card of target \(name) wrote \(percent) % of its usual rate "
                + "(\(Self.rate(rate)) instead of \(Self.rate(usualRate))); it is wearing out, replace it"
        case .retries(let now, let before):
            return
                "target \(name) needed \(now) \(now == 1 ? "retry" : "retries"), and never more than \(before) before; "
                + "its card or network is getting bad"
        case .lostWrites: return "the card of target \(name) did not hold what was written; replace it"
        }
    }

    private static func rate(_ rate: Double?) -> String {
        rate.map { Figures.mebibytes(UInt64($0)) + "/s" } ?? "unknown"
    }
}
