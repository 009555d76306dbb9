import FlashEvents
import BootScript
import CommandOptions
import CommandOutput
import Configuration
import DiskLayout
import Flashing
import FlashPlan
import GPIO
import LinuxHost
import ImageStore
import Inventory
import OSImage
import RunRecords
import SystemPackage
import Wiring

extension FlashCommand {
    /// `--dry-run`: what a flash would do, with its refusals.
    func sayWhatWouldBeDone() async throws {
        let events = progress.json ? EventWriter.toStandardOutput() : nil
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
            if !progress.json {
                let text = DryRunText(
                    image: image, card: card, root: tftpRoot, store: store.path.string, mode: delivery,
                    isCustomized: customize != nil, jobs: several.jobs,
                    wait: noWait ? nil : (waitPort, waitTimeout.defaultValueDescription))
                print(text.text(of: forecasts), terminator: "")
            }
        } catch {
            if !target.isOne, rows.isEmpty { events?.write(start) }
            end(events, rows, error)
            throw error
        }
    }

    private func forecast(_ rows: [Target]) async throws -> (CardLayout, [DryRunReport]) {
        let card = try cardLayout()
        let settings = try settings(for: rows)
        let share = FlashShare(rows)
        let keys = try signingKeys(in: signing.folder)
        let relocation = relocation.request
        let run = DryRun { [listen, service, store, templates, runs] row in
            .real(
                listen: listen, service: FilePath(service), store: ImageStore(at: store.path), relocation: relocation,
                settings: settings[row], templates: FilePath(templates), keys: keys, share: share,
                board: EarlierRuns(of: row, in: runs.store).board)
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
        let end = error.map { RPiFlash.ending($0) }
        events.write(
            FlashEvent(untouched: rows.count, isOne: target.isOne, status: end?.status ?? 0, error: end?.text))
        events.finish()
    }
}
