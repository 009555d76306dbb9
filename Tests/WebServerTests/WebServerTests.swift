import FlashEvents
import Glibc
import Testing
import WebServer

/// A connection to a server of this machine, as a client has it that need not behave.
private struct RawClient: ~Copyable {
    private let descriptor: Int32

    init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(result == 0)
    }

    deinit { close(descriptor) }

    /// Waits where a call would block: the server shares this process's threads. No test is to be judged by the time that it
    /// takes.
    private func perform(_ call: () -> Int) async throws -> Int {
        for _ in 0..<60_000 {
            let count = call()
            if count >= 0 || errno != EAGAIN { return count }
            try await Task.sleep(for: .milliseconds(2))
        }
        Issue.record("the server does nothing")
        return -1
    }

    /// - Returns: whether all of it could be sent.
    @discardableResult func send(_ text: String) async throws -> Bool {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = try await perform {
                rest.withUnsafeBytes {
                    Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
                }
            }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }

    /// What the server sends until it closes the connection, or until a text has come.
    func receive(until end: String? = nil) async throws -> String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = try await perform { recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT)) }
            guard count > 0 else { break }
            bytes += buffer[..<count]
            if let end, String(decoding: bytes, as: UTF8.self).contains(end) { break }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// The HTTP server, with clients of all kinds.
struct WebServerTests {
    private static let names: Set<String> = ["localhost", "127.0.0.1", "[::1]", "bench1.example.org"]

    /// A server with a page, a long file, and a stream that tells what was sent before.
    private static func server(_ limits: WebServer.Limits = .init()) async throws -> WebServer {
        try await WebServer(host: "127.0.0.1", port: 0, names: names, limits: limits) { name in
            switch name {
            case "": .content(Array("<p>bench</p>".utf8), type: "text/html; charset=utf-8")
            case "long.txt": .content([UInt8](repeating: 0x61, count: 64 << 20), type: "text/plain")
            case "index.live":
                .events { sent in
                    try await Task.sleep(for: .milliseconds(1))
                    let count = sent["count"] ?? 0
                    return ("data: \(count)\n\n", ["count": count + 1])
                }
            default: nil
            }
        }
    }

    /// What a request gets, whole.
    private static func answer(_ request: String) async throws -> String {
        let server = try await server()
        let client = try RawClient(port: server.port)
        try await client.send(request)
        let answer = try await client.receive()
        await server.stop()
        return answer
    }

    private static func get(_ path: String, host: String = "localhost", method: String = "GET") async throws -> String {
        try await answer("\(method) \(path) HTTP/1.1\r\nHost: \(host)\r\n\r\n")
    }

