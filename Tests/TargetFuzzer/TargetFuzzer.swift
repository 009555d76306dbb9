import TestSupport
import ArgumentParser
import CommandOutput
import DiskLayout
import FlashPlan
import Flashing
import Foundation
import Glibc

/// Sessions of a hostile target with the real server, the flash behind it, its records and its log, until that many packets
/// were sent. Needs a network of its own: `unshare --net`, with loopback up.
@main struct TargetFuzzer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "target-fuzzer",
        abstract:
            "Flash a hostile target, and beside it an honest one, again and again: is ever more proven than is true?")

    @Option(help: "Packets that are sent in all.") var packets = 100_000
    @Option(help: "Where chance begins.") var seed: UInt64
    @Option(help: "The first session.") var first: UInt64 = 0
    @Option(help: "This many sessions, whatever the packets.") var sessions: UInt64?

    /// What may grow in a run: KiB of memory, and descriptors beyond the 512 sockets that a server may have.
    private static let (memoryLimit, descriptorLimit) = (96 << 10, 560)

    func run() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "target-fuzzer-\(getpid())")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // Standard output and standard error are what is judged; the result goes where standard output went.
        let out = dup(STDOUT_FILENO)
        let log = folder.appending(path: "log")
        let file = open(log.path, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        dup2(file, STDOUT_FILENO)
        dup2(file, STDERR_FILENO)
        Log.shared.verbosity = .verbose
        func say(_ text: String) {
            _ = Array("\(text)\n".utf8).withUnsafeBytes { unsafe write(out, $0.baseAddress, $0.count) }
        }

        let bench = try await Bench(folder: folder, log: log)
        var number = first
        var sent = 0
        var endings: [String: Int] = [:]
        var failures = 0
        var (memory, descriptors, most) = (0, 0, 0)
        func isDone() -> Bool { sessions.map { number >= first + $0 } ?? (sent >= packets) }
        while !isDone(), failures < 3 {
            let (actions, mode, upAfter) = session(number)
            let result = try await bench.run(actions, mode: mode, upAfter: upAfter)
            sent += result.packets
            endings[result.ending, default: 0] += 1
            if !result.wrong.isEmpty {
                failures += 1
                let shortest = try await shrink(bench, actions, mode, upAfter)
                say("seed \(seed), session \(number), \(mode): \(result.wrong.joined(separator: "; "))")
                say("  again: target-fuzzer --seed \(seed) --first \(number) --sessions 1")
                for action in shortest { say("  \(action)") }
            }
            most = max(most, Self.descriptors)
            // The first sessions make what stays.
            if number == first + 50 { (memory, descriptors) = (Self.memory, Self.descriptors) }
            number += 1
        }
        if number > first + 50 {
            let grown = Self.memory - memory
            if grown > Self.memoryLimit {
                failures += 1
                say("memory has grown by \(grown) KiB; must be at most \(Self.memoryLimit) KiB")
            }
            if most > Self.descriptorLimit {
                failures += 1
                say("\(most) files were open; must be at most \(Self.descriptorLimit)")
            }
            // A transfer that its client has left is given up within a minute.
            let end = ContinuousClock.now + .seconds(120)
            while Self.descriptors > descriptors, ContinuousClock.now < end {
                try await Task.sleep(for: .milliseconds(200))
            }
            if Self.descriptors > descriptors + 8 {
                failures += 1
                say("\(Self.descriptors) files stay open, after 50 sessions there were \(descriptors)")
            }
            say("memory has grown by \(grown) KiB, at most \(most) files were open, \(Self.descriptors) in the end")
        }
        await bench.close()
        for (ending, count) in endings.sorted(by: { $0.key < $1.key }) { say("\(ending): \(count)") }
        say("\(number - first) sessions, \(sent) packets, \(failures) failures")
        if failures > 0 { throw ExitCode(1) }
    }

    /// What a session is, from its number.
    private func session(_ number: UInt64) -> ([Action], TransferMode, upAfter: Int?) {
        var random = SeededGenerator(seed: seed, stream: number)
        let modes: [TransferMode] = [
            .plan(.normal), .plan(.normal), .plan(.full), .plan(.verify),
        ]
        // Parts are megabytes: one in ten.
        let mode = random.happens(1, in: 10) ? .parts(.mebibytes(5)) : modes[random.below(modes.count)]
        let upAfter = random.happens(1, in: 4) ? random.below(6) : nil
        return (Action.session(&random, served: 3), mode, upAfter)
    }

    /// As few of the actions as still do it; each half, then each quarter, and so on is left out.
    private func shrink(_ bench: Bench, _ actions: [Action], _ mode: TransferMode, _ upAfter: Int?) async throws
        -> [Action]
    {
        var actions = actions
        var length = max(1, actions.count / 2)
        let end = ContinuousClock.now + .seconds(60)
        while true {
            var place = 0
            while place + length <= actions.count, ContinuousClock.now < end {
                var less = actions
                less.removeSubrange(place..<place + length)
                if try await bench.run(less, mode: mode, upAfter: upAfter).wrong.isEmpty {
                    place += length
                } else {
                    actions = less
                }
            }
            if length == 1 { return actions }
            length /= 2
        }
    }

    private static var descriptors: Int {
        (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count) ?? 0
    }

    private static var memory: Int {
        let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
        return status.firstMatch(of: /VmRSS:\s*(\d+) kB/).flatMap { Int($0.output.1) } ?? 0
    }
}
