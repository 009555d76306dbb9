package import ArgumentParser
package import CommandOutput

extension LabgridExport.Part: ExpressibleByArgument {}

/// What labgrid gets to know of this host's targets.
package struct LabgridOptions: ParsableArguments {
    @Option(
        name: .customLong("labgrid"),
        help: ArgumentHelp(
            "This host's targets for labgrid: exporter, a drop-in for labgrid-exporter; places, commands that make them.",
            valueName: "part"))
    package var part: LabgridExport.Part?

    @Flag(help: "With --labgrid exporter: export serial consoles too; rpiflash must not read them at the same time.")
    package var serial = false

    @Option(help: ArgumentHelp("With --labgrid exporter: the account on the flashed systems.", valueName: "name"))
    package var user = "root"

    package func validate() throws {
        if part != .exporter, serial || user != "root" {
            throw ValidationError("--serial and --user need --labgrid exporter")
        }
        guard LabgridExport.isAccount(user) else {
            throw ValidationError(
                "--user is '\(user)'; must be a small letter or '_', then at most 31 small letters, digits, '_' or '-'")
        }
    }

    /// With nothing given.
    package init() {}
}
