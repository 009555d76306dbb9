import FlashEvents
package import Inventory
package import SystemPackage

/// Who serves a target's files: the rpiflash service where it runs, else a server of this process, else the server that has
/// the port already. docs/flashing.md, Serving, explains it.
package struct ServerChoice: Sendable {
    /// The rpiflash service of this host.
    package struct Service: Sendable {
        /// What it serves.
        package var root: FilePath
        /// Whether that is the root of the flash, whatever it is called.
        package var servesRoot: Bool
        /// A job's part of it.
        package var server: any OwnServer

        package init(root: FilePath, servesRoot: Bool, server: any OwnServer) {
            (self.root, self.servesRoot, self.server) = (root, servesRoot, server)
        }
    }

    private let service: (@Sendable () throws -> Service?)?
    private let bind: @Sendable () async throws -> (any OwnServer)?
    private let other: @Sendable () -> (any ForeignServer)?

    /// - Parameters:
    ///   - service: finds the service; nil where it is not asked, as an address to serve on was given.
    ///   - bind: starts a server of this process; nil where another program has the port.
    ///   - other: the server that has the port, at the address that the target sees; nil where no route leads to it.
    package init(
        service: (@Sendable () throws -> Service?)?, bind: @escaping @Sendable () async throws -> (any OwnServer)?,
        other: @escaping @Sendable () -> (any ForeignServer)?
    ) {
        (self.service, self.bind, self.other) = (service, bind, other)
    }

    /// Chooses.
    ///
    /// - Throws: ``FlashError``; what the ports throw.
    package func claim(root: FilePath, target: Target) async throws -> ClaimedServer {
        if let service = try service?() {
            guard service.servesRoot else {
                await service.server.stop()
                throw FlashError.server(
                    "the rpiflash service serves \(service.root), not \(root); give --tftp-root \(service.root)")
            }
            return .own(service.server)
        }
        if let own = try await bind() { return .own(own) }
        guard let other = other() else { throw FlashError.server("no route leads from this host to \(target.ip)") }
        return .foreign(other)
    }
}
