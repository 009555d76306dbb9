import BootScript
import CommandOutput
import Configuration
import DiskLayout
import Flashing
import FlashPlan
import GPIO
import HostTools
import ImageStore
import Inventory
import OSImage
import SystemPackage

extension FlashCommand {
    /// `--dry-run`: what a flash would do, with its refusals.
    func sayWhatWouldBeDone() async throws {
        let events = json ? EventWriter() : nil
        var start = start
        start.isDryRun = true
        if target.isOne { events?.write(start) }
        var rows: [Target] = []
        do {
            let (found, elsewhere) = try target.select()
            rows = found
            if elsewhere > 0 { Log.shared.line(leftOut(elsewhere)) }
            if !target.isOne {
                start.targets = rows.map(\.displayName)
                events?.write(start)
            }
            for row in rows { events?.write(FlashEvent(row, isOne: target.isOne)) }
            let (card, forecasts) = try await forecast(rows)
            for forecast in forecasts {
                var event = FlashEvent(forecast)
                event.target = target.isOne ? nil : forecast.target.displayName
                events?.write(event)
            }
            end(events, rows, nil)
            if !json { print(text(forecasts, card), terminator: "") }
        } catch {
            if !target.isOne, rows.isEmpty { events?.write(start) }
            end(events, rows, error)
            throw error
        }
    }

    private func forecast(_ rows: [Target]) async throws -> (CardLayout, [FlashForecast]) {
        let card = try cardLayout()
        let settings = try settings(for: rows)
        let share = FlashShare(rows)
        let relocation = relocation.request
        let run = DryRun { [listen, service, store, templates, runs] row in
            .real(
                listen: listen, service: FilePath(service), store: ImageStore(at: store.path), relocation: relocation,
                settings: settings[row], templates: FilePath(templates), share: share,
                board: knownBoard(of: row, in: runs.store))
        }
        do {
            let forecasts = try await run.run(rows.map { request($0, card) }, jobs: several.jobs)
            await share.close()
            return (card, forecasts)
        } catch {
            await share.close()
            throw error
        }
    }

    private func end(_ events: EventWriter?, _ rows: [Target], _ error: (any Error)?) {
        guard let events else { return }
        var last = FlashEvent(target.isOne ? .result : .summary)
        last.status = 0
        if let error {
            let end = RPiFlash.ending(error)
            (last.status, last.error) = (end.status, end.text)
            last.code = (error as? FlashError)?.reportCode?.rawValue
        }
        if target.isOne {
            last.isProven = false
        } else {
            (last.count, last.notStartedCount) = (UInt64(rows.count), UInt64(rows.count))
            (last.provenCount, last.failedCount) = (0, 0)
        }
        events.write(last)
        events.finish()
    }

    // MARK: For people

    /// What would be done: what is the same for all first, then a line for each target.
    private func text(_ forecasts: [FlashForecast], _ card: CardLayout) -> String {
        guard let first = forecasts.first else { return "" }
        var facts = [["image", sanitized(image) + ", " + content(of: first)]]
        facts.append(["card", "the image fits partitions 2 and 3 (\(card.boot.size), \(card.rootfs.size))"])
        facts.append([
            "server",
            first.isOwnServer
                ? "\(tftpRoot) would be served on \(first.server)"
                : "the TFTP server that is there would be used, on \(first.server); whether it serves \(tftpRoot) and "
                    + "takes uploads is tried by a flash",
        ])
        facts.append(["how", how])
        facts.append([
            "then",
            noWait
                ? "the flash does not wait for a target to come up"
                : "TCP port \(waitPort) of a target is waited for, at most \(waitTimeout.defaultValueDescription)",
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
            : "\(count) targets would be flashed, at most \(several.jobs) at a time; nothing was touched\n"
        return shared + "\n" + textTable([["NAME", "MAC", "IP", "RESETS, UNTIL IT ASKS"]] + rows) + last
    }

    private var how: String {
        switch (protocolName, full, verifyOnly) {
        case (.parts, _, _): "in parts; everything is written"
        case (.plan, true, _): "by plan; everything is written, also what is on the card already"
        case (.plan, _, true): "by plan; nothing is written, a card that differs is a failure"
        case (.plan, _, _): "by plan; what is on the card already is neither sent nor written"
        }
    }

    private func content(of forecast: FlashForecast) -> String {
        switch forecast.content {
        case .prepared(_, let chunks, let written, let sent):
            "prepared in \(store.path): \(chunks) chunks, at most \(written.bytes) bytes to write and \(sent.bytes) to send"
                + (customize == nil ? "" : "; settings would be put in")
        case .unprepared(let size?):
            "\(size.bytes) bytes: would be prepared in \(store.path) first; what of it is used shows then"
        case .unprepared(nil):
            "compressed: would be unpacked and prepared in \(store.path) first; whether it is whole shows then"
        case .parts(let count, let written, let sent):
            "\(count) part\(count == 1 ? "" : "s"), \(written.bytes) bytes to write and \(sent.bytes) to send"
        }
    }
}

/// Targets that another host resets.
func leftOut(_ count: Int) -> String { "\(count) target\(count == 1 ? "" : "s") of other servers left out" }

extension FlashEvent {
    /// What would be done with a target.
    init(_ forecast: FlashForecast) {
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

extension DryRunPorts {
    /// The real world, looked at only.
    fileprivate static func real(
        listen: ListenOption?, service: FilePath, store: ImageStore, relocation: RelocationRequest?,
        settings: FirstBootSettings?, templates: FilePath, share: FlashShare, board: String?
    ) -> DryRunPorts {
        DryRunPorts(
            inspectImage: { try inspectOSImage(at: $0) },
            lookAtImage: { image in
                do {
                    switch try await store.look(at: image, relocation: relocation) {
                    case .unprepared(let layout, let size): return .unprepared(layout, size: size)
                    case .prepared(let prepared):
                        try checkObstacles(of: prepared, from: image, board: board)
                        try await settings?.tryOut(on: prepared, in: store)
                        return .prepared(
                            try prepared.forFlashing(raw: try isCompressed(image) ? nil : image, remark: nil))
                    }
                } catch let error as ImageStoreError {
                    throw FlashError(error)
                }
            },
            renderPlan: { try $0.scriptImage(templates: try planTemplates(in: templates), time: 0) },
            checkTemplates: { _ = try planTemplates(in: templates) },
            checkReset: { _ = try checkResetLine(of: $0) },
            claimServer: { try await claim(root: $0, target: $1, listen: listen, service: service, share: share) })
    }
}
