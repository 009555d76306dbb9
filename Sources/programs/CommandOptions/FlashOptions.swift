package import ArgumentParser
package import Flashing
import HostTools
import OSImage
import Wiring
package import ImageStore

/// How several targets are flashed.
package struct SeveralOptions: ParsableArguments {
    @Option(help: ArgumentHelp("How many targets are flashed at the same time, 1 to 64.", valueName: "n"))
    package var jobs = 8

    @Flag(help: "Flash the first target alone, and the others only when it is proven and up.")
    package var canary = false

    @Option(
        help: ArgumentHelp(
            "How long after the beginning of one reset the next may begin, so that not all draw their peak at once.",
            valueName: "time"))
    package var stagger = TimeOption(.milliseconds(500))

    package func validate() throws {
        guard (1...64).contains(jobs) else { throw ValidationError("--jobs is \(jobs); must be 1 to 64") }
    }

    package var options: FleetOptions { FleetOptions(jobs: jobs, canary: canary, stagger: stagger.duration) }

    /// With nothing given.
    package init() {}
}

/// What is done to an image so that it works on a card.
package struct RelocationOptions: ParsableArguments {
    @Flag(
        help: ArgumentHelp(
            "Flash the image as it is: /etc/fstab and cmdline.txt stay, made for a card with two partitions as they are."
        ))
    package var asIs = false

    @Flag(
        inversion: .prefixedNo,
        help: ArgumentHelp(
            "Let the rootfs grow to the size of partition 3 on the first boot (systemd, ext4). Default: where the image "
                + "would have grown it itself."))
    package var grow: Bool?

    package func validate() throws {
        if asIs, grow == true { throw ValidationError("--as-is and --grow exclude each other") }
    }

    /// nil: it stays as it is.
    package var request: RelocationRequest? {
        asIs
            ? nil
            : RelocationRequest(
                growth: RootfsGrowth(grow), tools: hostTools())
    }

    /// With nothing given.
    package init() {}
}
