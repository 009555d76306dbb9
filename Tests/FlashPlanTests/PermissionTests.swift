import Configuration
import FlashPlan
import Testing

/// What a target with a key asks of the server. It is untrusted (law 7).
@Suite struct PermissionTests {
    private static let number = String(repeating: "0123456789abcdef", count: 4)
    private static let text = "rpi_challenge=\(number)\nrpi_job=00000000000000ff\n"

    @Test func `the permission repeats job and number, and names the target`() throws {
        let challenge = try #require(Challenge(bytes: Array(Self.text.utf8) + [0]))
        #expect(challenge.job == ChunkPlan.PlanID(255) && challenge.number == Self.number)
        let target = try MACAddress("b8:27:eb:3d:60:b9")
        #expect(
            challenge.permission(for: target) == "setenv p_granted 00000000000000ff/\(Self.number)/b8:27:eb:3d:60:b9\n")
    }

    @Test(arguments: [
        "", "rpi_job=00000000000000ff\n", text + "rpi_job=00000000000000ff\n", text + "x=1\n",
        text.replacing("ff\n", with: "fg\n"), text.replacing("0000ff", with: "ff"),
        text.replacing("0123", with: "0123;reset"), text.replacing("abcdef\n", with: "ABCDEF\n"),
        text.replacing("=", with: " "), text + String(repeating: "\n", count: 200),
    ]) func `law 7 - anything else is no challenge`(text: String) {
        #expect(Challenge(bytes: Array(text.utf8)) == nil)
    }

    @Test func `every key signs, in an image that names its script twice`() {
        let source = SignedScript.source(of: "file", name: "plan", keys: ["bench-1", "bench-2"])
        #expect(source.contains("data = /incbin/(\"file\");"))
        #expect(source.contains("signature-1 { algo = \"sha256,rsa2048\"; key-name-hint = \"bench-1\"; };"))
        #expect(source.contains("signature-2 { algo = \"sha256,rsa2048\"; key-name-hint = \"bench-2\"; };"))
        #expect(source.contains("configurations { default = \"plan\"; plan { script = \"plan\"; }; };"))
    }

    @Test func `a refusal has no number of a job, and only what the boot script refuses is one`() throws {
        func report(_ job: String, _ code: String, _ state: String = "failed") throws -> Report {
            let text = """
                rpi_report=1
                rpi_job=\(job)
                rpi_state=\(state)
                rpi_code=\(code)
                rpi_chunks=0
                rpi_written=0
                rpi_same=0
                rpi_fetched=0
                rpi_retries=0
                rpi_bad_count=0
                rpi_keys=bench-1 bench-2

                """
            return try Report(bytes: Array(text.utf8))
        }
        let zero = "0000000000000000"
        for code in Report.Code.allCases {
            let isRefusal = [.notSigned, .noKey, .unsignedParts, .noPlan, .noParts].contains(code)
            #expect(try report(zero, code.rawValue).isRefusal == isRefusal)
            #expect(try !report("0000000000000001", code.rawValue).isRefusal)
            #expect(try !report(zero, code.rawValue, "ok").isRefusal)
        }
        #expect(try report(zero, "not_signed").keys == ["bench-1", "bench-2"])
    }
}
