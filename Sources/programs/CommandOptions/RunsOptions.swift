package import ArgumentParser
package import FlashEvents
package import RunRecords
import SystemPackage

/// Where run records are.
package struct RunsOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The folder of run records.", valueName: "folder"))
    package var runs = RunStore.defaultPath.string

    package var store: RunStore { RunStore(at: FilePath(runs)) }

    /// With nothing given.
    package init() {}
}

/// Which of them.
package struct SelectionOptions: ParsableArguments {
    @OptionGroup package var runs: RunsOptions

    @Option(help: ArgumentHelp("Only runs of this target: a name, IP address or MAC address.", valueName: "target"))
    package var target: String?

    @Option(
        name: .customLong("label"),
        help: ArgumentHelp("Only runs with this label; several times: with all of them.", valueName: "key=value"),
        transform: { try parseLabel($0) })
    package var labels: [RunLabel] = []

    @Option(help: ArgumentHelp("Only the last ones, this many.", valueName: "n"))
    package var last: Int?

    package func validate() throws {
        if let last, last < 1 { throw ValidationError("--last is \(last); must be at least 1") }
    }

    /// The runs, the oldest first.
    package func stored() throws -> [StoredRun] {
        let all = try inRuns { () throws(RunStoreError) in try runs.store.list() }
        return StoredRun.select(all, target: target, labels: labels, last: last)
    }

    /// With nothing given.
    package init() {}
}

/// What went wrong with the records is trouble on this server.
package func inRuns<Value>(_ body: () throws(RunStoreError) -> Value) throws(FlashError) -> Value {
    do throws(RunStoreError) { return try body() } catch { throw .server("run records: \(error)") }
}
