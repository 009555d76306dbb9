import Foundation
import SystemPackage
import TestSupport
import Testing

extension SystemTests.ToProof {
    /// Power cuts at exact points, with the whole program. `make power-cuts` has each boundary, and 1,000 at random.
    @Suite(.serialized) struct PowerCuts {
        @Test
        func `laws 1, 2 and 3 - sixty power cuts boot nothing half written, and the next run repairs the card`()
            async throws
        {
            let directory = Bench.scratch.appending("power-cuts")
            // Other points in each CI run would make a failure hard to see again; the seed is in the script's output.
            let result = try await bash(
                "$REPOSITORY/virtual_target/scenarios/exact-cuts --random 60 --seed 5 --jobs 2 --dir $D",
                ["D": directory.string], seconds: 1800)
            try #require(result.status == 0, result.all)
            let lines = result.stdout.split(separator: "\n").map(String.init)
            #expect(lines.last == "all held", result.all)
            // What the driver counted: cuts, and among them enough that left a card half written.
            func sum(_ pattern: Regex<(Substring, Substring)>) -> Int {
                lines.compactMap { $0.firstMatch(of: pattern).flatMap { Int($0.output.1) } }.reduce(0, +)
            }
            #expect(sum(/^\d: (\d+) cuts, 0 failures/) == 60, result.all)
            #expect(sum(/^\d: random, .*: half written: (\d+)$/) >= 15, result.all)
        }
    }
}
