import Configuration
/// How a card does, compared with its own past: slower writes and more retries announce its end.
///
/// A card is known by its target, the PARTUUID of its partition 1 and, where the console was heard, its maker, product
/// and size: U-Boot tells no serial number. A card that is replaced by one of the same kind is taken for the old one.
package struct CardTrend: Hashable, Sendable {
    /// What follows from the numbers.
    package enum Verdict: Hashable, Sendable {
        /// Fewer than ``CardTrend/leastRuns`` earlier runs of which the rate is known, and no retries.
        case tooFewRuns
        /// Nothing to say.
        case steady
        /// The last run's rate is below ``CardTrend/slowPercent`` of the median before it.
        case slower(percent: Int)
        /// The last run had more retries than any before it.
        case retries(now: UInt64, before: UInt64)
        /// The last run failed because the card did not hold what was written.
        case lostWrites
    }

    /// Earlier runs with a known rate that a comparison needs.
    package static let leastRuns = 3
    /// Earlier runs that count, the last ones.
    package static let mostRuns = 10
    /// A rate below this share of the median is slow.
    package static let slowPercent = 60

    /// The code of a run whose card did not hold what was written: `rpi_code` in docs/plan-protocol.md.
    package static let lostWriteCode = "lost_write"

    /// What tells cards apart.
    package struct Key: Hashable, Sendable {
        /// The target's Ethernet address.
        package let mac: String
        /// PARTUUID of partition 1; nil where the target told none.
        package let partuuid: String?
        /// Maker, product, size; nil where none is known.
        package internal(set) var model: String?
    }

    /// Which card.
    package let key: Key
    /// Its runs, the oldest first.
    package let runs: [RunRecord]

    /// Groups runs by card.
    ///
    /// - Parameter records: the oldest first.
    /// - Returns: the cards, the one that was flashed last at the end.
    package static func all(_ records: [RunRecord]) -> [CardTrend] {
        var cards: [(key: Key, runs: [RunRecord])] = []
        for record in records {
            guard let card = record.card else { continue }
            var key = Key(mac: record.target.mac, partuuid: card.partuuid, model: card.model)
            // A run whose console was not heard is about the card that was there before.
            let known = cards.lastIndex { other in
                other.key.mac == key.mac && other.key.partuuid == key.partuuid
                    && (key.model == nil || other.key.model == nil || other.key.model == key.model)
            }
            var runs: [RunRecord] = []
            if let known {
                let old = cards.remove(at: known)
                key.model = key.model ?? old.key.model
                runs = old.runs
            }
            cards.append((key, runs + [record]))
        }
        return cards.map { CardTrend(key: $0.key, runs: $0.runs) }
    }

    /// Bytes a second of the last run; nil where it wrote too little.
    package var rate: Double? { runs.last?.card?.writeRate }

    /// Bytes a second before the last run: the median; nil for fewer than ``leastRuns``.
    package var usualRate: Double? {
        let rates = runs.dropLast().compactMap { $0.card?.writeRate }.suffix(Self.mostRuns).sorted()
        guard rates.count >= Self.leastRuns else { return nil }
        let middle = rates.count / 2
        return rates.count % 2 == 1 ? rates[middle] : (rates[middle - 1] + rates[middle]) / 2
    }

    /// What follows.
    package var verdict: Verdict {
        guard let last = runs.last, let card = last.card else { return .tooFewRuns }
        if last.code == Self.lostWriteCode { return .lostWrites }
        if let rate, let usual = usualRate, rate * 100 < usual * Double(Self.slowPercent) {
            return .slower(percent: Int(rate * 100 / usual))
        }
        let before = runs.dropLast().compactMap { $0.card?.retries }.max()
        if card.retries > 0, let before, card.retries > before { return .retries(now: card.retries, before: before) }
        return usualRate == nil || rate == nil ? .tooFewRuns : .steady
    }
}

extension CardTrend {
    /// What the numbers say of the card.
    package var text: String {
        switch verdict {
        case .tooFewRuns: "too few runs to compare"
        case .steady: "as usual"
        case .slower(let percent): "slow: \(percent) % of the usual rate; it is wearing out, replace it"
        case .retries(let now, let before):
            "\(now) \(now == 1 ? "retry" : "retries"), never more than \(before) before; "
                + "the card or its network is getting bad"
        case .lostWrites: "it did not hold what was written; replace it"
        }
    }

    /// One sentence where something is wrong.
    package var warning: String? {
        let name = runs.last?.target.displayName ?? key.mac
        switch verdict {
        case .tooFewRuns, .steady: return nil
        case .slower(let percent):
            return "the card of target \(name) wrote \(percent) % of its usual rate "
                + "(\(Figures.rate(rate) ?? "unknown") instead of \(Figures.rate(usualRate) ?? "unknown")); it is wearing out, replace it"
        case .retries(let now, let before):
            return
                "target \(name) needed \(now) \(now == 1 ? "retry" : "retries"), and never more than \(before) before; "
                + "its card or network is getting bad"
        case .lostWrites: return "the card of target \(name) did not hold what was written; replace it"
        }
    }
}
