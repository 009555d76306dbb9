import TestSupport
import TFTP

/// A client of the server that does what it is told.
struct TargetClient {
    let mac: String
    let neighbour: String
    let job: Job
    let port: UInt16
    private let address: String
    private var own: LoopbackSocket
    private var sentBefore = 0
    let other: LoopbackSocket
    let console: LoopbackSocket
    /// How many times 250 ms it waits for an answer.
    let patience: Int
    /// What it has said so far.
    private(set) var deeds = Deeds()
    private var transfer: UInt16?

    /// What counts for the proof.
    struct Deeds: Sendable {
        /// It asked for the entry file.
        var hasAsked = false
        /// It sent every byte of a REPORT that is a proof, under its own name and from its own address.
        var hasReported = false
        /// The same of OK.
        var hasSaidOK = false
        /// The server has taken a FAILED before there was any OK.
        var hasFailedFirst = false
        var isOKBegun = false
        /// Files that it asked for.
        var asked: Set<String> = []
        var packets = 0
    }

    init(
        mac: String, address: String, neighbour: String, stranger: String, job: Job, port: UInt16, patience: Int
    ) throws(BenchFailure) {
        (self.mac, self.neighbour, self.job, self.port, self.patience) = (mac, neighbour, job, port, patience)
        self.address = address
        own = try LoopbackSocket(address: address)
        other = try LoopbackSocket(address: stranger)
        console = try LoopbackSocket(address: address, port: 6666)
    }

    mutating func perform(_ actions: [Action], until isOver: () -> Bool) {
        for action in actions where !isOver() { perform(action) }
        deeds.packets = sentBefore + own.sent + other.sent + console.sent
    }

    private mutating func perform(_ action: Action) {
        switch action {
        case .fetch(let name, let options, let stop): fetch(name, options, stop)
        case .upload(let name, let content, let manner):
            upload(name, self.content(name, content), manner, folder: mac)
        case .uploadToNeighbour(let name, let content):
            upload(name, self.content(name, content), .plain, folder: neighbour)
        case .packets(let count, let seed, let toTransfer): flood(count, seed, toTransfer)
        case .console(let seed): speak(seed)
        case .pause(let milliseconds): _ = own.receive(milliseconds: Int32(milliseconds))
        case .stranger(let name):
            other.send(Packet.readRequest(.init(path: "\(mac)/\(name)")).encoded, to: port)
            other.send(Packet.writeRequest(.init(path: "\(mac)/\(name)")).encoded, to: port)
            while other.receive(milliseconds: 5) != nil {}
        }
    }

    /// A transfer's socket. Who does what is right has a new one for each, as U-Boot has, and so no answers of the last.
    private mutating func beginTransfer() {
        drain()
        guard patience > Self.hostilePatience, let new = try? LoopbackSocket(address: address) else { return }
        sentBefore += own.sent
        own = new
    }

    /// A second.
    static let hostilePatience = 4

    private func drain() { while own.receive(milliseconds: 0) != nil {} }

    private static let options: [[(String, String)]] = [
        [], [("tsize", "0"), ("blksize", "1468"), ("windowsize", "32"), ("timeout", "1")], [("blksize", "8")],
        [("windowsize", "64"), ("blksize", "65464")], [("blksize", "0"), ("windowsize", "0")],
        [("timeout", "255"), ("tsize", "-1"), ("tsize", "2")], [("blksize", "99999999999999999999")],
        (0..<20).map { ("o\($0)", "v") },
    ]

    private mutating func fetch(_ name: Action.Name, _ options: Int, _ stop: Action.Stop) {
        let file: String
        var folder = mac
        switch name {
        case .entry: file = job.entry
        case .served(let place): file = job.files[place % job.files.count]
        case .text(let text): file = text
        case .neighbour(let text): (folder, file) = (neighbour, text)
        }
        if folder == mac {
            if file == job.entry { deeds.hasAsked = true }
            deeds.asked.insert(file)
        }
        beginTransfer()
        let list = Self.options[options % Self.options.count].map { Packet.Option(name: $0.0, value: $0.1) }
        let request = Packet.readRequest(.init(path: "\(folder)/\(file)", options: list))
        own.send(request.encoded, to: port)
        var (blockSize, window, expected, since, blocks) = (512, 1, UInt16(1), 0, 0)
        var silences = 0
        while stop != .atOnce {
            guard let (bytes, from) = own.receive(milliseconds: 250) else {
                silences += 1
                if silences == patience { return }
                // The request or an acknowledgement was lost in what else is sent.
                if blocks == 0 { own.send(request.encoded, to: port) }
                continue
            }
            if from != port { transfer = from }
            switch try? Packet(parsing: bytes.span) {
            case .optionAcknowledgement(let agreed)?:
                func value(_ name: String) -> Int? { agreed.first { $0.name == name }.flatMap { Int($0.value) } }
                (blockSize, window) = (value("blksize") ?? 512, value("windowsize") ?? 1)
                own.send(Packet.acknowledgement(block: 0).encoded, to: from)
            case .data(let block, let payload)?:
                guard block == expected else { continue }
                blocks += 1
                since += 1
                if case .after(let count) = stop, blocks >= count { return }
                let isLast = payload.count < blockSize
                if isLast || since == window {
                    own.send(Packet.acknowledgement(block: block).encoded, to: from)
                    since = 0
                }
                expected &+= 1
                if isLast { return }
            case .error?: return
            default: continue
            }
        }
    }

