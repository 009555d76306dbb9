import ArgumentParser
import CommandOutput
import Configuration
import DiskLayout
import FlashPlan
import Flashing
import FoundationEssentials
import LinuxHost
import RunRecords
import SystemPackage
import TFTP

/// `rpiflash runs`.
struct RunsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "runs",
        abstract: "List, show or remove the records of flashes; see how the cards do.",
        discussion: """
            Every flash that reset its target leaves a record: who flashed what and when, how it ended and how long its \
            steps took, the target's report, its console and all events. docs/runs.md has its files.

            EXAMPLES
              rpiflash runs
              rpiflash runs show pi-left
              rpiflash runs show 20261125-0620 --console
              rpiflash runs cards
              rpiflash runs prune --older-than 90d --dry-run
            """,
        subcommands: [ListCommand.self, ShowCommand.self, CardsCommand.self, PruneCommand.self],
        defaultSubcommand: ListCommand.self)

    struct ListCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "List them, the last one at the end.",
            discussion: """
                RATE is the write rate, read-back included; OUTCOME the exit status of the target's flash and why.

                EXAMPLES
                  rpiflash runs list
                  rpiflash runs list --target pi-left --last 5
                  rpiflash runs list --label ci_job=4711 --json
                """)

        @OptionGroup var runs: RunsOptions

        @Option(help: ArgumentHelp("Only runs of this target: a name, IP address or MAC address.", valueName: "target"))
        var target: String?

        @Option(
            name: .customLong("label"),
            help: ArgumentHelp(
                "Only runs with this label; several times: with all of them.", valueName: "key=value"),
            transform: { try parseLabel($0) })
        var labels: [RunLabel] = []

        @Option(help: ArgumentHelp("Only the last ones, this many.", valueName: "n"))
        var last: Int?

        @Flag(help: "One JSON object, for programs, as docs/json.md describes it.")
        var json = false

        func validate() throws {
            if let last, last < 1 { throw ValidationError("--last is \(last); must be at least 1") }
        }

        func run() throws {
            var stored = try inRuns { () throws(RunStoreError) in try runs.store.list() }
            if let target { stored = stored.filter { $0.record?.target.answers(to: target) == true } }
            if !labels.isEmpty {
                stored = stored.filter { run in
                    let own = run.record?.labels ?? [:]
                    return labels.allSatisfy { own[$0.key] == $0.value }
                }
            }
            if let last { stored = stored.suffix(last) }
            if json {
                print(jsonLine(RunList(stored)))
                return
            }
            let rows = stored.map { run in
                guard let record = run.record else { return [run.id, "-", "-", "-", "-", "-", "(damaged)"] }
                return [
                    run.id, sanitized(record.target.displayName), sanitized(record.imageName),
                    record.proven.map { Figures.mebibytes($0.written.bytes) } ?? "-",
                    record.timings.flash.map { Figures.seconds(.seconds($0)) } ?? "-",
                    record.card?.writeRate.map { Figures.mebibytes(UInt64($0)) + "/s" } ?? "-", run.outcome(record),
                ]
            }
            print(
                textTable([["RUN", "TARGET", "IMAGE", "WRITTEN", "TIME", "RATE", "OUTCOME"]] + rows), terminator: "")
        }
    }

    struct ShowCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Show one: who, what, when, how it ended.",
            discussion: """
                EXAMPLES
                  rpiflash runs show last
                  rpiflash runs show pi-left
                  rpiflash runs show 20261125-062038-b827eb3d60b9 --console
                  rpiflash runs show last --json
                """)

        @Argument(
            help: ArgumentHelp(
                "Its name or as much of the beginning as no other has; a target, whose last run is meant; or last.",
                valueName: "run"))
        var id: String

        @OptionGroup var runs: RunsOptions

        @Flag(help: "Print the target's console instead.")
        var console = false

        @Flag(help: "Print the events instead, one JSON object a line, as docs/json.md describes them.")
        var events = false

        @Flag(help: "One JSON object, for programs, as docs/json.md describes it.")
        var json = false

        func validate() throws {
            if [console, events, json].count(where: { $0 }) > 1 {
                throw ValidationError("--console, --events and --json exclude each other")
            }
        }

        func run() throws {
            let stored = try find()
            if console || events {
                let file = console ? stored.console : stored.events
                for line in try lines(of: file) { print(events ? String(line) : sanitized(String(line))) }
                return
            }
            guard let record = stored.record else {
                throw FlashError.server("\(stored.folder) is damaged; remove the folder")
            }
            if json {
                print(jsonLine(RunList.Run(stored, record)))
                return
            }
            let trend = CardTrend.all(
                try inRuns { () throws(RunStoreError) in try runs.store.list() }.compactMap(\.record)
            ).first { $0.runs.contains { $0.id == stored.id } }
            print(textTable(Self.facts(of: record, stored, trend)), terminator: "")
            suggest("rpiflash runs show \(stored.id) --console")
        }

        private func find() throws -> StoredRun {
            let all = try inRuns { () throws(RunStoreError) in try runs.store.list() }
            if id == "last", let last = all.last { return last }
            let named = all.filter { $0.id.hasPrefix(id) }
            if named.count == 1 || named.first?.id == id { return named[0] }
            if named.count > 1 {
                throw FlashError.server(
                    "\(named.count) runs of \(runs.runs) have names that start with '\(id)'; must be one: give more of it"
                )
            }
            if let last = all.last(where: { $0.record?.target.answers(to: id) == true }) { return last }
            throw FlashError.server(
                "\(runs.runs) has no run \(id), and none of a target of that name; see rpiflash runs")
        }

        private func lines(of file: FilePath) throws -> [Substring] {
            guard let content = SmallFile.start(of: file, count: (32 << 20) + 1) else {
                throw FlashError.server("cannot read \(file)")
            }
            return String(decoding: content, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
                .dropLast()
        }

        private static func facts(of record: RunRecord, _ stored: StoredRun, _ trend: CardTrend?) -> [[String]] {
            func seconds(_ value: Double?) -> String? { value.map { Figures.seconds(.seconds($0)) } }
            let by = record.by
            let facts: [(String, String?)] = [
                ("run", record.id), ("outcome", stored.outcome(record)),
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
                            $0.board, $0.uboot, "boot script \($0.script.map { "\($0)" } ?? "without a number")",
                            $0.serial.map { "serial number \($0)" },
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
                ), ("files", "\(stored.folder)"),
            ]
            return facts.compactMap { name, value in
                value.flatMap { $0.isEmpty ? nil : [name, sanitized($0)] }
            }
        }
    }

    struct CardsCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "cards",
            abstract: "Show how the cards do: slower writes and more retries announce a card's end.",
            discussion: """
                NOW is the write rate of the last run, unpacking and read-back included; USUAL is the median of up \
                to 10 runs before it (needs at least 3). A card is told from others by its target, its partition table's signature and, \
                where the console was heard, its maker, product and size.

                EXAMPLES
                  rpiflash runs cards
                  rpiflash runs cards --json
                """)

        @OptionGroup var runs: RunsOptions

        @Flag(help: "One JSON object, for programs, as docs/json.md describes it.")
        var json = false

        func run() throws {
            let cards = CardTrend.all(
                try inRuns { () throws(RunStoreError) in try runs.store.list() }.compactMap(\.record))
            if json {
                print(jsonLine(CardList(cards)))
                return
            }
            let rows = cards.map { card in
                [
                    sanitized(card.runs.last?.target.displayName ?? "-"),
                    sanitized(card.key.model ?? card.key.partuuid ?? "-"), "\(card.runs.count)",
                    card.rate.map { Figures.mebibytes(UInt64($0)) + "/s" } ?? "-",
                    card.usualRate.map { Figures.mebibytes(UInt64($0)) + "/s" } ?? "-",
                    "\(card.runs.last?.card?.retries ?? 0)", card.text,
                ]
            }
            print(
                textTable([["TARGET", "CARD", "RUNS", "NOW", "USUAL", "RETRIES", "TREND"]] + rows), terminator: "")
        }
    }

    struct PruneCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "prune", abstract: "Remove old ones.",
            discussion: """
                A run that goes on is left alone.

                EXAMPLES
                  rpiflash runs prune --older-than 90d
                  rpiflash runs prune --keep 1000 --dry-run
                """)

        @OptionGroup var runs: RunsOptions

        @Option(help: ArgumentHelp("Remove all but the last ones, this many of each target.", valueName: "n"))
        var keep: Int?

        @Option(help: ArgumentHelp("Remove what is older: 90d, 12h.", valueName: "time"))
        var olderThan: TimeOption?

        @Flag(help: "Only say what would be removed.")
        var dryRun = false

        func validate() throws {
            if keep == nil, olderThan == nil {
                throw ValidationError("give --keep or --older-than; without either everything would go")
            }
            if let keep, keep < 0 { throw ValidationError("--keep is \(keep); must be at least 0") }
        }

        func run() throws {
            let all = try inRuns { () throws(RunStoreError) in try runs.store.list() }
            var kept: [Substring: Int] = [:]
            var (count, bytes) = (0, UInt64(0))
            for run in all.reversed() {
                let target = run.targetDigits
                kept[target, default: 0] += 1
                let isOld = olderThan.map { age in
                    run.record.map { Date.now.timeIntervalSince($0.started) > Figures.number(age.duration) } ?? true
                }
                let isSurplus = keep.map { (kept[target] ?? 0) > $0 }
                guard isOld ?? true, isSurplus ?? true, !run.isRunning else { continue }
                let size = run.bytes
                if !dryRun {
                    guard try inRuns({ () throws(RunStoreError) in try runs.store.remove(run) }) else { continue }
                }
                print((dryRun ? "would remove " : "removed ") + run.id)
                (count, bytes) = (count + 1, bytes + size)
            }
            print("\(count) run\(count == 1 ? "" : "s"), \(Figures.mebibytes(bytes))")
        }
    }
}

private func inRuns<Value>(_ body: () throws(RunStoreError) -> Value) throws(FlashError) -> Value {
    do throws(RunStoreError) { return try body() } catch { throw .server("run records: \(error)") }
}
