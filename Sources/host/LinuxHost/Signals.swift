import Dispatch
import Glibc
import Synchronization

/// Turns SIGINT, SIGTERM and SIGHUP into a cancellation, so that everything is cleaned up on the way out.
package enum Interruption {
    private static let hangup = Mutex<(@Sendable () -> Void)?>(nil)
    /// What a signal does, called with its name.
    private static let ending = Mutex<(@Sendable (String) -> Void)?>(nil)

    /// From here on the end of standard input cancels, as SIGTERM does. What comes in is thrown away.
    package static func whenStandardInputEnds() {
        // A queue of its own has a thread of its own, which may wait.
        DispatchQueue(label: "standard input").async {
            var buffer = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = unsafe read(STDIN_FILENO, &buffer, buffer.count)
                if count > 0 || count < 0 && errno == EINTR { continue }
                // Another process that has it too may have made it non-blocking.
                if count < 0, errno == EAGAIN {
                    var input = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
                    _ = unsafe poll(&input, 1, -1)
                    continue
                }
                break
            }
            ending.withLock { $0 }?("end of standard input")
        }
    }

    /// Until ``Hangup/cancel()``, SIGHUP calls this instead of cancelling: services take it for 'reload'.
    package static func onHangup(_ action: @escaping @Sendable () -> Void) -> Hangup {
        hangup.withLock { $0 = action }
        return Hangup()
    }

    /// A meaning of SIGHUP other than the end.
    package struct Hangup: Sendable {
        /// SIGHUP cancels again.
        package func cancel() { hangup.withLock { $0 = nil } }
    }

    /// Runs `body` in a task that these signals cancel. A signal that was ignored when the process started (nohup)
    /// stays ignored.
    ///
    /// - Parameter signalled: called at a signal, with its name.
    package static func withCancellation<Value: Sendable>(
        signalled: @escaping @Sendable (String) -> Void, _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let task = Task { try await body() }
        ending.withLock { ending in
            ending = { name in
                signalled(name)
                task.cancel()
            }
        }
        var sources: [any DispatchSourceSignal] = []
        for (number, name) in [(SIGINT, "SIGINT"), (SIGTERM, "SIGTERM"), (SIGHUP, "SIGHUP")] {
            var old = sigaction()
            unsafe sigaction(number, nil, &old)
            // Function pointers have no ==; SIG_IGN is the address 1.
            if unsafe unsafeBitCast(old.__sigaction_handler.sa_handler, to: Int.self) == 1 { continue }
            // The source gets it instead of the default action. Child processes get the default back.
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                if number == SIGHUP, let action = hangup.withLock({ $0 }) { return action() }
                ending.withLock { $0 }?(name)
            }
            source.resume()
            sources.append(source)
        }
        defer { for source in sources { source.cancel() } }
        return try await task.value
    }
}
