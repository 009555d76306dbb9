package import ArgumentParser
import LinuxHost
import SystemPackage
import TFTPService
package import Wiring

/// What serves, what it serves, and the templates of flash plans.
package struct ServerOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The folder that TFTP serves.", valueName: "folder"))
    package var tftpRoot = "/srv/tftp"

    @Option(help: ArgumentHelp("Folder of the flash plans' templates.", valueName: "folder"))
    package var templates = sharedFile("templates").string

    @Option(
        help: ArgumentHelp(
            "Serve without the service, here: an IPv4 address, or address:port. Default: the service, else 0.0.0.0:69.",
            valueName: "addr"))
    package var listen: ListenAddress?

    @Option(help: ArgumentHelp("The Unix socket of the rpiflash service.", valueName: "path"))
    package var service = defaultServiceSocket.string

    /// With nothing given.
    package init() {}
}

/// A command that has to do with who serves.
package protocol ServerCommand {
    var server: ServerOptions { get }
}

extension ServerCommand {
    package var tftpRoot: String { server.tftpRoot }
    package var templates: String { server.templates }
    package var listen: ListenAddress? { server.listen }
    package var service: String { server.service }
}

extension ListenAddress: ExpressibleByArgument {
    package init?(argument: String) {
        guard let address = ListenAddress(argument) else { return nil }
        self = address
    }

    package var defaultValueDescription: String { "\(host):\(port)" }
}
