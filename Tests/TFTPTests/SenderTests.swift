import TFTP
import Testing

private func at(_ milliseconds: Int64) -> MonotonicInstant { MonotonicInstant(nanoseconds: milliseconds * 1_000_000) }

struct SenderTests {
    /// A sender with a window of 4 whose first window, blocks 1 to 4, is out.
    private func started(blocks: UInt64 = 100) -> Sender {
        var sender = Sender(size: blocks * 1468 - 1, options: agreed(window: 4))
        #expect(sender.start(at: at(0)) == [.sendOptions(sender.options.acknowledgement ?? [])])
        #expect(sender.receive(acknowledgement: 0, at: at(1)) == [.sendBlocks(1...4)])
        return sender
    }

    @Test func `a file that fills its last block ends with an empty one`() {
        let sender = Sender(size: 1024, options: TransferOptions())
        #expect(sender.lastBlock == 3)
        #expect(sender.range(of: 2) == 512..<1024)
        #expect(sender.range(of: 3) == 1024..<1024)
        #expect(Sender(size: 1023, options: TransferOptions()).lastBlock == 2)
        #expect(Sender(size: 0, options: TransferOptions()).range(of: 1) == 0..<0)
    }

    @Test func `without options the first block is the answer`() {
        var sender = Sender(size: 600, options: TransferOptions())
        #expect(sender.start(at: at(0)) == [.sendBlocks(1...1)])
        #expect(sender.receive(acknowledgement: 1, at: at(1)) == [.sendBlocks(2...2)])
        #expect(sender.receive(acknowledgement: 2, at: at(2)) == [.finish])
        #expect(sender.deadline == nil)
    }

    /// atftp's client (tftp_file.c of 0.7 and 0.8, `oacks`) gives a transfer up at a second OACK.
    @Test func `a client that takes its time for the first answer gets one OACK, one that asks again another`() {
        var sender = Sender(size: 600_000, options: agreed(window: 4))
        let offer = Sender.Action.sendOptions(sender.options.acknowledgement ?? [])
        #expect(sender.start(at: at(0)) == [offer])
        #expect(sender.expire(at: at(999)) == [])
        #expect(sender.deadline == at(1000))
        #expect(sender.expire(at: at(1000)) == [offer])
        #expect(sender.requestRepeated(at: at(1500)) == [offer])
        #expect(sender.receive(acknowledgement: 0, at: at(1501)) == [.sendBlocks(1...4)])
    }

    @Test func `an ack of the window's end sends the next window`() {
        var sender = started()
        #expect(sender.receive(acknowledgement: 4, at: at(2)) == [.sendBlocks(5...8)])
    }

    @Test func `an ack inside the window goes back behind it at once`() {
        var sender = started()
        #expect(sender.receive(acknowledgement: 2, at: at(2)) == [.sendBlocks(3...6)])
        #expect(sender.counters == Sender.Counters(sent: 8, repeated: 2))
    }

    @Test func `old acks, and acks of what was never sent, start nothing`() {
        var sender = started()
        #expect(sender.receive(acknowledgement: 4, at: at(2)) == [.sendBlocks(5...8)])
        for number in [UInt16(0), 1, 2, 3, 9, 100, 0x7fff, 0x8000, 0xffff] {
            #expect(sender.receive(acknowledgement: number, at: at(3)) == [])
        }
    }

    @Test func `the same ack goes back once only`() {
        var sender = started()
        #expect(sender.receive(acknowledgement: 4, at: at(2)) == [.sendBlocks(5...8)])
        #expect(sender.receive(acknowledgement: 4, at: at(3)) == [.sendBlocks(5...8)])
        #expect(sender.receive(acknowledgement: 4, at: at(4)) == [])
    }

    @Test func `in lock step a repeated ack repeats no data`() {
        var sender = Sender(size: 5000, options: TransferOptions())
        _ = sender.start(at: at(0))
        #expect(sender.receive(acknowledgement: 1, at: at(1)) == [.sendBlocks(2...2)])
        #expect(sender.receive(acknowledgement: 1, at: at(2)) == [])
    }

