import Foundation
import SystemPackage
import TestSupport
import Testing

/// Each documented exit status of each program, brought about for real. One that is documented and not here, or here and
/// not documented, fails.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct ExitStatusTests {
    /// A status, what brings it about, and what the target does after its reset.
    private struct Case: CustomTestStringConvertible, Sendable {
        let program: String
        let status: Int32
        let script: String
        var behaviour = ""
        var testDescription: String { "\(program) \(status)" }
    }

    private static let cases = [
        Case(program: "rpiflash", status: 0, script: "$PARTS --no-wait $IMG cam", behaviour: good),
        Case(
            program: "rpiflash", status: 1, script: "$PARTS --wait-port $UP --wait-timeout 300ms $IMG cam",
            behaviour: good),
        Case(program: "rpiflash", status: 2, script: "$PARTS --no-wait $IMG cam", behaviour: "fetch; put FAILED 512"),
        Case(
            program: "rpiflash", status: 3, script: "$PARTS --no-wait --outcome-timeout 300ms $IMG cam",
            behaviour: "fetch"),
        Case(program: "rpiflash", status: 4, script: "$PARTS --no-wait $IMG cam", behaviour: "fetch; put OK 512"),
        Case(program: "rpiflash", status: 5, script: "$PARTS --no-wait --request-timeout 200ms $IMG cam"),
        Case(program: "rpiflash", status: 6, script: "rm $D/targets.csv; $PARTS $IMG cam"),
        Case(program: "rpiflash", status: 7, script: ": >$D/empty.img; $PARTS $D/empty.img cam"),
        Case(program: "rpiflash", status: 8, script: "$PARTS $IMG dog"),
        Case(program: "rpiflash", status: 9, script: "$PARTS --tftp-root $D/none $IMG cam"),
        Case(program: "rpiflash", status: 64, script: "$PARTS --wrong $IMG cam"),
        Case(
            program: "rpiflash", status: 130,
            script: """
                $PARTS $IMG cam & job=$!
                until [ -e $D/running ]; do sleep 0.02; done
                kill -TERM $job; wait $job
                """),
        Case(program: "rpiflash-gen", status: 0, script: "$GEN layout --card $D/card.yaml"),
        Case(program: "rpiflash-gen", status: 1, script: "$GEN layout --card $D/none.yaml"),
        Case(program: "rpiflash-gen", status: 64, script: "$GEN layout --format wrong"),
        // Stopped while it writes, so that it is there when the signal comes.
        Case(
            program: "rpiflash-gen", status: 130,
            script: """
                mkdir $D/uboot; head -c 4000000 /dev/urandom >$D/uboot/u-boot.bin; cd $REPOSITORY
                $GEN recovery-image --board qemu_arm64 --uboot $D/uboot -o $D/out/card.img & job=$!
                until ls -d $D/out/.card.img.* >/dev/null 2>&1; do :; done
                kill -TERM $job
                status=0; wait $job || status=$?
                ls -A $D/out >&2
                exit $status
                """),
    ]

    private static let good = "fetch; put OK \(LoopbackFixture.written)"

    @Test(arguments: cases)
    private func `every documented exit status comes with one sentence, and nothing is left`(of one: Case) async throws
    {
        let place = try await LoopbackFixture(one.behaviour)
        let result = try await place.run(one.script, exits: one.status)
        // What went on is told before; the last line says why.
        let last = result.errorLines.last ?? ""
        switch one.status {
        case 0: #expect(!result.stdout.isEmpty, result.all)
        case 64:
            #expect(last.hasPrefix("  See '\(one.program) ") && result.errorLines[0].hasPrefix("Error: "), result.all)
        default:
            #expect(last.hasPrefix("\(one.program): ") && result.stdout == "", result.all)
            #expect(!last.hasSuffix("."), result.all)
        }
        if one.status == 130 { #expect(last.hasPrefix("\(one.program): interrupted; "), result.all) }
    }

    /// Numbers at the beginning of what a help says of exit statuses: a line each, or `0 done; 1 failed`.
    private static func documented(_ help: String) throws -> [Int32] {
        let part = try #require(help.components(separatedBy: "EXIT STATUS\n").last)
        let table = part.components(separatedBy: "\n\n")[0]
        return table.matches(of: /(?:^|;|\n)\s*(\d+)\s/).compactMap { Int32($0.1) }
    }

    @Test(arguments: [("rpiflash", "RPIFLASH"), ("rpiflash-gen", "GEN")])
    func `every documented exit status is tested, and no other`(program: String, variable: String) async throws {
        let help = try await runBash("$\(variable) --help")
        let documented = try Self.documented(help.stdout)
        #expect(documented.count >= 4 && Set(documented).count == documented.count, help.all)
        #expect(documented == Self.cases.filter { $0.program == program }.map(\.status), help.all)
    }
}
