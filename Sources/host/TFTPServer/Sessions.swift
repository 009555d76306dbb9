import Glibc
import NIOCore
import Synchronization
import TFTP

/// Uploads that are complete, but whose clients may have missed the last ACK and repeat themselves: when each was heard
/// last.
final class DallyingUploads: Sendable {
    private let heard = Mutex<[ObjectIdentifier: MonotonicInstant]>([:])

    fileprivate func note(_ handler: WriteHandler, at now: MonotonicInstant) {
        heard.withLock { $0[ObjectIdentifier(handler)] = now }
    }
    fileprivate func forget(_ handler: WriteHandler) {
        heard.withLock { $0[ObjectIdentifier(handler)] = nil }
    }

    /// When the last of them was heard; nil where there is none.
    var latest: MonotonicInstant? { heard.withLock { $0.values.max() } }
}

/// A transfer on its own socket, which is connected to the client: the kernel drops what others send there.
class SessionHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = ByteBuffer

    fileprivate var context: ChannelHandlerContext?
    private var scheduled: (instant: MonotonicInstant, task: Scheduled<Void>)?
    private var closing: Scheduled<Void>?
    /// Called when the transfer is over, before its socket closes.
    var onEnd: () -> Void = {}

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        scheduled?.task.cancel()
        closing?.cancel()
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = unwrapInboundIn(data).data
        // Not a packet: not an answer either. The timer decides.
        guard let packet = try? Packet(parsing: buffer.readableBytesUInt8Span) else { return }
        receive(packet, at: .now)
        arm()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? IOError, error.errnoCode == ECONNREFUSED else {
            context.close(promise: nil)
            return
        }
        // ICMP 'port unreachable' for a connected socket. The kernel tells it before it hands out what came earlier: the
        // last ACK of a client that has everything may be in there, and is read first.
        _ = context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(10)) {
            self.gone()
            self.context?.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) { gone() }

    fileprivate func send(_ packet: Packet) {
        guard let context else { return }
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: packet.encoded)), promise: nil)
    }

    /// Ends the transfer, but keeps its socket for a while: a client whose last ACK was doubled sends it once more, and
    /// U-Boot takes the kernel's 'port unreachable' for a dead server although it has everything (net/tftp.c of 2023.01).
    fileprivate func dally() {
        scheduled?.task.cancel()
        scheduled = nil
        onEnd()
        guard let context, closing == nil else { return }
        closing = context.eventLoop.assumeIsolated().scheduleTask(in: .seconds(2)) {
            self.context?.close(promise: nil)
        }
    }

    /// Sees to it that ``expire(at:)`` is called when the machine's deadline has come.
    fileprivate func arm() {
        guard let context, let deadline else { return }
        if let scheduled {
            // A timer that fires early finds nothing due and is armed again: cheaper than one for every packet.
            if scheduled.instant <= deadline { return }
            scheduled.task.cancel()
        }
        let task = context.eventLoop.assumeIsolated().scheduleTask(
            deadline: .uptimeNanoseconds(UInt64(max(0, deadline.nanoseconds)))
        ) {
            self.scheduled = nil
            self.expire(at: .now)
            self.arm()
        }
        scheduled = (deadline, task)
    }

    // What the two kinds of transfer do; a class hierarchy because a channel handler is one.
    fileprivate var deadline: MonotonicInstant? { nil }
    func begin() {}
    /// The client sent its request again. Where the transfer is over, or as soon as it is, the request is a new one:
    /// `again` is called.
    func requestRepeated(orElse again: @escaping () -> Void) { again() }
    /// The client asked for something else.
    func abandon() {}
    /// The client asked for something from another port.
    func restarted(at now: MonotonicInstant) {}
    fileprivate func receive(_ packet: Packet, at now: MonotonicInstant) {}
    fileprivate func expire(at now: MonotonicInstant) {}
    fileprivate func gone() {}
}

/// Sends a file.
final class ReadHandler: SessionHandler {
    private var sender: Sender
    private let file: ServedFile
    private let name: String
    private let report: (TransferEvent) -> Void
    private let learn: (Sender.Counters, Int, Bool) -> Void
    private let address: String
    private var lastProgress = MonotonicInstant(nanoseconds: 0)
    private var isOver = false
    private var isAllSent = false
    /// Called when the client has the whole file: it has asked for it once more.
    private var again: (() -> Void)?
    /// The kernel cuts what is written into packets.
    private var isSegmented = false

    /// How often progress is reported at most.
    private static let progressInterval = Duration.milliseconds(200)

