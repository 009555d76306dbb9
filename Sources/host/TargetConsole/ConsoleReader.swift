import Dispatch
import Glibc
import LinuxHost

/// Reads a target's console from now on, without ever sending anything to it.
package final class ConsoleReader: Sendable {
    /// Dispatch's objects may be used from anywhere; only their protocols do not say so.
    private nonisolated(unsafe) let source: any DispatchSourceRead
    private let queue: DispatchQueue

    /// Opens it.
    ///
    /// Several programs can listen for netconsole at the same time, each for other targets: the socket takes what comes
    /// from the target's address and port only. Of two that listen for the same target the one that began later hears it.
    ///
    /// - Parameters:
    ///   - console: where it comes from.
    ///   - take: called in order with what comes, and with an empty array when nothing can come any more.
    /// - Throws: ``ConsoleError``.
    package init(_ console: ConsoleSource, take: @escaping @Sendable ([UInt8]) -> Void) throws(ConsoleError) {
        let descriptor: Int32
        let isStream: Bool
        switch console {
        case .network(let address): (descriptor, isStream) = (try openNetworkConsole(address), false)
        case .serial(let device, let baud): (descriptor, isStream) = (try openSerialPort(console, device, baud), true)
        }
        queue = DispatchQueue(label: "console")
        let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
        source.setEventHandler {
            var code: Int32 = 0
            let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
                let result = unsafe read(descriptor, buffer.baseAddress, buffer.count)
                code = result < 0 ? errno : 0
                count = max(0, result)
            }
            if !bytes.isEmpty {
                take(bytes)
            } else if isStream, code != EAGAIN, code != EINTR {
                // A port that was pulled out; an empty datagram is nothing.
                source.cancel()
                take([])
            }
        }
        // The port's lock is given back; a socket has none, which does no harm.
        source.setCancelHandler { closeUnlocked(descriptor) }
        source.activate()
        unsafe self.source = source
    }

    /// Ends it: nothing is taken after this.
    package func stop() { queue.sync { unsafe source.cancel() } }

    deinit { unsafe source.cancel() }
}

private func openSerialPort(_ console: ConsoleSource, _ device: String, _ baud: Int) throws(ConsoleError) -> Int32 {
    guard let speed = SerialSpeed.known.first(where: { $0.baud == baud }) else {
        throw .speed(device: device, baud: baud)
    }
    let descriptor = unsafe open(device, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC)
    func check(_ call: String, _ result: Int32) throws(ConsoleError) {
        guard result < 0 else { return }
        let code = errno
        if descriptor >= 0 { close(descriptor) }
        if call == "lock", code == EWOULDBLOCK { throw .busy(device: device) }
        throw .system(console, call: call, code: code)
    }
    try check("open", descriptor)
    // As minicom and others do.
    try check("lock", flock(descriptor, LOCK_EX | LOCK_NB))
    var settings = termios()
    try check("tcgetattr", unsafe tcgetattr(descriptor, &settings))
    unsafe cfmakeraw(&settings)
    settings.c_cflag |= tcflag_t(CLOCAL | CREAD)
    settings.c_cflag &= ~tcflag_t(CRTSCTS)
    try check("cfsetspeed", unsafe cfsetspeed(&settings, speed.value))
    try check("tcsetattr", unsafe tcsetattr(descriptor, TCSANOW, &settings))
    return descriptor
}
