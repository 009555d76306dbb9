/// The receiving side of a write, without a socket or a clock. It holds what came, up to a limit.
package struct Receiver: Sendable {
    /// What the owner of the socket has to do, in order.
    package enum Action: Hashable, Sendable {
        /// Send an OACK.
        case sendOptions([Packet.Option])
        /// Send an ACK.
        case sendAcknowledgement(UInt16)
        /// Send an ERROR.
        case sendError(ErrorCode, message: String)
        /// The file is complete: ``Receiver/content``. Later packets are still answered until ``close``.
        case finish
        /// The transfer failed; nothing follows.
        case fail(TransferFailure)
        /// A finished transfer needs no more answers; nothing follows.
        case close
    }

    /// How long a finished transfer answers a client that did not get the last ACK: more than twice U-Boot's 5 s.
    package static let dally = Duration.seconds(12)

    /// The last ACK may be lost, and U-Boot then waits for 5 s: it is sent again this long after the first, unasked. Who
    /// has it and is gone answers with an ICMP, which ends the transfer.
    private static let dallyRepeats: [Duration] = [.milliseconds(30), .milliseconds(200)]

    /// What was agreed on.
    package let options: TransferOptions
    /// The most that is taken, in bytes.
    package let limit: Int
    /// What came so far.
    package private(set) var content: [UInt8] = []
    /// When ``expire(at:)`` has to be called next; nil when the transfer is over.
    package private(set) var deadline: MonotonicInstant?

    private enum Phase { case receiving, dallying, over }
    private var phase: Phase = .receiving
    private var received: UInt64 = 0
    private var sinceAcknowledgement = 0
    /// The last block at which a gap was reported; reported once, as every packet behind the gap would report it again.
    private var reportedGapBehind: UInt64?
    private var repeats = 0
    private var lastHeard = MonotonicInstant(nanoseconds: 0)
    private var finished = MonotonicInstant(nanoseconds: 0)
    private var repeatedAcknowledgements = 0

    /// A transfer of at most `limit` bytes.
    package init(limit: Int, options: TransferOptions) { (self.limit, self.options) = (limit, options) }

    /// Starts the transfer.
    package mutating func start(at now: MonotonicInstant) -> [Action] {
        lastHeard = now
        return repeatAnswer(at: now)
    }

    /// The client sent its request again.
    package mutating func requestRepeated(at now: MonotonicInstant) -> [Action] {
        guard phase == .receiving, received == 0 else { return [] }
        return repeatAnswer(at: now)
    }

    private var wait: Duration { min(.milliseconds(250) * (1 << min(repeats, 5)), .seconds(4)) }

    private var dallyDeadline: MonotonicInstant {
        finished
            + (repeatedAcknowledgements < Self.dallyRepeats.count
                ? Self.dallyRepeats[repeatedAcknowledgements] : Self.dally)
    }

    private mutating func repeatAnswer(at now: MonotonicInstant) -> [Action] {
        deadline = now + wait
        if received == 0, let answer = options.acknowledgement { return [.sendOptions(answer)] }
        return [.sendAcknowledgement(UInt16(truncatingIfNeeded: received))]
    }

    /// Takes a DATA packet.
    package mutating func receive(block: UInt16, payload: [UInt8], at now: MonotonicInstant) -> [Action] {
        switch phase {
        case .over: return []
        case .dallying:
            return block == UInt16(truncatingIfNeeded: received) ? [.sendAcknowledgement(block)] : []
        case .receiving: break
        }
        guard payload.count <= options.blockSize else {
            return fail(
                .illegalOperation,
                .malformed("peer sent a block of \(payload.count) bytes; \(options.blockSize) were agreed"))
        }
        lastHeard = now
        repeats = 0
        deadline = now + wait
        let last = UInt16(truncatingIfNeeded: received)
        guard block == last &+ 1 else { return outOfOrder(block, last: last) }
        guard content.count + payload.count <= limit else { return fail(.diskFull, .tooLarge(limit: limit)) }
        content += payload
        received += 1
        sinceAcknowledgement += 1
        if payload.count < options.blockSize {
            phase = .dallying
            finished = now
            deadline = dallyDeadline
            return [.finish, .sendAcknowledgement(block)]
        }
        guard sinceAcknowledgement == options.windowSize else { return [] }
        sinceAcknowledgement = 0
        return [.sendAcknowledgement(block)]
    }

    private mutating func outOfOrder(_ block: UInt16, last: UInt16) -> [Action] {
        if options.windowSize == 1 { return block == last && received > 0 ? [.sendAcknowledgement(last)] : [] }
        guard reportedGapBehind != received else { return [] }
        reportedGapBehind = received
        sinceAcknowledgement = 0
        return [.sendAcknowledgement(last)]
    }

    private mutating func fail(_ code: ErrorCode, _ failure: TransferFailure) -> [Action] {
        phase = .over
        deadline = nil
        return [.sendError(code, message: failure.description), .fail(failure)]
    }

    /// Takes an ERROR: the transfer is over.
    package mutating func receive(error code: ErrorCode, message: String) -> [Action] {
        end(with: .refused(code, message: message))
    }

    /// Takes a packet that has no place in a write.
    package mutating func receiveMisplaced() -> [Action] {
        end(with: .malformed("peer sent a packet that has no place in a write"))
    }

    private mutating func end(with failure: TransferFailure) -> [Action] {
        guard phase != .over else { return [] }
        let isFinished = phase == .dallying
        phase = .over
        deadline = nil
        return isFinished ? [.close] : [.fail(failure)]
    }

    /// Called when ``deadline`` has come.
    package mutating func expire(at now: MonotonicInstant) -> [Action] {
        guard phase != .over, let due = deadline, now >= due else { return [] }
        if phase == .dallying {
            if repeatedAcknowledgements < Self.dallyRepeats.count {
                repeatedAcknowledgements += 1
                deadline = dallyDeadline
                return [.sendAcknowledgement(UInt16(truncatingIfNeeded: received))]
            }
            phase = .over
            deadline = nil
            return [.close]
        }
        let giveUp = lastHeard + Sender.timeout
        if now >= giveUp { return end(with: .silence(Sender.timeout)) }
        if received == 0, repeats >= Sender.unansweredRepeats {
            deadline = giveUp
            return []
        }
        repeats += 1
        let actions = repeatAnswer(at: now)
        deadline = min(now + wait, giveUp)
        return actions
    }
}
