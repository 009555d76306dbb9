import Foundation
import SystemPackage
import TestSupport
import Testing

extension SystemTests.ToProof {
    /// Hostile targets and servers, a share of `make fuzz-target` and `make fuzz-server` with a seed that is always the same:
    /// a change is judged by what it changes.
    @Suite(.serialized) struct Fuzzing {
        @Test func `laws 2 and 7 - a hostile target proves nothing, disturbs nobody and leaves nothing`() async throws {
            let result = try await bash(
                "$REPOSITORY/virtual_target/scenarios/hostile-target --packets 30000 --seed 15")
            try #require(result.status == 0, result.all)
            // Of everything that can happen something has.
            #expect(result.stdout.contains(/(?m)^proven: [1-9]/), result.all)
            #expect(result.stdout.contains(/(?m)^exit status [1-9][0-9]*: [1-9]/), result.all)
            #expect(result.stdout.contains(/(?m)^\d+ sessions, \d+ packets, 0 failures$/), result.all)
        }

        @Test func `laws 1, 2 and 3 - a server that is wrong in anything cannot break a target or its card`()
            async throws
        {
            let directory = Bench.scratch.appending("hostile-server")
            let result = try await bash(
                "$REPOSITORY/virtual_target/scenarios/hostile-server --plans 16 --seed 15 --plain --dir $D",
                ["D": directory.string], seconds: 1800)
            try #require(result.status == 0, result.all)
            #expect(result.stdout.contains(/(?m)^all held$/), result.all)
            // Two workers, and among their flashes some that did not end well.
            #expect(result.stdout.matches(of: /(?m)^\d: 8 flashes by hostile servers$/).count == 2, result.all)
            #expect(result.stdout.contains(/(?m)^\d: hostile server, .*: .*, said FAILED: [1-9]/), result.all)
        }
    }
}
