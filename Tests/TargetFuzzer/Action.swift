import TestSupport

extension SeededGenerator {
    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(max(1, limit))) }
    mutating func happens(_ chance: Int, in of: Int) -> Bool { below(of) < chance }
    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

/// One thing that a hostile target does.
enum Action: Hashable, Sendable {
    /// Which file.
    enum Name: Hashable, Sendable {
        case entry
        /// Of those that the job serves, in their order.
        case served(Int)
        case text(String)
        /// Of the target beside it.
        case neighbour(String)
    }
    /// When it stops acknowledging.
    enum Stop: Hashable, Sendable {
        case never, atOnce
        case after(blocks: Int)
    }
    /// What is in an upload.
    enum Content: Hashable, Sendable {
        /// What an honest target says when all is done.
        case truth
        /// The same of a flash that failed.
        case failure
        /// The truth with so many changes.
        case changed(Int, seed: UInt64)
        case noise(Int, seed: UInt64)
        /// Of this length, too long or just not.
        case long(Int)
    }
    /// How it is uploaded.
    enum Manner: Hashable, Sendable {
        case plain, unfinished, doubled, disordered
        case options(blockSize: Int, window: Int)
        /// The last packets come from another address.
        case handedOver
    }

    case fetch(Name, options: Int, Stop)
    case upload(String, Content, Manner)
    case uploadToNeighbour(String, Content)
    case packets(Int, seed: UInt64, toTransfer: Bool)
    case console(seed: UInt64)
    case pause(milliseconds: Int)
    /// Asks for the entry file as somebody else.
    case stranger(String)

    /// What a target does in a session. An honest middle, where there is one, is hidden in what is not.
    static func session(_ random: inout SeededGenerator, served: Int) -> [Action] {
        var actions: [Action] = []
        // One in five does what is right, and more.
        let honest: [Action]
        switch random.below(5) {
        case 0: honest = [.fetch(.entry, options: random.below(4), .never)] + fetchAll(served) + report(.truth)
        case 1: honest = [.fetch(.entry, options: 0, .never)] + report(.changed(1, seed: random.next()))
        default: honest = []
        }
        for _ in 0..<random.below(12) { actions.append(any(&random, served: served)) }
        if random.happens(1, in: 3) { actions += honest } else { actions = honest + actions }
        if random.happens(1, in: 2) { for _ in 0..<random.below(4) { actions.append(any(&random, served: served)) } }
        return actions
    }

    private static func fetchAll(_ served: Int) -> [Action] {
        (0..<served).map { .fetch(.served($0), options: 1, .never) }
    }

    private static func report(_ content: Content) -> [Action] {
        [.upload("REPORT", content, .plain), .upload("OK", .truth, .plain)]
    }

    private static func any(_ random: inout SeededGenerator, served: Int) -> Action {
        switch random.below(16) {
        case 0...2: return .fetch(name(&random, served), options: random.below(8), stop(&random))
        case 3...6: return .upload(uploadName(&random), content(&random), manner(&random))
        case 7: return .uploadToNeighbour(["OK", "FAILED", "REPORT"][random.below(3)], content(&random))
        case 8...11:
            return .packets(
                20 + random.below(random.happens(1, in: 3) ? 6000 : 300), seed: random.next(),
                toTransfer: random.happens(1, in: 2))
        case 12, 13: return .console(seed: random.next())
        case 14: return .pause(milliseconds: random.below(30))
        default: return .stranger(["flash.scr", "rpi_image_parts", "OK", "../OK"][random.below(4)])
        }
    }

    private static func name(_ random: inout SeededGenerator, _ served: Int) -> Name {
        switch random.below(8) {
        case 0...3: return .entry
        case 4, 5: return .served(random.below(served))
        case 6: return .neighbour(["flash.scr", "rpi_image_parts", "chunk-1"][random.below(3)])
        default:
            let texts = [
                "img@2000+8", "img@2000-f", "img@ffffffffffffffff+1", "img@0-" + String(repeating: "f", count: 128),
                "img@+1", "../../etc/passwd", "", ".", "..", "chunk-1/", "%s%n", "OK", "REPORT", ".rpiflash-plan",
                "\u{202e}kcab", "\u{9b}31m", String(repeating: "a", count: 400), "chunk-1\u{200b}",
            ]
            return .text(texts[random.below(texts.count)])
        }
    }

    private static func stop(_ random: inout SeededGenerator) -> Stop {
        switch random.below(4) {
        case 0: .atOnce
        case 1: .after(blocks: 1 + random.below(4))
        default: .never
        }
    }

    private static func uploadName(_ random: inout SeededGenerator) -> String {
        let names = [
            "REPORT", "REPORT", "REPORT", "OK", "OK", "OK", "FAILED", "ok", "flash.scr", "../OK", "OK\u{1b}", "",
        ]
        return names[random.below(names.count)]
    }

    private static func content(_ random: inout SeededGenerator) -> Content {
        switch random.below(10) {
        case 0...2: .truth
        case 3: .failure
        case 4...6: .changed(1 + random.below(3), seed: random.next())
        case 7, 8: .noise(random.below(random.happens(1, in: 4) ? 5000 : 20), seed: random.next())
        default: .long([512, 511, 4096, 4097, 65536, 65537, 70_000][random.below(7)])
        }
    }

    private static func manner(_ random: inout SeededGenerator) -> Manner {
        switch random.below(10) {
        case 0: .unfinished
        case 1: .doubled
        case 2: .disordered
        case 3:
            .options(
                blockSize: [8, 9, 512, 1468, 65464][random.below(5)], window: [1, 2, 32, 64][random.below(4)])
        case 4: .handedOver
        default: .plain
        }
    }
}
