import Configuration
package import Inventory

/// Where a target's console comes from.
package enum ConsoleSource: Hashable, Sendable, CustomStringConvertible {
    /// U-Boot's netconsole, from the target's IPv4 address.
    case network(address: String)
    /// A serial port of this host, with its speed in baud.
    case serial(device: String, baud: Int)

    /// The UDP port that U-Boot's netconsole sends from and to unless told otherwise.
    package static let networkPort: UInt16 = 6666

    /// As messages name it.
    package var description: String {
        switch self {
        case .network(let address): "netconsole of \(address), UDP port \(Self.networkPort)"
        case .serial(let device, let baud): "\(device) at \(baud) baud"
        }
    }
}

/// Why a console cannot be read.
package enum ConsoleError: Error, Hashable, Sendable {
    /// A call failed; `code` is its errno.
    case system(ConsoleSource, call: String, code: Int32)
    /// Another program has the serial port.
    case busy(device: String)
    /// The kernel does not know this speed.
    case speed(device: String, baud: Int)
}

extension ConsoleError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .system(.network, let call, let code) where call == "bind":
            "cannot listen for netconsole on UDP port \(ConsoleSource.networkPort) (\(errorText(code))); "
                + "end the program that has it: ss -ulpn 'sport = :\(ConsoleSource.networkPort)' names it"
        case .system(let source, let call, let code): "cannot read \(source): \(call): \(errorText(code))"
        case .busy(let device): "\(device) is in use by another program; end that"
        case .speed(let device, let baud):
            "\(device) cannot have \(baud) baud; must be one of "
                + SerialSpeed.known.map { "\($0.baud)" }.joined(separator: ", ")
        }
    }
}

extension Target {
    /// Where its console comes from: the row's serial port, else U-Boot's netconsole.
    package var consoleSource: ConsoleSource {
        console.map { .serial(device: $0.device, baud: $0.baud) } ?? .network(address: ip.description)
    }
}
