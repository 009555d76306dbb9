package import FlashEvents
import Configuration
package import DiskLayout
import FlashPlan
package import Flashing
import Inventory

/// What `rpiflash flash --dry-run` tells people.
package struct DryRunText {
    let image: String
    let card: CardLayout
    let root: String
    let store: String
    let mode: TransferMode
    let isCustomized: Bool
    let jobs: Int
    let wait: (port: UInt16, atMost: String)?

    /// - Parameters:
    ///   - image: as the command named it.
    ///   - card: the layout of the targets' cards.
    ///   - root: the TFTP root.
    ///   - store: the folder of prepared images.
    ///   - mode: how the image would go over.
    ///   - isCustomized: whether settings would be put in.
    ///   - jobs: how many targets would be flashed at the same time.
    ///   - wait: the TCP port that shows that a target is up, and for how long it is waited for; nil: it is not.
    package init(
        image: String, card: CardLayout, root: String, store: String, mode: TransferMode, isCustomized: Bool, jobs: Int,
        wait: (port: UInt16, atMost: String)?
    ) {
        (self.image, self.card, self.root, self.store, self.mode) = (image, card, root, store, mode)
        (self.isCustomized, self.jobs, self.wait) = (isCustomized, jobs, wait)
    }

    /// What would be done: what is the same for all first, then a line for each target.
    package func text(of forecasts: [DryRunReport]) -> String {
        guard let first = forecasts.first else { return "" }
        var facts = [["image", sanitized(image) + ", " + content(of: first)]]
        facts.append(["card", "the image fits partitions 2 and 3 (\(card.boot.size), \(card.rootfs.size))"])
        facts.append([
            "server",
            first.isOwnServer
                ? "\(root) would be served on \(first.server)"
                : "the TFTP server that is there would be used, on \(first.server); whether it serves \(root) and "
                    + "takes uploads is tried by a flash",
        ])
        facts.append(["how", how])
        facts.append([
            "then",
            wait.map { "TCP port \($0.port) of a target is waited for, at most \($0.atMost)" }
                ?? "the flash does not wait for a target to come up",
        ])
        let width = 8
        let shared = facts.map { $0[0] + String(repeating: " ", count: width - $0[0].count) + $0[1] + "\n" }.joined()
        let rows = forecasts.map { forecast in
            [
                forecast.target.displayName, forecast.target.mac.description, forecast.target.ip.description,
                forecast.resets.map(\.description).joined(separator: ", then "),
            ]
        }
        let count = forecasts.count
        let last =
            count == 1
            ? "\(first.target.displayName) would be flashed; nothing was touched\n"
            : "\(count) targets would be flashed, at most \(jobs) at a time; nothing was touched\n"
        return shared + "\n" + textTable([["NAME", "MAC", "IP", "RESETS, UNTIL IT ASKS"]] + rows) + last
    }

    private var how: String {
        switch mode {
        case .parts: "in parts; everything is written"
        case .plan(.full): "by plan; everything is written, also what is on the card already"
        case .plan(.verify): "by plan; nothing is written, a card that differs is a failure"
        case .plan(.normal): "by plan; what is on the card already is neither sent nor written"
        }
    }

    private func content(of forecast: DryRunReport) -> String {
        switch forecast.content {
        case .prepared(_, let chunks, let written, let sent):
            "prepared in \(store): \(chunks) chunks, at most \(written.bytes) bytes to write and \(sent.bytes) to send"
                + (!isCustomized ? "" : "; settings would be put in")
        case .unprepared(let size?):
            "\(size.bytes) bytes: would be prepared in \(store) first; what of it is used shows then"
        case .unprepared(nil):
            "compressed: would be unpacked and prepared in \(store) first; whether it is whole shows then"
        case .parts(let count, let written, let sent):
            "\(count) part\(count == 1 ? "" : "s"), \(written.bytes) bytes to write and \(sent.bytes) to send"
        }
    }
}

/// Targets that another host resets.
package func leftOut(_ count: Int) -> String { "\(count) target\(count == 1 ? "" : "s") of other servers left out" }

extension FlashEvent {
    /// What would be done with a target.
    package init(_ forecast: DryRunReport) {
        self.init(.dryRun)
        switch forecast.content {
        case .prepared(let id, let chunks, let written, let sent):
            (imageID, count, self.written, loaded) = (id, UInt64(chunks), written.bytes, sent.bytes)
        case .unprepared(let size): bytes = size?.bytes
        case .parts(let count, let written, let sent):
            (self.count, self.written, loaded) = (UInt64(count), written.bytes, sent.bytes)
        }
        (server, isOwn) = (forecast.server, forecast.isOwnServer)
        methods = forecast.resets.map(\.description)
    }
}