    @Test func `silence is ended within tens of milliseconds, first with one packet, then two, then the window`() throws
    {
        var sender = started()
        // The answer to the OACK took 1 ms: the shortest wait of 20 ms.
        var due = try #require(sender.deadline)
        #expect(due == at(1 + 20))
        #expect(sender.expire(at: at(20)) == [])
        var waits: [Duration] = []
        for expected: [Sender.Action] in [
            [.sendBlocks(4...4)], [.sendBlocks(1...1), .sendBlocks(4...4)], [.sendBlocks(4...4), .sendBlocks(1...4)],
        ] {
            #expect(sender.expire(at: due) == expected)
            let next = try #require(sender.deadline)
            waits.append(next - due)
            due = next
        }
        #expect(waits == [.milliseconds(40), .milliseconds(80), .milliseconds(160)])
    }

    @Test func `a client that was only slow is sent no window twice`() throws {
        var sender = started()
        #expect(sender.expire(at: at(21)) == [.sendBlocks(4...4)])
        // It has the window after 30 ms; then comes what was repeated, and it says the same once more.
        #expect(sender.receive(acknowledgement: 4, at: at(31)) == [.sendBlocks(5...8)])
        #expect(sender.receive(acknowledgement: 4, at: at(32)) == [])
        // Its next such answer would be about a gap.
        #expect(sender.receive(acknowledgement: 4, at: at(33)) == [.sendBlocks(5...8)])
    }

    @Test func `the answers to a window that was sent twice do not have the next sent twice`() {
        var sender = started()
        // Nothing was missing, but the client said the same again: its block 4 came twice.
        #expect(sender.receive(acknowledgement: 4, at: at(2)) == [.sendBlocks(5...8)])
        #expect(sender.receive(acknowledgement: 4, at: at(3)) == [.sendBlocks(5...8)])
        #expect(sender.receive(acknowledgement: 8, at: at(4)) == [.sendBlocks(9...12)])
        #expect(sender.receive(acknowledgement: 8, at: at(5)) == [], "the second window's answer")
        #expect(sender.receive(acknowledgement: 12, at: at(6)) == [.sendBlocks(13...16)])
        // That counted once only: this one is about a gap.
        #expect(sender.receive(acknowledgement: 12, at: at(7)) == [.sendBlocks(13...16)])
    }

    @Test func `a second ack before the new window can have arrived starts nothing`() {
        var sender = started()
        // The round trip is 1 ms.
        let early = MonotonicInstant(nanoseconds: 2_400_000)
        #expect(sender.receive(acknowledgement: 4, at: at(2)) == [.sendBlocks(5...8)])
        #expect(sender.receive(acknowledgement: 4, at: early) == [])
        // Should it have been about a gap, the client will not say it again: the first block goes before.
        #expect(sender.expire(at: at(22)) == [.sendBlocks(5...5), .sendBlocks(8...8)])
    }

    @Test func `an address that never answered is sent the answer four times, no more`() throws {
        var sender = Sender(size: 1 << 20, options: agreed(window: 32))
        var packets = sender.start(at: at(0)).count
        while let deadline = sender.deadline {
            packets += sender.expire(at: deadline).filter { if case .sendOptions = $0 { true } else { false } }.count
        }
        #expect(packets == 1 + Sender.unansweredRepeats)
    }

    @Test func `a silent client is given up with its own error`() throws {
        var sender = started()
        var last: [Sender.Action] = []
        while let deadline = sender.deadline { last = sender.expire(at: deadline) }
        #expect(last == [.fail(.silence(.seconds(30)))])
        #expect(sender.receive(acknowledgement: 4, at: at(99_999)) == [])
    }

    @Test func `an error from the client ends the transfer with what it says`() {
        var sender = started()
        let failure = TransferFailure.refused(ErrorCode(rawValue: 0), message: "user abort")
        #expect(sender.receive(error: .undefined, message: "user abort") == [.fail(failure)])
        #expect(failure.description == "peer gave up with error 0: user abort")
        #expect(sender.deadline == nil)
    }

    @Test func `block numbers roll over`() {
        // 200,000 blocks: the 16-bit number rolls over three times.
        var sender = Sender(size: 8 * 200_000 - 1, options: agreed(window: 32, blockSize: 8))
        _ = sender.start(at: at(0))
        var actions = sender.receive(acknowledgement: 0, at: at(0))
        var next: UInt64 = 1
        while case .sendBlocks(let blocks)? = actions.first {
            #expect(blocks.lowerBound == next)
            next = blocks.upperBound + 1
            actions = sender.receive(acknowledgement: UInt16(truncatingIfNeeded: blocks.upperBound), at: at(0))
        }
        #expect(actions == [.finish])
        #expect(next == 200_001)
        #expect(sender.counters.repeated == 0)
    }
}

