import ArgumentParser

/// For commands that do something.
package struct DryRunOptions: ParsableArguments {
    @Flag(
        name: .customLong("dry-run"),
        help: "Check everything that can be checked without touching anything, and say what would be done.")
    package var isOn = false

    /// With nothing given.
    package init() {}
}
