import ArgumentParser

/// How the commands that change targets end, report and log.
struct ProgressOptions: ParsableArguments {
    @OptionGroup var end: EndOptions

    @OptionGroup var dryRun: DryRunOptions

    @Flag(help: "Print one JSON object a line, for programs, as docs/json.md describes them; the log stays.")
    var json = false

    @OptionGroup var log: LogOptions

    /// Before anything else happens.
    func apply() {
        log.apply()
        end.apply()
    }
}
