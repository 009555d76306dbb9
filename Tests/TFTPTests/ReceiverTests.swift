import TestSupport
import TFTP
import Testing

private func at(_ milliseconds: Int64) -> MonotonicInstant { MonotonicInstant(nanoseconds: milliseconds * 1_000_000) }

struct ReceiverTests {
    @Test func `an upload of 8 bytes is taken and answered`() {
        var receiver = Receiver(limit: 65536, options: TransferOptions())
        #expect(receiver.start(at: at(0)) == [.sendAcknowledgement(0)])
        #expect(receiver.receive(block: 1, payload: Array(1...8), at: at(1)) == [.finish, .sendAcknowledgement(1)])
        #expect(receiver.content == Array(1...8))
        // The last ACK was lost: the client sends its last block again.
        #expect(receiver.receive(block: 1, payload: Array(1...8), at: at(5001)) == [.sendAcknowledgement(1)])
        #expect(receiver.content.count == 8)
    }

    @Test func `the last ack is sent three times, then a client that missed it is waited for`() {
        var receiver = Receiver(limit: 65536, options: TransferOptions())
        _ = receiver.start(at: at(0))
        #expect(receiver.receive(block: 1, payload: [1], at: at(1)) == [.finish, .sendAcknowledgement(1)])
        var waits: [Duration] = []
        var actions: [[Receiver.Action]] = []
        while let deadline = receiver.deadline {
            waits.append(deadline - at(1))
            actions.append(receiver.expire(at: deadline))
        }
        #expect(waits == [.milliseconds(30), .milliseconds(200), .seconds(12)])
        #expect(actions == [[.sendAcknowledgement(1)], [.sendAcknowledgement(1)], [.close]])
    }

    @Test func `what is over the limit is refused, at the limit not`() {
        for (count, refused) in [(65536, false), (65537, true)] {
            var receiver = Receiver(limit: 65536, options: TransferOptions())
            _ = receiver.start(at: at(0))
            var rest = count
            var actions: [Receiver.Action] = []
            var block: UInt16 = 0
            repeat {
                block &+= 1
                let length = min(512, rest)
                rest -= length
                actions = receiver.receive(block: block, payload: [UInt8](repeating: 7, count: length), at: at(1))
            } while rest > 0
            if refused {
                #expect(actions.last == .fail(.tooLarge(limit: 65536)))
                #expect(actions.first == .sendError(.diskFull, message: "more than 65536 bytes; at most that is taken"))
            } else {
                #expect(actions == [.sendAcknowledgement(block)])
            }
            #expect(receiver.content.count <= 65536)
        }
    }

    @Test func `a block larger than agreed is refused`() {
        var receiver = Receiver(limit: 65536, options: TransferOptions())
        _ = receiver.start(at: at(0))
        let actions = receiver.receive(block: 1, payload: [UInt8](repeating: 0, count: 513), at: at(1))
        #expect(actions.last == .fail(.malformed("peer sent a block of 513 bytes; 512 were agreed")))
        #expect(receiver.deadline == nil)
    }

    @Test func `a gap in a window is reported once`() {
        var receiver = Receiver(limit: 65536, options: agreed(window: 4, blockSize: 8))
        _ = receiver.start(at: at(0))
        #expect(receiver.receive(block: 1, payload: Array(repeating: 1, count: 8), at: at(1)) == [])
        #expect(
            receiver.receive(block: 3, payload: Array(repeating: 3, count: 8), at: at(1)) == [.sendAcknowledgement(1)])
        #expect(receiver.receive(block: 4, payload: Array(repeating: 4, count: 8), at: at(1)) == [])
        for block in UInt16(2)...4 {
            #expect(receiver.receive(block: block, payload: Array(repeating: UInt8(block), count: 8), at: at(2)) == [])
        }
        #expect(
            receiver.receive(block: 5, payload: Array(repeating: 5, count: 8), at: at(2)) == [.sendAcknowledgement(5)])
        #expect(receiver.receive(block: 6, payload: [6], at: at(3)) == [.finish, .sendAcknowledgement(6)])
        #expect(receiver.content.count == 41)
    }

    @Test func `an address that never answered is sent the answer four times, no more`() {
        var receiver = Receiver(limit: 65536, options: TransferOptions())
        var packets = receiver.start(at: at(0)).count
        var last: [Receiver.Action] = []
        while let deadline = receiver.deadline {
            last = receiver.expire(at: deadline)
            packets += last.filter { if case .sendAcknowledgement = $0 { true } else { false } }.count
        }
        #expect(packets == 1 + Sender.unansweredRepeats)
        #expect(last == [.fail(.silence(.seconds(30)))])
    }

    @Test func `an error after the end takes nothing back`() {
        var receiver = Receiver(limit: 65536, options: TransferOptions())
        _ = receiver.start(at: at(0))
        _ = receiver.receive(block: 1, payload: [1], at: at(1))
        #expect(receiver.receive(error: .undefined, message: "") == [.close])
        #expect(receiver.content == [1])
    }

    @Test func `any sequence of packets keeps the limits`() {
        var generator = SeededGenerator(seed: 4)
        for _ in 0..<2000 {
            var receiver = Receiver(limit: 100, options: agreed(window: Int(generator.next() % 5) + 1, blockSize: 16))
            _ = receiver.start(at: at(0))
            var time: Int64 = 0
            for _ in 0..<40 {
                time += Int64(generator.next() % 3000)
                let answers: [Receiver.Action]
                switch generator.next() % 8 {
                case 0: answers = receiver.expire(at: at(time))
                case 1: answers = receiver.requestRepeated(at: at(time))
                case 2 where generator.happens(perThousand: 50):
                    answers = receiver.receive(error: .undefined, message: "")
                default:
                    let payload = [UInt8](repeating: 1, count: Int(generator.next() % 18))
                    answers = receiver.receive(block: UInt16(generator.next() % 9), payload: payload, at: at(time))
                }
                // Never more than one packet for one.
                #expect(
                    answers.filter { if case .finish = $0 { false } else if case .fail = $0 { false } else { true } }
                        .count <= 1)
                #expect(receiver.content.count <= 100)
            }
        }
    }
}
