import Foundation
import TFTP
import TFTPServer
import Testing

/// What a client may do that means no good, with real sockets.
@Suite(.timeLimit(.minutes(60))) struct HostileClientTests {
    private static let mac = TemporaryRoot.mac
    private static let path = "\(TemporaryRoot.mac)/file"
    private let root: TemporaryRootBox

    init() throws { root = try TemporaryRootBox() }

    private func serve(size: Int, addresses: [String] = ["127.0.0.1"]) async throws -> (
        TFTPServer, AsyncStream<TimedTransferEvent>
    ) {
        try root.value.write("file", pattern(size))
        let server = try await TFTPServer.start(root: root.value.path, host: "127.0.0.1", port: 0)
        return (server, server.add(ServedFolder(folder: Self.mac, files: ["file"], address: "127.0.0.1")))
    }

    private func request(_ options: [(String, String)] = []) -> Packet {
        .readRequest(
            Packet.Request(path: Self.path, options: options.map { Packet.Option(name: $0.0, value: $0.1) }))
    }

    private func collect(
        _ events: AsyncStream<TimedTransferEvent>, _ isWanted: (TransferEvent) -> Bool
    ) async -> [TransferEvent] {
        var wanted: [TransferEvent] = []
        for await event in events.map(\.event) where isWanted(event) { wanted.append(event) }
        return wanted
    }

    @Test(arguments: [[], [("blksize", "1468"), ("windowsize", "64")]])
    func `who never answers is sent the first packet four times, not a file`(options: [(String, String)]) async throws {
        let (server, _) = try await serve(size: 1 << 20)
        let client = try UDPClient(port: server.port)
        client.send(request(options))
        var packets: [Packet] = []
        while let packet = client.receive(within: 2500) { packets.append(packet) }
        #expect((2...4).contains(packets.count), "\(packets.count)")
        #expect(Set(packets).count == 1)
        await server.stop()
    }

    /// U-Boot that has given a file up asks for it again from another port; the window sent again to the old one would take
    /// the room of the new transfer's packets.
    @Test func `a transfer ends when its client has been silent and begins another`() async throws {
        let (server, events) = try await serve(size: 1 << 20)
        let options = [("blksize", "1468"), ("windowsize", "64")]
        func begin() throws -> (client: UDPClient, window: String?) {
            let client = try UDPClient(port: server.port)
            client.send(request(options))
            guard case .optionAcknowledgement(let answer)? = client.receive() else { throw Failure() }
            return (client, answer.first { $0.name == "windowsize" }?.value)
        }
        let old = try begin()
        old.client.send(.acknowledgement(block: 0))
        // One that is heard goes on beside another.
        let beside = try begin()
        #expect(old.window == "64" && beside.window == "64")
        old.client.send(.acknowledgement(block: 64))
        let start = ContinuousClock.now
        while ContinuousClock.now - start < .milliseconds(700) { _ = old.client.receive(within: 50) }
        // The one beside never answered, the old one no more.
        let new = try begin()
        #expect(new.window == "32")
        await server.stop()
        let reasons = await collect(events) { event in
            if case .interrupted(_, let reason) = event { return reason == "the client gave up and asked again" }
            return false
        }
        #expect(reasons.count == 2)
    }

    @Test func `packets from a stranger do not touch a transfer`() async throws {
        let (server, events) = try await serve(size: 4000)
        let client = try UDPClient(port: server.port)
        let stranger = try UDPClient(port: server.port)
        let other = try UDPClient(port: server.port, host: "127.0.0.3")
        client.send(request())
        var content: [UInt8] = []
        for block in UInt16(1)...8 {
            // On a busy machine the server may have sent the block before once more.
            var packet = client.receive()
            while case .data(block &- 1, _)? = packet { packet = client.receive() }
            guard case .data(block, let payload)? = packet else { throw Failure() }
            content += payload
            for enemy in [stranger, other] {
                enemy.send(.error(.undefined, message: "stop"), to: client.peer)
                enemy.send(.acknowledgement(block: block), to: client.peer)
                enemy.send(.data(block: block, payload: [1]), to: client.peer)
                enemy.send([0xff], to: client.peer)
            }
            if case .data(block + 1, _)? = client.receive(within: 5) { Issue.record("an answer to a stranger's ACK") }
            client.send(.acknowledgement(block: block))
        }
        #expect(content == pattern(4000))
        for await event in events.map(\.event) {
            if case .completed(let file, let bytes, _, _, _) = event {
                #expect(file == "file" && bytes == 4000)
                break
            }
            if case .interrupted = event { Issue.record("\(event)") }
        }
        await server.stop()
    }

    @Test func `a packet of no transfer to the well-known port is answered once, an error never`() async throws {
        let (server, _) = try await serve(size: 10)
        let client = try UDPClient(port: server.port)
        client.send(.acknowledgement(block: 7))
        #expect(client.receive() == .error(.unknownTransferID, message: "no such transfer"))
        for bytes: [UInt8] in [[], [1], [9, 9, 9], [UInt8](repeating: 0xff, count: 2000)] {
            client.aim(at: server.port)
            client.send(bytes)
            #expect(client.receive() == .error(.illegalOperation, message: "not a request"))
        }
        client.aim(at: server.port)
        client.send(.error(.undefined, message: "loop"))
        #expect(client.receive(within: 100) == nil)
        await server.stop()
    }

    @Test func `a flood of old, wrong and doubled acks brings no flood of data`() async throws {
        let (server, _) = try await serve(size: 1 << 20)
        let client = try UDPClient(port: server.port)
        client.send(request([("blksize", "512"), ("windowsize", "16")]))
        guard case .optionAcknowledgement? = client.receive() else { throw Failure() }
        client.send(.acknowledgement(block: 0))
        for block in UInt16(1)...16 {
            guard case .data(block, _)? = client.receive() else { throw Failure() }
        }
        for _ in 0..<100 {
            for number in [UInt16(0), 17, 500, 0x7fff, 0x8000, 0xffff] { client.send(.acknowledgement(block: number)) }
        }
        // What the flood of 600 brings is a window or two, and the repeats of the timer.
        var packets = 0
        while client.receive(within: 150) != nil, packets < 1000 { packets += 1 }
        #expect(packets < 100, "\(packets) packets")
        await server.stop()
    }

    @Test func `block sizes and windows that make no sense are not agreed on, too large ones cut`() async throws {
        let (server, _) = try await serve(size: 200_000)
        for (options, answer): ([(String, String)], [(String, String)]) in [
            ([("blksize", "1"), ("windowsize", "0"), ("tsize", "0")], [("tsize", "200000")]),
            ([("blksize", "7"), ("tsize", "x"), ("timeout", "0"), ("windowsize", "65535")], [("windowsize", "64")]),
            ([("blksize", "65464"), ("windowsize", "65535")], [("blksize", "65464"), ("windowsize", "8")]),
            ([("blksize", "99999999999999999999"), ("windowsize", "2")], [("windowsize", "2")]),
            ([("blksize", "8"), ("windowsize", "65535")], [("blksize", "8"), ("windowsize", "64")]),
        ] {
            let client = try UDPClient(port: server.port)
            client.send(request(options))
            #expect(
                client.receive()
                    == .optionAcknowledgement(answer.map { Packet.Option(name: $0.0, value: $0.1) }), "\(options)")
            client.send(.error(.undefined, message: "enough"))
        }
        // Options that all make no sense: no OACK, the first block.
        let client = try UDPClient(port: server.port)
        client.send(request([("blksize", "1"), ("windowsize", "70000"), ("rollover", "7")]))
        #expect(client.receive() == .data(block: 1, payload: Array(pattern(200_000)[..<512])))
        #expect(
            try UDPClient(port: server.port).fetch(Self.path, options: [Packet.Option(name: "blksize", value: "65464")])
                == pattern(200_000))
        await server.stop()
    }

    @Test func `an address may have 16 transfers at a time, and more when one has ended`() async throws {
        let (server, events) = try await serve(size: 5000)
        var clients: [UDPClient] = []
        for number in 0..<20 {
            let client = try UDPClient(port: server.port)
            client.send(request())
            guard let packet = client.receive() else { throw Failure() }
            if number < 16 {
                #expect(packet == .data(block: 1, payload: Array(pattern(5000)[..<512])), "\(number)")
            } else {
                #expect(packet == .error(.undefined, message: "too many transfers"), "\(number)")
            }
            clients.append(client)
        }
        clients[0].send(.error(.undefined, message: "enough"))
        // The end comes to the listening socket's thread in its own time.
        var next: Packet?
        for _ in 0..<50 {
            let client = try UDPClient(port: server.port)
            client.send(request())
            next = client.receive()
            if case .data? = next { break }
        }
        #expect(next == .data(block: 1, payload: Array(pattern(5000)[..<512])))
        await server.stop()
        let refused = await collect(events) { if case .refused = $0 { true } else { false } }
        #expect(
            refused == [.refused(path: Self.path, address: "127.0.0.1", reason: "too many transfers at a time")],
            "once, however often it is asked")
    }

    @Test func `an upload in large blocks is taken whole, and one byte more than agreed is refused`() async throws {
        let (server, events) = try await serve(size: 1)
        for (name, excess) in [("REPORT", 0), ("FAILED", 1)] {
            let client = try UDPClient(port: server.port)
            client.send(
                .writeRequest(
                    Packet.Request(
                        path: "\(Self.mac)/\(name)", options: [Packet.Option(name: "blksize", value: "8192")])))
            #expect(client.receive() == .optionAcknowledgement([Packet.Option(name: "blksize", value: "8192")]))
            client.send(.data(block: 1, payload: pattern(8192 + excess)))
            if excess > 0 {
                #expect(
                    client.receive()
                        == .error(.illegalOperation, message: "peer sent a block of 8193 bytes; 8192 were agreed"))
                continue
            }
            #expect(client.receive() == .acknowledgement(block: 1))
            client.send(.data(block: 2, payload: [5]))
            #expect(client.receive() == .acknowledgement(block: 2))
        }
        await server.stop()
        let uploads = await collect(events) { if case .uploaded = $0 { true } else { false } }
        #expect(uploads == [.uploaded(name: "REPORT", content: pattern(8192) + [5])])
    }

    @Test func `one target's file is not another's`() async throws {
        let (server, _) = try await serve(size: 10)
        let folder = "02:00:00:00:00:02"
        try FileManager.default.createDirectory(
            atPath: "\(root.value.path)/\(folder)", withIntermediateDirectories: true)
        try Data([9]).write(to: URL(filePath: "\(root.value.path)/\(folder)/file"))
        _ = server.add(ServedFolder(folder: folder, files: ["file"], address: "127.0.0.9"))
        #expect(try UDPClient(port: server.port, host: "127.0.0.9").fetch("\(folder)/file") == [9])
        #expect(try UDPClient(port: server.port).fetch("\(folder)/file") == nil)
        #expect(try UDPClient(port: server.port, host: "127.0.0.9").fetch(Self.path) == nil)
        #expect(try UDPClient(port: server.port).fetch(Self.path) == pattern(10))
        await server.stop()
    }

    private struct Failure: Error {}
}

/// A suite is copied; the folder must not be.
final class TemporaryRootBox: Sendable {
    let value: TemporaryRoot
    init() throws { value = try TemporaryRoot() }
}
