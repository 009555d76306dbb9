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
}
