import Flashing
import Glibc
import Synchronization
import SystemPackage

/// Standard error: the log, and on a terminal one line that is written again and again.
final class Console: Sendable {
    static let shared = Console()

    /// Whether standard error is a terminal.
    let isTerminal = isatty(STDERR_FILENO) != 0
    private let isLineOpen = Mutex(false)

    /// Writes a line of the log.
    func line(_ text: String) {
        isLineOpen.withLock { isOpen in
            write((isOpen ? "\r\u{1b}[K" : "") + "rpiflash: \(text)\n")
            isOpen = false
        }
    }

    /// Writes the line that the next one replaces.
    func status(_ text: String) {
        isLineOpen.withLock { isOpen in
            write("\r\(text)\u{1b}[K")
            isOpen = true
        }
    }

    /// Ends an open line.
    func finish() {
        isLineOpen.withLock { isOpen in
            if isOpen { write("\n") }
            isOpen = false
        }
    }

    private func write(_ text: String) {
        // A closed standard error is no reason to stop half-way.
        _ = try? FileDescriptor.standardError.writeAll(text.utf8)
    }
}

/// Shows how a flash goes on.
final class Reporter: Sendable {
    private struct State {
        var lastShown: ContinuousClock.Instant?
        var lastKind = ""
    }

    private let target: String
    private let state = Mutex(State())

    init(target: String) { self.target = target }

    func report(_ progress: FlashProgress) {
        switch progress {
        case .note(let text): Console.shared.line(text)
        case .warning(let text): Console.shared.line("warning: \(text)")
        case .staging(let bytes, let total):
            show("staging", isLast: bytes == total) { "staging: \(Self.mebibytes(bytes)) of \(Self.mebibytes(total))" }
        case .transfer(let part, let parts, let bytes, let total, let elapsed):
            show("part \(part)", isLast: bytes == total) {
                let place = "\(target): part \(part) of \(parts)"
                guard let bytes else { return place }
                let rate = Double(bytes) / max(Self.number(elapsed), 0.001)
                let left = rate > 0 ? Double(total - min(bytes, total)) / rate : 0
                return
                    "\(place), \(Self.mebibytes(bytes)) of \(Self.mebibytes(total)), \(Self.mebibytes(UInt64(rate)))/s, "
                    + "\(Int(left.rounded(.up))) s left"
            }
        case .waiting(let port, let elapsed):
            show("waiting", isLast: false) { "\(target): waiting for TCP port \(port), \(Int(Self.number(elapsed))) s" }
        }
    }

    /// A terminal sees every change, at most five a second; a file gets a line for each new step and then every 10 s.
    private func show(_ kind: String, isLast: Bool, _ text: () -> String) {
        let interval: Duration = Console.shared.isTerminal ? .milliseconds(200) : .seconds(10)
        let now = ContinuousClock.now
        let isDue = state.withLock { state in
            let isDue = state.lastKind != kind || isLast || state.lastShown.map { now - $0 >= interval } ?? true
            if isDue { (state.lastShown, state.lastKind) = (now, kind) }
            return isDue
        }
        guard isDue else { return }
        Console.shared.isTerminal ? Console.shared.status(text()) : Console.shared.line(text())
    }

    private static func mebibytes(_ bytes: UInt64) -> String {
        let tenths = (bytes * 10 + (1 << 19)) >> 20
        return "\(tenths / 10).\(tenths % 10) MiB"
    }

    private static func number(_ duration: Duration) -> Double {
        Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
    }

    /// `12.3 s`.
    static func seconds(_ duration: Duration) -> String {
        let tenths = Int((number(duration) * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) s"
    }
}
