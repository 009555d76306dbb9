/// A server that several jobs share: started for the first that needs it, there until it is closed.
///
/// Whoever asks while it is being started gets what that brings, the server or the error. After an error the next one
/// that asks starts it anew: another program that had the port may be gone by then.
package actor SharedServer<Server: Sendable> {
    private let stop: @Sendable (Server) async -> Void
    private var starting: Task<Result<Server, TFTPServerError>, Never>?

    /// - Parameter stop: ends a server.
    package init(stop: @escaping @Sendable (Server) async -> Void) { self.stop = stop }

    /// The server; started where it is not.
    ///
    /// - Parameter start: starts it.
    /// - Throws: what `start` does.
    package func server(
        startedBy start: @escaping @Sendable () async throws(TFTPServerError) -> Server
    ) async throws(TFTPServerError) -> Server {
        let task =
            starting
            ?? Task {
                do throws(TFTPServerError) {
                    return .success(try await start())
                } catch {
                    return .failure(error)
                }
            }
        starting = task
        let result = await task.value
        // Another one that waited for the same failure may have started it anew: that is not to be forgotten.
        if case .failure = result, starting == task { starting = nil }
        return try result.get()
    }

    /// Ends it, also where it is only being started.
    package func close() async {
        while let task = starting {
            starting = nil
            if case .success(let server) = await task.value { await stop(server) }
        }
    }
}

extension SharedServer<TFTPServer> {
    /// A TFTP server.
    package init() { self.init { await $0.stop() } }
}
