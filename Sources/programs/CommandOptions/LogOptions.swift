import ArgumentParser
import CommandOutput

/// How much of a log there is.
package struct LogOptions: ParsableArguments {
    @Flag(name: .shortAndLong, help: "Log nothing but warnings and errors.")
    package var quiet = false

    @Flag(
        name: .shortAndLong,
        help: "Log more: what was found out of the target, what is sent from where, each file, and how long steps take."
    )
    package var verbose = false

    package func validate() throws {
        if quiet, verbose { throw ValidationError("--quiet and --verbose exclude each other") }
    }

    /// From here on the log is like this.
    package func apply() { Log.shared.verbosity = quiet ? .quiet : verbose ? .verbose : .normal }

    /// With nothing given.
    package init() {}
}
