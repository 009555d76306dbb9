import ArgumentParser
import RunRecords
import SystemPackage

/// Where run records are.
struct RunsOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The folder of run records.", valueName: "folder"))
    var runs = RunStore.defaultPath.string

    var store: RunStore { RunStore(at: FilePath(runs)) }
}
