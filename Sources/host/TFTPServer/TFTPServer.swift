import Glibc
import NIOCore
import NIOPosix
import TFTP

/// A TFTP server for registered jobs only: it hands out their files, takes their outcomes, and refuses everything else.
///
/// Uploads are never written to disk; they are handed over as events. Memory does not grow with the files: a transfer
/// holds one window.
package final class TFTPServer: Sendable {
    private let channel: any Channel
    private let registry: Registry
    private let dallying: DallyingUploads
    /// The UDP port that requests are taken on.
    package let port: Int

    private init(channel: any Channel, registry: Registry, dallying: DallyingUploads) {
        self.channel = channel
        self.registry = registry
        self.dallying = dallying
        port = channel.localAddress?.port ?? 0
    }

    /// Binds the port and serves; nothing is handed out before a job is added.
    ///
    /// - Parameters:
    ///   - root: the TFTP root folder.
    ///   - host: the IPv4 address to bind, `0.0.0.0` for all.
    ///   - port: the UDP port; 0 for any free one.
    /// - Throws: ``TFTPServerError``.
    package static func start(root: String, host: String, port: Int) async throws(TFTPServerError) -> TFTPServer {
        try await start(root: root, address: "\(host):\(port)") { $0.bind(host: host, port: port) }
    }

    /// Serves on a UDP socket that is bound already, as systemd hands it over.
    ///
    /// - Parameters:
    ///   - root: the TFTP root folder.
    ///   - socket: the bound socket, from here on owned.
    /// - Throws: ``TFTPServerError``.
    package static func start(root: String, socket: Int32) async throws(TFTPServerError) -> TFTPServer {
        try await start(root: root, address: "socket \(socket)") { $0.withBoundSocket(socket) }
    }

    private static func start(
        root: String, address: String, bind: (DatagramBootstrap) -> EventLoopFuture<any Channel>
    ) async throws(TFTPServerError) -> TFTPServer {
        let folder = try Root(root)
        let registry = Registry()
        let dallying = DallyingUploads()
        // The process's own loops, one a core: they outlive every server, so a late close has where to run.
        let group = MultiThreadedEventLoopGroup.singleton
        do {
            let bootstrap = DatagramBootstrap(group: group)
                .channelOption(.receivePacketInfo, value: true)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(
                            ListenHandler(
                                root: folder, registry: registry, dallying: dallying, group: group,
                                limits: TransferOptions.Limits()))
                    }
                }
            let channel = try await bind(bootstrap).get()
            return TFTPServer(channel: channel, registry: registry, dallying: dallying)
        } catch {
            throw serverError(error, address: address)
        }
    }

    private static func serverError(_ error: any Error, address: String) -> TFTPServerError {
        switch (error as? IOError)?.errnoCode {
        case EADDRINUSE?: .addressInUse(address)
        case EACCES?, EPERM?: .notPermitted(address)
        case EADDRNOTAVAIL?: .noSuchAddress(address)
        case let code?: .failed(address, reason: systemMessage(code))
        case nil: .failed(address, reason: "\(error)")
        }
    }

    /// Serves a job from now on.
    ///
    /// - Returns: what happens; ends when the job is removed or the server stops.
    package func add(_ job: ServedFolder) -> AsyncStream<TimedTransferEvent> { registry.add(job) }

    /// Serves a job from now on, unless its folder has one.
    ///
    /// - Returns: what happens, as ``add(_:)``; nil where another job has the folder.
    package func register(_ job: ServedFolder) -> AsyncStream<TimedTransferEvent>? { registry.addNew(job) }

    /// Serves a job no longer. Transfers that are under way end by themselves.
    package func remove(folder: String) { registry.remove(folder: folder) }

    /// How long a client whose upload is complete must have been silent before ``stop()`` takes it for satisfied, and how
    /// long it is waited for at most.
    private static let (quiet, longestDally) = (Duration.seconds(1), Duration.seconds(3))

    /// Ends all transfers and frees the port: at once, or where an upload was completed just now, when its client has
    /// been quiet for a second. It may have missed the last ACK and repeat itself, and would take a closed port for a
    /// failure. A cancelled task does not wait.
    package func stop() async {
        registry.removeAll()
        let limit = MonotonicInstant.now + Self.longestDally
        while let heard = dallying.latest {
            // In short steps: the client may be found to be gone.
            guard .now < min(heard + Self.quiet, limit), (try? await Task.sleep(for: .milliseconds(25))) != nil else {
                break
            }
        }
        try? await channel.close().get()
    }
}
