internal import CUnixSocket
internal import Glibc
internal import Synchronization
public import SystemPackage
public import TFTPServer

/// What a service tells its log.
public enum ServiceEvent: Sendable {
    /// A client's job is served from now on.
    case began(folder: String, address: String, process: Int32, user: UInt32)
    /// It is over.
    case ended(folder: String)
    /// A client's job was not taken.
    case refused(reason: String, process: Int32, user: UInt32)
    /// Something happened to a job.
    case job(folder: String, ServerEvent)
}

/// Takes jobs for a TFTP server from other processes of this host, through a Unix socket.
///
/// Who may open the socket may have files served; its file's group and mode decide that.
public final class Service: Sendable {
    private let socket: Int32
    private let path: FilePath?
    private let server: TFTPServer
    private let root: FilePath
    private let log: @Sendable (ServiceEvent) -> Void
    private let connections = Mutex<[ObjectIdentifier: Connection]>([:])

    /// Clients at a time.
    private static let limit = 256

    /// - Parameters:
    ///   - socket: a listening SOCK_SEQPACKET socket, from here on owned.
    ///   - path: its file, removed in the end; nil where somebody else owns that.
    ///   - server: who serves.
    ///   - root: the server's root.
    ///   - log: told what happens.
    public init(
        socket: FileDescriptor, path: FilePath?, server: TFTPServer, root: FilePath,
        log: @escaping @Sendable (ServiceEvent) -> Void
    ) {
        self.socket = socket.rawValue
        self.path = path
        self.server = server
        self.root = root
        self.log = log
    }

    /// Listens at a path.
    ///
    /// - Parameters:
    ///   - path: the socket's file; one that nobody listens on is replaced.
    ///   - mode: the file's mode.
    /// - Throws: `Errno`; `addressInUse` where a service listens there.
    public static func listen(at path: FilePath, mode: FilePermissions) throws(Errno) -> FileDescriptor {
        let descriptor = unsafe path.withPlatformString { unsafe cunix_listen($0, mode.rawValue) }
        guard descriptor >= 0 else { throw Errno(rawValue: errno) }
        return FileDescriptor(rawValue: descriptor)
    }

    /// Looks whether ``listen(at:mode:)`` could listen at a path; makes and replaces nothing.
    ///
    /// - Throws: `Errno`, as it would.
    public static func checkPlace(_ path: FilePath) throws(Errno) {
        let other = unsafe path.withPlatformString { unsafe cunix_connect($0) }
        guard other < 0 else {
            close(other)
            throw .addressInUse
        }
        let code = errno
        guard code == ECONNREFUSED || code == ENOENT else { throw Errno(rawValue: code) }
        var folder = path.removingLastComponent()
        if folder.isEmpty { folder = "." }
        guard unsafe folder.withPlatformString({ unsafe access($0, W_OK | X_OK) }) == 0 else {
            throw Errno(rawValue: errno)
        }
    }

    /// Takes clients until ``stop()``. Each has a thread: there are few, and they mostly wait.
    public func start() {
        Thread.start { [self] in
            while true {
                let descriptor = cunix_accept(socket)
                if descriptor < 0 {
                    if errno == EINTR || errno == ECONNABORTED { continue }
                    // Out of descriptors: others will end. After stop() it is EINVAL.
                    guard errno == EMFILE || errno == ENFILE else { return }
                    usleep(100_000)
                    continue
                }
                let connection = Connection(owning: descriptor)
                let isAdmitted = connections.withLock { connections in
                    guard connections.count < Self.limit else { return false }
                    connections[ObjectIdentifier(connection)] = connection
                    return true
                }
                guard isAdmitted else { continue }
                Thread.start { [self] in
                    serve(connection)
                    connections.withLock { $0[ObjectIdentifier(connection)] = nil }
                }
            }
        }
    }

    /// Takes no more clients and ends the jobs of those that are there.
    public func stop() {
        Glibc.shutdown(socket, Int32(SHUT_RDWR))
        for connection in connections.withLock({ Array($0.values) }) { connection.shutDown() }
        if let path { _ = unsafe path.withPlatformString { unsafe unlink($0) } }
    }

    private func serve(_ connection: Connection) {
        // A client that does not register, or does not read its events, is not waited for for ever.
        connection.setPatience(hearing: 60, telling: 5)
        guard let identity = folderIdentity(root),
            (try? connection.send(
                Greeting(
                    version: ServiceVersion.current, root: root.string, device: identity.device, inode: identity.inode)))
                != nil,
            let (registration, file) = try? connection.receive(Registration.self)
        else { return }
        let peer = connection.peer ?? (-1, .max)
        let events: AsyncStream<ServerEvent>
        switch take(registration, file) {
        case .success(let stream): events = stream
        case .failure(let refusal):
            log(.refused(reason: refusal.reason, process: peer.process, user: peer.user))
            try? connection.send(ServiceMessage.refused(reason: refusal.reason))
            return
        }
        let folder = registration.folder
        log(.began(folder: folder, address: registration.address, process: peer.process, user: peer.user))
        try? connection.send(ServiceMessage.registered)
        let forwarding = Task { [log] in
            for await event in events {
                log(.job(folder: folder, event))
                do {
                    try connection.send(ServiceMessage(event))
                } catch {
                    // It has gone, or does not read: an event that is missing could be the outcome.
                    return connection.shutDown()
                }
            }
        }
        connection.setPatience(hearing: 0, telling: 5)
        // A client has nothing more to say: what comes is its end.
        while (try? connection.receive(Registration.self)) ?? nil != nil {}
        server.remove(folder: folder)
        forwarding.cancel()
        connection.shutDown()
        log(.ended(folder: folder))
    }

    private struct Refusal: Error { let reason: String }

    private func take(_ registration: Registration, _ file: OpenFile?) -> Result<AsyncStream<ServerEvent>, Refusal> {
        func refuse(_ reason: String) -> Result<AsyncStream<ServerEvent>, Refusal> {
            .failure(Refusal(reason: reason))
        }
        guard registration.version == ServiceVersion.current else {
            return refuse("it speaks version \(registration.version), this service \(ServiceVersion.current)")
        }
        guard isMACAddress(registration.folder) else { return refuse("its folder is named by no MAC address") }
        guard (registration.open == nil) == (file == nil) else { return refuse("a file is missing") }
        var files: [String: Job.Source] = [:]
        for name in registration.files { files[name] = .folder }
        if let name = registration.open, let file {
            guard let shared = SharedFile(duplicating: file.descriptor) else {
                return refuse("its file cannot be kept open")
            }
            files[name] = .open(shared)
        }
        let job = Job(
            folder: registration.folder, files: files, ranged: registration.open.map { [$0] } ?? [],
            entry: registration.entry, address: registration.address)
        guard let events = server.register(job) else {
            return refuse("another job has the folder \(registration.folder)")
        }
        return .success(events)
    }

    private func isMACAddress(_ text: String) -> Bool {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        return parts.count == 6
            && parts.allSatisfy { part in
                part.utf8.count == 2
                    && part.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
            }
    }
}
