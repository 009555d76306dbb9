import ArgumentParser
import Glibc
import LinuxHost

/// For programs that start rpiflash and may go away.
package struct EndOptions: ParsableArguments {
    @Flag(
        name: .customLong("end-with-stdin"),
        help: "End as with SIGTERM when standard input ends: when the caller, or its connection, is gone.")
    package var isOn = false

    package func validate() throws {
        guard isOn, isatty(STDIN_FILENO) != 0 else { return }
        throw ValidationError(
            "--end-with-stdin: standard input is a terminal; give it a pipe that the caller holds open, as ssh HOST does"
        )
    }

    /// From here on the end of standard input ends the command.
    package func apply() { if isOn { Interruption.whenStandardInputEnds() } }

    /// With nothing given.
    package init() {}
}
