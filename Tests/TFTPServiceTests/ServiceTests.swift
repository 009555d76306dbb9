import Foundation
import Glibc
import Synchronization
import SystemPackage
import TFTP
import TFTPServer
import Testing

@testable import TFTPService

private let mac = "52:54:00:00:00:01"

/// A server with a service in front of it, on a free port and in a folder of its own.
private final class Bench: Sendable {
    let folder: FilePath
    let server: TFTPServer
    let service: Service

    var socket: FilePath { folder.appending("serve.sock") }
    var root: FilePath { folder.appending("root") }

    init(
        limits: Service.Limits = Service.Limits(),
        startThread: @escaping @Sendable (@escaping @Sendable () -> Void) -> Bool = { Thread.start($0) }
    ) async throws {
        var template = Array("/tmp/rpiflash-service.XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let folder = FilePath(String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
        self.folder = folder
        let root = folder.appending("root")
        try FileManager.default.createDirectory(
            atPath: root.appending(mac).string, withIntermediateDirectories: true)
        try Data("staged".utf8).write(to: URL(filePath: root.appending(mac).appending("file").string))
        server = try await TFTPServer.start(root: root.string, host: "127.0.0.1", port: 0)
        let box = Box()
        service = Service(
            socket: try Service.listen(at: folder.appending("serve.sock"), mode: [.ownerReadWrite]),
            path: folder.appending("serve.sock"), server: server, root: root, limits: limits, startThread: startThread
        ) { event in
            switch event {
            case .began(let folder, _, let process, _): box.add("began \(folder) \(process == getpid())")
            case .ended(let folder): box.add("ended \(folder)")
            case .refused(let reason, _, _): box.add("refused \(reason)")
            case .dropped(let folder, let reason): box.add("dropped \(folder) \(reason)")
            case .trouble(let text): box.add("trouble \(text)")
            case .job, .connected, .disconnected: break
            }
        }
        self.box = box
        try service.start()
    }

    private final class Box: Sendable {
        let lines = Mutex<[String]>([])
        func add(_ line: String) { lines.withLock { $0.append(line) } }
    }
    private let box: Box
    var lines: [String] { box.lines.withLock { $0 } }

    /// Waits until the log has a line that starts like this; the service's threads write it.
    func waitFor(_ line: String) async throws {
        func isThere() -> Bool { lines.contains { $0.hasPrefix(line) } }
        for _ in 0..<30_000 where !isThere() { try await Task.sleep(for: .milliseconds(10)) }
        #expect(isThere(), "\(line): \(lines)")
    }

    func client() throws -> ServiceClient { try #require(try ServiceClient.connect(to: socket)) }

    func read(_ path: String) async -> ServerProbe.Answer {
        await ServerProbe(host: "127.0.0.1", port: server.port).read(path)
    }

    func end() async {
        service.stop()
        await server.stop()
        try? FileManager.default.removeItem(atPath: folder.string)
    }
}

@Suite(.timeLimit(.minutes(60))) struct ServiceTests {
    @Test func `serves a job's files while its client is connected, and tells what happens`() async throws {
        let bench = try await Bench()
        // Before there is a client: the service waits for a registration only so long.
        #expect(await bench.read("\(mac)/file") == .refused(code: 1, message: "file not found"))
        let client = try bench.client()
        #expect(client.serves(bench.root) && !client.serves("/"))
        let events = try client.register(folder: mac, files: ["file"], entry: "file", address: "127.0.0.1")
        try await bench.waitFor("began \(mac) true")
        #expect(await bench.read("\(mac)/file") == .content(Array("staged".utf8)))
        // The longest upload, which makes the longest event.
        let before = MonotonicInstant.now
        let upload = await ServerProbe(host: "127.0.0.1", port: bench.server.port)
            .write("\(mac)/OK", content: [1, 2, 3, 4, 5, 6, 7, 8])
        #expect(upload == .taken)
        var seen: [TransferEvent] = []
        var instants: [MonotonicInstant] = []
        for await timed in events {
            seen.append(timed.event)
            instants.append(timed.instant)
            if case .uploaded = timed.event { break }
        }
        // When it happened in the service, not when it was heard of.
        #expect(instants == instants.sorted() && instants.last.map { before < $0 && $0 < .now } == true)
        #expect(instants.first.map { $0 < before } == true)
        #expect(seen.contains(.opened(file: "file", size: 6, address: "127.0.0.1")))
        #expect(seen.last == .uploaded(name: "OK", content: [1, 2, 3, 4, 5, 6, 7, 8]))
        client.close()
        try await bench.waitFor("ended \(mac)")
        #expect(await bench.read("\(mac)/file") == .refused(code: 1, message: "file not found"))
        await bench.end()
    }

    @Test func `serves ranges of an open file that it could not open by itself`() async throws {
        let bench = try await Bench()
        let image = bench.folder.appending("image")
        try Data((0..<4096).map { UInt8($0 / 512) }).write(to: URL(filePath: image.string))
        let file = try FileDescriptor.open(image, .readOnly)
        // No name leads to it any more.
        try FileManager.default.removeItem(atPath: image.string)
        let client = try bench.client()
        _ = try client.register(
            folder: mac, files: [], entry: "file", image: "image", imageFile: file, address: "127.0.0.1")
        try file.close()
        // A probe takes less than one block; a range of a sector is exactly one, and an empty one follows.
        let range = await bench.read("\(mac)/image@3+1")
        #expect(range == .silence || range == .content([UInt8](repeating: 3, count: 512)))
        #expect(await bench.read("\(mac)/image@8+1") == .refused(code: 1, message: "file not found"))
        client.close()
        await bench.end()
    }

    @Test func `two targets at a time, but one job for a target`() async throws {
        let bench = try await Bench()
        let (first, second, third) = (try bench.client(), try bench.client(), try bench.client())
        _ = try first.register(folder: mac, files: ["file"], entry: "file", address: "127.0.0.1")
        _ = try second.register(folder: "52:54:00:00:00:02", files: [], entry: "file", address: "127.0.0.2")
        #expect(throws: ServiceError.refused("another job has the folder \(mac)")) {
            _ = try third.register(folder: mac, files: ["file"], entry: "file", address: "127.0.0.1")
        }
        #expect(await bench.read("\(mac)/file") == .content(Array("staged".utf8)))
        first.close()
        try await bench.waitFor("ended \(mac)")
        // The refused one left nothing behind.
        let again = try bench.client()
        _ = try again.register(folder: mac, files: ["file"], entry: "file", address: "127.0.0.1")
        await bench.end()
    }

    @Test(arguments: ["..", "", "52:54:00:00:00", "52:54:00:00:00:0G", "52:54:00:00:00:01/..", "AA:54:00:00:00:01"])
    func `takes no job whose folder is not a MAC address`(folder: String) async throws {
        let bench = try await Bench()
        let client = try bench.client()
        #expect(throws: ServiceError.refused("its folder is not named by a MAC address")) {
            _ = try client.register(folder: folder, files: ["file"], entry: "file", address: "127.0.0.1")
        }
        await bench.end()
    }

