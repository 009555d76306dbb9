import Flashing
import Glibc
import Synchronization

/// Shows a job's events on standard error: one line that is rewritten on a terminal, plain lines elsewhere.
final class ProgressPrinter: Sendable {
    private struct State {
        var isLineOpen = false
        var start: ContinuousClock.Instant?
        var lastShown: ContinuousClock.Instant?
        var lastPart: UInt64?
    }

    private let state = Mutex(State())
    private let isTerminal = isatty(STDERR_FILENO) == 1

    func show(_ event: FlashEvent) {
        switch event {
        case .note(let text): line { Log.note(text) }
        case .warning(let text): line { Log.warning(text) }
        case .progress(let part, let parts, let bytes, let total):
            progress(part: part, parts: parts, bytes: bytes, total: total)
        }
    }

    /// Ends the line that is rewritten, if there is one.
    func finish() { line {} }

    private func line(_ write: () -> Void) {
        state.withLock { state in
            if state.isLineOpen { Log.write("\n") }
            state.isLineOpen = false
            write()
        }
    }

    private func progress(part: UInt64, parts: UInt64, bytes: UInt64, total: UInt64) {
        state.withLock { state in
            let now = ContinuousClock.now
            let start = state.start ?? now
            state.start = start
            // A new part and the end are always shown; else five times a second on a terminal, every 5 s elsewhere.
            let isDue = state.lastShown.map { now - $0 >= (isTerminal ? .milliseconds(200) : .seconds(5)) } ?? true
            guard isDue || state.lastPart != part || bytes == total else { return }
            state.lastShown = now
            state.lastPart = part
            let seconds = (now - start) / .seconds(1)
            let rate = seconds > 0 ? Double(bytes) / seconds : 0
            var text = "part \(part + 1)/\(parts)  \(Self.mebibytes(bytes)) of \(Self.mebibytes(total)) MiB"
            if rate > 0, bytes > 0 {
                text += "  \(Self.decimal(rate / 1_048_576)) MiB/s"
                if bytes < total { text += "  \(Self.clock(Double(total - bytes) / rate)) left" }
            }
            if isTerminal {
                Log.write("\r\(text)\u{20}\u{20}\u{20}\u{20}")
                state.isLineOpen = true
            } else {
                Log.note(text)
            }
        }
    }

    private static func mebibytes(_ bytes: UInt64) -> String { decimal(Double(bytes) / 1_048_576) }

    private static func decimal(_ value: Double) -> String {
        let tenths = UInt64((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }

    private static func clock(_ seconds: Double) -> String {
        let whole = UInt64(seconds.rounded(.up))
        return "\(whole / 60):" + (whole % 60 < 10 ? "0" : "") + "\(whole % 60)"
    }
}
