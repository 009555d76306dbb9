import Foundation
import SystemPackage
import TestSupport
import Testing

extension SystemTests {
    /// Hostile targets, a share of `make fuzz-target` with a seed that is always the same:
    /// a change is judged by what it changes.
    @Suite(.serialized) struct Fuzzing {
        @Test func `laws 2 and 7 - a hostile target proves nothing, disturbs nobody and leaves nothing`() async throws {
            let result = try await bash(
                "$REPOSITORY/virtual_target/scenarios/hostile-target --packets 60000 --seed 15", seconds: 900)
            try #require(result.status == 0, result.all)
            // Of everything that can happen something has.
            #expect(result.stdout.contains(/(?m)^proven: [1-9]/), result.all)
            #expect(result.stdout.contains(/(?m)^exit status [1-9][0-9]*: [1-9]/), result.all)
            #expect(result.stdout.contains(/(?m)^\d+ sessions, \d+ packets, 0 failures$/), result.all)
        }
    }
}