    init(
        file: ServedFile, name: String, address: String, options: TransferOptions,
        learn: @escaping (_ counters: Sender.Counters, _ granted: Int, _ isComplete: Bool) -> Void,
        report: @escaping (TransferEvent) -> Void
    ) {
        (self.learn, self.file, self.name, self.address, self.report) = (learn, file, name, address, report)
        sender = Sender(size: file.size, options: options)
    }

    fileprivate override var deadline: MonotonicInstant? { sender.deadline }

    override func begin() {
        segment()
        report(.opened(file: name, size: file.size, address: address))
        perform(sender.start(at: .now))
        arm()
    }

    override func requestRepeated(orElse again: @escaping () -> Void) {
        guard !isOver else { return again() }
        // The last ACK is on another socket than the request and may be read after it.
        if isAllSent, sender.acknowledged > 0 { self.again = again }
        perform(sender.requestRepeated(at: .now))
        arm()
    }

    override func abandon() { finish(.abandoned) }

    /// Silence behind which a transfer counts as given up when its client begins another. Less than U-Boot's shortest
    /// timeout of a second, and far more than a client is silent that has several transfers at a time.
    private static let givenUp = Duration.milliseconds(500)

    override func restarted(at now: MonotonicInstant) {
        // Else its window would be sent again for half a minute, and take the room of the new transfer's packets.
        if sender.silence(at: now) >= Self.givenUp { finish(.restarted) }
    }

    fileprivate override func expire(at now: MonotonicInstant) { perform(sender.expire(at: now)) }

    fileprivate override func receive(_ packet: Packet, at now: MonotonicInstant) {
        switch packet {
        case .acknowledgement(let block):
            perform(sender.receive(acknowledgement: block, at: now))
            if !isOver, lastProgress + Self.progressInterval <= now {
                lastProgress = now
                report(.progress(file: name, bytes: sender.acknowledgedBytes))
            }
        case .error(let code, let message): perform(sender.receive(error: code, message: message))
        default: perform(sender.receiveMisplaced())
        }
    }

    fileprivate override func gone() { finish(.gone) }

    private func perform(_ actions: [Sender.Action]) {
        for action in actions {
            switch action {
            case .sendOptions(let options): send(.optionAcknowledgement(options))
            case .sendBlocks(let blocks): send(blocks)
            case .finish: finish(nil)
            case .fail(let failure): finish(failure)
            }
        }
    }

    private func finish(_ failure: TransferFailure?) {
        guard !isOver else { return }
        isOver = true
        if sender.options.windowSize > 1 {
            switch failure {
            case nil: learn(sender.counters, sender.options.windowSize, true)
            case .silence, .restarted: learn(sender.counters, sender.options.windowSize, false)
            // What a client does on purpose says nothing about the network.
            default: break
            }
        }
        if let failure {
            report(.interrupted(file: name, reason: failure.description))
        } else {
            report(
                .completed(
                    file: name, bytes: file.size, packets: sender.counters.sent, repeated: sender.counters.repeated,
                    window: sender.options.windowSize))
        }
        dally()
        if failure == nil { again?() }
        again = nil
    }

    /// Sends the blocks: a whole window with one system call where the kernel cuts it into packets itself, else with
    /// sendmmsg.
    private func send(_ blocks: ClosedRange<UInt64>) {
        guard let context, !isOver else { return }
        guard var packets = read(blocks, context.channel.allocator) else {
            send(.error(.undefined, message: "file cannot be read"))
            return finish(.unreadable)
        }
        if isSegmented, blocks.count > 1 {
            let most = packetSize * min(Self.mostSegments, Self.longestDatagram / packetSize)
            while let piece = packets.readSlice(length: min(most, packets.readableBytes)), piece.readableBytes > 0 {
                let written = context.eventLoop.makePromise(of: Void.self)
                written.futureResult.assumeIsolated().whenFailure { self.segmentationFailed($0, blocks) }
                context.write(wrapOutboundOut(piece), promise: written)
            }
        } else {
            while let packet = packets.readSlice(length: min(packetSize, packets.readableBytes)),
                packet.readableBytes > 0
            {
                context.write(wrapOutboundOut(packet), promise: nil)
            }
        }
        context.flush()
        if blocks.upperBound == sender.lastBlock, !isAllSent {
            isAllSent = true
            report(.sent(file: name))
        }
    }

    private var packetSize: Int { sender.options.blockSize + Packet.dataHeaderSize }

