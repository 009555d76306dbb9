import ArgumentParser
import LinuxHost
import SystemPackage
import TFTPService
import Wiring

/// What serves, what it serves, and the templates of flash plans.
struct ServerOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The folder that TFTP serves.", valueName: "folder"))
    var tftpRoot = "/srv/tftp"

    @Option(help: ArgumentHelp("Folder of the flash plans' templates.", valueName: "folder"))
    var templates = sharedFile("templates").string

    @Option(
        help: ArgumentHelp(
            "Serve without the service, here: an IPv4 address, or address:port. Default: the service, else 0.0.0.0:69.",
            valueName: "addr"))
    var listen: ListenAddress?

    @Option(help: ArgumentHelp("The Unix socket of the rpiflash service.", valueName: "path"))
    var service = defaultServiceSocket.string
}

/// A command that has to do with who serves.
protocol ServerCommand {
    var server: ServerOptions { get }
}

extension ServerCommand {
    var tftpRoot: String { server.tftpRoot }
    var templates: String { server.templates }
    var listen: ListenAddress? { server.listen }
    var service: String { server.service }
}