    @Test(arguments: [
        "", "127.0.0", "127.0.0.1.1", "127.0.0.256", "127.0.0.01", "127.0.0.+1", " 127.0.0.1", "::1", "localhost",
        "127.0.0.1\u{1b}[2J",
    ])
    func `takes no job whose address is not a dotted one`(address: String) async throws {
        let bench = try await Bench()
        let client = try bench.client()
        #expect(throws: ServiceError.refused("its address is not a dotted IPv4 address")) {
            _ = try client.register(folder: mac, files: ["file"], entry: "file", address: address)
        }
        await bench.end()
    }

    @Test(arguments: [
        "", ".", "..", ".hidden", "a/b", "/etc/shadow", "a b", "a\n", "\u{1b}[2J", "ä",
        String(repeating: "x", count: 65),
    ])
    func `takes no job with a name that is not a file's`(name: String) async throws {
        let bench = try await Bench()
        let image = try FileDescriptor.open("/dev/null", .readOnly)
        for (files, entry, open) in [([name], "file", "image"), ([], name, "image"), ([], "file", name)]
            as [(Set<String>, String, String)]
        {
            let client = try bench.client()
            let error = #expect(throws: ServiceError.self) {
                _ = try client.register(
                    folder: mac, files: files, entry: entry, image: open, imageFile: image, address: "127.0.0.1")
            }
            guard case .refused(let reason)? = error else {
                Issue.record("\(String(describing: error))")
                continue
            }
            #expect(reason.hasPrefix("a file's name is not 1 to 64 letters"))
        }
        try image.close()
        await bench.end()
    }

    /// Clients that register and never read again, as many as there are cores and more; each has more to read than its
    /// socket holds.
    @Test func `clients that do not read delay nobody, and are dropped`() async throws {
        var limits = Service.Limits()
        // Long beside what comes before anybody is dropped, also on a busy machine.
        limits.timeout = .seconds(30)
        let bench = try await Bench(limits: limits)
        let count = 2 * max(2, ProcessInfo.processInfo.activeProcessorCount)
        let folders = (10..<10 + min(count, 80)).map { "52:54:00:00:00:\($0)" }
        var slow: [Int32] = []
        for folder in folders {
            try FileManager.default.createDirectory(
                atPath: bench.root.appending(folder).string, withIntermediateDirectories: true)
            try Data("staged".utf8).write(to: URL(filePath: bench.root.appending(folder).appending("file").string))
            let raw = try rawConnection(bench.socket)
            let registration = Registration(
                version: 1, folder: folder, address: "127.0.0.1", files: ["file"], entry: "file", open: nil)
            let bytes = try Connection.encode(registration)
            _ = bytes.withUnsafeBytes { send(raw, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            slow.append(raw)
            try await bench.waitFor("began \(folder)")
        }
        let client = try bench.client()
        let events = try client.register(folder: mac, files: ["file"], entry: "file", address: "127.0.0.1")
        // About 600 small messages are more than a Unix socket holds (net.core.wmem_default).
        for _ in 0..<200 {
            await withTaskGroup(of: Void.self) { group in
                for folder in folders { group.addTask { _ = await bench.read("\(folder)/file") } }
            }
        }
        // Who has to wait for a client that does not read waits until that is dropped.
        let dropped = bench.lines.count { $0.hasPrefix("dropped ") }
        #expect(await bench.read("\(mac)/file") == .content(Array("staged".utf8)))
        for await timed in events { if case .completed = timed.event { break } }
        #expect(bench.lines.count { $0.hasPrefix("dropped ") } == dropped, "\(bench.lines)")
        for folder in folders {
            try await bench.waitFor("dropped \(folder) its client has read nothing for ")
            try await bench.waitFor("ended \(folder)")
            let reason = /dropped (\S+) its client has read nothing for (\d+) s, while \d+ messages wait for it/
            let line = try #require(bench.lines.first { $0.hasPrefix("dropped \(folder) ") })
            // At least the limit: on a busy machine it is seen later.
            #expect((line.wholeMatch(of: reason).flatMap { Int($0.2) } ?? 0) >= 30, "\(line)")
        }
        #expect(!bench.lines.contains { $0.contains("ended \(mac)") }, "\(bench.lines)")
        for raw in slow { close(raw) }
        client.close()
        await bench.end()
    }

    @Test func `where no place is left the oldest client without a job makes room, and one with a job never does`()
        async throws
    {
        var limits = Service.Limits()
        limits.clients = 3
        let bench = try await Bench(limits: limits)
        let working = try bench.client()
        _ = try working.register(folder: mac, files: ["file"], entry: "file", address: "127.0.0.1")
        let (idle, other) = (try bench.client(), try bench.client())
        let late = try bench.client()
        _ = try late.register(
            folder: "52:54:00:00:00:02", files: ["file"], entry: "file", address: "127.0.0.1")
        #expect(throws: ServiceError.self) {
            _ = try idle.register(folder: "52:54:00:00:00:03", files: [], entry: "file", address: "127.0.0.1")
        }
        _ = try other.register(folder: "52:54:00:00:00:04", files: [], entry: "file", address: "127.0.0.1")
        #expect(throws: ServiceError.silent(bench.socket)) { _ = try bench.client() }
        try await bench.waitFor("trouble 3 jobs are served")
        #expect(await bench.read("\(mac)/file") == .content(Array("staged".utf8)))
        late.close()
        try await bench.waitFor("ended 52:54:00:00:00:02")
        for _ in 0..<500 {
            if (try? bench.client()) != nil { break }
            try await Task.sleep(for: .milliseconds(10))
        }
        _ = try bench.client()
        await bench.end()
    }

    @Test func `a thread that cannot start costs its client the connection, and no place`() async throws {
        var limits = Service.Limits()
        limits.clients = 2
        let starts = Mutex(0)
        let bench = try await Bench(limits: limits) { body in
            let number = starts.withLock { count in
                count += 1
                return count
            }
            // The first takes clients.
            return (2...6).contains(number) ? false : Thread.start(body)
        }
        for _ in 2...6 { #expect(throws: ServiceError.silent(bench.socket)) { _ = try bench.client() } }
        try await bench.waitFor("trouble cannot start a thread")
        let (first, second) = (try bench.client(), try bench.client())
        _ = try first.register(folder: mac, files: ["file"], entry: "file", address: "127.0.0.1")
        _ = try second.register(folder: "52:54:00:00:00:02", files: [], entry: "file", address: "127.0.0.1")
        await bench.end()
    }

    @Test func `only what says that the socket is no good ends the taking of clients`() {
        for code in [EINTR, ECONNABORTED] { #expect(Service.AcceptFailure(code) == .next) }
        for code in [EMFILE, ENFILE, ENOMEM, ENOBUFS, EPERM, EPROTO, ENETDOWN, EHOSTUNREACH] {
            #expect(Service.AcceptFailure(code) == .later)
        }
        for code in [EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP] { #expect(Service.AcceptFailure(code) == .end) }
    }

    @Test func `an event's time is a field that older services and clients do without`() throws {
        // As a service of before 0.2 wrote it.
        let old = Data(#"{"opened":{"file":"flash.scr","size":6,"address":"192.0.2.1"}}"#.utf8)
        let event = TransferEvent.opened(file: "flash.scr", size: 6, address: "192.0.2.1")
        let now = MonotonicInstant(nanoseconds: 1000)
        #expect(
            try JSONDecoder().decode(TimedMessage.self, from: old).event(receivedAt: now)
                == TimedTransferEvent(event, at: now))
        // As this one writes it, read by itself and by a client of before.
        let at7 = TimedTransferEvent(event, at: MonotonicInstant(nanoseconds: 7))
        let new = try Connection.encode(try #require(TimedMessage(at7)))
        #expect(try JSONDecoder().decode(ServiceMessage.self, from: new).event == event)
        let read = try JSONDecoder().decode(TimedMessage.self, from: new)
        #expect(read.event(receivedAt: now) == TimedTransferEvent(event, at: MonotonicInstant(nanoseconds: 7)))
        // Nothing happens in the future.
        #expect(read.event(receivedAt: MonotonicInstant(nanoseconds: 5))?.instant.nanoseconds == 5)
        let registered = try JSONDecoder().decode(TimedMessage.self, from: Data(#"{"registered":{}}"#.utf8))
        #expect(registered.event(receivedAt: now) == nil)
    }

    @Test func `what is known of a target's window goes to the service and comes back, and older ones do without`()
        async throws
    {
        var known = WindowMemory()
        known.learn(from: Sender.Counters(sent: 1000, repeated: 700), granted: 32, isComplete: true)
        let bench = try await Bench()
        let client = try bench.client()
        let events = try client.register(
            folder: mac, files: ["file"], entry: "file", address: "127.0.0.1", windows: known)
        #expect(await bench.read("\(mac)/file") == .content(Array("staged".utf8)))
        var told: WindowMemory?
        for await timed in events {
            if case .completed = timed.event {
                told = timed.windows
                break
            }
        }
        // The file is too short to learn from.
        #expect(told == known)
        client.close()
        await bench.end()
        // A client of before 0.2, and one of a version to come.
        for windows in ["", #","windows":{"version":9,"window":"wide"}"#, #","windows":7"#] {
            let text = #"{"version":1,"folder":"\#(mac)","address":"127.0.0.1","files":[],"entry":"e"\#(windows)}"#
            let registration = try JSONDecoder().decode(Registration.self, from: Data(text.utf8))
            #expect(registration.windows?.memory == nil && registration.problem(hasFile: false) == nil)
        }
        let event = TransferEvent.completed(file: "file", bytes: 6, packets: 1, repeated: 0, window: 8)
        let message = try Connection.encode(
            try #require(TimedMessage(TimedTransferEvent(event, at: .now, windows: known))))
        #expect(try JSONDecoder().decode(ServiceMessage.self, from: message).event == event)
    }

    @Test func `what is no registration ends the connection and nothing else`() async throws {
        let bench = try await Bench()
        for bytes in [[UInt8](), Array("{".utf8), Array("{}".utf8), [UInt8](repeating: 0x20, count: 190_000)] {
            let raw = try rawConnection(bench.socket)
            var greeting = [UInt8](repeating: 0, count: 4096)
            #expect(recv(raw, &greeting, greeting.count, 0) > 0)
            _ = send(raw, bytes, bytes.count, Int32(MSG_NOSIGNAL))
            if !bytes.isEmpty { #expect(recv(raw, &greeting, greeting.count, 0) <= 0) }
            close(raw)
        }
        let client = try bench.client()
        _ = try client.register(folder: mac, files: ["file"], entry: "file", address: "127.0.0.1")
        #expect(await bench.read("\(mac)/file") == .content(Array("staged".utf8)))
        await bench.end()
    }

    @Test func `says that none runs where none does, and replaces a socket that was left behind`() async throws {
        let bench = try await Bench()
        await bench.end()
        #expect(try ServiceClient.connect(to: bench.socket) == nil)
        try FileManager.default.createDirectory(atPath: bench.folder.string, withIntermediateDirectories: true)
        let first = try Service.listen(at: bench.socket, mode: [.ownerReadWrite])
        #expect(throws: Errno.addressInUse) { try Service.listen(at: bench.socket, mode: [.ownerReadWrite]) }
        try first.close()
        try Service.listen(at: bench.socket, mode: [.ownerReadWrite]).close()
        // A file that is no socket stays.
        try FileManager.default.removeItem(atPath: bench.socket.string)
        try Data("mine".utf8).write(to: URL(filePath: bench.socket.string))
        #expect(throws: Errno.addressInUse) { try Service.listen(at: bench.socket, mode: [.ownerReadWrite]) }
        #expect(try Data(contentsOf: URL(filePath: bench.socket.string)) == Data("mine".utf8))
        try FileManager.default.removeItem(atPath: bench.folder.string)
    }

    private func rawConnection(_ path: FilePath) throws -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.string.utf8) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(result == 0)
        return descriptor
    }
}
