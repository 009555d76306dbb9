import ArgumentParser
import RunRecords
import SystemPackage

/// Where run records are.
struct RunsOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The folder of run records.", valueName: "folder"))
    var runs = RunStore.defaultPath.string

    var store: RunStore { RunStore(at: FilePath(runs)) }
}

/// Which of them.
struct SelectionOptions: ParsableArguments {
    @OptionGroup var runs: RunsOptions

    @Option(help: ArgumentHelp("Only runs of this target: a name, IP address or MAC address.", valueName: "target"))
    var target: String?

    @Option(
        name: .customLong("label"),
        help: ArgumentHelp("Only runs with this label; several times: with all of them.", valueName: "key=value"),
        transform: { try parseLabel($0) })
    var labels: [RunLabel] = []

    @Option(help: ArgumentHelp("Only the last ones, this many.", valueName: "n"))
    var last: Int?

    func validate() throws {
        if let last, last < 1 { throw ValidationError("--last is \(last); must be at least 1") }
    }

    /// The runs, the oldest first.
    func stored() throws -> [StoredRun] {
        let all = try inRuns { () throws(RunStoreError) in try runs.store.list() }
        return StoredRun.select(all, target: target, labels: labels, last: last)
    }
}