    private func content(_ name: String, _ content: Action.Content) -> [UInt8] {
        switch content {
        case .truth: return job.truth(name, failed: name == "FAILED")
        case .failure: return job.truth(name, failed: true)
        case .changed(let count, let seed):
            var random = SeededGenerator(seed: seed, stream: 1)
            var bytes = job.truth(name, failed: random.happens(1, in: 8))
            for _ in 0..<count { Self.change(&bytes, &random) }
            return bytes
        case .noise(let count, let seed):
            var random = SeededGenerator(seed: seed, stream: 2)
            return random.bytes(count)
        case .long(let count):
            let truth = job.truth(name, failed: false)
            return Array((truth + [UInt8](repeating: 10, count: max(0, count - truth.count))).prefix(count))
        }
    }

    private static func change(_ bytes: inout [UInt8], _ random: inout SeededGenerator) {
        let place = random.below(bytes.count + 1)
        // A report with another number reads well: that is what has to be seen.
        let digits = bytes.indices.filter {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[$0]) && bytes.count > 8
        }
        if !digits.isEmpty, random.happens(2, in: 3) {
            let digit = digits[random.below(digits.count)]
            bytes[digit] = UInt8(ascii: "0") + (bytes[digit] - UInt8(ascii: "0") + UInt8(1 + random.below(9))) % 10
            return
        }
        let texts = [
            "rpi_state=ok\n", "rpi_state=failed\n", "rpi_chunks=ffffffff\n", "rpi_written=0\n", "0x", "=", "\u{1b}[2J",
            "rpi_reason=\u{7}\u{202e}\n", "rpi_code=lost_write\n", "rpi_bad_chunk=1\n", "ver=<script>\"\\\n", "\0",
            "\r\n",
        ]
        switch random.below(6) {
        case 0 where place < bytes.count: bytes[place] ^= 1 << UInt8(random.below(8))
        case 1 where place < bytes.count: bytes.remove(at: place)
        case 2 where place < bytes.count: bytes.removeSubrange(place..<min(bytes.count, place + random.below(40)))
        case 3: bytes.insert(UInt8(random.below(256)), at: place)
        case 4: bytes = Array(bytes.prefix(place))
        default: bytes.insert(contentsOf: texts[random.below(texts.count)].utf8, at: place)
        }
    }

    /// Uploads, and notes what of it may count.
    private mutating func upload(_ name: String, _ content: [UInt8], _ manner: Action.Manner, folder: String) {
        beginTransfer()
        if folder == mac, name == "OK" { deeds.isOKBegun = true }
        var (blockSize, window) = (512, 1)
        var options: [Packet.Option] = []
        if case .options(let size, let count) = manner {
            options = [.init(name: "blksize", value: "\(size)"), .init(name: "windowsize", value: "\(count)")]
        }
        let request = Packet.writeRequest(.init(path: "\(folder)/\(name)", options: options)).encoded
        var peer: UInt16?
        for _ in 0..<patience where peer == nil {
            own.send(request, to: port)
            guard let (bytes, from) = own.receive(milliseconds: 250) else { continue }
            switch try? Packet(parsing: bytes.span) {
            case .acknowledgement(0)?: peer = from
            case .optionAcknowledgement(let agreed)?:
                func value(_ name: String) -> Int? { agreed.first { $0.name == name }.flatMap { Int($0.value) } }
                (blockSize, window) = (value("blksize") ?? 512, value("windowsize") ?? 1)
                peer = from
            case .error?: return
            default: continue
            }
        }
        guard let peer else { return }
        transfer = peer
        var blocks = stride(from: 0, to: content.count, by: blockSize).map {
            Array(content[$0..<min(content.count, $0 + blockSize)])
        }
        if content.count % blockSize == 0 { blocks.append([]) }
        if manner == .unfinished { blocks.removeLast() }
        // What is sent may be taken, whether its ACK arrives or not; what is left out others may add.
        let mayCount = folder == mac
        if mayCount, job.isProof(name, Array(blocks.joined())) {
            if name == "REPORT" { deeds.hasReported = true }
            if name == "OK" { deeds.hasSaidOK = true }
        }
        var number = 0
        if manner == .disordered, blocks.count > 1 {
            own.send(Packet.data(block: 2, payload: blocks[1]).encoded, to: peer)
        }
        while number < blocks.count {
            let end = min(blocks.count, number + window)
            var isAnswered = false
            for _ in 0..<patience where !isAnswered {
                for index in number..<end {
                    let packet = Packet.data(block: UInt16(truncatingIfNeeded: index + 1), payload: blocks[index])
                        .encoded
                    if manner == .handedOver, index == blocks.count - 1 { other.send(packet, to: peer) }
                    own.send(packet, to: peer)
                    if manner == .doubled { own.send(packet, to: peer) }
                }
                while let (bytes, from) = own.receive(milliseconds: 250) {
                    guard from == peer else { continue }
                    switch try? Packet(parsing: bytes.span) {
                    case .acknowledgement(let block)? where block == UInt16(truncatingIfNeeded: end): isAnswered = true
                    case .error?: return
                    default: continue
                    }
                    break
                }
            }
            guard isAnswered else { return }
            number = end
        }
        if mayCount, name == "FAILED", manner != .unfinished, !deeds.isOKBegun, deeds.hasAsked {
            deeds.hasFailedFirst = true
        }
    }

    /// Packets of every kind, with everything wrong in them, as fast as it goes.
    private func flood(_ count: Int, _ seed: UInt64, _ toTransfer: Bool) {
        var random = SeededGenerator(seed: seed, stream: 3)
        let names = job.files + [job.entry, "OK", "REPORT", "img@2000+8"]
        for _ in 0..<count {
            let path = "\(mac)/\(names[random.below(names.count)])"
            let options = Self.options[random.below(Self.options.count)].map { Packet.Option(name: $0.0, value: $0.1) }
            let packet: Packet
            switch random.below(8) {
            // Each that is taken costs the server a socket: they are a few of many.
            case 0 where random.happens(1, in: 8): packet = .readRequest(.init(path: path, options: options))
            case 1 where random.happens(1, in: 16):
                packet = .writeRequest(.init(path: "\(mac)/nothing", options: options))
            case 2: packet = .error(.init(rawValue: UInt16(random.below(12))), message: "\u{1b}c\(random.next())")
            case 3: packet = .optionAcknowledgement(options)
            case 4, 5: packet = .data(block: UInt16(random.below(5)), payload: random.bytes(random.below(40)))
            default: packet = .acknowledgement(block: UInt16(random.below(random.happens(1, in: 4) ? 65536 : 40)))
            }
            var bytes = packet.encoded
            for _ in 0..<random.below(3) where !bytes.isEmpty {
                let place = random.below(bytes.count)
                switch random.below(4) {
                case 0: bytes[place] = UInt8(random.below(256))
                case 1: bytes.remove(at: place)
                case 2: bytes = Array(bytes.prefix(place))
                default: bytes.insert(0, at: place)
                }
            }
            // What could be taken for an honest word is not to be said by chance.
            if case .data? = try? Packet(parsing: bytes.span), deeds.isOKBegun { continue }
            own.send(bytes, to: toTransfer ? transfer ?? port : port)
        }
        drain()
    }

    /// Says something on the console.
    private func speak(_ seed: UInt64) {
        var random = SeededGenerator(seed: seed, stream: 4)
        let words = [
            "rpiflash: OK\n", "Man 000003 Snr 12345678 Rev 1\n", "\u{1b}[2J\u{1b}]0;title\u{7}", "\r\r\r", "\u{202e}",
            "{\"event\":\"result\",\"status\":0}\n", String(repeating: "a", count: 1400), "\u{8}\u{8}\u{8}", "\0\0",
        ]
        for _ in 0..<1 + random.below(8) {
            var bytes = Array(words[random.below(words.count)].utf8)
            if random.happens(1, in: 2) { bytes += random.bytes(random.below(200)) }
            console.send(bytes, to: 6666)
        }
    }
}