struct SimulatedReadTests {
    static let cases = 300

    @Test(arguments: [0, 1, 10, 50, 200], [1, 4, 16, 32])
    func `every read completes with every block, whatever is lost`(loss: Int, window: Int) {
        for seed in 0..<UInt64(Self.cases) {
            let size = seed * 1021 % 300_000
            let network = Network(lossToClient: loss, lossToServer: loss, duplicates: loss / 4, reordered: loss / 4)
            let options = agreed(window: window)
            let read = simulateRead(
                size: size, options: options, client: UBootClient(window: UInt16(window)), network: network, seed: seed)
            #expect(read.isComplete, "seed \(seed)")
            #expect(read.blocks == size / 1468 + 1, "seed \(seed)")
        }
    }

    @Test(arguments: [0, 10, 100])
    func `a client of plain RFC 1350 completes`(loss: Int) {
        for seed in 0..<UInt64(Self.cases) {
            let network = Network(lossToClient: loss, lossToServer: loss, duplicates: loss)
            let read = simulateRead(
                size: seed * 97, options: TransferOptions(), client: PlainClient(), network: network, seed: seed)
            #expect(read.isComplete, "seed \(seed)")
            #expect(read.blocks == seed * 97 / 512 + 1)
        }
    }

    @Test(arguments: [10, 50])
    func `U-Boot never waits in vain when packets to it are lost`(perThousand: Int) {
        for seed in 0..<UInt64(40) {
            let read = simulateRead(
                size: 4 << 20, options: agreed(window: 32), client: UBootClient(window: 32),
                network: Network(lossToClient: perThousand), seed: seed)
            #expect(read.isComplete && read.failure == nil)
            #expect(read.clientTimeouts == 0, "seed \(seed)")
        }
    }

    @Test(arguments: [0, 1, 10, 50])
    func `a later U-Boot, which is silent about gaps past block 32,767, never waits in vain`(loss: Int) {
        let read = simulateRead(
            size: 8 * 80_000, options: agreed(window: 32, blockSize: 8), client: LaterUBootClient(window: 32),
            network: Network(lossToClient: loss), seed: UInt64(loss))
        #expect(read.isComplete && read.failure == nil)
        #expect(read.blocks == 80_001)
        #expect(read.clientTimeouts == 0)
        // 10 s without loss. A timeout of U-Boot's for each gap would be 3,000 s and more at 10 of 1000.
        #expect(read.seconds < (loss < 50 ? 60 : 600), "\(read.seconds) s")
    }

    @Test func `a later U-Boot whose ack of a window was lost goes on within a second`() throws {
        var sender = Sender(size: 8 * 40_000, options: agreed(window: 4, blockSize: 8))
        var client = LaterUBootClient(window: 4)
        var now = at(0)
        _ = sender.start(at: now)
        var actions = sender.receive(acknowledgement: 0, at: now)
        while sender.acknowledged < 36_000, case .sendBlocks(let blocks)? = actions.first {
            for block in blocks {
                for number in client.receive(block: UInt16(block), isLast: false) {
                    now = now + .microseconds(500)
                    actions = sender.receive(acknowledgement: number, at: now)
                }
            }
        }
        // The client gets this window; its ACK does not come.
        guard case .sendBlocks(let lost)? = actions.first else { throw Failure() }
        for block in lost {
            #expect(client.receive(block: UInt16(block), isLast: false).count == (block == lost.last ? 1 : 0))
        }
        let silent = now
        var heard: [UInt16] = []
        while heard.isEmpty, let deadline = sender.deadline, deadline < silent + .seconds(5) {
            now = deadline
            for case .sendBlocks(let blocks) in sender.expire(at: deadline) {
                for block in blocks { heard += client.receive(block: UInt16(block), isLast: false) }
            }
        }
        #expect(heard == [36_008])
        #expect(now < silent + .seconds(1))
    }
    private struct Failure: Error {}

