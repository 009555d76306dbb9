import TFTP
import Testing

@Suite struct WindowMemoryTests {
    private func counters(_ sent: UInt64, _ repeated: UInt64) -> Sender.Counters {
        Sender.Counters(sent: sent, repeated: repeated)
    }

    @Test func `begins large and stays large where little is lost`() {
        var memory = WindowMemory()
        #expect(memory.window == 64)
        memory.learn(from: counters(10_000, 16), granted: 32, isComplete: true)
        // U-Boot at 1 % loss: a sixth goes again, and a smaller window would be slower.
        memory.learn(from: counters(10_000, 1600), granted: 32, isComplete: true)
        #expect(memory.window == 64)
    }

    @Test func `halves what was granted where much goes again, down to 4, and grows again`() {
        var memory = WindowMemory()
        memory.learn(from: counters(1000, 500), granted: 32, isComplete: true)
        #expect(memory.window == 16)
        for _ in 0..<5 { memory.learn(from: counters(1000, 500), granted: memory.window, isComplete: true) }
        #expect(memory.window == 4)
        memory.learn(from: counters(1000, 200), granted: 4, isComplete: true)
        #expect(memory.window == 4)
        for expected in [8, 16, 32, 64, 64] {
            memory.learn(from: counters(1000, 10), granted: 4, isComplete: true)
            #expect(memory.window == expected)
        }
    }

    @Test func `a client that falls silent gets a smaller one, a short file tells nothing`() {
        var memory = WindowMemory()
        memory.learn(from: counters(40, 8), granted: 32, isComplete: false)
        #expect(memory.window == 16)
        memory.learn(from: counters(63, 60), granted: 16, isComplete: true)
        #expect(memory.window == 16)
    }
}
