import TestSupport
import TFTP

extension SeededGenerator {
    mutating func happens(perThousand: Int) -> Bool { Int(next() % 1000) < perThousand }
}

/// What a simulated network does to packets.
struct Network {
    var lossToClient = 0
    var lossToServer = 0
    var duplicates = 0
    var reordered = 0
    /// One way, in microseconds.
    var delay: Int64 = 200
    /// What the client needs for each packet, in microseconds.
    var perPacket: Int64 = 60
    /// Of a thousand packets, after how many it does nothing for 1 to 60 ms.
    var stalls = 0
    /// How many packets wait in the client's receive ring; more are lost.
    var ring = Int.max
}

/// A client of a read, driven by packets and its own timer.
protocol ReadClient {
    /// Blocks that it has, in order from 1.
    var blocks: UInt64 { get }
    var isComplete: Bool { get }
    /// How often it waited in vain for seconds.
    var timeouts: Int { get }
    /// The ACKs that it sends for a block; `isLast` where it is shorter than the others.
    mutating func receive(block: UInt16, isLast: Bool) -> [UInt16]
    mutating func receiveOptions() -> [UInt16]
    mutating func timeout() -> [UInt16]
}

/// U-Boot 2023.01, net/tftp.c: what its TFTP_DATA, TFTP_OACK and timeout branches do.
struct UBootClient: ReadClient {
    var window: UInt16
    var blocks: UInt64 = 0
    var isComplete = false
    var timeouts = 0
    private var current: UInt16 = 0
    private var nextAcknowledgement: UInt16
    private var lastReport: UInt16?

    init(window: UInt16) {
        self.window = window
        nextAcknowledgement = window
    }

    mutating func receiveOptions() -> [UInt16] {
        nextAcknowledgement = window
        return [current]
    }

    mutating func receive(block: UInt16, isLast: Bool) -> [UInt16] {
        guard !isComplete else { return [] }
        guard block == current &+ 1 else {
            guard lastReport != current else { return [] }
            lastReport = current
            nextAcknowledgement = current &+ window
            return [current]
        }
        current &+= 1
        blocks += 1
        if isLast {
            isComplete = true
            return [current]
        }
        guard current == nextAcknowledgement else { return [] }
        nextAcknowledgement &+= window
        return [current]
    }

    mutating func timeout() -> [UInt16] {
        timeouts += 1
        return [current]
    }
}

/// U-Boot from 2024 on, net/tftp.c: it is silent about blocks that it has, and compares a 16-bit block number as a signed
/// one, so that past block 32,767 a gap too looks like a block that it has.
struct LaterUBootClient: ReadClient {
    private var earlier: UBootClient
    var blocks: UInt64 { earlier.blocks }
    var isComplete: Bool { earlier.isComplete }
    var timeouts: Int { earlier.timeouts }

    init(window: UInt16) { earlier = UBootClient(window: window) }

    mutating func receiveOptions() -> [UInt16] { earlier.receiveOptions() }
    mutating func receive(block: UInt16, isLast: Bool) -> [UInt16] {
        let expected = UInt16(truncatingIfNeeded: blocks) &+ 1
        if block != expected, Int(expected) - Int(Int16(bitPattern: block)) > 0 { return [] }
        return earlier.receive(block: block, isLast: isLast)
    }
    mutating func timeout() -> [UInt16] { earlier.timeout() }
}

/// A client of RFC 1350: lock step, repeats its ACK for what it has already.
struct PlainClient: ReadClient {
    var blocks: UInt64 = 0
    var isComplete = false
    var timeouts = 0
    private var current: UInt16 = 0

    mutating func receiveOptions() -> [UInt16] { [0] }
    mutating func receive(block: UInt16, isLast: Bool) -> [UInt16] {
        if block == current, blocks > 0 { return [current] }
        guard !isComplete, block == current &+ 1 else { return [] }
        current &+= 1
        blocks += 1
        isComplete = isLast
        return [current]
    }
    mutating func timeout() -> [UInt16] {
        timeouts += 1
        return [current]
    }
}

/// How a simulated read went.
struct SimulatedRead {
    var failure: TransferFailure?
    var blocks: UInt64
    var isComplete: Bool
    var clientTimeouts: Int
    var counters: Sender.Counters
    var seconds: Double
}

private enum Event {
    case toClient(block: UInt64)
    case optionsToClient
    case toServer(UInt16)
    case requestToServer
}

