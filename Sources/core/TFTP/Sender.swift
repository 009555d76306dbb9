/// How a transfer ended without success.
package enum TransferFailure: Error, Hashable, Sendable {
    /// The peer was silent for too long.
    case silence(Duration)
    /// Nobody listens there any more.
    case gone
    /// The client asked for something else from the same port.
    case abandoned
    /// The client has given this transfer up and begun another from a new port.
    case restarted
    /// The file could not be read any more.
    case unreadable
    /// The peer sent an ERROR.
    case refused(ErrorCode, message: String)
    /// The peer sent what does not belong here.
    case malformed(String)
    /// The peer sent more than is taken, in bytes.
    case tooLarge(limit: Int)
}

extension TransferFailure: CustomStringConvertible {
    package var description: String {
        switch self {
        case .silence(let time): "no answer for \(time.components.seconds) s"
        case .gone: "the client has gone"
        case .abandoned: "the client asked for something else"
        case .restarted: "the client gave up and asked again"
        case .unreadable: "the file was cut short or cannot be read"
        case .refused(let code, let message):
            message.isEmpty
                ? "peer gave up with error \(code.rawValue)" : "peer gave up with error \(code.rawValue): \(message)"
        case .malformed(let what): what
        case .tooLarge(let limit): "more than \(limit) bytes; at most that is taken"
        }
    }
}

