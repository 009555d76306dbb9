import DiskLayout
import FlashPlan
import Testing

struct OutcomeTests {
    @Test func `eight bytes are read little endian`() throws {
        // written: 8 bytes, least significant first.
        let outcome = try Outcome(kind: .ok, bytes: [0x00, 0x00, 0x40, 0x1e, 0x03, 0x00, 0x00, 0x80])
        #expect(outcome.written.bytes == 0x8000_0003_1e40_0000)
        #expect(outcome.kind == .ok)
    }

    @Test(arguments: [UInt64(0), 1, 511, UInt64(UInt32.max), UInt64(UInt32.max) + 1, .max])
    func `what is written is read`(count: UInt64) throws {
        for kind in Outcome.Kind.allCases {
            let outcome = Outcome(kind: kind, written: ByteCount(count))
            #expect(outcome.encoded.count == 8)
            #expect(try Outcome(kind: kind, bytes: outcome.encoded) == outcome)
        }
    }

    @Test(arguments: [0, 1, 4, 7, 9, 16, 65536])
    func `another length is an error`(length: Int) {
        #expect(throws: OutcomeError.wrongLength(kind: .failed, length)) {
            try Outcome(kind: .failed, bytes: [UInt8](repeating: 1, count: length))
        }
    }

    @Test func `the failure's file is FAILED`() {
        // Original defect: the server waited for FAIL while the target uploads FAILED.
        #expect(Outcome.Kind.failed.fileName == "FAILED")
        #expect(Outcome.Kind.ok.fileName == "OK")
    }
}