    @Test func `a page comes whole, with what keeps everything else out of it`() async throws {
        let answer = try await Self.get("/")
        #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"), "\(answer)")
        #expect(answer.hasSuffix("\r\n\r\n<p>bench</p>"))
        for header in [
            "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
                + "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            "X-Content-Type-Options: nosniff", "Referrer-Policy: no-referrer", "Cache-Control: no-store",
            "Content-Type: text/html; charset=utf-8", "Content-Length: 12", "Connection: close",
        ] {
            #expect(answer.contains("\r\n\(header)\r\n"), "\(header) is missing: \(answer)")
        }
        for header in ["Set-Cookie", "Access-Control", "Server:"] { #expect(!answer.contains(header), "\(answer)") }
    }

    @Test func `HEAD gets the same head and nothing behind it, of a stream too`() async throws {
        let answer = try await Self.get("/", method: "HEAD")
        #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n") && answer.contains("\r\nContent-Length: 12\r\n"))
        #expect(answer.hasSuffix("\r\n\r\n"))
        let stream = try await Self.get("/index.live", method: "HEAD")
        #expect(stream.hasPrefix("HTTP/1.1 200 OK\r\n") && !stream.contains("data:"), "\(stream)")
    }

    @Test(arguments: ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"])
    func `another method is refused`(method: String) async throws {
        let answer = try await Self.get("/", method: method)
        #expect(answer.hasPrefix("HTTP/1.1 405 ") && answer.contains("\r\nAllow: GET, HEAD\r\n"), "\(answer)")
    }

    @Test(arguments: [
        "localhost", "LOCALHOST", "localhost:8080", "127.0.0.1:8069", "[::1]:1", "[::1]", "bench1.example.org.",
        "Bench1.Example.org:80",
    ])
    func `a name that is known is answered`(host: String) async throws {
        #expect(try await Self.get("/", host: host).hasPrefix("HTTP/1.1 200 "))
    }

    @Test(arguments: [
        "evil.example", "localhost.evil.example", "evil.example:8069", "localhost@evil.example", "127.0.0.2", "",
        "localhost:x", "localhost, evil",
    ])
    func `another name is not, whatever it leads to`(host: String) async throws {
        let answer = try await Self.get("/", host: host)
        #expect(answer.hasPrefix("HTTP/1.1 421 "), "\(answer)")
        #expect(!answer.contains("bench</p>"))
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET\r\n\r\n", "\u{0}\u{1}\u{2}\r\n\r\n", "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ])
    func `what is no request of a browser is refused`(request: String) async throws {
        let answer = try await Self.answer(request)
        #expect(answer.hasPrefix("HTTP/1.1 400 "), "\(answer)")
    }

    @Test(arguments: [
        "/../../etc/passwd", "/..", "/%2e%2e%2fetc%2fpasswd", "/a/b", "//etc/passwd", "/a%00b", "/x", "/\u{e4}",
        "/a\\b", "/;",
        "/" + String(repeating: "a", count: 101),
    ])
    func `no path leads anywhere else`(path: String) async throws {
        let answer = try await Self.get(path)
        #expect(answer.hasPrefix("HTTP/1.1 404 ") || answer.hasPrefix("HTTP/1.1 400 "), "\(answer)")
        #expect(!answer.contains("root:"))
    }

    @Test func `a query changes nothing`() async throws {
        #expect(try await Self.get("/?a=/../<script>").hasSuffix("<p>bench</p>"))
    }

    @Test func `a connection serves one request, whatever comes behind it`() async throws {
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        let answer = try await Self.answer(request + request)
        #expect(answer.ranges(of: "HTTP/1.1 ").count == 1, "\(answer)")
    }

    @Test func `a request that is too long is cut off`() async throws {
        let server = try await Self.server()
        for request in [
            "GET /" + String(repeating: "a", count: 1 << 20),
            "GET / HTTP/1.1\r\n" + String(repeating: "X: y\r\n", count: 200_000),
            "GET / HTTP/1.1\r\nHost: " + String(repeating: "h", count: 1 << 20),
        ] {
            let client = try RawClient(port: server.port)
            try await client.send(request)
            // Closed without waiting for an end that never comes.
            #expect(try await !client.receive().contains("200 OK"))
        }
        await server.stop()
    }

    @Test func `who sends his request too slowly is cut off, though he sends`() async throws {
        var limits = WebServer.Limits()
        limits.requestSeconds = 1
        let server = try await Self.server(limits)
        let client = try RawClient(port: server.port)
        let begin = ContinuousClock.now
        try await client.send("GET / HTTP/1.1\r\nHost: localhost\r\n")
        while try await client.send("X: y\r\n"), ContinuousClock.now - begin < .seconds(20) {
            try await Task.sleep(for: .milliseconds(100))
        }
        #expect(ContinuousClock.now - begin < .seconds(10))
        await server.stop()
    }

    @Test func `who takes nothing is cut off, and his file is not kept for him`() async throws {
        var limits = WebServer.Limits()
        limits.writeSeconds = 1
        let server = try await Self.server(limits)
        let client = try RawClient(port: server.port)
        try await client.send("GET /long.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try await until(5) { server.connectionCount == 1 }
        try await until(20) { server.connectionCount == 0 }
        #expect(try await client.receive().utf8.count < 64 << 20)
        await server.stop()
    }

    @Test func `more connections than there may be are closed, and there is room again`() async throws {
        var limits = WebServer.Limits()
        limits.connections = 2
        let server = try await Self.server(limits)
        do {
            let first = try RawClient(port: server.port)
            let second = try RawClient(port: server.port)
            try await until(5) { server.connectionCount == 2 }
            let third = try RawClient(port: server.port)
            try await third.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            #expect(try await third.receive() == "")
            _ = consume first
            _ = consume second
        }
        try await until(5) { server.connectionCount == 0 }
        let client = try RawClient(port: server.port)
        try await client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        #expect(try await client.receive().hasSuffix("<p>bench</p>"))
        await server.stop()
    }

    @Test func `a stream goes on from what it sent, and ends with its client`() async throws {
        let server = try await Self.server()
        do {
            let client = try RawClient(port: server.port)
            try await client.send("GET /index.live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            let answer = try await client.receive(until: "data: 3\n\n")
            #expect(answer.contains("\r\nContent-Type: text/event-stream\r\n"), "\(answer)")
            let order = (0...3).compactMap { answer.firstRange(of: "data: \($0)\n\n")?.lowerBound }
            #expect(order.count == 4 && order == order.sorted())
            #expect(server.connectionCount == 1)
            _ = consume client
        }
        try await until(5) { server.connectionCount == 0 }
        await server.stop()
    }

    @Test func `a port that is taken is an error with its number`() async throws {
        let server = try await Self.server()
        await #expect(
            throws: FlashError.server("cannot listen on TCP 127.0.0.1:\(server.port): Address already in use")
        ) {
            _ = try await WebServer(host: "127.0.0.1", port: server.port, names: []) { _ in nil }
        }
        await server.stop()
    }

    private func until(_ seconds: Int, _ condition: () -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(seconds)
        while !condition(), .now < end { try await Task.sleep(for: .milliseconds(10)) }
        #expect(condition())
    }
}
