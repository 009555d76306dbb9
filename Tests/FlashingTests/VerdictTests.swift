import FlashEvents
import DiskLayout
import FlashPlan
import Inventory
import Testing

@testable import Flashing

/// What a flash's end means: its exit status, its sentence, and whether a proof counts.
@Suite struct VerdictTests {
    private static func target(_ name: String = "cam") throws -> Target {
        let row = "mac,ip,server,gpio,name\nb8:27:eb:00:00:01,192.0.2.1,bench1,17,\(name)\n"
        return try Inventory(csv: row.utf8, file: "targets.csv").targets[0]
    }

    private static let proof = FlashProof(
        bytes: ByteCount(4096), written: ByteCount(1024), loaded: ByteCount(512), retries: 1)
    private static let up = FlashResult(proof: proof, flashTime: .seconds(7), upAfter: .seconds(20))

    /// Each kind of error, and the exit status that docs/flashing.md gives for it.
    static let errors: [(FlashError, Int32)] = [
        (.notUp(target: "cam", port: 22, within: .seconds(180)), 1),
        (.targetFailed(target: "cam", written: nil, expected: ByteCount(1)), 2),
        (.planFailed(target: "cam", code: .differs, reason: nil, proven: nil, expected: ByteCount(1)), 2),
        (.noOutcome("silence"), 3), (.notProven("count"), 4),
        (.neverAsked(target: "cam", within: .seconds(45), tried: []), 5),
        (.inventory("row"), 6), (.image("fit"), 7), (.target("other"), 8), (.server("port"), 9),
    ]

    @Test(arguments: errors)
    func `law 2 - only a target that did not come up keeps its proof`(error: FlashError, status: Int32) throws {
        let verdict = Verdict(try Self.target(), error, after: (Self.proof, elapsed: .seconds(7)))
        #expect(verdict.status == status && verdict.sentence == error.description && !verdict.isGood)
        #expect(verdict.proof == (status == 1 ? Self.proof : nil))
        #expect(verdict.flashTime == (status == 1 ? .seconds(7) : nil) && verdict.upAfter == nil)
    }

    @Test func `a proven target, one that was interrupted, one that was never touched`() throws {
        let target = try Self.target()
        let good = Verdict(target, Self.up)
        #expect(good.isGood && good.status == 0 && good.sentence == nil && good.proof == Self.proof)
        #expect(good.flashTime == .seconds(7) && good.upAfter == .seconds(20))
        // Ctrl-C behind the proof takes it back: nobody waited for a late FAILED to its end.
        let interrupted = Verdict(target, CancellationError(), after: (Self.proof, elapsed: .seconds(7)))
        #expect(interrupted.status == 130 && interrupted.proof == nil && !interrupted.isGood)
        let idle = Verdict(target, notStarted: "not started: canary cam failed")
        #expect(idle.status == nil && idle.sentence == "not started: canary cam failed" && idle.proof == nil)
    }

    @Test func `what no error names is this server's`() throws {
        struct Odd: Error, CustomStringConvertible { let description = "odd" }
        let verdict = Verdict(try Self.target(), Odd(), after: nil)
        #expect(verdict.status == 9 && verdict.sentence == "odd")
    }

    @Test func `why a target failed is told for programs where its report says so`() throws {
        let failed = FlashError.planFailed(
            target: "cam", code: .differs, reason: "chunk 3", proven: nil, expected: ByteCount(1))
        #expect(Verdict(try Self.target(), failed, after: nil).reportCode == .differs)
        #expect(Verdict(try Self.target(), FlashError.noOutcome("x"), after: nil).reportCode == nil)
    }

    /// Of several targets the worst exit status counts, which is the highest number.
    @Test func `a run's exit status is the worst of its targets'`() throws {
        let target = try Self.target()
        func verdict(_ error: FlashError) -> Verdict { Verdict(target, error, after: (Self.proof, .seconds(1))) }
        let good = Verdict(target, Self.up)
        let notUp = verdict(.notUp(target: "cam", port: 22, within: .seconds(1)))
        let failed = verdict(.noOutcome("x"))
        let idle = Verdict(target, notStarted: "not started: canary cam failed")
        #expect(RunVerdict([good, good]).status == 0 && RunVerdict([good, notUp]).status == 1)
        let mixed = RunVerdict([good, failed, notUp, idle])
        #expect(mixed.status == 3 && mixed.proven == 2 && mixed.notUp == 1)
        #expect(mixed.notStarted == 1 && mixed.failed == 1)
        #expect(mixed.line == "2 of 4 proven, 1 of them not up, 1 not started")
        #expect(RunVerdict([good]).line == "1 of 1 proven")
    }

    @Test func `an interrupted run is 130, whatever else came of it`() throws {
        let target = try Self.target()
        let interrupted = Verdict(target, CancellationError(), after: nil)
        let lost = Verdict(target, FlashError.server("x"), after: nil)
        let idle = Verdict(target, notStarted: "not started: interrupted")
        #expect(RunVerdict([lost, interrupted]).status == 130 && RunVerdict([lost, interrupted]).isInterrupted)
        // A signal that came when only targets that were not started were left.
        #expect(RunVerdict([lost, idle], isCancelled: true).status == 130)
        // One that came when all were done changes nothing.
        #expect(RunVerdict([lost], isCancelled: true).status == 9)
        #expect(!RunVerdict([lost, idle]).isInterrupted)
    }
}
