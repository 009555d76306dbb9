import Synchronization
import TFTPServer
import Testing

/// A server that several jobs share.
@Suite(.timeLimit(.minutes(60))) struct SharedServerTests {
    /// What was started and stopped: numbers, in order.
    private final class Record: Sendable {
        private let state = Mutex<(starts: Int, stopped: [Int])>((0, []))
        var starts: Int { state.withLock { $0.starts } }
        var stopped: [Int] { state.withLock { $0.stopped } }
        func start() -> Int {
            state.withLock { state in
                state.starts += 1
                return state.starts
            }
        }
        func stop(_ number: Int) { state.withLock { $0.stopped.append(number) } }
    }

    private static let taken = TFTPServerError.addressInUse("0.0.0.0:69")

    @Test func `all that wait for one start get the same server, which is stopped once`() async throws {
        let record = Record()
        let shared = SharedServer<Int> { record.stop($0) }
        let servers = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    try await shared.server { () async throws(TFTPServerError) in
                        await Task.yield()
                        return record.start()
                    }
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(servers == [Int](repeating: 1, count: 20))
        await shared.close()
        await shared.close()
        #expect(record.stopped == [1])
    }

    /// All wait for a start that fails, and try again at once: those of them that hear of the failure late must not forget
    /// the server that another one has started meanwhile.
    @Test func `a server that was started after a failure is not lost by others that waited for the same failure`()
        async throws
    {
        for _ in 0..<20 {
            let record = Record()
            let shared = SharedServer<Int> { record.stop($0) }
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<16 {
                    group.addTask {
                        for _ in 0..<2 {
                            _ = try? await shared.server { () async throws(TFTPServerError) in
                                let number = record.start()
                                await Task.yield()
                                if number == 1 { throw Self.taken }
                                return number
                            }
                        }
                    }
                }
            }
            await shared.close()
            // Whatever was started, and did not fail, is stopped.
            #expect(record.stopped == Array(2..<record.starts + 1))
            // And nothing was started while a server was there.
            #expect(record.starts == 2)
        }
    }

    @Test func `closing waits for a server that is only being started`() async throws {
        let record = Record()
        let shared = SharedServer<Int> { record.stop($0) }
        let (begun, begin) = AsyncStream.makeStream(of: Void.self)
        let (gate, open) = AsyncStream.makeStream(of: Void.self)
        async let server = shared.server { () async throws(TFTPServerError) in
            begin.finish()
            for await _ in gate {}
            return record.start()
        }
        for await _ in begun {}
        async let closed: Void = shared.close()
        open.finish()
        await closed
        _ = try await server
        #expect(record.stopped == [1])
    }
}