    /// Reads the blocks with one call straight into their packets' places, one packet behind the other; nil where the
    /// file does not have them any more.
    private func read(_ blocks: ClosedRange<UInt64>, _ allocator: ByteBufferAllocator) -> ByteBuffer? {
        let header = Packet.dataHeaderSize
        let start = sender.range(of: blocks.lowerBound).lowerBound
        let total = Int(sender.range(of: blocks.upperBound).upperBound - start) + blocks.count * header
        var buffer = allocator.buffer(capacity: total)
        var isRead = true
        unsafe buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: total) { memory in
            var places: [iovec] = unsafe []
            unsafe places.reserveCapacity(blocks.count)
            var offset = 0
            for block in blocks {
                // The same as Packet.dataHeader(block:), without an array for each packet.
                unsafe memory.storeBytes(of: UInt16(3).bigEndian, toByteOffset: offset, as: UInt16.self)
                unsafe memory.storeBytes(
                    of: UInt16(truncatingIfNeeded: block).bigEndian, toByteOffset: offset + 2, as: UInt16.self)
                let length = min(sender.options.blockSize, total - offset - header)
                unsafe places.append(
                    iovec(iov_base: memory.baseAddress.map { unsafe $0 + offset + header }, iov_len: length))
                offset += header + length
            }
            isRead = unsafe file.read(into: &places, at: start)
            return total
        }
        return isRead ? buffer : nil
    }

    /// What UDP_SEGMENT takes at once: packets, and bytes. Source: udp(7), UDP_MAX_SEGMENTS in linux/udp.h.
    private static let (mostSegments, longestDatagram) = (64, 65507)
    /// A packet must fit the Ethernet to be cut by the kernel: 1500 bytes less the headers of IP and UDP. And an OACK must
    /// fit a packet, as it would be cut too.
    private static let segmentSizes = Packet.longestRequest...1472

    /// Lets the kernel cut a large write into packets, which saves most of the work of sending a window.
    private func segment() {
        guard let context, sender.options.windowSize > 1, Self.segmentSizes.contains(packetSize),
            System.supportsUDPSegmentationOffload
        else { return }
        isSegmented =
            (try? context.channel.syncOptions?.setOption(.datagramSegmentSize, value: CInt(packetSize))) != nil
    }

    /// A network that cannot do it (a small MTU, a card that computes no checksums) says so only when something is sent.
    private func segmentationFailed(_ error: any Error, _ blocks: ClosedRange<UInt64>) {
        guard let context, isSegmented, !isOver, let error = error as? IOError,
            [EINVAL, EMSGSIZE, EIO, EOPNOTSUPP].contains(error.errnoCode)
        else { return }
        isSegmented = false
        try? context.channel.syncOptions?.setOption(.datagramSegmentSize, value: 0)
        send(blocks)
    }
}

/// Takes a file.
final class WriteHandler: SessionHandler {
    private var receiver: Receiver
    private let take: ([UInt8]) -> Bool
    private let failed: (TransferFailure) -> Void
    private let dallying: DallyingUploads
    private var isOver = false
    private var isTaken = false

    init(
        options: TransferOptions, dallying: DallyingUploads, take: @escaping ([UInt8]) -> Bool,
        failed: @escaping (TransferFailure) -> Void
    ) {
        self.dallying = dallying
        receiver = Receiver(limit: ServedFolder.longestUpload, options: options)
        self.take = take
        self.failed = failed
    }

    fileprivate override var deadline: MonotonicInstant? { receiver.deadline }

    override func begin() {
        perform(receiver.start(at: .now))
        arm()
    }

    override func requestRepeated(orElse again: @escaping () -> Void) {
        guard !isOver, !isTaken else { return again() }
        perform(receiver.requestRepeated(at: .now))
        arm()
    }

    override func abandon() {
        // What is complete goes on to answer a client that missed the last ACK.
        if !isTaken { close() }
    }

    fileprivate override func expire(at now: MonotonicInstant) { perform(receiver.expire(at: now)) }

    fileprivate override func receive(_ packet: Packet, at now: MonotonicInstant) {
        if isTaken, !isOver { dallying.note(self, at: now) }
        switch packet {
        case .data(let block, let payload): perform(receiver.receive(block: block, payload: payload, at: now))
        case .error(let code, let message): perform(receiver.receive(error: code, message: message))
        default: perform(receiver.receiveMisplaced())
        }
    }

    fileprivate override func gone() {
        isOver = true
        dallying.forget(self)
    }

    private func perform(_ actions: [Receiver.Action]) {
        for action in actions where !isOver {
            switch action {
            case .sendOptions(let options): send(.optionAcknowledgement(options))
            case .sendAcknowledgement(let block): send(.acknowledgement(block: block))
            case .sendError(let code, let message): send(.error(code, message: message))
            case .finish:
                if take(receiver.content) {
                    isTaken = true
                    dallying.note(self, at: .now)
                    onEnd()
                } else {
                    send(.error(.fileExists, message: "another content came before"))
                    close()
                }
            case .fail(let failure):
                failed(failure)
                close()
            case .close: close()
            }
        }
    }

    private func close() {
        isOver = true
        dallying.forget(self)
        dally()
    }
}
