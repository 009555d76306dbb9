package import FlashEvents
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import SystemPackage

/// An HTTP server for a few people who look: GET and HEAD, by a `Host` that it knows.
///
/// A connection serves one request and is closed, so that nothing behind a request is ever taken for another one. Each step
/// has a deadline; what a client may send and how many may come is limited.
package final class WebServer: Sendable {
    /// What clients may cost.
    package struct Limits: Sendable {
        /// The most connections at a time (more are closed at once), and the most bytes of a request.
        package var (connections, requestBytes) = (256, 16384)
        /// Seconds from the beginning of a connection to the end of its request's head, and until 64 KiB are taken.
        package var (requestSeconds, writeSeconds): (Int64, Int64) = (10, 30)
        package init() {}
    }

    /// The TCP port; 0 on a Unix socket.
    package let port: Int
    private let channel: any Channel
    private let clients: Clients

    private final class Clients: Sendable { let count = Atomic(0) }

    /// Listens, and answers until ``stop()``.
    ///
    /// - Parameters:
    ///   - host, port: the IPv4 address to bind, and its TCP port, 0 for any free one.
    ///   - socket: one that listens already, as systemd hands it over, in place of these; from here on owned.
    ///   - names: by which clients may call it, in small letters and without a port.
    ///   - answer: what is asked for by the only component of a path: letters, digits, `.`, `_` and `-`, at most 100, none
    ///     for `/`; nil: there is nothing of that name.
    /// - Throws: ``FlashError/server(_:)``.
    package init(
        host: String, port: Int, socket: Int32? = nil, names: Set<String>, limits: Limits = Limits(),
        answer: @escaping @Sendable (String) async -> WebAnswer?
    ) async throws(FlashError) {
        let clients = Clients()
        let bootstrap = ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    channel.closeFuture.whenComplete { _ in clients.count.subtract(1, ordering: .relaxed) }
                    let count = clients.count.add(1, ordering: .relaxed).newValue
                    guard count <= limits.connections else { throw ChannelError.operationUnsupported }
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(RequestLimit(bytes: limits.requestBytes))
                    try pipeline.configureHTTPServerPipeline(withPipeliningAssistance: false)
                    try pipeline.addHandler(WebConnection(names: names, limits: limits, answer: answer))
                }
            }
        do {
            let bound = socket.map { bootstrap.withBoundSocket($0) } ?? bootstrap.bind(host: host, port: port)
            channel = try await bound.get()
        } catch {
            let reason = (error as? IOError).map { "\(Errno(rawValue: $0.errnoCode))" } ?? "\(error)"
            throw .server("cannot listen on \(socket == nil ? "TCP \(host):\(port)" : "systemd's socket"): \(reason)")
        }
        (self.clients, self.port) = (clients, channel.localAddress?.port ?? 0)
    }

    /// How many connections are open.
    package var connectionCount: Int { clients.count.load(ordering: .relaxed) }

    /// Listens no longer.
    package func stop() async { try? await channel.close().get() }
}

/// What a client gets.
package enum WebAnswer: Sendable {
    /// A file of this media type.
    case content([UInt8], type: String)
    /// Server-sent events, without end: each call gets what was sent before, and returns what comes next.
    case events(@Sendable (_ sent: [String: Int]) async throws -> (text: String, sent: [String: Int]))
}

/// Ends a connection whose client sends more than a request may have.
final class RequestLimit: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private var left: Int

    init(bytes: Int) { left = bytes }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        left -= unwrapInboundIn(data).readableBytes
        if left >= 0 { context.fireChannelRead(data) } else { context.close(promise: nil) }
    }
}

