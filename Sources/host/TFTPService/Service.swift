import CUnixSocket
import FoundationEssentials
import Glibc
import Synchronization
package import SystemPackage
package import TFTP
package import TFTPServer

/// What a service tells its log.
package enum ServiceEvent: Sendable {
    /// A client has come. It has no job yet.
    case connected
    /// A client has gone, and its job with it.
    case disconnected
    /// A client's job is served from now on.
    case began(folder: String, address: String, process: Int32, user: UInt32)
    /// It is over.
    case ended(folder: String)
    /// A client's job was not taken.
    case refused(reason: String, process: Int32, user: UInt32)
    /// A job is ended because its client does not read what happens to it.
    case dropped(folder: String, reason: String)
    /// Something happened to a job.
    case job(folder: String, TransferEvent)
    /// Something keeps clients from being taken; the service tries again.
    case trouble(String)
}

/// Takes jobs for a TFTP server from other processes of this host, through a Unix socket.
///
/// Who may open the socket may have files served; its file's group and mode decide that. Each client has a thread of its
/// own, which never waits for the client to read: no client can delay another one's events.
package final class Service: Sendable {
    /// What a service stands of its clients.
    struct Limits: Sendable {
        /// Clients at a time. Where that many are there, the oldest that has no job makes room.
        var clients = 256
        /// Messages that a client has not read, and their bytes, before it is dropped.
        var messages = 4096
        var bytes = 4 << 20
        /// How long a client may read nothing while something waits for it.
        var timeout = Duration.seconds(30)
    }

    private struct Client {
        let connection: Connection
        let number: UInt64
        var hasJob = false
    }

    private struct State {
        var clients: [ObjectIdentifier: Client] = [:]
        var lastNumber: UInt64 = 0
        var isStopped = false
    }

    private let socket: Int32
    private let path: FilePath?
    private let server: TFTPServer
    private let root: FilePath
    private let log: @Sendable (ServiceEvent) -> Void
    private let limits: Limits
    private let startThread: @Sendable (@escaping @Sendable () -> Void) -> Bool
    private let state = Mutex(State())

    /// - Parameters:
    ///   - socket: a listening SOCK_SEQPACKET socket, from here on owned.
    ///   - path: its file, removed in the end; nil where somebody else owns that.
    ///   - server: who serves.
    ///   - root: the server's root.
    ///   - log: told what happens.
    package convenience init(
        socket: FileDescriptor, path: FilePath?, server: TFTPServer, root: FilePath,
        log: @escaping @Sendable (ServiceEvent) -> Void
    ) {
        self.init(
            socket: socket, path: path, server: server, root: root, limits: Limits(),
            startThread: { Thread.start($0) }, log: log)
    }

    init(
        socket: FileDescriptor, path: FilePath?, server: TFTPServer, root: FilePath, limits: Limits,
        startThread: @escaping @Sendable (@escaping @Sendable () -> Void) -> Bool,
        log: @escaping @Sendable (ServiceEvent) -> Void
    ) {
        self.socket = socket.rawValue
        self.path = path
        self.server = server
        self.root = root
        self.limits = limits
        self.startThread = startThread
        self.log = log
    }

    /// Listens at a path.
    ///
    /// - Parameters:
    ///   - path: the socket's file; one that nobody listens on is replaced.
    ///   - mode: the file's mode.
    /// - Throws: `Errno`; `addressInUse` where a service listens there.
    package static func listen(at path: FilePath, mode: FilePermissions) throws(Errno) -> FileDescriptor {
        let descriptor = unsafe path.withPlatformString { unsafe cunix_listen($0, mode.rawValue) }
        guard descriptor >= 0 else { throw Errno(rawValue: errno) }
        return FileDescriptor(rawValue: descriptor)
    }

    /// Checks whether ``listen(at:mode:)`` could listen at a path; makes and replaces nothing.
    ///
    /// - Throws: `Errno`, as it would.
    package static func checkPlace(_ path: FilePath) throws(Errno) {
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

    /// Takes clients until ``stop()``.
    ///
    /// - Throws: `Errno` where the process cannot start a thread.
    package func start() throws(Errno) {
        guard startThread({ [self] in acceptClients() }) else { throw .resourceTemporarilyUnavailable }
    }

    /// What is done about a failed accept().
    enum AcceptFailure: Hashable {
        /// It says nothing of the next client.
        case next
        /// The system is out of something; it will have it again.
        case later
        /// The socket is no good: ``stop()``, or a fault in this program.
        case end

        /// - Parameter code: errno. Source: accept(2), which also passes on errors of the network.
        init(_ code: Int32) {
            switch code {
            case EINTR, ECONNABORTED: self = .next
            case EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP, EFAULT: self = .end
            default: self = .later
            }
        }
    }

    private func acceptClients() {
        var lastTrouble: Int32 = 0
        while true {
            let descriptor = cunix_accept(socket)
            if descriptor < 0 {
                let code = errno
                switch AcceptFailure(code) {
                case .next: continue
                case .later:
                    if code != lastTrouble {
                        log(.trouble("cannot take a client: \(Errno(rawValue: code)); trying again"))
                    }
                    lastTrouble = code
                    usleep(100_000)
                    continue
                case .end:
                    if !state.withLock({ $0.isStopped }) {
                        log(.trouble("cannot take clients any more: \(Errno(rawValue: code))"))
                    }
                    return
                }
            }
            lastTrouble = 0
            let connection = Connection(owning: descriptor)
            guard admit(connection) else { continue }
            let isServed = startThread { [self] in
                serve(connection)
                leave(connection)
            }
            if !isServed {
                leave(connection)
                log(.trouble("cannot start a thread for a client, which is sent away"))
            }
        }
    }

    /// Gives a client a place. Where there is none, the oldest that has no job makes room.
    private func admit(_ connection: Connection) -> Bool {
        let (isAdmitted, oldest) = state.withLock { state -> (Bool, Connection?) in
            if state.isStopped { return (false, nil) }
            var oldest: Connection?
            if state.clients.count >= limits.clients {
                guard
                    let idle = state.clients.filter({ !$0.value.hasJob }).min(by: { $0.value.number < $1.value.number })
                else { return (false, nil) }
                oldest = state.clients.removeValue(forKey: idle.key)?.connection
            }
            state.lastNumber += 1
            state.clients[ObjectIdentifier(connection)] = Client(connection: connection, number: state.lastNumber)
            return (true, oldest)
        }
        oldest?.shutDown()
        if isAdmitted {
            log(.connected)
        } else {
            log(.trouble("\(limits.clients) jobs are served; one more client is sent away"))
        }
        return isAdmitted
    }

    private func leave(_ connection: Connection) {
        connection.shutDown()
        state.withLock { $0.clients[ObjectIdentifier(connection)] = nil }
        log(.disconnected)
    }

    /// Takes no more clients and ends the jobs of those that are there.
    package func stop() {
        let clients = state.withLock { state in
            state.isStopped = true
            return state.clients.values.map(\.connection)
        }
        Glibc.shutdown(socket, Int32(SHUT_RDWR))
        for connection in clients { connection.shutDown() }
        if let path { _ = unsafe path.withPlatformString { unsafe unlink($0) } }
    }

    private func serve(_ connection: Connection) {
        // A flash may prepare for long before it registers, and keeps nobody waiting: there is no limit to that.
        connection.setTimeouts(receiving: 0, sending: 5)
        guard let identity = folderIdentity(root),
            (try? connection.send(
                Greeting(
                    version: ServiceVersion.current, root: root.string, device: identity.device, inode: identity.inode)))
                != nil,
            let (registration, file) = try? connection.receive(Registration.self)
        else { return }
        let peer = connection.peer ?? (-1, .max)
        let (events, outbox): (AsyncStream<TimedTransferEvent>, Outbox)
        switch take(registration, file) {
        case .success(let taken): (events, outbox) = taken
        case .failure(let refusal):
            log(.refused(reason: refusal.reason, process: peer.process, user: peer.user))
            try? connection.send(ServiceMessage.refused(reason: refusal.reason))
            return
        }
        state.withLock { $0.clients[ObjectIdentifier(connection)]?.hasJob = true }
        let folder = registration.folder
        log(.began(folder: folder, address: registration.address, process: peer.process, user: peer.user))
        try? connection.send(ServiceMessage.registered)
        // On the pool of threads that are as many as there are cores: nothing here waits but for the next event.
        let filling = Task {
            for await event in events { outbox.add(event) }
            outbox.finish()
        }
        let reason = forward(outbox, to: connection, of: folder)
        server.remove(folder: folder)
        filling.cancel()
        // An event that is missing could be the outcome: the client must not go on.
        connection.shutDown()
        if let reason { log(.dropped(folder: folder, reason: reason)) }
        log(.ended(folder: folder))
    }

    /// Tells the log and the client of all events, until the client or the job ends.
    ///
    /// - Returns: why the client is dropped; nil where it went away.
    private func forward(_ outbox: Outbox, to connection: Connection, of folder: String) -> String? {
        var waiting: [Data] = []
        var bytes = 0
        var begin = 0
        var since: MonotonicInstant?
        while true {
            let new = outbox.take()
            for event in new.events {
                log(.job(folder: folder, event.event))
                guard let timed = TimedMessage(event) else { continue }
                guard let message = try? Connection.encode(timed) else {
                    return "an event of it is longer than a message"
                }
                waiting.append(message)
                bytes += message.count
            }
            while begin < waiting.count {
                let isSent: Bool
                do throws(Errno) {
                    isSent = try connection.sendNow(waiting[begin])
                } catch {
                    return nil
                }
                guard isSent else { break }
                bytes -= waiting[begin].count
                begin += 1
                since = nil
            }
            waiting.removeFirst(begin)
            begin = 0
            if waiting.isEmpty {
                if new.isFinished { return nil }
                if new.isOverfull { return "more happened at once than \(limits.messages) messages tell" }
                since = nil
            } else {
                let now = MonotonicInstant.now
                let first = since ?? now
                since = first
                let isLate = first.duration(to: now) >= limits.timeout
                if isLate || new.isOverfull || waiting.count > limits.messages || bytes > limits.bytes {
                    let seconds = first.duration(to: now).components.seconds
                    return "its client has read nothing for \(seconds) s, while \(waiting.count) messages wait for it"
                }
            }
            let left = since.map { limits.timeout - $0.duration(to: .now) }
            let milliseconds = left.map { Int32(clamping: $0.components.seconds * 1000 + 1000) } ?? -1
            // It has nothing more to say: what comes is its end.
            if connection.wait(for: outbox.bell, toSend: !waiting.isEmpty, milliseconds: milliseconds) { return nil }
        }
    }

    private struct Refusal: Error { let reason: String }

    private func take(
        _ registration: Registration, _ file: OpenFile?
    ) -> Result<(AsyncStream<TimedTransferEvent>, Outbox), Refusal> {
        func refuse(_ reason: String) -> Result<(AsyncStream<TimedTransferEvent>, Outbox), Refusal> {
            .failure(Refusal(reason: reason))
        }
        if let problem = registration.problem(hasFile: file != nil) { return refuse(problem) }
        var files: [String: ServedFolder.Source] = [:]
        for name in registration.files { files[name] = .folder }
        if let name = registration.open, let file {
            guard let shared = SharedFile(duplicating: file.descriptor) else {
                return refuse("its file cannot be kept open")
            }
            files[name] = .open(shared)
        }
        guard let outbox = Outbox(limit: limits.messages) else { return refuse("this service has too many files open") }
        let job = ServedFolder(
            folder: registration.folder, files: files, ranged: registration.open.map { [$0] } ?? [],
            entry: registration.entry, address: registration.address,
            windows: registration.windows?.memory ?? WindowMemory())
        guard let events = server.register(job) else {
            return refuse("another job has the folder \(registration.folder)")
        }
        return .success((events, outbox))
    }
}
