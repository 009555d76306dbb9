import DiskLayout
import FlashPlan
import Foundation
import Testing

/// What U-Boot uploaded for ``smallPlan()`` on the virtual target, with `changes` (nil: the line is missing).
private func report(_ changes: [String: String?] = [:]) -> [UInt8] {
    var lines: [(String, String)] = [
        ("rpi_bad_count", "0"), ("rpi_card", "52504946-01"), ("rpi_chunks", "3"), ("rpi_fetched", "101"),
        ("rpi_job", "0123456789abcdef"), ("rpi_report", "1"), ("rpi_retries", "0"), ("rpi_same", "200"),
        ("rpi_state", "ok"), ("rpi_written", "101"), ("ver", "U-Boot 2023.01 (Jan 09 2023 - 16:07:33 +0000)"),
        ("serial#", "00000000a1b2c3d4"),
    ]
    for (name, value) in changes.sorted(by: { $0.key < $1.key }) {
        lines.removeAll { $0.0 == name }
        if let value { lines.append((name, value)) }
    }
    return Array(lines.map { "\($0)=\($1)\n" }.joined().utf8) + [0]
}

private func message(_ bytes: [UInt8]) -> String {
    do throws(ReportError) {
        _ = try Report(bytes: bytes)
        return "accepted"
    } catch {
        return error.description
    }
}

struct ReportTests {
    @Test func `reads what a target uploads`() throws {
        let read = try Report(
            bytes: report([
                "rpi_state": "failed", "rpi_reason": "chunk 2 of 3, sector 0x22000: last did not load",
                "rpi_bad_count": "1", "rpi_bad_chunk": "2", "rpi_bad_lba": "22000", "rpi_retries": "a",
            ]))
        #expect(read.job == ChunkPlan.PlanID(0x0123_4567_89ab_cdef))
        #expect(read.state == .failed)
        #expect(read.reason == "chunk 2 of 3, sector 0x22000: last did not load")
        #expect([read.chunks, read.badCount, read.retries] == [3, 1, 10])
        #expect([read.written, read.same, read.fetched].map(\.sectors) == [0x101, 0x200, 0x101])
        #expect(read.badChunk == 2)
        #expect(read.badLBA == LBA(0x22000))
        #expect(read.ubootVersion == "U-Boot 2023.01 (Jan 09 2023 - 16:07:33 +0000)")
        #expect(read.serial == "00000000a1b2c3d4")
        #expect(read.card == "52504946-01")
    }

