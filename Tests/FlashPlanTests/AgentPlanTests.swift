import FlashPlan
import Foundation
import Testing

/// The agent of targets that Linux flashes reads plans with recovery_image/linux/plan.sh; here this machine's sh runs it.
struct AgentPlanTests {
    /// What the agent makes of a plan's text: a line for each value, then one for each chunk; or why it refuses it.
    private static func read(_ script: String) async throws -> (isPlan: Bool, lines: [String]) {
        let folder = FileManager.default.temporaryDirectory.appending(path: "agent-plan-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try script.write(to: folder.appending(path: "plan"), atomically: true, encoding: .utf8)
        try repositoryText("recovery_image/linux/plan.sh")
            .write(to: folder.appending(path: "plan.sh"), atomically: true, encoding: .utf8)
        let output = try await tool(
            "sh",
            [
                "-c",
                """
                work=$1; . $1/plan.sh
                if ! read_plan $1/plan; then echo "refused $wrong"; exit; fi
                for name in \(PlanLines.names.joined(separator: " ")); do eval "echo $name=\\$$name"; done
                cat $1/chunks
                """, "sh", folder.path,
            ])
        let lines = try #require(output).split(separator: "\n").map(String.init)
        return (lines.first?.hasPrefix("refused ") == false, lines)
    }

    @Test(arguments: ChunkPlan.Mode.allCases)
    func `the agent reads the lines that the documented grammar has, as the tests' own reader does`(
        mode: ChunkPlan.Mode
    ) async throws {
        let script = try smallPlan(mode: mode).script(templates: try planTemplates())
        let lines = try PlanLines(script: script)
        let (isPlan, read) = try await Self.read(script)
        #expect(isPlan, "\(read)")
        let values = PlanLines.names.map { "\($0)=\(lines.values[$0] ?? "")" }
        let chunks = lines.chunks.map { chunk in
            PlanLines.chunkNames.dropLast(2).map { chunk[$0] ?? "" }.joined(separator: " ")
        }
        #expect(read == values + chunks)
    }

    /// What came from the network is data: none of it is run, and what is not a plan is refused with a sentence.
    @Test(arguments: [
        ("setenv p_job 0123456789abcdef\n", "setenv p_job $(id)\n", "its job is not one"),
        ("setenv p_mode normal\n", "setenv p_mode normal;id\n", "its mode is not one"),
        ("setenv p_mode normal\n", "", "it has no mode where that belongs"),
        ("setenv p_plan 1\n", "setenv p_plan 2\n", "its plan is not one"),
        ("setenv p_target any\n", "setenv p_target 52:54:00:12:34:5\n", "its target is not one"),
        ("setenv p_chunk_count 3\n", "setenv p_chunk_count 4\n", "it has 3 chunks instead of 4"),
        (
            "setenv p_total_sectors 0x301\n", "setenv p_total_sectors 0x300\n",
            "its chunks have 769 sectors instead of 768"
        ),
        ("p_number=2 ", "p_number=3 ", "line 2 of its chunks is not one"),
        (" p_file=c1 ", " p_file=../c1 ", "line 1 of its chunks is not one"),
        (" p_file=c1 ", " p_file=`id` ", "line 1 of its chunks is not one"),
        (" p_offset=0x1 ", " p_offset=0x1;id ", "line 1 of its chunks is not one"),
        (" p_sectors=0x100 ", " p_sectors=0x8001 ", "chunk 1 has another size than a chunk may have"),
        (" p_sectors=0x200 ", " p_sectors=0xfffffffff ", "line 2 of its chunks is not one"),
        (
            "p_number=3 p_partition=2 ", "p_number=3 p_partition=3 ",
            "its last chunk is not the first sector of partition 2, alone"
        ),
    ]) func `what is not a plan is refused, and not run`(text: String, other: String, reason: String) async throws {
        let script = try smallPlan().script(templates: try planTemplates())
        try #require(script.contains(text))
        let (isPlan, read) = try await Self.read(script.replacing(text, with: other))
        #expect(!isPlan)
        #expect(read == ["refused \(reason)"])
    }
}
