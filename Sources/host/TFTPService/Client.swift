import CUnixSocket
import Glibc
import Synchronization
package import SystemPackage
package import TFTP
package import TFTPServer

/// Where the service listens for jobs: `/run/rpiflash/serve.sock`.
package let defaultServiceSocket = FilePath("/run/rpiflash/serve.sock")

/// A flash's way to a TFTP service that runs on this host.
package final class ServiceClient: Sendable {
    private let connection: Connection
    /// The TFTP root that the service has.
    package let root: FilePath
    private let identity: (device: UInt64, inode: UInt64)

    private init(connection: Connection, root: FilePath, identity: (device: UInt64, inode: UInt64)) {
        self.connection = connection
        self.root = root
        self.identity = identity
    }

    /// Connects to the service.
    ///
    /// - Parameter socket: where it listens.
    /// - Returns: nil where none runs.
    /// - Throws: ``ServiceError``.
    package static func connect(to socket: FilePath = defaultServiceSocket) throws(ServiceError) -> ServiceClient? {
        let descriptor = unsafe socket.withPlatformString { unsafe cunix_connect($0) }
        guard descriptor >= 0 else {
            let code = errno
            // No socket, or one that a service left behind.
            if code == ENOENT || code == ECONNREFUSED || code == ENOTDIR { return nil }
            throw .unreachable(socket, Errno(rawValue: code))
        }
        let connection = Connection(owning: descriptor)
        connection.setTimeouts(receiving: 10, sending: 10)
        do {
            guard let (greeting, _) = try connection.receive(Greeting.self) else { throw ServiceError.silent(socket) }
            guard greeting.version == ServiceVersion.current else {
                throw ServiceError.otherVersion(socket, greeting.version)
            }
            return ServiceClient(
                connection: connection, root: FilePath(greeting.root), identity: (greeting.device, greeting.inode))
        } catch let error as ServiceError {
            throw error
        } catch {
            throw .silent(socket)
        }
    }

    /// Whether the service hands out this folder.
    package func serves(_ root: FilePath) -> Bool {
        folderIdentity(root).map { $0.device == identity.device && $0.inode == identity.inode } ?? false
    }

    /// Has the service serve a job from now on, until ``close()``.
    ///
    /// - Parameters:
    ///   - folder: the target's folder in the root.
    ///   - files: names of the files in it.
    ///   - entry: the one of them that a target asks for first.
    ///   - image: a name for `imageFile`, of which ranges may be read too.
    ///   - imageFile: an open file; the service needs no right of its own to it.
    ///   - address: the target's IPv4 address.
    ///   - windows: what is known of the window that the target takes.
    /// - Returns: what happens; ends with the service or with ``close()``.
    /// - Throws: ``ServiceError``.
    package func register(
        folder: String, files: Set<String>, entry: String, image: String? = nil, imageFile: FileDescriptor? = nil,
        address: String, windows: WindowMemory? = nil
    ) throws(ServiceError) -> AsyncStream<TimedTransferEvent> {
        do {
            try connection.send(
                Registration(
                    version: ServiceVersion.current, folder: folder, address: address, files: files.sorted(),
                    entry: entry, open: image, windows: windows.map { KeptWindows($0) }),
                file: imageFile?.rawValue ?? -1)
            switch try connection.receive(ServiceMessage.self)?.0 {
            case .registered: break
            case .refused(let reason): throw ServiceError.refused(reason)
            default: throw ServiceError.broken
            }
        } catch let error as ServiceError {
            throw error
        } catch {
            throw .broken
        }
        connection.setTimeouts(receiving: 0, sending: 10)
        let (stream, events) = AsyncStream.makeStream(of: TimedTransferEvent.self)
        let isReading = Thread.start { [connection] in
            // A message that cannot be read ends the stream like the service's end: whoever waits notices.
            while let (message, _) = try? connection.receive(TimedMessage.self) {
                if let event = message.event(receivedAt: .now) { events.yield(event) }
            }
            events.finish()
        }
        guard isReading else {
            connection.shutDown()
            throw .noThread
        }
        return stream
    }

    /// Ends the job.
    package func close() { connection.shutDown() }
}

/// Why a running service is of no use.
package enum ServiceError: Error, Hashable, Sendable {
    /// The socket cannot be connected to.
    case unreachable(FilePath, Errno)
    /// Something listens, but does not greet.
    case silent(FilePath)
    /// The service is of another version.
    case otherVersion(FilePath, Int)
    /// The service does not take the job.
    case refused(String)
    /// The connection broke.
    case broken
    /// This process cannot start one more thread.
    case noThread
}

extension ServiceError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unreachable(let socket, let error):
            "the rpiflash service on \(socket) cannot be reached: \(error)"
                + (error == .permissionDenied ? "; become a member of the group that owns it" : "")
        case .silent(let socket): "what listens on \(socket) is not an rpiflash service"
        case .otherVersion(let socket, let version):
            "the rpiflash service on \(socket) speaks version \(version), this program \(ServiceVersion.current); "
                + "restart the service"
        case .refused(let reason): "the rpiflash service does not take the job: \(reason)"
        case .broken: "the rpiflash service ended; see its log"
        case .noThread: "cannot start a thread; this user or host has as many as it may"
        }
    }
}
