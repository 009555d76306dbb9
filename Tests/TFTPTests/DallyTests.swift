import Foundation
import TFTP
import TFTPServer
import Testing

/// The end of a transfer: U-Boot takes an ICMP 'port unreachable' for a late or doubled packet for a failure of a load
/// that it has already.
@Suite(.timeLimit(.minutes(60))) struct DallyTests {
    private static let mac = TemporaryRoot.mac

    private func serve(_ root: borrowing TemporaryRoot, _ files: Set<String>) async throws
        -> (TFTPServer, AsyncStream<TimedTransferEvent>)
    {
        let server = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: 0)
        return (server, server.add(ServedFolder(folder: Self.mac, files: files, address: "127.0.0.1")))
    }

    /// Uploads one block; the client has the last ACK.
    private func upload(_ name: String, to server: TFTPServer) throws -> UDPClient {
        let client = try UDPClient(port: server.port)
        client.send(.writeRequest(Packet.Request(path: "\(Self.mac)/\(name)")))
        #expect(client.receive() == .acknowledgement(block: 0))
        client.send(.data(block: 1, payload: [1]))
        #expect(client.receive() == .acknowledgement(block: 1))
        return client
    }

    @Test func `a late ack of a finished read brings no icmp`() async throws {
        let root = try TemporaryRoot()
        try root.write("file", [1, 2, 3])
        let (server, _) = try await serve(root, ["file"])
        let client = try UDPClient(port: server.port)
        #expect(client.fetch("\(Self.mac)/file") == [1, 2, 3])
        client.connect(to: client.peer)
        for _ in 0..<10 {
            client.send(.acknowledgement(block: 1))
            #expect(client.receive(within: 50) == nil)
            #expect(!client.isRefused)
        }
        // The test can fail: this is what a closed port looks like.
        await server.stop()
        client.send(.acknowledgement(block: 1))
        #expect(client.receive(within: 500) == nil)
        client.send(.acknowledgement(block: 1))
        #expect(client.isRefused)
    }

    @Test func `a finished read does not stand in the way of the next from the same port`() async throws {
        let root = try TemporaryRoot()
        try root.write("file", pattern(1000))
        try root.write("other", pattern(300))
        let (server, events) = try await serve(root, ["file", "other"])
        let client = try UDPClient(port: server.port)
        // More than the sessions that an address may have at a time; each dallies for 2 s.
        for round in 0..<40 {
            client.aim(at: server.port)
            let (name, size) = round % 3 == 0 ? ("other", 300) : ("file", 1000)
            #expect(client.fetch("\(Self.mac)/\(name)") == pattern(size), "round \(round)")
        }
        await server.stop()
        var refused = 0
        for await event in events.map(\.event) { if case .refused = event { refused += 1 } }
        #expect(refused == 0)
    }

    @Test func `a client that asks for something else in between gets it, and no icmp for what it left`() async throws {
        let root = try TemporaryRoot()
        try root.write("file", pattern(5000))
        try root.write("other", [7])
        let (server, events) = try await serve(root, ["file", "other"])
        let client = try UDPClient(port: server.port)
        client.send(.readRequest(Packet.Request(path: "\(Self.mac)/file")))
        #expect(client.receive() == .data(block: 1, payload: Array(pattern(5000)[..<512])))
        let left = client.peer
        client.aim(at: server.port)
        #expect(client.fetch("\(Self.mac)/other") == [7])
        client.connect(to: left)
        client.send(.acknowledgement(block: 1))
        // A repeat from before it was left may still come.
        while client.receive(within: 100) != nil {}
        #expect(!client.isRefused)
        await server.stop()
        var interrupted: [TransferEvent] = []
        for await event in events.map(\.event) { if case .interrupted = event { interrupted.append(event) } }
        #expect(interrupted == [.interrupted(file: "file", reason: "the client asked for something else")])
    }

    @Test func `stopping waits for the client of an upload that may have missed the last ack`() async throws {
        let root = try TemporaryRoot()
        let (server, _) = try await serve(root, [])
        let client = try upload("OK", to: server)
        client.connect(to: client.peer)
        async let stopped: Void = server.stop()
        for _ in 0..<3 {
            // The ACKs that come unasked.
            while client.receive(within: 250) != nil {}
            client.send(.data(block: 1, payload: [1]))
            #expect(client.receive() == .acknowledgement(block: 1))
        }
        await stopped
    }

    @Test func `stopping does not wait for a client that has gone, nor for none`() async throws {
        let root = try TemporaryRoot()
        try root.write("file", [1])
        for isUpload in [false, true] {
            // The fastest of some: the other tests keep the machine busy. Waiting would take a second at least.
            var fastest = Duration.seconds(60)
            for _ in 0..<60 where fastest >= .seconds(1) {
                let (server, _) = try await serve(root, ["file"])
                if isUpload {
                    // Its port is closed: the ACK that is sent once more brings an ICMP.
                    _ = try upload("OK", to: server)
                } else {
                    #expect(try UDPClient(port: server.port).fetch("\(Self.mac)/file") == [1])
                }
                fastest = min(fastest, await ContinuousClock().measure { await server.stop() })
            }
            #expect(fastest < .seconds(1), "\(isUpload)")
        }
    }
}
