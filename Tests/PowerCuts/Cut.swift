import TestSupport

/// The card that a flash finds.
enum Origin: String, CaseIterable {
    case blank
    case older = "an older system"
    case half = "half written"
}

/// How the image gets to it.
enum Way: String, CaseIterable {
    case plan, full, parts

    var options: [String] {
        switch self {
        case .plan: []
        case .full: ["--full"]
        case .parts: ["--protocol", "parts", "--part-size", "4195328"]
        }
    }
}

/// What a whole flash does to the card, counted in sectors and packets.
struct Extent {
    var written: Int
    var read: Int
    var packets: Int
    /// Sectors written after each write command.
    var boundaries: [Int]
}

/// Where the power goes.
enum Moment {
    /// Behind that many sectors, and bytes of the next one (below 0: its last ones).
    case written(Int, torn: Int)
    case read(Int)
    case packets(Int)

    var faults: String {
        switch self {
        case .written(let count, let torn): "cut-write=\(count)" + (torn == 0 ? "" : ",torn=\(torn)")
        case .read(let count): "cut-read=\(count)"
        case .packets(let count): "cut-packet=\(count)"
        }
    }

    /// A moment in a flash of that extent. Half of them are writes, since only these leave the card half written.
    static func random(in extent: Extent, using generator: inout SeededGenerator) -> Moment {
        switch Int.random(in: 0..<4, using: &generator) {
        case 0 where extent.read > 0: return .read(.random(in: 1...extent.read, using: &generator))
        case 1: return .packets(.random(in: 1...extent.packets, using: &generator))
        default:
            let torn = Bool.random(using: &generator) ? 0 : Int.random(in: -511...511, using: &generator)
            return .written(.random(in: 1...max(1, extent.written), using: &generator), torn: torn)
        }
    }
}

/// What a cut left on the card.
enum State: String, CaseIterable {
    case untouched, half = "half written", whole
}
