import FoundationEssentials
package import RunRecords
import SystemPackage

/// `rpiflash runs list --json`.
package struct RunList: Encodable {
    /// A run, and where its files are.
    package struct Run: Encodable {
        let record: RunRecord?
        let id: String
        let folder: String
        let running: Bool

        package init(_ stored: StoredRun, _ record: RunRecord?) {
            self.record = record
            id = stored.id
            folder = stored.folder.string
            running = stored.isRunning
        }
    }

    /// Grows when a field changes its meaning or goes.
    let version = 1
    let runs: [Run]

    package init(_ stored: [StoredRun]) { runs = stored.map { Run($0, $0.record) } }
}

/// `rpiflash runs cards --json`.
package struct CardList: Encodable {
    struct Card: Encodable {
        let mac: String
        let name: String?
        let partuuid: String?
        let model: String?
        let runCount: Int
        let writeRate: UInt64?
        let usualRate: UInt64?
        let retries: UInt64
        let lastRun: String?
        let trend: String
    }

    /// Grows when a field changes its meaning or goes.
    let version = 1
    let cards: [Card]

    package init(_ cards: [CardTrend]) {
        self.cards = cards.map { card in
            let trend =
                switch card.verdict {
                case .tooFewRuns: "unknown"
                case .steady: "steady"
                case .slower: "slower"
                case .retries: "retries"
                case .lostWrites: "lost_writes"
                }
            return Card(
                mac: card.key.mac, name: card.runs.last?.target.name, partuuid: card.key.partuuid,
                model: card.key.model, runCount: card.runs.count, writeRate: card.rate.map { UInt64($0) },
                usualRate: card.usualRate.map { UInt64($0) }, retries: card.runs.last?.card?.retries ?? 0,
                lastRun: card.runs.last?.id, trend: trend)
        }
    }
}
