import Foundation
import SystemPackage
import TestSupport
import Testing

extension SystemTests {
    /// Power cuts at random points, with the whole program and the demo's image. `make power-cuts` has 20 of them.
    @Suite(.serialized) struct PowerCuts {
        @Test func `law 3 - four random power cuts boot nothing, cost nothing proven, and one run repairs the card`()
            async throws
        {
            let directory = Bench.scratch.appending("power-cuts")
            // Other points in each CI run would make a failure hard to see again; the seed is in the script's output.
            let result = try await bash(
                """
                $REPOSITORY/virtual_target/scenarios/power-cuts --cuts 4 --seed 5 --image $BUILD/demo/demo.img --dir $D
                """,
                ["D": directory.string], seconds: 600)
            try #require(result.status == 0, result.all)
            let lines = result.stdout.split(separator: "\n")
            #expect(lines.last == "all held: 4 cuts", result.all)
            #expect(lines.filter { $0.hasPrefix("cut ") && $0.hasSuffix("; no boot") }.count == 4, result.all)
            #expect(lines.contains { $0.hasPrefix("full run: ") }, result.all)

            // What the script says is looked at once more, in the last card's own log: it was found half written, never
            // started a kernel, and what was there at the end was there already or written by the last run.
            let console = text(of: directory.appending("target/console.log"))
            #expect(console.contains("the card is empty or half written"))
            let lastRun = try #require(console.components(separatedBy: "rpiflash: flash plan ").last)
            let chunks = consoleChunks(lastRun, "there already") + consoleChunks(lastRun, "wrote")
            let total = try #require(lastRun.firstMatch(of: /(\d+) chunks,/).flatMap { Int($0.output.1) })
            #expect(chunks.sorted() == Array(1...total))
            let before = console.components(separatedBy: "rpiflash: flash plan ").dropLast().joined()
            #expect(before.firstMatch(of: /rpiflash: starting \S+:/) == nil)
        }
    }
}