/// Runs a sender against a client over a lossy network, in simulated time.
func simulateRead(
    size: UInt64, options: TransferOptions, client start: some ReadClient, network: Network, seed: UInt64
) -> SimulatedRead {
    var generator = SeededGenerator(seed: seed)
    var queue: [(time: Int64, event: Event)] = []
    var (wireToClientFree, clientFree): (Int64, Int64) = (0, 0)
    var now: Int64 = 0
    var client = start
    var sender = Sender(size: size, options: options)
    var failure: TransferFailure?
    var isOver = false
    var clientDeadline: Int64 = 5_000_000_000
    var hasHeard = false

    func post(_ event: Event, at time: Int64) {
        var index = queue.endIndex
        while index > 0, queue[index - 1].time > time { index -= 1 }
        queue.insert((time, event), at: index)
    }
    func perform(_ actions: [Sender.Action]) {
        for action in actions {
            switch action {
            case .sendOptions: transmit(.optionsToClient)
            case .sendBlocks(let blocks): for block in blocks { transmit(.toClient(block: block)) }
            case .finish: isOver = true
            case .fail(let reason): (isOver, failure) = (true, reason)
            }
        }
    }
    func transmit(_ event: Event) {
        // 100 Mbit/s: 120 microseconds a packet.
        wireToClientFree = max(now, wireToClientFree) + 120_000
        if generator.happens(perThousand: network.lossToClient) { return }
        var arrival = wireToClientFree + network.delay * 1000
        if generator.happens(perThousand: network.reordered) { arrival += 400_000 }
        post(event, at: arrival)
        if generator.happens(perThousand: network.duplicates) { post(event, at: arrival + 1000) }
    }
    func answer(_ acknowledgements: [UInt16]) {
        for number in acknowledgements where !generator.happens(perThousand: network.lossToServer) {
            post(.toServer(number), at: max(now, clientFree) + network.delay * 1000)
            if generator.happens(perThousand: network.duplicates) {
                post(.toServer(number), at: max(now, clientFree) + network.delay * 1000 + 2000)
            }
        }
    }

    perform(sender.start(at: MonotonicInstant(nanoseconds: now)))
    while !isOver {
        let due = sender.deadline?.nanoseconds ?? .max
        let timer = client.isComplete ? Int64.max : clientDeadline
        let next = queue.first?.time ?? .max
        now = min(due, timer, next)
        if now == .max { break }
        if next <= now {
            switch queue.removeFirst().event {
            case .requestToServer: perform(sender.requestRepeated(at: MonotonicInstant(nanoseconds: now)))
            case .toServer(let number):
                perform(sender.receive(acknowledgement: number, at: MonotonicInstant(nanoseconds: now)))
            case .optionsToClient:
                hasHeard = true
                clientFree = max(now, clientFree) + network.perPacket * 1000
                clientDeadline = now + 5_000_000_000
                answer(client.receiveOptions())
            case .toClient(let block):
                if max(0, clientFree - now) / (network.perPacket * 1000) >= network.ring { continue }
                hasHeard = true
                clientFree = max(now, clientFree) + network.perPacket * 1000
                if generator.happens(perThousand: network.stalls) {
                    clientFree += Int64(1 + generator.next() % 60) * 1_000_000
                }
                let before = client.blocks
                answer(client.receive(block: UInt16(truncatingIfNeeded: block), isLast: block == sender.lastBlock))
                if client.blocks != before { clientDeadline = now + 5_000_000_000 }
            }
        } else if due <= now {
            perform(sender.expire(at: MonotonicInstant(nanoseconds: now)))
        } else {
            clientDeadline = now + 5_000_000_000
            let repeated = client.timeout()
            if hasHeard {
                answer(repeated)
            } else if !generator.happens(perThousand: network.lossToServer) {
                post(.requestToServer, at: now + network.delay * 1000)
            }
        }
    }
    return SimulatedRead(
        failure: failure, blocks: client.blocks, isComplete: client.isComplete, clientTimeouts: client.timeouts,
        counters: sender.counters, seconds: Double(now) / 1e9)
}

/// The options of a request with this window and U-Boot's block size.
func agreed(window: Int, blockSize: Int = 1468) -> TransferOptions {
    TransferOptions(
        answering: [
            Packet.Option(name: "blksize", value: "\(blockSize)"),
            Packet.Option(name: "windowsize", value: "\(window)"),
        ], size: nil, limits: TransferOptions.Limits())
}
