import FlashEvents
import Inventory
import Synchronization
import SystemPackage
import Testing

@testable import Flashing

/// Who serves: the service, else this process, else the server that has the port.
@Suite struct ServerChoiceTests {
    private struct Own: OwnServer {
        var address: String
        let stopped: StopCount
        func serve(_ files: JobFiles, to target: Target) throws -> any TransferEvents { throw Trouble("not served") }
        func stop() async { stopped.count.withLock { $0 += 1 } }
    }

    private final class StopCount: Sendable { let count = Mutex(0) }

    private struct Other: ForeignServer {
        var address: String { "192.0.2.9:69" }
        func read(_ path: String) async -> ProbeAnswer { .silence }
        func write(_ path: String, content: [UInt8]) async -> ProbeAnswer { .silence }
        func watch(_ folder: FilePath) throws -> any TransferEvents { throw Trouble("not watched") }
    }

    private let stopped = StopCount()

    private func own(_ address: String) -> Own { Own(address: address, stopped: stopped) }

    private func address(_ choice: ServerChoice) async throws -> String {
        let row = "mac,ip,server,gpio\nb8:27:eb:00:00:01,192.0.2.1,bench1,17\n"
        let target = try Inventory(csv: row.utf8, file: "targets.csv").targets[0]
        switch try await choice.claim(root: "/srv/tftp", target: target) {
        case .own(let server): return "own \(server.address)"
        case .foreign(let server): return "foreign \(server.address)"
        }
    }

    @Test func `the service comes first, and nothing else is tried`() async throws {
        let choice = ServerChoice(
            service: { [self] in .init(root: "/srv/tftp", servesRoot: true, server: own("service")) },
            bind: { throw Trouble("bound") }, other: { nil })
        #expect(try await address(choice) == "own service")
        #expect(stopped.count.withLock { $0 } == 0)
    }

    @Test func `a service that serves another folder is refused and let go, with the remedy`() async throws {
        let choice = ServerChoice(
            service: { [self] in .init(root: "/srv/x", servesRoot: false, server: own("service")) },
            bind: { throw Trouble("bound") }, other: { nil })
        let text = "the rpiflash service serves /srv/x, not /srv/tftp; give --tftp-root /srv/x"
        await #expect(throws: FlashError.server(text)) { try await address(choice) }
        #expect(stopped.count.withLock { $0 } == 1)
    }

    @Test func `without a service this process serves, else the server that has the port`() async throws {
        let free = ServerChoice(service: { nil }, bind: { [self] in own("127.0.0.1:69") }, other: { Other() })
        #expect(try await address(free) == "own 127.0.0.1:69")
        let taken = ServerChoice(service: { nil }, bind: { nil }, other: { Other() })
        #expect(try await address(taken) == "foreign 192.0.2.9:69")
        let lost = ServerChoice(service: { nil }, bind: { nil }, other: { nil })
        await #expect(throws: FlashError.server("no route leads from this host to 192.0.2.1")) {
            try await address(lost)
        }
    }

    @Test func `where an address was given the service is not asked`() async throws {
        let choice = ServerChoice(service: nil, bind: { [self] in own("127.0.0.1:6969") }, other: { nil })
        #expect(try await address(choice) == "own 127.0.0.1:6969")
    }

    @Test func `what a port throws ends the choice`() async throws {
        let broken = ServerChoice(service: { throw Trouble("odd greeting") }, bind: { nil }, other: { Other() })
        await #expect(throws: Trouble.self) { try await address(broken) }
        let refused = ServerChoice(service: nil, bind: { throw Trouble("may not bind") }, other: { Other() })
        await #expect(throws: Trouble.self) { try await address(refused) }
    }
}
