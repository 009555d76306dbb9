import TestSupport
import ArgumentParser
import Foundation

/// Power cuts at exact points of flashes, each judged by laws 1, 2 and 3. virtual_target/scenarios/exact-cuts makes what
/// it needs, and runs it in the target's network.
@main
struct PowerCuts: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rpiflash-power-cuts",
        abstract: "Cut a sandbox's power at exact points of flashes, and judge the card each time.")

    @Argument(help: "Folder with recovery.img, card.yaml, new.img, old.img and target, a virtual target.")
    var folder: String
    @Option(help: "The program rpiflash.") var rpiflash: String
    @Option(help: "The source tree.") var repository: String
    @Option(help: "The folder of keys that sign plans; the card then takes no parts.") var keys: String?
    @Flag(help: "Cut once at every sector that a plan writes, and around every write command of a flash in parts.")
    var exhaustive = false
    @Option(help: "This many cuts at random points.") var random = 0
    @Option(help: "This many flashes of cards that forget, flip bits, or reorder.") var lying = 0
    @Option(help: "This many flashes by a server that is wrong in plan, files and packets.") var hostile = 0
    @Option(help: "Of these only the one with this number, as a failure names it.") var plan: Int?
    @Option(help: "Seed of the random points.") var seed: UInt64 = 1
    @Option(help: "Of what is to be done only each Nth, beginning with the Ith: I/N.") var share = "1/1"
    @Option(help: "Only this series of the random cuts, as a failure names it.") var series: Int?

    func validate() throws {
        for (name, count) in [("random", random), ("lying", lying), ("hostile", hostile)]
        where !(0...1_000_000).contains(count) {
            throw ValidationError("--\(name) \(count) is not from 0 to 1000000")
        }
        _ = try shares()
    }

    func shares() throws -> (first: Int, of: Int) {
        let parts = share.split(separator: "/").compactMap { Int($0) }
        guard parts.count == 2, parts[1] >= 1, (1...parts[1]).contains(parts[0]) else {
            throw ValidationError("--share '\(share)' is not I/N with I from 1 to N")
        }
        return (parts[0] - 1, parts[1])
    }

    func run() throws {
        var bench = try CutBench(folder: URL(filePath: folder), rpiflash: rpiflash, repository: repository, keys: keys)
        let begin = Date.now
        try bench.prepare()
        let extents = exhaustive || random > 0 || lying > 0 ? try bench.extents() : [:]
        for origin in Origin.allCases {
            for way in bench.ways {
                guard let extent = extents[origin]?[way] else { continue }
                say(
                    "\(way) on \(origin.rawValue): \(extent.written) sectors in \(extent.boundaries.count) writes, "
                        + "\(extent.read) read, \(extent.packets) packets")
            }
        }
        var tally: [String: Int] = [:]
        var cuts = 0
        if exhaustive { cuts += try cutEverywhere(&bench, extents, &tally) }
        cuts += try cutAtRandom(&bench, extents, &tally)
        try flashLyingCards(&bench, extents, &tally)
        let plans = try flashFromHostileServers(&bench, &tally)
        for (name, count) in tally.sorted(by: { $0.key < $1.key }) { say("\(name): \(count)") }
        say(
            "\(cuts) cuts, \(bench.failures.count) failures, \(Int(Date.now.timeIntervalSince(begin))) s")
        if plans > 0 { say("\(plans) flashes by hostile servers") }
        if !bench.failures.isEmpty { throw ExitCode(1) }
    }

    /// Each boundary once, on a card of its own each time.
    private func cutEverywhere(
        _ bench: inout CutBench, _ extents: [Origin: [Way: Extent]], _ tally: inout [String: Int]
    ) throws -> Int {
        var all: [(way: Way, origin: Origin, point: Int)] = []
        for origin in Origin.allCases {
            guard let plan = extents[origin]?[.plan] else { continue }
            all += (1...plan.written).map { (.plan, origin, $0) }
            guard let parts = extents[origin]?[.parts] else { continue }
            let points = Set(parts.boundaries.flatMap { [$0 - 1, $0, $0 + 1] })
            all += points.filter { (1...parts.written).contains($0) }.sorted().map { (.parts, origin, $0) }
        }
        let (first, of) = try shares()
        var count = 0
        for (index, one) in all.enumerated() where index % of == first {
            try bench.target.insert(bench.template(one.origin))
            var proven: Set<Int> = []
            let moment = Moment.written(one.point, torn: 0)
            let (state, wrong) = try bench.flash(one.way, faults: moment.faults, proven: &proven)
            let name = "\(one.way)-\(one.origin)-\(one.point)"
            if !wrong.isEmpty { try bench.keep(name, wrong) }
            tally["every boundary, \(one.way), \(one.origin.rawValue): \(state?.rawValue ?? "through")", default: 0] +=
                1
            count += 1
            // Each eighth card is then flashed whole, as all of them would take as long again.
            if count % 8 == 0 {
                do {
                    try bench.flashWhole(one.way)
                } catch {
                    try bench.keep("\(name)-again", ["\(error)"])
                }
            }
        }
        return count
    }

    /// Series of up to four cuts on one card, and then a flash that goes through.
    private func cutAtRandom(
        _ bench: inout CutBench, _ extents: [Origin: [Way: Extent]], _ tally: inout [String: Int]
    ) throws -> Int {
        let (first, of) = try shares()
        let wanted = (random + of - 1 - first) / of
        var count = 0
        var index = series ?? first
        while count < wanted {
            var generator = SeededGenerator(seed: seed, stream: UInt64(index))
            let origin = Origin.allCases.randomElement(using: &generator) ?? .blank
            let ways = [Way.plan, .plan, .plan, .full, .parts].filter { bench.ways.contains($0) }
            let way = ways.randomElement(using: &generator) ?? .plan
            try bench.target.insert(bench.template(origin))
            var proven: Set<Int> = []
            for turn in 1...4 where count < wanted {
                guard let extent = extents[origin]?[way] else { break }
                let moment = Moment.random(in: extent, using: &generator)
                let (state, wrong) = try bench.flash(way, faults: moment.faults, proven: &proven)
                count += 1
                tally["random, \(way), \(origin.rawValue): \(state?.rawValue ?? "through")", default: 0] += 1
                if !wrong.isEmpty {
                    say("seed \(seed), series \(index), cut \(turn): \(moment.faults)")
                    try bench.keep("seed-\(seed)-series-\(index)-cut-\(turn)", wrong)
                }
                if state == nil || state == .whole { break }
            }
            do {
                try bench.flashWhole(way)
            } catch {
                try bench.keep("seed-\(seed)-series-\(index)-whole", ["\(error)"])
            }
            if series != nil { break }
            index += of
        }
        return count
    }
}

/// A line at once, also into a file.
func say(_ line: String) { FileHandle.standardOutput.write(Data("\(line)\n".utf8)) }
