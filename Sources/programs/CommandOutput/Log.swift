import Configuration
import Glibc
import LinuxHost
import Synchronization
import SystemPackage

/// Standard error: the log, and on a terminal one line that is written again and again.
package final class Log: Sendable {
    package static let shared = Log()

    /// Whether standard error is a terminal that takes lines back.
    package let isTerminal = isatty(STDERR_FILENO) != 0 && environmentValue("TERM") != "dumb"
    private let palette = Palette.standardError
    private let shown = Mutex(Verbosity.normal)
    private let isLineOpen = Mutex(false)
    /// Only used with the lock of ``isLineOpen``.
    private let block = Mutex(StatusBlock())

    /// How much is logged.
    package var verbosity: Verbosity {
        get { shown.withLock { $0 } }
        set { shown.withLock { $0 = newValue } }
    }

    /// Writes a line of the log.
    package func line(_ text: String, _ level: Level = .note) {
        guard level.isShown(at: verbosity) else { return }
        isLineOpen.withLock { isOpen in
            let (erase, draw) = block.withLock { block in (block.erase(), block.draw(in: terminalSize())) }
            let line = "rpiflash: " + palette.paint(sanitized(text), level.style)
            write((isOpen ? "\r\u{1b}[K" : "") + erase + line + "\n" + draw)
            isOpen = false
        }
    }

    /// Writes one of several lines, each of which the next one of its number replaces; nil takes it away.
    package func status(_ text: String?, number: Int) {
        guard verbosity != .quiet else { return }
        isLineOpen.withLock { isOpen in
            let change = block.withLock { block in
                guard text != nil || block.has(number) else { return "" }
                block.set(number, text.map { sanitized($0) })
                return block.erase() + block.draw(in: terminalSize())
            }
            write((isOpen ? "\r\u{1b}[K" : "") + change)
            isOpen = false
        }
    }

    /// Writes the line that the next one replaces.
    package func status(_ text: String) {
        guard verbosity != .quiet else { return }
        isLineOpen.withLock { isOpen in
            write("\r\(sanitized(text))\u{1b}[K")
            isOpen = true
        }
    }

    /// Ends an open line.
    package func finish() {
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

extension Log {
    /// Which lines are logged.
    package enum Verbosity: Sendable { case quiet, normal, verbose }

    /// What a line of the log is.
    package enum Level: Sendable {
        /// Why something failed.
        case error
        /// Something that may be wrong.
        case warning
        /// Something that went on.
        case note
        /// Something that is proven.
        case success
        /// For who looks closely.
        case detail

        var style: Palette.Style? {
            switch self {
            case .error: .error
            case .warning: .warning
            case .success: .success
            case .note, .detail: nil
            }
        }

        func isShown(at verbosity: Verbosity) -> Bool {
            switch self {
            case .error, .warning: true
            case .note, .success: verbosity != .quiet
            case .detail: verbosity == .verbose
            }
        }
    }
}

/// Lines, rows and columns of the terminal that standard error is.
private func terminalSize() -> (width: Int, height: Int) {
    var size = winsize()
    guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else { return (80, 24) }
    return (Int(size.ws_col), Int(size.ws_row))
}
