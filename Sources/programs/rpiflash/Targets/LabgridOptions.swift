import ArgumentParser
import CommandOutput

extension LabgridExport.Part: ExpressibleByArgument {}

/// What labgrid gets to know of this host's targets.
struct LabgridOptions: ParsableArguments {
    @Option(
        name: .customLong("labgrid"),
        help: ArgumentHelp(
            "This host's targets for labgrid: exporter, a drop-in for labgrid-exporter; places, commands that make them.",
            valueName: "part"))
    var part: LabgridExport.Part?

    @Flag(help: "With --labgrid exporter: export serial consoles too; rpiflash must not read them at the same time.")
    var serial = false

    @Option(help: ArgumentHelp("With --labgrid exporter: the account on the flashed systems.", valueName: "name"))
    var user = "root"

    func validate() throws {
        if part != .exporter, serial || user != "root" {
            throw ValidationError("--serial and --user need --labgrid exporter")
        }
        guard LabgridExport.isAccount(user) else {
            throw ValidationError(
                "--user is '\(user)'; must be a small letter or '_', then at most 31 small letters, digits, '_' or '-'")
        }
    }
}
