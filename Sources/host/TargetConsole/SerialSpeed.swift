import Glibc

/// A speed that serial ports have.
package struct SerialSpeed: Hashable, Sendable {
    /// In baud.
    package let baud: Int
    let value: speed_t

    /// Those of U-Boot and of serial adapters.
    package static let known = [
        (9600, B9600), (19200, B19200), (38400, B38400), (57600, B57600), (115_200, B115200), (230_400, B230400),
        (460_800, B460800), (921_600, B921600), (1_000_000, B1000000), (1_500_000, B1500000),
    ].map { SerialSpeed(baud: $0, value: speed_t($1)) }
}

func errorText(_ code: Int32) -> String { unsafe String(cString: strerror(code)) }
