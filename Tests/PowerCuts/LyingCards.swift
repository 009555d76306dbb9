import TestSupport
import Foundation

extension PowerCuts {
    /// Cards that do not keep what they acknowledge. Where the card is read back in the same run, as each write is, that
    /// must be seen: exit status 2, or a retry that helps. A card that keeps writes in volatile memory and reorders them is
    /// counted only, as nothing that U-Boot can ask it would show that: each cut is one of laws 2 and 3 kept or not.
    func flashLyingCards(_ bench: inout CutBench, _ extents: [Origin: [Way: Extent]], _ tally: inout [String: Int])
        throws
    {
        let (first, of) = try shares()
        for index in stride(from: first, to: lying, by: of) {
            var generator = SeededGenerator(seed: seed, stream: 1 << 32 | UInt64(index))
            let origin = Origin.allCases.randomElement(using: &generator) ?? .blank
            let way = bench.ways.randomElement(using: &generator) ?? .plan
            guard let extent = extents[origin]?[way] else { continue }
            let chance = UInt32.random(in: 0...UInt32.max, using: &generator)
            let point = Int.random(in: 1...extent.written, using: &generator)
            let kind = ["forget", "flip", "cache"].randomElement(using: &generator) ?? "flip"
            let faults =
                kind == "cache"
                ? "cache=\(Int.random(in: 2...64, using: &generator)),cut-write=\(point),seed=\(chance)"
                : "\(kind)=\(point),seed=\(chance)"
            try bench.target.insert(bench.template(origin))
            var proven: Set<Int> = []
            let (state, wrong) = try bench.flash(
                way, faults: faults, statuses: kind == "cache" ? [0, 130] : [0, 2], proven: &proven)
            let isCounted = kind == "cache" && wrong.allSatisfy { $0.hasPrefix("law 2") || $0.hasPrefix("law 3") }
            let end =
                wrong.isEmpty
                ? state?.rawValue ?? "proven" : wrong.map { $0.prefix(5) }.joined(separator: ", ") + " not kept"
            tally["\(kind): \(end)", default: 0] += 1
            if !wrong.isEmpty, !isCounted {
                say("seed \(seed), lying \(index): \(faults)")
                try bench.keep("seed-\(seed)-lying-\(index)", wrong)
            }
        }
    }
}