/// One connection: its one request, and what that gets.
final class WebConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    private let names: Set<String>
    private let limits: WebServer.Limits
    private let answer: @Sendable (String) async -> WebAnswer?
    private var deadline: Scheduled<Void>?
    private var task: Task<Void, Never>?

    init(names: Set<String>, limits: WebServer.Limits, answer: @escaping @Sendable (String) async -> WebAnswer?) {
        (self.names, self.limits, self.answer) = (names, limits, answer)
    }

    func channelActive(context: ChannelHandlerContext) {
        let channel = context.channel
        deadline = channel.eventLoop.scheduleTask(in: .seconds(limits.requestSeconds)) { channel.close(promise: nil) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(let head) = unwrapInboundIn(data), task == nil else { return }
        deadline?.cancel()
        let writer = WebWriter(
            channel: context.channel, isHead: head.method == .HEAD, time: .seconds(limits.writeSeconds))
        task = Task { [names, answer] in
            // What cannot be written any more has nobody to be told to.
            try? await writer.answer(head, names, answer)
            try? await writer.channel.close().get()
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        task?.cancel()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// Why a request gets nothing.
struct WebRefusal: Error {
    let status: HTTPResponseStatus
    let text: String
    static let missing = Self(status: .notFound, text: "there is no such page")
}

extension HTTPRequestHead {
    /// The name that it asks for, where it may.
    ///
    /// - Parameter names: by which it may call this server. Another one may belong to a page elsewhere that was made to lead
    ///   here (DNS rebinding).
    func name(calling names: Set<String>) throws(WebRefusal) -> String {
        let hosts = headers["host"]
        guard hosts.count == 1, uri.hasPrefix("/"), let host = hosts[0].wholeMatch(of: /(.*?)\.?(:[0-9]*)?/) else {
            throw WebRefusal(status: .badRequest, text: "this is not what a browser sends")
        }
        guard names.contains(host.output.1.lowercased()) else {
            throw WebRefusal(status: .misdirectedRequest, text: "this server is not called that: rpiflash web --name")
        }
        guard method == .GET || method == .HEAD else {
            throw WebRefusal(status: .methodNotAllowed, text: "these pages only show: GET and HEAD")
        }
        guard let path = uri.wholeMatch(of: /\/([A-Za-z0-9._-]{0,100})(\?.*)?/) else { throw .missing }
        return String(path.output.1)
    }
}

/// Writes what a connection gets, as fast as its client takes it.
private struct WebWriter: Sendable {
    let channel: any Channel
    let isHead: Bool
    let time: TimeAmount

    /// Nothing on a page comes from elsewhere, runs inline, is framed or is kept.
    private static let headers = [
        (
            "Content-Security-Policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
                + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ), ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"), ("Cache-Control", "no-store"),
        ("Cross-Origin-Resource-Policy", "same-origin"), ("Connection", "close"), ("Allow", "GET, HEAD"),
    ]

    func answer(
        _ head: HTTPRequestHead, _ names: Set<String>, _ answer: (String) async -> WebAnswer?
    ) async throws {
        var (status, found) = (HTTPResponseStatus.ok, WebAnswer?.none)
        do throws(WebRefusal) {
            found = await answer(try head.name(calling: names))
            if found == nil { throw .missing }
        } catch {
            (status, found) = (error.status, .content(Array("\(error.text)\n".utf8), type: "text/plain; charset=utf-8"))
        }
        switch found {
        case .content(let bytes, let type):
            try await sendHead(status, [("Content-Type", type), ("Content-Length", "\(bytes.count)")])
            for begin in stride(from: 0, to: isHead ? 0 : bytes.count, by: 65536) {
                let piece = bytes[begin..<min(begin + 65536, bytes.count)]
                try await send(.body(.byteBuffer(ByteBuffer(bytes: piece))))
            }
        case .events(let next):
            try await sendHead(.ok, [("Content-Type", "text/event-stream")])
            var sent: [String: Int] = [:]
            while !isHead {
                let piece = try await next(sent)
                sent = piece.sent
                try await send(.body(.byteBuffer(ByteBuffer(string: piece.text))))
            }
        case nil: break
        }
        try await send(.end(nil))
    }

    private func sendHead(_ status: HTTPResponseStatus, _ own: [(String, String)]) async throws {
        let headers = HTTPHeaders(Self.headers + own)
        try await send(.head(HTTPResponseHead(version: .http1_1, status: status, headers: headers)))
    }

    /// Returns when the system has taken it.
    private func send(_ part: HTTPServerResponsePart) async throws {
        let channel = channel
        let stalled = channel.eventLoop.scheduleTask(in: time) { channel.close(promise: nil) }
        defer { stalled.cancel() }
        try await channel.writeAndFlush(part)
    }
}