    @Test(arguments: [4, 8, 16, 31])
    func `a receive ring smaller than the window slows a client down, no more`(ring: Int) {
        var network = Network(perPacket: 400)
        network.ring = ring
        let read = simulateRead(
            size: 4 << 20, options: agreed(window: 32), client: UBootClient(window: 32), network: network, seed: 1)
        #expect(read.isComplete && read.failure == nil && read.clientTimeouts == 0)
        // 1.1 s with a ring that takes the window.
        #expect(read.seconds < 30, "\(read.seconds) s")
    }

    /// 20 KiB, the FIFO of a LAN9514, are 13 packets: the end of each window of 16 is lost without a gap that shows, and
    /// so is what is sent again in the same order.
    @Test(arguments: [(13, 16), (13, 32), (8, 16)], [10, 50])
    func `a later U-Boot with a small ring never waits in vain where packets are lost`(
        size: (ring: Int, window: Int), loss: Int
    ) {
        for seed in 0..<UInt64(20) {
            var network = Network(lossToClient: loss, perPacket: 1500)
            network.ring = size.ring
            let read = simulateRead(
                size: 2 << 20, options: agreed(window: size.window),
                client: LaterUBootClient(window: UInt16(size.window)), network: network, seed: seed)
            #expect(read.isComplete && read.failure == nil)
            #expect(read.clientTimeouts == 0, "seed \(seed)")
        }
    }

    @Test func `with losses the rate stays near the loss-free one`() {
        func seconds(_ perThousand: Int) -> Double {
            let runs = (0..<UInt64(9)).map { seed in
                simulateRead(
                    size: 4 << 20, options: agreed(window: 32), client: UBootClient(window: 32),
                    network: Network(lossToClient: perThousand), seed: seed
                ).seconds
            }
            return runs.sorted()[4]
        }
        let lossFree = seconds(0)
        #expect(lossFree / seconds(1) > 0.9)
        #expect(lossFree / seconds(10) > 0.7)
        #expect(lossFree / seconds(50) > 0.35)
    }

    @Test(arguments: [60, 300, 1000, 2000, 5000] as [Int64])
    func `a slow client is not sent everything twice`(microseconds: Int64) {
        for window in [1, 16, 32] {
            let read = simulateRead(
                size: 2 << 20, options: agreed(window: window), client: UBootClient(window: UInt16(window)),
                network: Network(perPacket: microseconds), seed: 1)
            #expect(read.isComplete)
            #expect(read.counters.repeated * 20 < read.counters.sent, "window \(window)")
        }
    }

    @Test func `a client that stands still now and then is sent next to nothing twice`() {
        // U-Boot is silent while it writes to the console, and a virtual one while its host does other things.
        for (window, stalls) in [(1, 20), (8, 20), (32, 5), (32, 20)] {
            var total = Sender.Counters()
            for seed in 0..<UInt64(20) {
                var network = Network()
                network.stalls = stalls
                let read = simulateRead(
                    size: 4 << 20, options: agreed(window: window), client: UBootClient(window: UInt16(window)),
                    network: network, seed: seed)
                #expect(read.isComplete)
                total.sent += read.counters.sent
                total.repeated += read.counters.repeated
            }
            // One probe for a stall, or two, of 1 to 60 ms each.
            #expect(total.repeated * 1000 < total.sent * UInt64(stalls) * 2, "window \(window): \(total)")
        }
    }

    @Test func `doubled packets do not double the traffic`() {
        // The sorcerer's apprentice: an ACK that comes twice must not make every later packet come twice.
        for window in [1, 8, 32] {
            var total = Sender.Counters()
            for seed in 0..<UInt64(50) {
                let read = simulateRead(
                    size: 1 << 20, options: agreed(window: window), client: UBootClient(window: UInt16(window)),
                    network: Network(duplicates: 20), seed: seed)
                #expect(read.isComplete)
                total.sent += read.counters.sent
                total.repeated += read.counters.repeated
            }
            #expect(total.repeated * 2 < total.sent, "window \(window)")
        }
    }

    @Test func `a client that vanishes is sent little more`() {
        let read = simulateRead(
            size: 4 << 20, options: agreed(window: 32), client: UBootClient(window: 32),
            network: Network(lossToClient: 1000, lossToServer: 0), seed: 1)
        #expect(read.failure == .silence(.seconds(30)))
        #expect(read.counters.sent == 0)
    }
}
