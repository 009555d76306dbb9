import Configuration
import DiskLayout
import FlashPlan
import TFTP
import FoundationEssentials
package import RunRecords
import SystemPackage

extension RunRecord {
    /// The image without its folder.
    package var imageName: String { image.path.split(separator: "/").last.map(String.init) ?? image.path }
}

extension RunRecord.CardEntry {
    /// What is known of it.
    package var text: String {
        [
            model, partuuid.map { "PARTUUID \($0)" },
            Figures.rate(writeRate).map { "\($0) written and read back" },
            "\(retries) \(retries == 1 ? "retry" : "retries")",
        ].compactMap(\.self).joined(separator: ", ")
    }
}

extension StoredRun {
    /// How it ended, for people.
    package func outcome(_ record: RunRecord) -> String {
        guard let status = record.status else { return isRunning ? "running" : "killed" }
        let how = record.proven == nil ? "not proven" : record.mode == "verify" ? "verified" : "proven"
        return status == 0 ? how : "\(status): \(sanitized(record.error ?? how))"
    }
}

extension StoredRun {
    /// What there is to say of it, a name and a text in each row.
    package func facts(of record: RunRecord, _ trend: CardTrend?) -> [[String]] {
        func seconds(_ value: Double?) -> String? { value.map { Figures.seconds(.seconds($0)) } }
        let by = record.by
        let facts: [(String, String?)] = [
            ("run", record.id), ("outcome", outcome(record)),
            ("target", "\(record.target.displayName) (\(record.target.mac), \(record.target.ip))"),
            ("image", record.image.path), ("content", record.image.id.map { "SHA-256 \($0)" }),
            ("how", record.delivery + (record.mode.map { ", \($0)" } ?? "")),
            (
                "proven",
                record.proven.map {
                    "\($0.bytes.bytes) bytes, \($0.written.bytes) written, \($0.loaded.bytes) loaded, \($0.retries) retries"
                }
            ),
            (
                "times",
                [
                    seconds(record.timings.asked).map { "asked after \($0)" },
                    seconds(record.timings.flash).map { "proven after \($0)" },
                    seconds(record.timings.up).map { "up \($0) later" },
                ].compactMap(\.self).joined(separator: ", ")
            ), ("card", record.card.map { $0.text }), ("trend", trend.map { $0.text }),
            (
                "board",
                record.board.map {
                    [
                        $0.board, $0.uboot, $0.linux,
                        $0.agent.map { "agent \($0)" }
                            ?? "boot script \($0.script.map { "\($0)" } ?? "without a number")",
                        $0.serial.map { "serial number \($0)" },
                        $0.keys.flatMap { $0.isEmpty ? nil : "takes only plans of \($0.joined(separator: " or "))" },
                    ].compactMap(\.self).joined(separator: ", ")
                }
            ),
            (
                "network",
                record.windows?.memory.flatMap { windows in
                    windows.tooLarge.map {
                        "the target takes \(windows.window) packets at a time; \($0) were too many"
                    }
                }
            ),
            (
                "by",
                "\(by.user) on \(by.host)" + (by.from.map { " from \($0)" } ?? "") + ", rpiflash \(record.program)"
            ), ("command", by.command.joined(separator: " ")),
            (
                "labels",
                record.labels.map { labels in
                    labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ", ")
                }
            ),
            (
                "began",
                record.started.formatted(.iso8601)
                    + (record.ended.map { ", ended \($0.formatted(.iso8601))" } ?? "")
            ), ("files", "\(folder)"),
        ]
        return facts.compactMap { name, value in
            value.flatMap { $0.isEmpty ? nil : [name, sanitized($0)] }
        }
    }
}

extension StoredRun {
    /// A line for each run.
    package static func table(_ runs: [StoredRun]) -> String {
        let rows = runs.map { run in
            guard let record = run.record else { return [run.id, "-", "-", "-", "-", "-", "(damaged)"] }
            return [
                run.id, sanitized(record.target.displayName), sanitized(record.imageName),
                record.proven.map { Figures.mebibytes($0.written.bytes) } ?? "-",
                record.timings.flash.map { Figures.seconds(.seconds($0)) } ?? "-",
                Figures.rate(record.card?.writeRate) ?? "-", run.outcome(record),
            ]
        }
        return textTable([["RUN", "TARGET", "IMAGE", "WRITTEN", "TIME", "RATE", "OUTCOME"]] + rows)
    }
}

extension CardTrend {
    /// A line for each card.
    package static func table(_ cards: [CardTrend]) -> String {
        let rows = cards.map { card in
            [
                sanitized(card.runs.last?.target.displayName ?? "-"),
                sanitized(card.key.model ?? card.key.partuuid ?? "-"), "\(card.runs.count)",
                Figures.rate(card.rate) ?? "-", Figures.rate(card.usualRate) ?? "-",
                "\(card.runs.last?.card?.retries ?? 0)", card.text,
            ]
        }
        return textTable([["TARGET", "CARD", "RUNS", "NOW", "USUAL", "RETRIES", "TREND"]] + rows)
    }
}
