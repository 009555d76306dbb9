import FlashEvents
import DiskLayout
import FlashPlan
import TFTP
import Testing

@testable import Flashing

/// What a target and its network may do, and what a follower makes of it. No files, no clock.
@Suite struct FollowerTests {
    /// 9 MiB in 2 parts of 5 MiB.
    private static func plan(rootfsSectors: UInt64 = 2048, partSize: ByteCount = .mebibytes(5)) throws -> PartsPlan {
        try PartsPlan(image: try layout(rootfsSectors: rootfsSectors), partSize: partSize)
    }

    private static func follower(_ plan: PartsPlan) -> Follower<PartsPlan> {
        Follower(plan: plan, target: "camera", requestTimeout: .seconds(45), silenceTimeout: .seconds(60), start: .zero)
    }

    /// Takes the events, a second apart, and judges when everything is settled.
    private static func judge(_ events: [TransferEvent], plan: PartsPlan) throws -> FlashProof? {
        var follower = follower(plan)
        var now = Duration.zero
        for event in events {
            now += .seconds(1)
            _ = follower.take(event, at: now)
        }
        return try follower.outcome(at: now + Follower<PartsPlan>.gracePeriod)
    }

    @Test func `law 2 - OK with the exact count after everything was fetched is proof`() throws {
        let plan = try Self.plan()
        let outcome = try Self.judge(fetching(plan) + [.ok(plan.bytesToWrite.bytes)], plan: plan)
        #expect(outcome?.written == ByteCount(5 << 20))
    }

