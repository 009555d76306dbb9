import FlashEvents
import ArgumentParser
import CommandOptions
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
import Wiring

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
              rpiflash runs report --html report
              rpiflash runs prune --older-than 90d --dry-run
            """,
        subcommands: [
            ListCommand.self, ShowCommand.self, CardsCommand.self, ReportCommand.self, PruneCommand.self,
        ],
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

        @OptionGroup var selection: SelectionOptions

        @Flag(help: "One JSON object, for programs, as docs/json.md describes it.")
        var json = false

        func run() throws {
            let stored = try selection.stored()
            if json {
                print(jsonLine(RunList(stored)))
                return
            }
            print(StoredRun.table(stored), terminator: "")
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
            print(textTable(stored.facts(of: record, trend)), terminator: "")
            suggest("rpiflash runs show \(stored.id) --console")
        }

        private func find() throws -> StoredRun {
            let all = try inRuns { () throws(RunStoreError) in try runs.store.list() }
            switch StoredRun.find(id, in: all) {
            case .one(let run): return run
            case .several(let count):
                throw FlashError.server(
                    "\(count) runs of \(runs.runs) have names that start with '\(id)'; must be one: give more of it")
            case .none:
                throw FlashError.server(
                    "\(runs.runs) has no run \(id), and none of a target of that name; see rpiflash runs")
            }
        }

        private func lines(of file: FilePath) throws -> [Substring] {
            guard let content = SmallFile.start(of: file, count: (32 << 20) + 1) else {
                throw FlashError.server("cannot read \(file)")
            }
            return String(decoding: content, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
                .dropLast()
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
            print(CardTrend.table(cards), terminator: "")
        }
    }

    struct ReportCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "report", abstract: "Write them as pages, for instance as the artifact of a CI job.",
            discussion: """
                The pages of rpiflash web, as files that a browser opens without a server; the first is index.html. Files \
                of an earlier report are replaced, others stay.

                EXAMPLES
                  rpiflash runs report --html report --label ci_job=4711
                  rpiflash runs report --html /var/www/bench --last 200
                """)

        @Option(help: ArgumentHelp("The folder that gets the pages; made where it is not there.", valueName: "folder"))
        var html: String

        @OptionGroup var selection: SelectionOptions

        func run() async throws {
            let (stored, folder) = (try selection.stored(), FilePath(html))
            let pages = WebPages(selection.runs.store, only: Set(stored.map(\.id))) { (targets(seenIn: $0), []) }
            var names = Set(["index.html"]).union(WebPages.types.keys)
            for run in stored {
                let own = [".html", ".console.txt", ".events.txt", ".report.txt"].map { "run-\(run.id)\($0)" }
                names.formUnion(own + ["target-\(run.targetDigits).html"])
            }
            try makeFolders(folder)
            for name in names {
                guard let bytes = await pages.file(name, live: false) else { continue }
                let file = try replaceFile(folder.appending(name))
                _ = try file.closeAfter { try file.writeAll(bytes) }
            }
            print("\(stored.count) run\(stored.count == 1 ? "" : "s"): \(folder.appending("index.html"))")
        }
    }

    struct PruneCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "prune", abstract: "Remove old ones.",
            discussion: """
                A run in progress is left alone.

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
            let age = olderThan.map { Figures.number($0.duration) }
            let all = try inRuns { () throws(RunStoreError) in try runs.store.list() }
            var (count, bytes) = (0, UInt64(0))
            for run in StoredRun.prunable(all, keep: keep, olderThan: age, now: .now) {
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
