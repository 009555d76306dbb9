package import Configuration

/// A board that can be flashed: one row of the inventory.
package struct Target: Hashable, Sendable {
    /// Its Ethernet address; also the name of its folder on the TFTP server.
    package let mac: MACAddress
    /// Where it answers once its system is up.
    package let ip: IPv4Address
    /// The host that its RESET line is wired to: a host name or an address.
    package let server: String
    /// The GPIO line that resets it; nil where only a command does.
    package let gpio: GPIOLine?
    /// What people call it; unique, letters, digits, `.`, `_` and `-`.
    package let name: String?
    /// How long RESET is held low, in milliseconds, 1 to 60000.
    package let resetHoldMilliseconds: Int
    /// A shell command that resets it, for instance through a switch that powers it.
    package let resetCommand: String?
    /// The serial port of its server that its console is wired to; nil where none is.
    package let console: SerialPort?
    /// Words that it can be chosen by, each once: letters, digits, `.`, `_` and `-`.
    package let tags: [String]
    /// Whether it is flashed only with signed plans, and only where its card knows a key.
    package let requiresSigned: Bool
    /// The row's line in the file, 1 for the first.
    package let line: Int

    /// How long RESET is held where the row says nothing: 100 ms. The Pi's RUN needs well under 1 ms.
    package static let defaultResetHoldMilliseconds = 100

    /// Its name, else its IP address.
    package var displayName: String { name ?? ip.description }
}

/// A serial port that a target's console is wired to: `/dev/ttyUSB0`, `/dev/ttyUSB0@9600`.
package struct SerialPort: Hashable, Sendable {
    /// Its device file.
    package let device: String
    /// Its speed in baud.
    package let baud: Int

    /// The speed where the row says none, which is what U-Boot and the kernel use on a Pi.
    package static let defaultBaud = 115_200

    /// Reads one of the forms.
    ///
    /// - Throws: ``SerialPortError``.
    package init(_ text: some StringProtocol) throws(SerialPortError) {
        let parts = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
        guard let device = parts.first, device.hasPrefix("/"), device.utf8.count <= 255,
            device.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value < 0x7f })
        else { throw SerialPortError(text: String(text)) }
        self.device = String(device)
        guard parts.count == 2 else {
            baud = Self.defaultBaud
            return
        }
        guard (1...8).contains(parts[1].utf8.count), parts[1].utf8.allSatisfy(\.isDigit), let baud = Int(parts[1]),
            baud > 0
        else { throw SerialPortError(text: String(text)) }
        self.baud = baud
    }
}

/// A text that names no serial port.
package struct SerialPortError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The text.
    package let text: String

    package var description: String {
        "\(quoted(text)) is not a console; must be a serial port's path, with its speed where that is not 115200: "
            + "/dev/ttyUSB0, /dev/serial/by-id/usb-x@9600"
    }
}

/// How a row names a GPIO line.
package enum GPIOLine: Hashable, Sendable {
    /// An offset on the default chip: `17`.
    case offset(UInt32)
    /// An offset on the chip with this name or label: `gpiochip0:17`, `pinctrl-bcm2711:17`.
    case chipOffset(chip: String, offset: UInt32)
    /// The line with this name: `GPIO17`.
    case name(String)

    /// Reads one of the forms. A number is an offset, a text with a colon a chip and an offset, all else a line's name.
    ///
    /// - Throws: ``GPIOLineError``.
    package init(_ text: some StringProtocol) throws(GPIOLineError) {
        guard !text.isEmpty else { throw GPIOLineError(text: "") }
        guard text.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value < 0x7f }) else {
            throw GPIOLineError(text: String(text))
        }
        if let colon = text.lastIndex(of: ":") {
            let chip = text[..<colon]
            guard !chip.isEmpty, let offset = Self.offset(text[text.index(after: colon)...]) else {
                throw GPIOLineError(text: String(text))
            }
            self = .chipOffset(chip: String(chip), offset: offset)
        } else if text.utf8.allSatisfy(\.isDigit) {
            guard let offset = Self.offset(text) else { throw GPIOLineError(text: String(text)) }
            self = .offset(offset)
        } else {
            self = .name(String(text))
        }
    }

    private static func offset(_ text: some StringProtocol) -> UInt32? {
        // The kernel's limit of lines is far below; 65535 keeps typing errors out.
        guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy(\.isDigit), let number = UInt32(text),
            number <= 65535
        else { return nil }
        return number
    }
}

extension GPIOLine: CustomStringConvertible {
    /// As the inventory has it.
    package var description: String {
        switch self {
        case .offset(let offset): "\(offset)"
        case .chipOffset(let chip, let offset): "\(chip):\(offset)"
        case .name(let name): name
        }
    }
}

/// A text that names no GPIO line.
package struct GPIOLineError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The text.
    package let text: String

    /// About this text.
    package init(text: String) { self.text = text }

    package var description: String {
        "\(quoted(text)) is not a GPIO line; must be an offset (17), chip:offset (gpiochip0:17) or a line name (GPIO17)"
    }
}
