import Foundation
import ReaderFuzz
import Testing

/// Mutations of texts that readers take, seeded. RPIFLASH_FUZZ_READS sets their number for each reader, RPIFLASH_FUZZ_SEED
/// the seed, RPIFLASH_FUZZ_READER one of them. `make fuzz-readers` is the same with libFuzzer, which sees what the readers do with them.
struct ReaderFuzzTests {
    private static let environment = ProcessInfo.processInfo.environment
    private static let reads = environment["RPIFLASH_FUZZ_READS"].flatMap { Int($0) } ?? 500
    private static let readers = FuzzedReader.allCases.filter {
        environment["RPIFLASH_FUZZ_READER"] == nil || environment["RPIFLASH_FUZZ_READER"] == $0.rawValue
    }
    private static let seed = environment["RPIFLASH_FUZZ_SEED"].flatMap { UInt64($0) } ?? 2026

    @Test(arguments: FuzzedReader.allCases)
    func `a reader takes its seeds`(reader: FuzzedReader) throws {
        var taken = 0
        for seed in reader.seeds where try reader.judge(seed) { taken += 1 }
        // Of cmdline.txt and config.txt one may start no kernel, of fstab one may need no change.
        #expect(taken >= 1)
    }

    @Test(.timeLimit(.minutes(60)), arguments: readers)
    func `no bytes make a reader crash, hang, contradict itself or let a control character through`(
        reader: FuzzedReader
    ) throws {
        var random = Random(state: Self.seed)
        let words = reader.words.map { Array($0.utf8) }
        for number in 0..<Self.reads {
            var bytes = reader.seeds[random.below(reader.seeds.count)]
            for _ in 0...random.below(4) { Self.mutate(&bytes, words, reader.seeds, &random) }
            do {
                try reader.judge(bytes)
            } catch {
                // Smaller while it stays wrong: piece by piece, each half as long as the one before.
                var length = bytes.count / 2
                while length > 0 {
                    var place = 0
                    while place + length <= bytes.count {
                        var less = bytes
                        less.removeSubrange(place..<place + length)
                        if (try? reader.judge(less)) == nil { bytes = less } else { place += length }
                    }
                    length /= 2
                }
                Issue.record("RPIFLASH_FUZZ_SEED=\(Self.seed), \(number): \(error), for \(bytes)")
                return
            }
        }
    }

    private static func mutate(
        _ bytes: inout [UInt8], _ words: [[UInt8]], _ seeds: [[UInt8]], _ random: inout Random
    ) {
        let place = random.below(bytes.count + 1)
        let end = min(bytes.count, place + 1 + random.below(random.below(8) == 0 ? 200 : 4))
        let ends: [UInt8] = [0, 9, 10, 13, 0x20, 0x22, 0x2c, 0x3d, 0x5c, 0x1b, 0x7f, 0x80, 0xff]
        switch random.below(8) {
        case 0 where place < bytes.count: bytes[place] ^= 1 << UInt8(random.below(8))
        case 1 where place < bytes.count: bytes[place] = UInt8(random.below(256))
        case 2 where place < bytes.count: bytes.removeSubrange(place..<end)
        case 3: bytes.insert(ends[random.below(ends.count)], at: place)
        case 4: bytes.insert(contentsOf: words[random.below(words.count)], at: place)
        case 5: bytes.insert(contentsOf: bytes[min(place, end)..<end], at: random.below(bytes.count + 1))
        case 6:
            let other = seeds[random.below(seeds.count)]
            let from = random.below(other.count)
            bytes.insert(contentsOf: other[from..<min(other.count, from + 1 + random.below(80))], at: place)
        default: bytes.replaceSubrange(place..<end, with: (0..<random.below(6)).map { _ in UInt8(random.below(256)) })
        }
    }

    /// SplitMix64.
    private struct Random {
        var state: UInt64
        mutating func below(_ limit: Int) -> Int {
            state &+= 0x9e37_79b9_7f4a_7c15
            var mixed = (state ^ (state >> 30)) &* 0xbf58_476d_1ce4_e5b9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
            return Int((mixed ^ (mixed >> 31)) % UInt64(max(1, limit)))
        }
    }
}