/// The sending side of a read: what to send when, without a socket, a clock or the file.
///
/// It is made for U-Boot (net/tftp.c of 2023.01) and holds with every client of RFC 1350 and RFC 7440. U-Boot sends an
/// ACK only at the end of a window; on a gap it sends one ACK of the last block that it has, counts its next window
/// from there, and is silent about the same block from then on; it repeats itself only after 5 s. Therefore:
/// - an ACK inside the window means a gap: go on right behind it, at once;
/// - silence is ended here, after tens of milliseconds, by the window's last block: a client that misses something
///   answers with where it is. If it has said that before it says nothing; then the window's first block goes before,
///   and moves it on. Only when that brings nothing the whole window is repeated, its last block first: the chip of a Pi 3
///   holds 13 packets and loses those that come behind, and U-Boot of 2024 and later says nothing about blocks that it
///   has. That U-Boot says nothing about a gap either while the block number is over 32,767: once that has shown, the
///   whole window goes at once;
/// - ACKs of what was acknowledged before start nothing, and the same ACK goes back once only;
/// - every packet that was sent again, and that the client had already, may bring its last ACK once more: as many of those
///   as were sent start nothing, nor does one that comes before the new window can have arrived. A window that is sent
///   again because of such an ACK would bring the next, and so on: everything would be sent twice for ever;
/// - a packet that the network doubles looks like a gap too, and going back then doubles every packet, so that each
///   round causes the next (the 'sorcerer's apprentice'): after a few rounds without an ACK of a window's end the wire
///   is left to drain and the client asked where it is.
package struct Sender: Sendable {
    /// What the owner of the socket and the file has to do, in order.
    package enum Action: Hashable, Sendable {
        /// Send an OACK.
        case sendOptions([Packet.Option])
        /// Send DATA packets for these blocks; numbers count from 1 without rolling over.
        case sendBlocks(ClosedRange<UInt64>)
        /// Everything has arrived; nothing follows.
        case finish
        /// The transfer is over; nothing follows.
        case fail(TransferFailure)
    }

    /// How long a peer may be silent.
    package static let timeout = Duration.seconds(30)
    /// How long to wait for the answer to an OACK before sending it again. atftp's client aborts the transfer at a second
    /// OACK, so a client that is merely slow must not get one; a client that missed the first repeats its request.
    static let offerWait = Duration.seconds(1)
    /// How often an address that never answered is sent the same again: what it asked in another's name must not
    /// become a flood.
    package static let unansweredRepeats = 3

    /// Length of the file in bytes.
    package let size: UInt64
    /// What was agreed on.
    package let options: TransferOptions
    /// The highest block that the client has, with all before it.
    package private(set) var acknowledged: UInt64 = 0
    /// The highest block that was sent.
    package private(set) var highestSent: UInt64 = 0
    /// DATA packets sent so far, and how many of them were repeats.
    package private(set) var counters = Counters()
    /// When ``expire(at:)`` has to be called next; nil when the transfer is over.
    package private(set) var deadline: MonotonicInstant?

    /// Counts of packets.
    package struct Counters: Hashable, Sendable {
        /// DATA packets.
        package var sent: UInt64 = 0
        /// Those of them that had been sent before.
        package var repeated: UInt64 = 0

        package init(sent: UInt64 = 0, repeated: UInt64 = 0) { (self.sent, self.repeated) = (sent, repeated) }
    }

    private enum Phase { case offering, sending, over }
    private var phase: Phase = .offering
    private var timer = RetransmitTimer()
    /// The last block of the present window.
    private var windowEnd: UInt64 = 0
    /// The block behind which the window was started again last; the client says it only once, and so do we.
    private var wentBackBehind: UInt64?
    private var hasAnswered = false
    private var lastHeard = MonotonicInstant(nanoseconds: 0)
    /// How often the sender went back since the last ACK of a window's end, and how often before it lets the wire drain.
    private var rounds = 0
    private var roundLimit = 4
    /// Set while the wire drains and until the client has said where it is: what was acknowledged before.
    private var drainingBehind: UInt64?
    /// When the present window was sent as a whole.
    private var windowSent: MonotonicInstant?
    /// Something of it, or of the OACK, was repeated because no answer came.
    private var isRepeated = false
    /// How long the last window's answer took, while another answer to it may follow.
    private var answerToRepeat: Duration?
    /// Packets that were sent again without a sign that they were missing, since the last ACK of a window's end.
    private var surplus = 0
    /// How many ACKs like the last one of a window's end those packets may still bring.
    private var expectedDuplicates = 0
    /// The client may have said already where it is, in an ACK that was taken for such a one.
    private var mayHaveSaidSo = false
    /// How often in a row single blocks brought no answer and the whole window did.
    private var fruitlessProbes = 0

    /// A transfer of a file of this many bytes.
    package init(size: UInt64, options: TransferOptions) { (self.size, self.options) = (size, options) }

    /// The file's last block; it is shorter than the others and may be empty.
    package var lastBlock: UInt64 { size / UInt64(options.blockSize) + 1 }

    /// Where a block lies in the file, in bytes.
    package func range(of block: UInt64) -> Range<UInt64> {
        let start = (block - 1) * UInt64(options.blockSize)
        return start..<min(size, start + UInt64(options.blockSize))
    }

    /// How long nothing was heard of the client.
    package func silence(at now: MonotonicInstant) -> Duration { now - lastHeard }

    /// Bytes that the client has.
    package var acknowledgedBytes: UInt64 { min(size, acknowledged * UInt64(options.blockSize)) }

    /// Starts the transfer.
    package mutating func start(at now: MonotonicInstant) -> [Action] {
        lastHeard = now
        windowSent = now
        return offer(at: now)
    }

    /// The client sent its request again.
    package mutating func requestRepeated(at now: MonotonicInstant) -> [Action] {
        guard phase != .over, !hasAnswered else { return [] }
        isRepeated = true
        return offer(at: now)
    }

    private mutating func offer(at now: MonotonicInstant) -> [Action] {
        if let answer = options.acknowledgement {
            deadline = now + Self.offerWait
            return [.sendOptions(answer)]
        }
        deadline = now + timer.wait
        // Without options the first block is the answer.
        phase = .sending
        windowEnd = 1
        return [send(1...1)]
    }

    private mutating func send(_ blocks: ClosedRange<UInt64>) -> Action {
        counters.sent += UInt64(blocks.count)
        if blocks.lowerBound <= highestSent {
            counters.repeated += min(highestSent, blocks.upperBound) - blocks.lowerBound + 1
        }
        highestSent = max(highestSent, blocks.upperBound)
        return .sendBlocks(blocks)
    }

    /// Takes an ACK.
    ///
    /// - Parameter number: the packet's 16-bit block number.
    package mutating func receive(acknowledgement number: UInt16, at now: MonotonicInstant) -> [Action] {
        switch phase {
        case .over: return []
        case .offering:
            guard number == 0 else { return [] }
            phase = .sending
            heardWindowEnd(at: now)
            return startWindow(at: now)
        case .sending: break
        }
        let ahead = Int16(bitPattern: number &- UInt16(truncatingIfNeeded: acknowledged))
        guard ahead >= 0 else { return [] }
        let block = acknowledged + UInt64(ahead)
        guard block <= highestSent else { return [] }
        if ahead == 0 { return repeatedAcknowledgement(at: now) }

        let isWindowEnd = block >= windowEnd
        acknowledged = block
        if isWindowEnd { heardWindowEnd(at: now) } else { heardGap(at: now) }
        if block == lastBlock {
            phase = .over
            deadline = nil
            return [.finish]
        }
        if let before = drainingBehind {
            // Further on than the two packets can have brought it: nothing was missing, packets were doubled.
            roundLimit = block > before + 1 ? max(roundLimit / 2, 1) : min(roundLimit * 2, 64)
            drainingBehind = nil
            rounds = 0
        }
        return isWindowEnd ? startWindow(at: now) : goBack(at: now)
    }

    /// The ACK that was there before, once more: the window's first block is missing, or the network doubled it.
    private mutating func repeatedAcknowledgement(at now: MonotonicInstant) -> [Action] {
        // In lock step a repeated ACK must never repeat data (RFC 1123, 4.2.3.1); the timer does.
        guard options.windowSize > 1, wentBackBehind != acknowledged, drainingBehind == nil else { return [] }
        if expectedDuplicates > 0 {
            expectedDuplicates -= 1
            mayHaveSaidSo = true
            if let late = answerToRepeat {
                // The answer to what was repeated too early: now it is known how long the client really needs.
                answerToRepeat = nil
                timer.measured(late)
            }
            return []
        }
        if let sent = windowSent, timer.isTooEarly(now - sent) {
            mayHaveSaidSo = true
            return []
        }
        heardGap(at: now)
        // If nothing was missing, all of the window comes twice.
        surplus += 1
        return goBack(at: now)
    }

    private mutating func heardWindowEnd(at now: MonotonicInstant) {
        heard()
        lastHeard = now
        timer.answered(isClear: !isRepeated)
        answerToRepeat = nil
        expectedDuplicates = surplus
        surplus = 0
        guard let sent = windowSent else { return }
        // After a repeat the answer may be to the first or to the second packet. If it was to the first, the answer to
        // the second follows, as an ACK that was there before.
        if isRepeated { answerToRepeat = now - sent } else { timer.measured(now - sent) }
    }

    private mutating func heard() {
        hasAnswered = true
        switch timer.repeats {
        case 0: break
        case 1...2: fruitlessProbes = fruitlessProbes >= 2 ? fruitlessProbes : 0
        default: fruitlessProbes += 1
        }
        // Where that U-Boot's numbers are small again, single blocks are better.
        if UInt16(truncatingIfNeeded: acknowledged) < 0x8000 { fruitlessProbes = 0 }
    }

    private mutating func heardGap(at now: MonotonicInstant) {
        heard()
        lastHeard = now
        timer.answered(isClear: true)
        if !isRepeated, let sent = windowSent { timer.heardGap(after: now - sent) }
        answerToRepeat = nil
        surplus = 0
        expectedDuplicates = 0
        mayHaveSaidSo = false
    }

    private func end(ofWindowBehind block: UInt64) -> UInt64 { min(block + UInt64(options.windowSize), lastBlock) }

    private mutating func startWindow(at now: MonotonicInstant) -> [Action] {
        windowEnd = end(ofWindowBehind: acknowledged)
        wentBackBehind = nil
        mayHaveSaidSo = false
        rounds = 0
        windowSent = now
        isRepeated = false
        deadline = now + timer.wait
        return [send(acknowledged + 1...windowEnd)]
    }

    private mutating func goBack(at now: MonotonicInstant) -> [Action] {
        windowEnd = end(ofWindowBehind: acknowledged)
        wentBackBehind = acknowledged
        // Its end is only measured where nothing sent before can bring the same ACK.
        windowSent = windowEnd > highestSent ? now : nil
        isRepeated = false
        rounds += 1
        if rounds > roundLimit {
            drainingBehind = acknowledged
            deadline = now + timer.roundTrip
            return []
        }
        deadline = now + timer.wait
        return [send(acknowledged + 1...windowEnd)]
    }

    /// Takes an ERROR: the transfer is over.
    package mutating func receive(error code: ErrorCode, message: String) -> [Action] {
        end(with: .refused(code, message: message))
    }

    /// Takes a packet that has no place in a read.
    package mutating func receiveMisplaced() -> [Action] {
        end(with: .malformed("peer sent a packet that has no place in a read"))
    }

    private mutating func end(with failure: TransferFailure) -> [Action] {
        guard phase != .over else { return [] }
        phase = .over
        deadline = nil
        return [.fail(failure)]
    }

    /// Called when ``deadline`` has come.
    package mutating func expire(at now: MonotonicInstant) -> [Action] {
        guard phase != .over, let due = deadline, now >= due else { return [] }
        let giveUp = lastHeard + Self.timeout
        if now >= giveUp { return end(with: .silence(Self.timeout)) }
        isRepeated = true
        if !hasAnswered, timer.repeats >= Self.unansweredRepeats {
            deadline = giveUp
            return []
        }
        let before = counters.repeated
        defer { surplus += Int(counters.repeated - before) }
        let round = timer.repeats
        if drainingBehind == nil || round > 0 { timer.repeated() }
        if phase == .offering {
            deadline = min(now + Self.offerWait, giveUp)
            return options.acknowledgement.map { [.sendOptions($0)] } ?? []
        }
        deadline = min(now + timer.wait, giveUp)
        // In lock step too U-Boot says only once that it has a block already: then the next one moves it on.
        if options.windowSize == 1, round < 3 { return [send(windowEnd...windowEnd)] }
        let hasSaidSo = wentBackBehind == acknowledged || drainingBehind != nil || mayHaveSaidSo
        let probes = fruitlessProbes >= 2 ? 0 : hasSaidSo ? 1 : 2
        if round < probes {
            if round == 0, !hasSaidSo { return [send(windowEnd...windowEnd)] }
            let first = send(acknowledged + 1...acknowledged + 1)
            return windowEnd > acknowledged + 1 ? [first, send(windowEnd...windowEnd)] : [first]
        }
        var actions = windowEnd > acknowledged + 1 ? [send(windowEnd...windowEnd)] : []
        actions.append(send(acknowledged + 1...windowEnd))
        // Not sooner with a window: what a merely slow client has not read yet would all be out of order then.
        if round >= probes + 2 || options.windowSize == 1, windowEnd < lastBlock {
            // The client may have the whole window and have said so for the last time. The next window moves it on, and
            // an old block behind that makes it say where it is.
            let next = windowEnd + 1
            windowEnd = min(acknowledged + 2 * UInt64(options.windowSize), lastBlock)
            if next <= windowEnd { actions.append(send(next...windowEnd)) }
            actions.append(send(acknowledged + 1...acknowledged + 1))
        }
        return actions
    }
}
