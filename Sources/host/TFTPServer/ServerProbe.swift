import NIOCore
import NIOPosix
import TFTP

/// Asks another TFTP server for one small file, or sends it one, to see what it can do.
package struct ServerProbe: Sendable {
    /// The server's IPv4 address.
    package let host: String
    /// Its UDP port.
    package let port: Int
    /// How long a silent server is waited for, in seconds; the request is sent again each second.
    package let attempts: Int

    /// A probe of the server at this address.
    package init(host: String, port: Int, attempts: Int = 3) {
        (self.host, self.port, self.attempts) = (host, port, attempts)
    }

    /// What the server said.
    package enum Answer: Hashable, Sendable {
        /// A read brought this content, at most 512 bytes.
        case content([UInt8])
        /// A write was taken.
        case taken
        /// An ERROR packet.
        case refused(code: UInt16, message: String)
        /// Nothing, or nothing that is TFTP.
        case silence
    }

    /// Reads a file of at most 511 bytes.
    package func read(_ path: String) async -> Answer {
        await run(.readRequest(Packet.Request(path: path)), content: nil)
    }

    /// Writes a file of at most 511 bytes.
    package func write(_ path: String, content: [UInt8]) async -> Answer {
        precondition(content.count < 512, "a probe is one block")
        return await run(.writeRequest(Packet.Request(path: path)), content: content)
    }

    private func run(_ request: Packet, content: [UInt8]?) async -> Answer {
        guard let server = try? SocketAddress(ipAddress: host, port: port) else { return .silence }
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let promise = loop.makePromise(of: Answer.self)
        let attempts = attempts
        let bound = DatagramBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        ProbeHandler(
                            server: server, request: request, content: content, attempts: attempts, answer: promise))
                }
            }
            .bind(host: "0.0.0.0", port: 0)
        bound.whenFailure { _ in promise.succeed(.silence) }
        let answer = (try? await promise.futureResult.get()) ?? .silence
        if let channel = try? await bound.get() { try? await channel.close().get() }
        return answer
    }
}

private final class ProbeHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    private let server: SocketAddress
    private let content: [UInt8]?
    private let answer: EventLoopPromise<ServerProbe.Answer>
    private var packet: Packet
    private var peer: SocketAddress
    private var attempts: Int
    private var isOver = false

    init(
        server: SocketAddress, request: Packet, content: [UInt8]?, attempts: Int,
        answer: EventLoopPromise<ServerProbe.Answer>
    ) {
        (self.server, self.content, self.answer) = (server, content, answer)
        packet = request
        peer = server
        self.attempts = attempts
    }

    func channelActive(context: ChannelHandlerContext) { attempt(context) }

    func channelInactive(context: ChannelHandlerContext) { finish(.silence) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {}

    private func attempt(_ context: ChannelHandlerContext) {
        guard !isOver else { return }
        guard attempts > 0 else { return finish(.silence) }
        attempts -= 1
        send(context)
        context.eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) { [self] in attempt(context) }
    }

    private func send(_ context: ChannelHandlerContext) {
        let envelope = AddressedEnvelope(remoteAddress: peer, data: ByteBuffer(bytes: packet.encoded))
        context.writeAndFlush(wrapOutboundOut(envelope), promise: nil)
    }

    private func finish(_ result: ServerProbe.Answer) {
        guard !isOver else { return }
        isOver = true
        answer.succeed(result)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = unwrapInboundIn(data)
        guard !isOver, envelope.remoteAddress.ipAddress == server.ipAddress,
            let received = try? Packet(parsing: envelope.data.readableBytesUInt8Span)
        else { return }
        switch (received, content) {
        case (.error(let code, let message), _): finish(.refused(code: code.rawValue, message: message))
        case (.data(1, let payload), nil) where payload.count < 512:
            peer = envelope.remoteAddress
            packet = .acknowledgement(block: 1)
            send(context)
            finish(.content(payload))
        case (.acknowledgement(0), let content?):
            peer = envelope.remoteAddress
            packet = .data(block: 1, payload: content)
            send(context)
        case (.acknowledgement(1), .some): finish(.taken)
        default: break
        }
    }
}
