import Foundation
import TFTP
import Testing

@Suite struct WindowMemoryTests {
    private func counters(_ sent: UInt64, _ repeated: UInt64) -> Sender.Counters {
        Sender.Counters(sent: sent, repeated: repeated)
    }

    /// A client that holds `capacity` packets: a larger window loses its end, and most of the file goes again.
    private func transfer(
        _ memory: inout WindowMemory, bytes: UInt64, capacity: Int, asked: Int = 32
    ) -> (sent: UInt64, repeated: UInt64) {
        let packets = bytes / 1468 + 1
        let granted = min(asked, memory.window(forBytes: bytes))
        let repeated = granted > capacity ? packets * 2 : 0
        memory.learn(from: counters(packets + repeated, repeated), granted: granted, isComplete: true)
        return (packets + repeated, repeated)
    }

    @Test func `begins large and stays large where little is lost`() {
        var memory = WindowMemory()
        #expect(memory.window(forBytes: 1 << 24) == 64)
        memory.learn(from: counters(10_000, 16), granted: 32, isComplete: true)
        // U-Boot at 1 % loss: a sixth goes again, and a smaller window would be slower.
        memory.learn(from: counters(10_000, 1600), granted: 32, isComplete: true)
        #expect(memory.window(forBytes: 1 << 24) == 64)
    }

    // Packets of 1518 bytes that fit 20 KiB (LAN9514) and 12 KiB (LAN7800).
    @Test(arguments: [13, 8]) func `a chip's FIFO loses in the first file only, and next to nothing later`(
        capacity: Int
    ) {
        var memory = WindowMemory()
        #expect(transfer(&memory, bytes: 16 << 20, capacity: capacity).repeated > 0)
        // A flash: long files, and some that are short.
        var (sent, repeated): (UInt64, UInt64) = (0, 0)
        for number in 0..<400 {
            let result = transfer(&memory, bytes: number % 5 == 0 ? 200_000 : 8 << 20, capacity: capacity)
            sent += result.sent
            repeated += result.repeated
        }
        #expect(memory.window == 8)
        #expect(repeated > 0, "a larger window was never tried again")
        #expect(repeated * 50 < sent, "\(repeated) of \(sent)")
    }

    @Test func `grows again where what was lost came of something else`() {
        var memory = WindowMemory()
        _ = transfer(&memory, bytes: 16 << 20, capacity: 8)
        #expect(memory.window == 8)
        for _ in 0..<200 { _ = transfer(&memory, bytes: 200_000, capacity: 64, asked: 64) }
        #expect(memory.window == 64)
        #expect(memory.tooLarge == nil)
    }

    @Test func `tries on a long file where no short one comes`() {
        var memory = WindowMemory()
        _ = transfer(&memory, bytes: 16 << 20, capacity: 8)
        for _ in 0..<64 { _ = transfer(&memory, bytes: 16 << 20, capacity: 64) }
        #expect(memory.window == 8)
        _ = transfer(&memory, bytes: 16 << 20, capacity: 64)
        #expect(memory.window == 16)
    }

    @Test func `never goes below 4, and learns nothing from a short file`() {
        var memory = WindowMemory()
        for _ in 0..<5 { memory.learn(from: counters(1000, 500), granted: memory.window, isComplete: true) }
        #expect(memory.window == 4)
        memory.learn(from: counters(63, 60), granted: 4, isComplete: true)
        memory.learn(from: counters(1000, 200), granted: 4, isComplete: true)
        #expect(memory.window == 4)
    }

    @Test func `a client that falls silent gets a smaller one`() {
        var memory = WindowMemory()
        memory.learn(from: counters(40, 8), granted: 32, isComplete: false)
        #expect(memory.window == 16)
    }

    /// What is kept between runs.
    private func restored(_ memory: WindowMemory) throws -> WindowMemory? {
        try JSONDecoder().decode(KeptWindows.self, from: JSONEncoder().encode(KeptWindows(memory))).memory
    }

    @Test(arguments: [13, 8]) func `kept between runs, no later run's file loses what the first one's did`(
        capacity: Int
    ) throws {
        var memory = WindowMemory()
        var (sent, repeated): (UInt64, UInt64) = (0, 0)
        // Runs of a dozen files: without what is kept each would begin too large.
        for run in 0..<20 {
            for file in 0..<12 {
                let result = transfer(&memory, bytes: 8 << 20, capacity: capacity)
                guard run > 0 || file > 0 else { continue }
                sent += result.sent
                repeated += result.repeated
            }
            memory = try #require(try restored(memory))
        }
        #expect(repeated * 50 < sent, "\(repeated) of \(sent)")
    }

    @Test func `is read back as it was in every state that it comes to`() throws {
        var memory = WindowMemory()
        #expect(try restored(memory) == memory)
        for number in 0..<3000 {
            _ = transfer(&memory, bytes: number % 7 == 0 ? 200_000 : 8 << 20, capacity: number % 900 < 500 ? 8 : 64)
            #expect(try restored(memory) == memory)
        }
        for granted in [5, 2] {
            memory.learn(from: counters(10, 0), granted: granted, isComplete: false)
            #expect(try restored(memory) == memory)
        }
    }

    @Test(arguments: [
        #"{"version":2,"window":8,"too_large":32,"clean_files":0,"pause":16}"#,
        #"{"window":8,"too_large":32,"clean_files":0,"pause":16}"#,
        #"{"version":1,"window":0,"too_large":32,"clean_files":0,"pause":16}"#,
        #"{"version":1,"window":128,"clean_files":0,"pause":16}"#,
        #"{"version":1,"window":8,"clean_files":0,"pause":16}"#,
        #"{"version":1,"window":8,"too_large":1,"clean_files":0,"pause":16}"#,
        #"{"version":1,"window":8,"too_large":129,"clean_files":0,"pause":16}"#,
        #"{"version":1,"window":8,"too_large":32,"clean_files":-1,"pause":16}"#,
        #"{"version":1,"window":8,"too_large":32,"clean_files":0,"pause":0}"#,
        #"{"version":1,"window":8,"too_large":32,"clean_files":0,"pause":9223372036854775807}"#,
        #"{"version":1,"window":"8","too_large":32,"clean_files":0,"pause":16}"#,
        #"[8]"#, #""8""#, "null", "{}",
    ]) func `what makes no sense, or another version wrote, is none`(text: String) throws {
        #expect(try JSONDecoder().decode(KeptWindows.self, from: Data(text.utf8)).memory == nil)
    }
}
