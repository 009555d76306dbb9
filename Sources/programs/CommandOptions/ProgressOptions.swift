package import ArgumentParser

/// How the commands that change targets end, report and log.
package struct ProgressOptions: ParsableArguments {
    @OptionGroup package var end: EndOptions

    @OptionGroup package var dryRun: DryRunOptions

    @Flag(help: "Print one JSON object a line, for programs, as docs/json.md describes them; the log stays.")
    package var json = false

    @OptionGroup package var log: LogOptions

    /// Before anything else happens.
    package func apply() {
        log.apply()
        end.apply()
    }

    /// With nothing given.
    package init() {}
}
