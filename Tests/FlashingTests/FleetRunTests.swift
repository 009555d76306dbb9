import FlashEvents
import Configuration
import DiskLayout
import FlashPlan
import Foundation
import Inventory
import LinuxHost
import Synchronization
import SystemPackage
import TFTP
import Testing

@testable import Flashing

/// Several targets at once: who is flashed when, and that no target's failure concerns another.
@Suite struct FleetRunTests {
    // MARK: The schedule

    private static func targets(_ count: Int) throws -> [Target] {
        let rows = (0..<count).map { "b8:27:eb:00:00:0\($0),192.0.2.\($0 + 1),bench1,17,t\($0)\n" }.joined()
        return try Inventory(csv: ("mac,ip,server,gpio,name\n" + rows).utf8, file: "targets.csv").targets
    }

    private static let good = FlashResult(
        proof: FlashProof(bytes: ByteCount(1), written: ByteCount(1), loaded: ByteCount(1), retries: 0),
        flashTime: .seconds(1), upAfter: nil)

    private static func schedule(
        _ count: Int, jobs: Int = 8, canary: Bool = false,
        _ flash: @escaping @Sendable (Int) async throws -> FlashResult
    ) async throws -> [Verdict] {
        let seen = Mutex<[String]>([])
        let targets = try targets(count)
        let endings = await Schedule(jobs: jobs, canary: canary).run(targets) { index in
            do {
                return Verdict(targets[index], try await flash(index))
            } catch {
                return Verdict(targets[index], error, after: nil)
            }
        } ended: { _, ending in
            seen.withLock { $0.append(ending.target.displayName) }
        }
        #expect(endings.map(\.target.displayName) == (0..<count).map { "t\($0)" })
        #expect(seen.withLock { $0.sorted() } == endings.map(\.target.displayName), "each is told of once")
        return endings
    }

    @Test(arguments: [1, 3, 8])
    func `as many as there are jobs run at the same time, and never more`(jobs: Int) async throws {
        let running = Mutex((now: 0, most: 0))
        let endings = try await Self.schedule(9, jobs: jobs) { index in
            running.withLock {
                $0.now += 1
                $0.most = max($0.most, $0.now)
            }
            // Those that start first wait for each other.
            while running.withLock({ $0.most }) < jobs { await Task.yield() }
            await Task.yield()
            running.withLock { $0.now -= 1 }
            return Self.good
        }
        #expect(endings.allSatisfy { $0.isGood })
        #expect(running.withLock { $0.most } == jobs)
    }

    @Test func `one that fails leaves the others alone`() async throws {
        let endings = try await Self.schedule(5, jobs: 2) { index in
            if index == 1 { throw FlashError.notProven("no") }
            if index == 3 { throw Trouble("no") }
            return Self.good
        }
        #expect(endings.map(\.isGood) == [true, false, true, false, true])
    }

    @Test func `a canary that fails is the only one that is touched`() async throws {
        let touched = Mutex<[Int]>([])
        let endings = try await Self.schedule(3, canary: true) { index in
            touched.withLock { $0.append(index) }
            throw FlashError.notProven("no")
        }
        #expect(touched.withLock { $0 } == [0])
        for ending in endings.dropFirst() {
            guard case .notStarted("not started: canary t0 failed") = ending.ending else {
                Issue.record("\(ending)")
                continue
            }
        }
    }

    @Test func `the others start when the canary is done`() async throws {
        let done = Mutex(false)
        let endings = try await Self.schedule(4, canary: true) { index in
            if index == 0 {
                for _ in 0..<100 { await Task.yield() }
                done.withLock { $0 = true }
            }
            #expect(done.withLock { $0 })
            return Self.good
        }
        #expect(endings.allSatisfy { $0.isGood })
    }

    // MARK: Resets

    @Test func `resets are kept apart, and none waits for longer than it has to`() async throws {
        let clock = ManualClock()
        let gate = ResetGate(gap: .milliseconds(500), clock: clock)
        var times: [Duration] = []
        for _ in 0..<4 {
            try await gate.pass()
            times.append(clock.now.offset)
        }
        try await clock.sleep(for: .seconds(10))
        for _ in 0..<2 {
            try await gate.pass()
            times.append(clock.now.offset)
        }
        #expect(times == [0, 500, 1000, 1500, 11500, 12000].map { .milliseconds($0) })
    }

