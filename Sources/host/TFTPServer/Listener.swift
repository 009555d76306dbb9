import NIOCore
import NIOPosix
import TFTP

/// Takes requests on the well-known port and gives each transfer a socket of its own.
final class ListenHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    /// A transfer that is under way.
    private struct Session {
        let number: UInt64
        let path: String
        let isWrite: Bool
        /// nil until its socket is there.
        var handler: NIOLoopBound<SessionHandler>?
    }

    /// What a transfer's socket is opened with.
    private struct Opening: Sendable {
        /// Of the client, in bytes.
        let longestPacket: Int
        let make: @Sendable () -> SessionHandler
    }

    private let root: Root
    private let registry: Registry
    private let group: any EventLoopGroup
    private let limits: TransferOptions.Limits
    private let dallying: DallyingUploads
    /// By the client's address and port.
    private var sessions: [SocketAddress: Session] = [:]
    private var lastNumber: UInt64 = 0
    /// The sockets of all transfers, and the numbers of those that are over, in the order in which they ended: they
    /// stand in nobody's way, and the oldest make room.
    private var channels: [UInt64: any Channel] = [:]
    private var ended: [UInt64] = []

    /// Transfers at a time, in all and for one address.
    static let sessionLimit = 256
    static let sessionLimitPerAddress = 16
    /// Sockets of transfers that are over at a time.
    static let endedLimit = 256

    init(
        root: Root, registry: Registry, dallying: DallyingUploads, group: any EventLoopGroup,
        limits: TransferOptions.Limits
    ) {
        (self.root, self.registry, self.dallying, self.group, self.limits) = (root, registry, dallying, group, limits)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = unwrapInboundIn(data)
        guard let host = envelope.remoteAddress.ipAddress else { return }
        let packet: Packet
        do {
            packet = try Packet(parsing: envelope.data.readableBytesUInt8Span)
        } catch {
            return refuse(.illegalOperation, "not a request", envelope.remoteAddress, context)
        }
        switch packet {
        case .readRequest(let request): admit(request, isWrite: false, host: host, envelope, context)
        case .writeRequest(let request): admit(request, isWrite: true, host: host, envelope, context)
        // An answer to an ERROR could go on for ever.
        case .error: return
        default: refuse(.unknownTransferID, "no such transfer", envelope.remoteAddress, context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // One bad packet, or ICMP for an earlier answer; the port stays open.
    }

    func channelInactive(context: ChannelHandlerContext) {
        for channel in channels.values { channel.close(promise: nil) }
        channels = [:]
        sessions = [:]
    }

    private func refuse(
        _ code: ErrorCode, _ message: String, _ address: SocketAddress, _ context: ChannelHandlerContext
    ) {
        let packet = ByteBuffer(bytes: Packet.error(code, message: message).encoded)
        context.writeAndFlush(
            wrapOutboundOut(AddressedEnvelope(remoteAddress: address, data: packet)), promise: nil)
    }

    private func admit(
        _ request: Packet.Request, isWrite: Bool, host: String, _ envelope: AddressedEnvelope<ByteBuffer>,
        _ context: ChannelHandlerContext
    ) {
        let client = envelope.remoteAddress
        if let session = sessions[client] {
            if session.path == request.path, session.isWrite == isWrite {
                return repeated(request, of: session, isWrite: isWrite, host: host, envelope, context)
            }
            // Its socket stays open for a while: what the client still sends there must not bring an ICMP.
            if let handler = session.handler { handler.eventLoop.execute { handler.value.abandon() } }
            sessions[client] = nil
        }
        guard request.mode == "octet" else {
            registry.refused(path: request.path, address: host, reason: "mode is not octet")
            return refuse(.undefined, "only octet mode is served", client, context)
        }
        let admission = registry.admit(path: request.path, address: host, writing: isWrite)
        switch admission {
        case .refused(let reason):
            registry.refused(path: request.path, address: host, reason: reason)
            return isWrite
                ? refuse(.accessViolation, "not allowed", client, context)
                : refuse(.fileNotFound, "file not found", client, context)
        case .read, .write:
            let mine = sessions.keys.count { $0.ipAddress == host }
            guard sessions.count < Self.sessionLimit, mine < Self.sessionLimitPerAddress else {
                registry.refused(path: request.path, address: host, reason: "too many transfers at a time")
                return refuse(.undefined, "too many transfers", client, context)
            }
            lastNumber += 1
            let session = Session(number: lastNumber, path: request.path, isWrite: isWrite)
            sessions[client] = session
            begin(session, admission, request, host: host, envelope, context)
        }
    }

    /// Opens an admitted transfer; what its client has given up ends before, and what that taught counts already.
    private func begin(
        _ session: Session, _ admission: Registry.Admission, _ request: Packet.Request, host: String,
        _ envelope: AddressedEnvelope<ByteBuffer>, _ context: ChannelHandlerContext
    ) {
        let client = envelope.remoteAddress
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let open: @Sendable () -> Void = {
            let (this, context) = bound.value
            guard this.sessions[client]?.number == session.number, context.channel.isActive else { return }
            guard let opening = this.opening(for: admission, request, host: host, client, context) else {
                this.sessions[client] = nil
                return
            }
            this.open(
                opening, session: session, client: client, asked: envelope.metadata?.packetInfo?.destinationAddress,
                context)
        }
        let others = session.isWrite ? [] : reads(of: host, otherThan: client)
        if others.isEmpty { return open() }
        let ended = others.map { other in other.eventLoop.submit { other.value.restarted(at: .now) } }
        EventLoopFuture.andAllComplete(ended, on: context.eventLoop).whenComplete { _ in open() }
    }

    /// The reads of an address from other ports than this.
    private func reads(of host: String, otherThan client: SocketAddress) -> [NIOLoopBound<SessionHandler>] {
        sessions.compactMap { other, session in
            session.isWrite || other == client || other.ipAddress != host ? nil : session.handler
        }
    }

    /// The client did not get the answer; or it has the whole file, which we do not know yet, and asks for it once more.
    private func repeated(
        _ request: Packet.Request, of session: Session, isWrite: Bool, host: String,
        _ envelope: AddressedEnvelope<ByteBuffer>, _ context: ChannelHandlerContext
    ) {
        guard let handler = session.handler else { return }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let listenLoop = context.eventLoop
        handler.eventLoop.execute {
            handler.value.requestRepeated {
                listenLoop.execute {
                    let (this, context) = bound.value
                    this.end(session.number, client: envelope.remoteAddress)
                    guard context.channel.isActive else { return }
                    this.admit(request, isWrite: isWrite, host: host, envelope, context)
                }
            }
        }
    }

    /// A transfer is over; its socket closes itself.
    private func end(_ number: UInt64, client: SocketAddress) {
        // A newer transfer of the same client may have its place.
        if sessions[client]?.number == number { sessions[client] = nil }
        guard channels[number] != nil, !ended.contains(number) else { return }
        ended.append(number)
        if ended.count > Self.endedLimit { channels[ended.removeFirst()]?.close(promise: nil) }
    }

    private func closed(_ number: UInt64, client: SocketAddress) {
        if sessions[client]?.number == number { sessions[client] = nil }
        channels[number] = nil
        ended.removeAll { $0 == number }
    }

    private func opening(
        for admission: Registry.Admission, _ request: Packet.Request, host: String, _ client: SocketAddress,
        _ context: ChannelHandlerContext
    ) -> Opening? {
        switch admission {
        case .refused: nil
        case .read(let grant): reading(request, grant, host: host, client, context)
        case .write(let folder, let name):
            writing(request, folder: folder, name: name, host: host, client, context)
        }
    }

    private func reading(
        _ request: Packet.Request, _ grant: Grant, host: String, _ client: SocketAddress,
        _ context: ChannelHandlerContext
    ) -> Opening? {
        let file: ServedFile
        do {
            file = try root.open(grant)
        } catch {
            registry.refused(path: request.path, address: host, reason: error.reason)
            refuse(.fileNotFound, "file not found", client, context)
            return nil
        }
        var limits = limits
        limits.windowSize = min(limits.windowSize, registry.window(folder: grant.folder, bytes: file.size))
        let options = TransferOptions(answering: request.options, size: file.size, limits: limits)
        return Opening(longestPacket: 512) { [registry] in
            ReadHandler(file: file, name: grant.name, address: host, options: options) {
                registry.learn(folder: grant.folder, from: $0, granted: $1, isComplete: $2)
            } report: {
                registry.report($0, folder: grant.folder)
            }
        }
    }

    private func writing(
        _ request: Packet.Request, folder: String, name: String, host: String, _ client: SocketAddress,
        _ context: ChannelHandlerContext
    ) -> Opening? {
        if let size = TransferOptions.announcedSize(request.options), size > UInt64(ServedFolder.longestUpload) {
            registry.refused(path: request.path, address: host, reason: "an upload of \(size) bytes")
            refuse(.diskFull, "at most \(ServedFolder.longestUpload) bytes are taken", client, context)
            return nil
        }
        let options = TransferOptions(answering: request.options, size: nil, limits: limits)
        let path = request.path
        return Opening(longestPacket: options.blockSize + Packet.dataHeaderSize) { [registry, dallying] in
            WriteHandler(options: options, dallying: dallying) {
                registry.take(upload: $0, name: name, folder: folder)
            } failed: {
                registry.refused(path: path, address: host, reason: "the upload failed: \($0)")
            }
        }
    }

    /// Opens the transfer's socket on the address that the client asked, so that the answer comes from there.
    private func open(
        _ opening: Opening, session: Session, client: SocketAddress,
        asked: SocketAddress?, _ context: ChannelHandlerContext
    ) {
        let local = asked?.ipAddress ?? context.channel.localAddress?.ipAddress ?? "0.0.0.0"
        let number = session.number
        let loop = group.next()
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let listenLoop = context.eventLoop
        let opened = DatagramBootstrap(group: loop)
            // One packet at a time: a second read would mostly find none.
            .channelOption(.maxMessagesPerRead, value: 1)
            // A byte more than agreed, or what is too long would look right.
            .channelOption(
                .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: opening.longestPacket + 1)
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(opening.make()) }
            }
            .bind(host: local, port: 0)
            .flatMap { channel in channel.connect(to: client).map { channel } }
            .flatMapThrowing { channel -> (any Channel, NIOLoopBound<SessionHandler>) in
                let handler = try channel.pipeline.syncOperations.handler(type: SessionHandler.self)
                handler.onEnd = { listenLoop.execute { bound.value.end(number, client: client) } }
                return (channel, NIOLoopBound(handler, eventLoop: channel.eventLoop))
            }
        opened.hop(to: listenLoop).whenComplete { result in
            let this = bound.value
            switch result {
            case .failure: if this.sessions[client]?.number == number { this.sessions[client] = nil }
            case .success(let (channel, handler)):
                guard this.sessions[client]?.number == number else { return channel.close(promise: nil) }
                this.channels[number] = channel
                this.sessions[client]?.handler = handler
                channel.closeFuture.hop(to: listenLoop).whenComplete { _ in
                    bound.value.closed(number, client: client)
                }
                handler.eventLoop.execute { handler.value.begin() }
            }
        }
    }
}
