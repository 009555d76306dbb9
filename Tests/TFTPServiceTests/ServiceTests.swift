import Foundation
import Glibc
import Synchronization
import SystemPackage
import TFTPServer
import TFTPService
import Testing

private let mac = "52:54:00:00:00:01"

/// A server with a service in front of it, on a free port and in a folder of its own.
private final class Bench: Sendable {
    let folder: FilePath
    let server: TFTPServer
    let service: Service

    var socket: FilePath { folder.appending("serve.sock") }
    var root: FilePath { folder.appending("root") }

    init() async throws {
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
            path: folder.appending("serve.sock"), server: server, root: root
        ) { event in
            switch event {
            case .began(let folder, _, let process, _): box.add("began \(folder) \(process == getpid())")
            case .ended(let folder): box.add("ended \(folder)")
            case .refused(let reason, _, _): box.add("refused \(reason)")
            case .job: break
            }
        }
        self.box = box
        service.start()
    }

    private final class Box: Sendable {
        let lines = Mutex<[String]>([])
        func add(_ line: String) { lines.withLock { $0.append(line) } }
    }
    private let box: Box
    var lines: [String] { box.lines.withLock { $0 } }

    /// Waits until the log has a line; the service's threads write it.
    func waitFor(_ line: String) async throws {
        for _ in 0..<30_000 where !lines.contains(line) { try await Task.sleep(for: .milliseconds(10)) }
        #expect(lines.contains(line), "\(lines)")
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

@Suite struct ServiceTests {
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
        let upload = await ServerProbe(host: "127.0.0.1", port: bench.server.port)
            .write("\(mac)/OK", content: [1, 2, 3, 4, 5, 6, 7, 8])
        #expect(upload == .taken)
        var seen: [ServerEvent] = []
        for await event in events {
            seen.append(event)
            if case .uploaded = event { break }
        }
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
    func `takes no job whose folder is no MAC address`(folder: String) async throws {
        let bench = try await Bench()
        let client = try bench.client()
        #expect(throws: ServiceError.refused("its folder is named by no MAC address")) {
            _ = try client.register(folder: folder, files: ["file"], entry: "file", address: "127.0.0.1")
        }
        await bench.end()
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