    @Test(arguments: [-4_194_304, -512, -1, 1, 512, 4_194_304])
    func `law 2 - a count that is off is not proof`(off: Int64) throws {
        let plan = try Self.plan()
        let count = UInt64(Int64(plan.bytesToWrite.bytes) + off)
        #expect(
            throws: FlashError.notProven("target camera reported OK with \(count) bytes; must be 5242880 bytes")
        ) { try Self.judge(fetching(plan) + [.ok(count)], plan: plan) }
    }

    @Test func `law 2 - OK before the target asked is not proof`() throws {
        let plan = try Self.plan()
        let error = FlashError.notProven("target camera reported OK before it asked for the image")
        #expect(throws: error) { try Self.judge([.ok(plan.bytesToWrite.bytes)], plan: plan) }
        #expect(error.exitCode == 4)
        // The parts without the manifest are not what a target asks for.
        #expect(throws: error) {
            try Self.judge(fetching(plan).dropFirst(2) + [.ok(plan.bytesToWrite.bytes)], plan: plan)
        }
    }

    @Test(arguments: [0, 1])
    func `law 2 - OK without every part fetched is not proof`(missing: UInt64) throws {
        let plan = try Self.plan()
        let events = fetching(plan).filter { $0 != .sent(file: PartsPlan.partName(missing)) }
        #expect(
            throws: FlashError.notProven(
                "target camera reported OK, but did not fetch rpi_image_part_\(missing) in full since the reset")
        ) { try Self.judge(events + [.ok(plan.bytesToWrite.bytes)], plan: plan) }
    }

    @Test func `law 2 - parts that were fetched before the target started over do not count`() throws {
        let plan = try Self.plan()
        let events = fetching(plan) + [.opened(file: PartsPlan.manifestName), .ok(plan.bytesToWrite.bytes)]
        #expect(throws: FlashError.self) { try Self.judge(events, plan: plan) }
        #expect(try Self.judge(fetching(plan) + fetching(plan) + [.ok(5 << 20)], plan: plan)?.bytes.bytes == 5 << 20)
    }

    @Test(arguments: [0, 1, 4, 7, 9, 65536])
    func `law 2 - an OK that is not 8 bytes long is not proof`(length: Int) throws {
        let plan = try Self.plan()
        let content = Array(
            (Outcome(kind: .ok, written: plan.bytesToWrite).encoded + .init(repeating: 0, count: 65536)).prefix(length))
        #expect(
            throws: FlashError.notProven(
                "target uploaded OK with \(length) bytes; must be 8 bytes; target camera is not proven")
        ) { try Self.judge(fetching(plan) + [.uploaded(name: "OK", content: content)], plan: plan) }
    }

    @Test func `law 2 - FAILED wins over OK, before it and within a second after it`() throws {
        let plan = try Self.plan()
        let failure = FlashError.targetFailed(target: "camera", written: ByteCount(512), expected: plan.bytesToWrite)
        for outcomes in [[TransferEvent.ok(5 << 20), .failed(512)], [.failed(512), .ok(5 << 20)]] {
            var follower = Self.follower(plan)
            for event in fetching(plan) { _ = follower.take(event, at: .seconds(1)) }
            _ = follower.take(outcomes[0], at: .seconds(2))
            #expect(try follower.outcome(at: .seconds(2)) == nil)
            _ = follower.take(outcomes[1], at: .milliseconds(2900))
            #expect(throws: failure) { try follower.outcome(at: .seconds(3)) }
        }
    }

    @Test func `law 2 - of several OKs the first counts`() throws {
        let plan = try Self.plan()
        #expect(throws: FlashError.self) {
            try Self.judge(fetching(plan) + [.ok(1), .ok(plan.bytesToWrite.bytes)], plan: plan)
        }
    }

    // MARK: Defects of the original system

    @Test func `FAILED is heard at once, whatever it holds - the original waited for FAIL`() throws {
        let plan = try Self.plan()
        #expect(
            throws: FlashError.targetFailed(
                target: "camera", written: ByteCount(1 << 20), expected: plan.bytesToWrite)
        ) { try Self.judge([.opened(file: PartsPlan.manifestName), .failed(1 << 20)], plan: plan) }
        #expect(throws: FlashError.targetFailed(target: "camera", written: nil, expected: plan.bytesToWrite)) {
            try Self.judge([.uploaded(name: "FAILED", content: [])], plan: plan)
        }
        // FAIL is no outcome at all.
        #expect(try Self.judge([.uploaded(name: "FAIL", content: [])], plan: plan) == nil)
    }

    @Test func `counts have 64 bits - the original had 32`() throws {
        // 6 GiB of rootfs.
        let plan = try Self.plan(rootfsSectors: 12_582_912, partSize: PartsPlan.defaultPartSize)
        let count = plan.bytesToWrite.bytes
        #expect(count == (6 << 30) + (4 << 20))
        #expect(try Self.judge(fetching(plan) + [.ok(count)], plan: plan)?.written.bytes == count)
        #expect(throws: FlashError.self) {
            try Self.judge(fetching(plan) + [.ok(count & 0xffff_ffff)], plan: plan)
        }
    }

    @Test func `a transfer that broke off is not the end of the parts - the original took it for that`() throws {
        let plan = try Self.plan()
        let events: [TransferEvent] =
            fetching(plan).prefix(6) + [
                .opened(file: "rpi_image_part_1"), .interrupted(file: "rpi_image_part_1", reason: "timeout"),
                .ok(plan.bytesToWrite.bytes),
            ]
        #expect(throws: FlashError.self) { try Self.judge(events, plan: plan) }
    }

    @Test func `more than 10 parts all count - the original stopped at 10`() throws {
        let plan = try Self.plan(rootfsSectors: 16384 + 65536, partSize: PartsPlan.smallestPart.byteCount)
        #expect(plan.partCount == 12)
        #expect(try Self.judge(fetching(plan) + [.ok(plan.bytesToWrite.bytes)], plan: plan) != nil)
        let without = fetching(plan).filter { $0 != .sent(file: "rpi_image_part_10") }
        #expect(throws: FlashError.self) {
            try Self.judge(without + [.ok(plan.bytesToWrite.bytes)], plan: plan)
        }
    }

    // MARK: When it happened

    @Test func `each write has its own time, also where several are taken at once`() throws {
        let plan = try Self.plan()
        // Two parts, all taken in one look a second later; the third time is the report's.
        var follower = Self.follower(plan)
        var writes: [Duration] = []
        let events: [(TransferEvent, Duration)] = [
            (.opened(file: PartsPlan.manifestName), .milliseconds(100)),
            (.opened(file: "rpi_image_part_0"), .milliseconds(110)),
            (.sent(file: "rpi_image_part_0"), .milliseconds(119)),
            (.completed(file: "rpi_image_part_0", packets: 1, repeated: 0), .milliseconds(120)),
            (.opened(file: "rpi_image_part_1"), .milliseconds(157)),
            (.sent(file: "rpi_image_part_1"), .milliseconds(159)),
            (.completed(file: "rpi_image_part_1", packets: 1, repeated: 0), .milliseconds(160)),
            (.ok(plan.bytesToWrite.bytes), .milliseconds(190)),
        ]
        for (event, at) in events {
            _ = follower.take(event, at: at)
            if let write = follower.takeWrite() { writes.append(write.took) }
        }
        #expect(writes == [.milliseconds(37), .milliseconds(30)])
        // OK settles a second after it came, not after it was seen.
        #expect(try follower.outcome(at: .milliseconds(1189)) == nil)
        #expect(try follower.outcome(at: .milliseconds(1190)) != nil)
    }

    @Test func `an event that seems older than the one before is as old as that one`() throws {
        let plan = try Self.plan()
        var follower = Self.follower(plan)
        _ = follower.take(.opened(file: PartsPlan.manifestName), at: .seconds(5))
        _ = follower.take(.completed(file: "rpi_image_part_0", packets: 1, repeated: 0), at: .seconds(7))
        _ = follower.take(.opened(file: "rpi_image_part_1"), at: .seconds(6))
        #expect(follower.takeWrite() == nil)
        #expect(follower.lastActivity == .seconds(7))
        // One from before the reset is no older than that.
        var fresh = Follower(
            plan: plan, target: "camera", requestTimeout: .seconds(45), silenceTimeout: .seconds(60), start: .seconds(9)
        )
        _ = fresh.take(.opened(file: PartsPlan.manifestName), at: .seconds(3))
        #expect(fresh.lastActivity == .seconds(9))
    }

    // MARK: Untrusted input

    @Test(arguments: [
        "rpi_image_part_2", "rpi_image_part_-1", "rpi_image_part_0x0", "rpi_image_part_", "rpi_image_part_1 ",
        "rpi_image_part_18446744073709551616", "rpi_image_part_１", "../rpi_image_part_0", "rpi_image_part_1/../x", "",
        "\u{1b}[2J", "flash.scr", "OK", String(repeating: "A", count: 65536),
    ])
    func `law 7 - names that are none of the parts change nothing`(name: String) throws {
        let plan = try Self.plan()
        var follower = Self.follower(plan)
        for event in [
            TransferEvent.opened(file: name), .progress(file: name, bytes: .max), .sent(file: name),
            .completed(file: name, packets: 0, repeated: 0),
        ] {
            #expect(follower.take(event, at: .seconds(1)) == nil)
        }
        #expect(follower.bytes == 0 && follower.currentStep == nil && !follower.hasAsked)
        #expect(follower.isOverdue(at: .seconds(45)))
    }

    @Test(arguments: ["REPORT", "ok", "OK ", "FAIL", "../OK", "rpi_image_part_0"])
    func `law 7 - an upload of another name is no outcome`(name: String) throws {
        let plan = try Self.plan()
        let content = Outcome(kind: .ok, written: plan.bytesToWrite).encoded
        #expect(try Self.judge(fetching(plan) + [.uploaded(name: name, content: content)], plan: plan) == nil)
    }

    @Test func `law 7 - the largest count is compared, not computed with`() throws {
        let plan = try Self.plan()
        #expect(throws: FlashError.self) { try Self.judge(fetching(plan) + [.ok(.max)], plan: plan) }
        #expect(
            throws: FlashError.targetFailed(target: "camera", written: ByteCount(.max), expected: plan.bytesToWrite)
        ) { try Self.judge([.failed(.max)], plan: plan) }
    }

    @Test func `law 7 - a target that starts over again and again is given up`() throws {
        let plan = try Self.plan()
        var follower = Self.follower(plan)
        for round in 0...5 {
            #expect(try follower.outcome(at: .seconds(round)) == nil)
            for event in fetching(plan) { _ = follower.take(event, at: .seconds(round)) }
        }
        #expect(follower.restarts == 5)
        #expect(try follower.outcome(at: .seconds(6)) == nil)
        for event in fetching(plan) { _ = follower.take(event, at: .seconds(6)) }
        let error = FlashError.noOutcome(
            "target camera started over 6 times without an outcome; its console says why")
        #expect(throws: error) { try follower.outcome(at: .seconds(6)) }
        #expect(error.exitCode == 3)
    }

    @Test func `the manifest asked for twice in a row is a lost answer, not a new start`() throws {
        let plan = try Self.plan()
        var follower = Self.follower(plan)
        #expect(
            follower.take(.opened(file: PartsPlan.manifestName), at: .seconds(1))
                == .asked(from: nil))
        for _ in 0..<20 { #expect(follower.take(.opened(file: PartsPlan.manifestName), at: .seconds(2)) == nil) }
        #expect(follower.restarts == 0)
    }

    @Test func `a refused request of somebody is no sign of life`() throws {
        var follower = Self.follower(try Self.plan())
        _ = follower.take(.opened(file: PartsPlan.manifestName), at: .zero)
        #expect(
            follower.take(.refused(path: "x", address: "192.0.2.66", reason: "no"), at: .seconds(59))
                == .note("refused 192.0.2.66 the file x: no"))
        #expect(throws: FlashError.self) { try follower.outcome(at: .seconds(60)) }
    }

    @Test func `silence is counted from the last sign of life`() throws {
        let plan = try Self.plan()
        var follower = Self.follower(plan)
        for event in fetching(plan) { _ = follower.take(event, at: .seconds(10)) }
        _ = follower.take(.activity, at: .seconds(30))
        #expect(try follower.outcome(at: .milliseconds(89_999)) == nil)
        #expect(
            throws: FlashError.noOutcome(
                "target camera asked for its image, but sent no outcome and no sign of life for 60 s")
        ) { try follower.outcome(at: .seconds(90)) }
    }

    @Test func `a target whose console was heard is given up sooner, and its console keeps it waited for`() throws {
        let plan = try Self.plan()
        func follower() -> Follower<PartsPlan> {
            Follower(
                plan: plan, target: "camera", requestTimeout: .seconds(45), silenceTimeout: .seconds(600), start: .zero)
        }
        var silent = follower()
        var heard = follower()
        for event in fetching(plan) {
            _ = silent.take(event, at: .seconds(10))
            _ = heard.take(event, at: .seconds(10))
        }
        heard.heardConsole(at: .seconds(95))
        #expect(try heard.outcome(at: .seconds(184)) == nil)
        #expect(
            throws: FlashError.noOutcome(
                "target camera asked for its image, but sent no outcome and no sign of life for 90 s")
        ) { try heard.outcome(at: .seconds(185)) }
        #expect(try silent.outcome(at: .seconds(609)) == nil)
        // Who says how long has the last word.
        var patient = Follower(
            plan: plan, target: "camera", requestTimeout: .seconds(45), silenceTimeout: .seconds(600),
            consoleTimeout: .seconds(600), start: .zero)
        for event in fetching(plan) { _ = patient.take(event, at: .seconds(10)) }
        patient.heardConsole(at: .seconds(10))
        #expect(try patient.outcome(at: .seconds(609)) == nil)
        // A console proves nothing, not even that it asked.
        var mute = follower()
        mute.heardConsole(at: .seconds(10))
        #expect(mute.isOverdue(at: .seconds(45)))
    }

    @Test func `how long the card took is from a file's last packet to what comes next, where that is the next step`()
        throws
    {
        let plan = try Self.plan()
        var follower = Self.follower(plan)
        var writes: [String] = []
        func take(_ event: TransferEvent, at second: Int) {
            _ = follower.take(event, at: .seconds(second))
            if let write = follower.takeWrite() { writes.append("\(write.step) \(write.bytes) \(write.took)") }
        }
        func load(_ part: UInt64, at second: Int) {
            take(.opened(file: PartsPlan.partName(part)), at: second)
            take(.sent(file: PartsPlan.partName(part)), at: second + 1)
            take(.completed(file: PartsPlan.partName(part), packets: 1, repeated: 0), at: second + 1)
        }
        load(0, at: 10)
        load(1, at: 20)
        take(.ok(1), at: 34)
        // Of part 0 the first 4 MiB are not written.
        #expect(writes == ["0 1048576 9.0 seconds", "1 4194304 13.0 seconds"])
        // Loaded again, or from the beginning: not the card's time.
        load(0, at: 40)
        load(0, at: 50)
        take(.opened(file: PartsPlan.manifestName), at: 60)
        load(1, at: 70)
        #expect(writes.count == 2)
    }

    @Test func `a network that loses a tenth is worth a warning, one that loses less is not`() throws {
        var follower = Self.follower(try Self.plan())
        #expect(follower.take(.completed(file: "rpi_image_part_0", packets: 10000, repeated: 999), at: .zero) == nil)
        #expect(follower.take(.completed(file: "rpi_image_part_0", packets: 999, repeated: 999), at: .zero) == nil)
        #expect(
            follower.take(.completed(file: "rpi_image_part_0", packets: 10000, repeated: 1000), at: .zero)
                == .warning(
                    "1000 of 10000 packets of rpi_image_part_0 had to be repeated; the network loses packets"))
    }
}
