import TestSupport
import Foundation
import TFTP
import Testing

/// Random and mutated packets, seeded. RPIFLASH_FUZZ_PACKETS sets their number for each test, RPIFLASH_FUZZ_SEED the seed:
/// `RPIFLASH_FUZZ_PACKETS=10000000 swift test --filter FuzzTests` is the long run.
struct FuzzTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let packets = environment["RPIFLASH_FUZZ_PACKETS"].flatMap { Int($0) } ?? 60_000
    private static let seed = environment["RPIFLASH_FUZZ_SEED"].flatMap { UInt64($0) } ?? 2023

    /// The process's resident memory in KiB.
    private static var memory: Int {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        return status.firstMatch(of: /VmRSS:\s*(\d+) kB/).flatMap { Int($0.output.1) } ?? 0
    }

    private static let corpus: [[UInt8]] = [
        Packet.readRequest(
            Packet.Request(
                path: "02:00:00:00:00:01/rpi_image_part_0@1f+20",
                options: [("tsize", "0"), ("blksize", "1468"), ("windowsize", "32"), ("timeout", "5")].map {
                    Packet.Option(name: $0.0, value: $0.1)
                })
        ).encoded,
        Packet.writeRequest(Packet.Request(path: "02:00:00:00:00:01/OK")).encoded,
        Packet.data(block: 0x1234, payload: Array(0..<100)).encoded, Packet.acknowledgement(block: 0xfffe).encoded,
        Packet.error(.diskFull, message: "a message").encoded,
        Packet.optionAcknowledgement([Packet.Option(name: "blksize", value: "1468")]).encoded,
    ]

    @Test(.timeLimit(.minutes(60))) func `the codec takes every byte sequence, and what it takes it gives back`() async
    {
        // In a process of its own: the other tests that run beside it in this one need memory too.
        await #expect(processExitsWith: .success) {
            var random = SeededGenerator(seed: FuzzTests.seed)
            var taken = 0
            let before = FuzzTests.memory
            for number in 0..<FuzzTests.packets {
                var bytes: [UInt8]
                if number % 4 == 0 {
                    bytes = (0..<Int(random.next() % 600)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                    if bytes.count > 1 { (bytes[0], bytes[1]) = (0, UInt8(random.next() % 8)) }
                } else {
                    bytes = FuzzTests.corpus[Int(random.next() % UInt64(FuzzTests.corpus.count))]
                    for _ in 0..<random.next() % 4 { FuzzTests.mutate(&bytes, &random) }
                }
                guard let packet = try? Packet(parsing: bytes.span) else { continue }
                taken += 1
                switch packet {
                case .readRequest(let request), .writeRequest(let request):
                    if bytes.count > Packet.longestRequest || request.options.count > Packet.optionLimit {
                        Issue.record("too long: \(bytes)")
                    }
                    let options = TransferOptions(
                        answering: request.options, size: 1 << 30, limits: TransferOptions.Limits())
                    if !(8...65464).contains(options.blockSize) || !(1...64).contains(options.windowSize) {
                        Issue.record("\(options) for \(bytes)")
                    }
                default: break
                }
                // A doubled name in other letters, a padded ACK: the same meaning.
                let again = packet.encoded
                if (try? Packet(parsing: again.span)) != packet { Issue.record("\(packet) from \(bytes)") }
            }
            #expect(taken > FuzzTests.packets / 4)
            #expect(FuzzTests.memory < before + 100_000, "memory grew by \(FuzzTests.memory - before) KiB")
        }
    }

    private static func mutate(_ bytes: inout [UInt8], _ random: inout SeededGenerator) {
        guard !bytes.isEmpty else { return bytes.append(0) }
        let place = Int(random.next() % UInt64(bytes.count))
        switch random.next() % 5 {
        case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
        case 1: bytes[place] ^= 1 << (random.next() % 8)
        case 2: bytes.remove(at: place)
        case 3: bytes.insert(random.happens(perThousand: 500) ? 0 : UInt8(truncatingIfNeeded: random.next()), at: place)
        default: bytes += bytes[place...]
        }
    }

    @Test func `a sender survives every sequence of packets and times, sends no flood, and then completes`() {
        var random = SeededGenerator(seed: Self.seed)
        var packets = 0
        while packets < Self.packets {
            let blockSize = 8 + Int(random.next() % 1500)
            let window = 1 + Int(random.next() % 64)
            let options =
                random.happens(perThousand: 100) ? TransferOptions() : agreed(window: window, blockSize: blockSize)
            let size = random.next() % UInt64(options.blockSize * (random.happens(perThousand: 50) ? 5000 : 200))
            var sender = Sender(size: size, options: options)
            var now: Int64 = 0
            var failure: String?
            /// Checks what the sender does in answer to one input.
            func check(_ actions: [Sender.Action]) {
                var blocks = 0
                for action in actions {
                    guard case .sendBlocks(let range) = action else { continue }
                    blocks += range.count
                    if range.upperBound > sender.lastBlock || range.lowerBound <= sender.acknowledged {
                        failure = "sent \(range), acknowledged \(sender.acknowledged)"
                    }
                }
                if blocks > 2 * options.windowSize + 2 { failure = "\(blocks) blocks at once" }
                if sender.acknowledged > sender.highestSent || sender.highestSent > sender.lastBlock {
                    failure = "acknowledged \(sender.acknowledged), sent \(sender.highestSent)"
                }
                let isOver = actions.contains { if case .fail = $0 { true } else { $0 == .finish } }
                if isOver != (sender.deadline == nil) {
                    failure = "over: \(isOver), deadline \(sender.deadline as Any)"
                }
            }
            func moment() -> MonotonicInstant { MonotonicInstant(nanoseconds: now) }
            check(sender.start(at: moment()))
            for _ in 0..<random.next() % 300 where sender.deadline != nil && failure == nil {
                packets += 1
                now += Int64(random.next() % (random.happens(perThousand: 100) ? 50_000_000 : 500_000))
                switch random.next() % 100 {
                case 0: check(sender.requestRepeated(at: moment()))
                case 1 where random.happens(perThousand: 50):
                    check(sender.receive(error: .undefined, message: "enough"))
                case 2 where random.happens(perThousand: 50): check(sender.receiveMisplaced())
                case 3..<30:
                    now = max(now, sender.deadline?.nanoseconds ?? now)
                    check(sender.expire(at: moment()))
                case 30..<35:
                    check(sender.receive(acknowledgement: UInt16(truncatingIfNeeded: random.next()), at: moment()))
                case 35..<70:
                    let near = Int64(sender.acknowledged) + Int64(random.next() % 80) - 10
                    check(sender.receive(acknowledgement: UInt16(truncatingIfNeeded: near), at: moment()))
                default:
                    check(
                        sender.receive(
                            acknowledgement: UInt16(truncatingIfNeeded: sender.highestSent), at: moment()))
                }
            }
            // Now comes a client that behaves: it has what was acknowledged.
            var have = sender.acknowledged
            var steps = 0
            while let deadline = sender.deadline, failure == nil {
                steps += 1
                packets += 1
                if steps > 100 + 4 * Int(sender.lastBlock) { failure = "no end after \(steps) steps" }
                now = max(now, deadline.nanoseconds)
                var actions = sender.expire(at: moment())
                while !actions.isEmpty, failure == nil {
                    check(actions)
                    var answer: UInt64?
                    for action in actions {
                        switch action {
                        case .sendOptions: answer = 0
                        case .sendBlocks(let range):
                            if range.contains(have + 1) { have = range.upperBound }
                            answer = have
                        case .finish, .fail: break
                        }
                    }
                    packets += 1
                    now += 300_000
                    actions =
                        answer.map { sender.receive(acknowledgement: UInt16(truncatingIfNeeded: $0), at: moment()) }
                        ?? []
                }
            }
            if let failure {
                Issue.record("size \(size), options \(options): \(failure)")
                return
            }
        }
    }

    @Test func `a receiver survives every sequence of packets and times and holds no more than its limit`() {
        var random = SeededGenerator(seed: Self.seed)
        var packets = 0
        while packets < Self.packets {
            let limit = Int(random.next() % 70_000)
            let blockSize = 8 + Int(random.next() % 2000)
            var receiver = Receiver(
                limit: limit, options: agreed(window: 1 + Int(random.next() % 64), blockSize: blockSize))
            var now: Int64 = 0
            var block: UInt16 = 1
            var isFinished = false
            var failure: String?
            func check(_ actions: [Receiver.Action]) {
                if receiver.content.count > limit { failure = "\(receiver.content.count) of \(limit) bytes" }
                if actions.count > 2 { failure = "\(actions.count) actions at once" }
                if actions.contains(.finish) {
                    if isFinished { failure = "finished twice" }
                    isFinished = true
                }
                if isFinished, actions.contains(where: { if case .fail = $0 { true } else { false } }) {
                    failure = "failed after the end"
                }
            }
            check(receiver.start(at: MonotonicInstant(nanoseconds: 0)))
            for _ in 0..<random.next() % 200 where receiver.deadline != nil && failure == nil {
                packets += 1
                now += Int64(random.next() % 5_000_000)
                let moment = MonotonicInstant(nanoseconds: now)
                switch random.next() % 100 {
                case 0: check(receiver.requestRepeated(at: moment))
                case 1 where random.happens(perThousand: 50):
                    check(receiver.receive(error: .undefined, message: "enough"))
                case 2 where random.happens(perThousand: 50): check(receiver.receiveMisplaced())
                case 3..<10:
                    now = max(now, receiver.deadline?.nanoseconds ?? now)
                    check(receiver.expire(at: MonotonicInstant(nanoseconds: now)))
                case 10..<20:
                    let length = Int(random.next() % UInt64(blockSize + 2))
                    check(
                        receiver.receive(
                            block: UInt16(truncatingIfNeeded: random.next()),
                            payload: [UInt8](repeating: 1, count: length), at: moment))
                default:
                    let length = random.happens(perThousand: 10) ? Int(random.next() % UInt64(blockSize)) : blockSize
                    check(
                        receiver.receive(block: block, payload: [UInt8](repeating: 2, count: length), at: moment))
                    if !random.happens(perThousand: 100) { block &+= 1 }
                }
            }
            // Left alone it ends.
            var steps = 0
            while let deadline = receiver.deadline, failure == nil {
                steps += 1
                check(receiver.expire(at: deadline))
                if steps > 100 { failure = "no end" }
            }
            if let failure {
                Issue.record("limit \(limit), block size \(blockSize): \(failure)")
                return
            }
        }
    }
}