    @Test func `a code is one of those that are known, or none, and only of what failed`() throws {
        func code(_ value: String?, _ state: String = "failed") throws -> Report.Code? {
            try Report(bytes: report(["rpi_state": state, "rpi_code": value])).code
        }
        for known in Report.Code.allCases { #expect(try code(known.rawValue) == known) }
        // A plan of before there were codes; one of later; what a target may make up.
        #expect(try code(nil) == nil)
        for unknown in ["", "later", "LOST_WRITE", "lost_write ", "the card does not hold what was written"] {
            #expect(try code(unknown) == nil)
        }
        #expect(try code("lost_write", "ok") == nil)
    }

    @Test func `the plan's script sets every code, and the page has them all`() throws {
        // What the boot script itself refuses has codes too.
        let script = try (PlanTemplates.files + ["boot/parts.cmd"]).map { try repositoryText("templates/\($0)") }
            .joined()
        let ofUBoot = Set(script.matches(of: /setenv [pl]_code ([a-z_]+)/).map { String($0.output.1) })
        // Linux has no U-Boot that could lack a key, nor a boot script; it takes plans only.
        let agent = try ["init", "card.sh"].map { try repositoryText("recovery_image/linux/\($0)") }.joined()
        let ofAgent = Set(
            agent.matches(of: /\b(?:fail |refuse |code=)([a-z]+(?:_[a-z]+)?) ["c]/).map { String($0.output.1) })
        let onlyAgent: Set = ["no_plan", "no_parts"]
        let onlyUBoot: Set = ["old_boot_script", "no_key", "unsigned_parts"]
        #expect(ofUBoot.union(onlyAgent) == Set(Report.Code.allCases.map(\.rawValue)))
        #expect(ofAgent.union(onlyUBoot) == Set(Report.Code.allCases.map(\.rawValue)))
        let page = try repositoryText("docs/plan-protocol.md")
        let table = try #require(page.components(separatedBy: "| `rpi_code` |").last)
        let documented = table.matches(of: /(?m)^\| `([a-z_]+)` \|/).map { String($0.output.1) }
        #expect(documented.prefix(Report.Code.allCases.count) == Report.Code.allCases.map(\.rawValue)[...])
    }

    @Test func `law 7 - every kind of nonsense is refused by name`() {
        #expect(message(report()) == "accepted")
        #expect(message(report(["serial#": nil, "ver": nil, "rpi_card": nil])) == "accepted")
        #expect(message([]) == "the target's REPORT has version \"\"; must be 1")
        #expect(message(report(["rpi_report": "2"])) == "the target's REPORT has version \"2\"; must be 1")
        for name in ["rpi_job", "rpi_state", "rpi_chunks", "rpi_written", "rpi_same", "rpi_fetched", "rpi_retries"] {
            #expect(message(report([name: String?.none])) == "the target's REPORT has no \(name)")
        }
        for (name, value) in [
            ("rpi_job", "123"), ("rpi_job", "0123456789abcdeg"), ("rpi_state", "OK"), ("rpi_written", ""),
            ("rpi_written", "-1"), ("rpi_written", "+1"), ("rpi_written", "123456789"), ("rpi_same", "1 "),
            ("rpi_chunks", "0x"), ("rpi_bad_chunk", "a"), ("rpi_bad_chunk", "123456789"), ("rpi_bad_lba", "x"),
        ] {
            #expect(
                message(report([name: value]))
                    == "the target's REPORT has \(name)=\(value.debugDescription), which it cannot have")
        }
        #expect(
            message(report(["bootcmd": "x"])) == "the target's REPORT has the name \"bootcmd\", which no report has")
        #expect(message(report() + report()).hasPrefix("line 13 of the target's REPORT is not"))
        #expect(message(report().dropLast() + report()) == "the target's REPORT has rpi_bad_count twice")
        #expect(
            message(report(["rpi_reason": String(repeating: "x", count: 513)]))
                == "the target's REPORT has rpi_reason=\"\(String(repeating: "x", count: 32))\", which it cannot have")
        #expect(message(report(["rpi_reason": "\u{1b}[2J"])).hasSuffix("is not name=value in printable ASCII"))
        #expect(message(report(["rpi_reason": "ä"])).hasSuffix("is not name=value in printable ASCII"))
        #expect(
            message(Array("no equals sign".utf8))
                == "line 1 of the target's REPORT is not name=value in printable ASCII")
        #expect(
            message([UInt8](repeating: 10, count: 4097))
                == "target uploaded REPORT with 4097 bytes; must be at most 4096")
    }

    /// What the plan says about a report; `bytes` is what OK counts.
    private func verdict(
        _ changes: [String: String?] = [:], mode: ChunkPlan.Mode = .normal, kind: Outcome.Kind = .ok,
        bytes: UInt64 = 0x301 * 512
    ) throws -> String {
        let plan = try smallPlan(mode: mode)
        let report = try Report(bytes: report(changes))
        do throws(JudgementError) {
            let proof = try plan.judge(report: report, outcome: Outcome(kind: kind, written: ByteCount(bytes)))
            return "proven \(proof.bytes.bytes), written \(proof.written.bytes), same \(proof.same.bytes)"
        } catch {
            return error.description
        }
    }

    @Test func `law 2 - only a report that fits in every number is a proof`() throws {
        #expect(try verdict() == "proven \(0x301 * 512), written \(0x101 * 512), same \(0x200 * 512)")
        #expect(
            try verdict(["rpi_job": "0123456789abcdee"])
                == "the target's REPORT is about job 0123456789abcdee; must be about 0123456789abcdef")
        #expect(try verdict(kind: .failed) == "the target uploaded FAILED, but its REPORT says OK")
        #expect(try verdict(["rpi_state": "failed"]) == "the target uploaded OK, but its REPORT says FAILED")
        #expect(try verdict(["rpi_chunks": "2"]) == "target reported 2 chunks; must be 3")
        #expect(try verdict(["rpi_bad_count": "1"]) == "target reported 1 bad chunks; must be 0")
        #expect(try verdict(["rpi_written": "100"]) == "target reported 768 sectors; must be 769")
        #expect(
            try verdict(["rpi_written": "ffffffff", "rpi_same": "ffffffff"])
                == "target reported 8589934590 sectors; must be 769")
        #expect(try verdict(bytes: 0) == "target reported 0 bytes in OK; must be 393728")
        #expect(
            try verdict(
                ["rpi_state": "failed", "rpi_reason": "why", "rpi_bad_chunk": "2", "rpi_bad_lba": "10"], kind: .failed)
                == "target failed: why; first bad chunk 2 of 3 at LBA 16")
        #expect(try verdict(["rpi_state": "failed"], kind: .failed) == "target failed: it gave no reason")
        #expect(try verdict(mode: .full) == "target reported 257 sectors written; must be 769")
        #expect(try verdict(["rpi_written": "301", "rpi_same": "0"], mode: .full).hasPrefix("proven"))
        #expect(try verdict(mode: .verify) == "target reported 257 sectors written; must be 0")
        #expect(try verdict(["rpi_written": "0", "rpi_same": "301"], mode: .verify).hasPrefix("proven"))
    }
}
