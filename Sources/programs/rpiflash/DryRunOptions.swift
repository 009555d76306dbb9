import ArgumentParser

/// For commands that do something.
struct DryRunOptions: ParsableArguments {
    @Flag(
        name: .customLong("dry-run"),
        help: "Check everything that can be checked without touching anything, and say what would be done.")
    var isOn = false
}
