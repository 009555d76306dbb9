import BootScript
import CommandOutput
import Configuration
import DiskLayout
import FlashEvents
import FlashPlan
package import HostTools
package import Flashing
import LinuxHost
package import ImageStore
import Inventory
import OSImage
package import SystemPackage
package import TFTP

extension FlashPorts {
    /// The real world.
    ///
    /// - Parameters:
    ///   - share: what the flashes of the run have in common.
    ///   - keys: the bench's.
    ///   - earlier: what earlier runs tell of the target.
    ///   - learned: told what the server learns of the target's window.
    package static func real(
        listen: ListenAddress?, service: FilePath, store: FilePath, relocation: RelocationRequest?,
        settings: FirstBootSettings?, templates: FilePath, keys: SigningKeys, share: FlashShare,
        earlier: EarlierRuns,
        learned: @escaping @Sendable (WindowMemory) -> Void, heardConsole: @escaping @Sendable () -> Bool
    ) -> FlashPorts {
        let windows = KnownWindows(before: earlier.windows, learned: learned)
        return FlashPorts(
            openImage: { try await share.open($0) },
            prepareImage: { path, report in
                let image = try await share.open(path)
                let store = ImageStore(at: store)
                var prepared: PreparedImage
                if let known = await share.image {
                    prepared = known
                } else {
                    prepared = try await prepare(image, relocation, in: store, report: report)
                    await share.keep(prepared)
                    Log.shared.line("the image's chunks are in \(prepared.folder)", .detail)
                }
                let record = prepared.manifest.relocation
                try checkObstacles(of: prepared, from: path, board: earlier.board)
                if let settings {
                    prepared = try await settings.applied(to: prepared, in: store)
                    Log.shared.line("with settings they are in \(prepared.folder)", .detail)
                }
                return try prepared.forFlashing(
                    raw: try image.isRaw ? image : nil, remark: record?.summary(of: path))
            },
            renderPlan: { try await render($0, templates: templates, keys: keys) },
            signer: ScriptSigner(keys: keys),
            checkReset: { _ = try checkResetLine(of: $0) },
            reset: { try await resetTarget($0, by: $1, hold: nil) },
            claimServer: {
                try await ServerChoice.real(
                    root: $0, target: $1, listen: listen, service: service, share: share, windows: windows
                ).claim(root: $0, target: $1)
            },
            answers: { try await TCPPort(address: $0.ip.description, port: $1).answers(within: .seconds(2)) },
            heardConsole: heardConsole)
    }
}

extension DryRunPorts {
    /// The real world, looked at only.
    package static func real(
        listen: ListenAddress?, service: FilePath, store: ImageStore, relocation: RelocationRequest?,
        settings: FirstBootSettings?, templates: FilePath, keys: SigningKeys, share: FlashShare,
        board: String?
    ) -> DryRunPorts {
        DryRunPorts(
            openImage: { try await share.open($0) },
            imageStatus: { path in
                do {
                    let image = try await share.open(path)
                    switch try await store.status(of: image, relocation: relocation) {
                    case .unprepared(let layout, let size): return .unprepared(layout, size: size)
                    case .prepared(let prepared):
                        try checkObstacles(of: prepared, from: path, board: board)
                        try await settings?.tryOut(on: prepared, in: store)
                        return .prepared(try prepared.forFlashing(raw: try image.isRaw ? image : nil, remark: nil))
                    }
                } catch let error as ImageStoreError {
                    throw FlashError(error)
                }
            },
            renderPlan: { try await render($0, templates: templates, keys: keys) },
            signer: ScriptSigner(keys: keys),
            checkTemplates: { _ = try planTemplates(in: templates) },
            checkReset: { _ = try checkResetLine(of: $0) },
            claimServer: {
                try await ServerChoice.real(
                    root: $0, target: $1, listen: listen, service: service, share: share
                ).claim(root: $0, target: $1)
            })
    }
}