    @Test func `a further reset keeps apart too, and is left out where the target asked meanwhile`() async throws {
        let fleet = try FleetFixture(names: ["a", "b"])
        fleet.set("a", [[], []])
        let endings = try await fleet.run(FleetOptions(jobs: 1, stagger: .seconds(300)))
        #expect(
            fleet.resets
                == [("a", 0), ("a", 300), ("b", 600)].map { FleetFixture.Reset(name: $0.0, at: .seconds($0.1)) })
        #expect(endings.map(\.isGood) == [false, true])

        // It asks while its second reset waits for its turn: 450 looks are 45 s.
        let late = try FleetFixture(names: ["a"])
        late.set("a", [try [[TransferEvent]](repeating: [], count: 451) + late.goodEvents()])
        let ending = try await late.run(FleetOptions(stagger: .seconds(300)))
        #expect(late.resets.count == 1)
        #expect(ending.map(\.isGood) == [true])
    }

    // MARK: Whole flashes

    @Test func `each target is flashed, told of, and leaves nothing behind`() async throws {
        let fleet = try FleetFixture(names: ["a", "b", "c"])
        let endings = try await fleet.run()
        #expect(endings.map(\.isGood) == [true, true, true])
        #expect(endings.allSatisfy { $0.proof?.written == ByteCount(5 << 20) })
        let told = fleet.told.withLock { $0 }
        #expect(told.filter { if case .serving = $0.progress { true } else { false } }.map(\.index) == [nil])
        #expect(Set(told.filter { $0.progress == .asked(from: nil) }.map(\.index)) == [0, 1, 2])
        #expect(try names(in: fleet.world.root) == [])
    }

    @Test func `a target that fails in the middle, or cannot be reset, fails alone`() async throws {
        let fleet = try FleetFixture(names: ["a", "b", "c", "d"])
        fleet.set("b", [[[], try fleet.fetchingEvents() + [.failed(512)]]])
        fleet.set("d", [])
        let endings = try await fleet.run()
        #expect(endings.map(\.isGood) == [true, false, true, false])
        #expect(endings.map(\.status) == [0, 2, 0, 9])
        #expect(endings[1].proof == nil)
        #expect(try names(in: fleet.world.root) == [])
    }

    @Test func `law 6 - what is wrong with one target refuses all before the first is touched`() async throws {
        let fleet = try FleetFixture(names: ["a", "b", "c"])
        fleet.busy.withLock { $0 = "c" }
        await #expect(throws: FlashError.server("cannot reset target c: GPIO line 17 is in use")) {
            try await fleet.run()
        }
        fleet.busy.withLock { $0 = "" }
        do {
            let lock = try FolderLock(root: fleet.world.root, target: fleet.targets[1])
            await #expect(
                throws: FlashError.server(
                    "target b is being flashed by process \(getpid()) of \(Accounts.caller); wait for it")
            ) {
                try await fleet.run()
            }
            _ = consume lock
        }
        #expect(fleet.resets == [])
        #expect(try names(in: fleet.world.root) == [])
    }

    @Test func `law 5 - cancellation ends all of them, and what they staged is removed`() async throws {
        let fleet = try FleetFixture(names: ["a", "b", "c"])
        let (stream, begun) = AsyncStream.makeStream(of: Void.self)
        fleet.onReset.withLock {
            $0 = {
                begun.yield()
                while !Task.isCancelled { await Task.yield() }
                throw CancellationError()
            }
        }
        let task = Task { try await fleet.run(FleetOptions(jobs: 2)) }
        var count = 0
        for await _ in stream {
            count += 1
            if count == 2 { break }
        }
        #expect(try names(in: fleet.world.root).count > 2)
        task.cancel()
        let endings = try await task.value
        for ending in endings.prefix(2) {
            guard case .interrupted = ending.ending else {
                Issue.record("\(ending)")
                continue
            }
        }
        guard case .notStarted("not started: interrupted") = endings[2].ending else {
            Issue.record("\(endings[2])")
            return
        }
        #expect(try names(in: fleet.world.root) == [])
    }
}

