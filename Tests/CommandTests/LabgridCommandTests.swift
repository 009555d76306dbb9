import Foundation
import TestSupport
import Testing

/// `rpiflash targets --labgrid`. What it prints is in LabgridExportTests; that labgrid takes it, in labgrid/tests.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct LabgridCommandTests {
    @Test func `--labgrid prints this host's targets and no others, for the exporter and as a script`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run(
            """
            printf '52:54:00:00:00:09,192.168.77.9,elsewhere.example,17,dog\\n' >$D/dog
            { echo mac,ip,server,gpio,name; echo 52:54:00:00:00:08,192.168.77.8,localhost,17,cat; cat $D/dog; } >$D/both.csv
            $RPIFLASH targets --inventory $D/both.csv --labgrid exporter --user pi
            $RPIFLASH targets --inventory $D/both.csv --labgrid places >$D/places
            sh -n $D/places
            grep '^place ' $D/places
            """, exits: 0)
        #expect(result.stdout.contains("\"cat\":\n  RPiFlashTarget:\n"), result.all)
        #expect(result.stdout.hasSuffix("    username: \"pi\"\nplace cat\n"), result.all)
        #expect(!result.stdout.contains("dog"), result.all)
    }

    @Test(
        arguments: [
            (
                "17,localhost", "--labgrid exporter", 6,
                "targets.csv:2: name '17' is a number, which labgrid"
            ),
            ("cat,elsewhere.example", "--labgrid places", 8, "the target belongs to other servers, cat to 'elsewhere"),
            ("cat,localhost", "--serial", 64, "Error: --serial and --user need --labgrid exporter"),
            ("cat,localhost", "--labgrid places --user pi", 64, "Error: --serial and --user need --labgrid exporter"),
            (
                "cat,localhost", "--labgrid exporter --user Pi", 64,
                "Error: --user is 'Pi'; must be a small"
            ),
            ("cat,localhost", "--labgrid exporter --json", 64, "Error: --json and --labgrid exclude each other"),
        ])
    func `what labgrid cannot have, and wrong usage, are refused`(
        row: String, options: String, status: Int32, message: String
    ) async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run(
            """
            printf 'mac,ip,gpio,name,server\\n52:54:00:00:00:08,192.168.77.8,17,\(row)\\n' >$D/targets.csv
            $RPIFLASH targets --inventory $D/targets.csv \(options)
            """, exits: status)
        #expect(result.stdout == "" && result.errorLines.first?.contains(message) == true, result.all)
    }
}