/// Several targets in one world, flashed in parts. What each does after its resets, one after the other, is what the
/// server's events are at each look: by default all goes well.
private final class FleetFixture: Sendable {
    struct Reset: Equatable {
        let name: String
        let at: Duration
    }

    let world: FlashFixture
    let targets: [Target]
    let told = Mutex<[(index: Int?, progress: FlashProgress)]>([])
    /// The target whose line is in use.
    let busy = Mutex("")
    let onReset = Mutex<(@Sendable () async throws -> Void)?>(nil)
    private let script = Mutex<[String: [[[TransferEvent]]]]>([:])
    private let queues = Mutex<[String: [[TransferEvent]]]>([:])
    private let done = Mutex<[Reset]>([])

    init(names: [String]) throws {
        world = try FlashFixture()
        let rows = names.enumerated().map { "b8:27:eb:00:00:0\($0),192.0.2.\($0 + 1),bench1,17,\($1)\n" }.joined()
        targets = try Inventory(csv: ("mac,ip,server,gpio,name\n" + rows).utf8, file: "targets.csv").targets
        for name in names { set(name, [try goodEvents()]) }
    }

    var resets: [Reset] { done.withLock { $0 } }

    func set(_ name: String, _ looks: [[[TransferEvent]]]) { script.withLock { $0[name] = looks } }

    func fetchingEvents() throws -> [TransferEvent] { fetching(try world.plan()) }

    /// Nothing at the first look, then everything.
    func goodEvents() throws -> [[TransferEvent]] {
        [[], try fetchingEvents() + [.ok(try world.plan().bytesToWrite.bytes)]]
    }

    func take(_ name: String) -> [TransferEvent] {
        queues.withLock { queues in
            guard var looks = queues[name], !looks.isEmpty else { return [] }
            defer { queues[name] = looks }
            return looks.removeFirst()
        }
    }

    func run(_ options: FleetOptions = FleetOptions()) async throws -> [Verdict] {
        let run = FleetRun(options: options, clock: world.clock) { [self] target in
            FlashPorts(
                openImage: { [self] path in try ImageDouble(path) { [self] in world.layout } },
                prepareImage: { _, _ in throw Trouble("not by plan") },
                renderPlan: { _ in throw Trouble("not by plan") },
                checkReset: { [self] in
                    if busy.withLock({ $0 }) == $0.displayName { throw Trouble("GPIO line 17 is in use") }
                },
                reset: { [self] target, _ in
                    let name = target.displayName
                    done.withLock { $0.append(Reset(name: name, at: world.clock.now.offset)) }
                    if let action = onReset.withLock({ $0 }) { try await action() }
                    let looks = script.withLock { script -> [[TransferEvent]]? in
                        script[name].flatMap { $0.isEmpty ? nil : $0 }.map { all in
                            script[name] = Array(all.dropFirst())
                            return all[0]
                        }
                    }
                    guard let looks else { throw Trouble("no such line") }
                    queues.withLock { $0[name] = looks }
                },
                claimServer: { [self] _, target in .own(FixtureServer(fixture: self, name: target.displayName)) },
                answers: { _, _ in throw Trouble("not waited for") })
        } report: { [self] index, event in
            if case .progress(let progress) = event { told.withLock { $0.append((index, progress)) } }
        }
        return try await run.run(try targets.map { try world.request(target: $0) })
    }
}

private struct FixtureServer: OwnServer {
    let fixture: FleetFixture
    let name: String
    var address: String { "192.0.2.1:69" }
    func serve(_ files: JobFiles, to target: Target) throws -> any TransferEvents {
        #expect(files.folder == target.mac.description)
        return FixtureEvents(fixture: fixture, name: name)
    }
    func stop() async {}
}

private struct FixtureEvents: TransferEvents {
    let fixture: FleetFixture
    let name: String
    func take() -> [AgedEvent] { fixture.take(name).map { AgedEvent($0, age: .zero) } }
}
