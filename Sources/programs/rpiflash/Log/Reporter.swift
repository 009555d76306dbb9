import Configuration
import Flashing
import Glibc
import HostTools
import Synchronization
import SystemPackage
import TargetConsole

/// Standard error: the log, and on a terminal one line that is written again and again.
final class Console: Sendable {
    static let shared = Console()

    /// Whether standard error is a terminal that takes lines back.
    let isTerminal = isatty(STDERR_FILENO) != 0 && environmentValue("TERM") != "dumb"
    private let palette = Palette.standardError
    private let shown = Mutex(Verbosity.normal)
    private let isLineOpen = Mutex(false)
    /// Only used with the lock of ``isLineOpen``.
    private let block = Mutex(StatusBlock())

    /// How much is logged.
    var verbosity: Verbosity {
        get { shown.withLock { $0 } }
        set { shown.withLock { $0 = newValue } }
    }

    /// Writes a line of the log.
    func line(_ text: String, _ level: Level = .note) {
        guard level.isShown(at: verbosity) else { return }
        isLineOpen.withLock { isOpen in
            let (erase, draw) = block.withLock { block in (block.erase(), block.draw(in: terminalSize())) }
            let line = "rpiflash: " + palette.paint(sanitized(text), level.tone)
            write((isOpen ? "\r\u{1b}[K" : "") + erase + line + "\n" + draw)
            isOpen = false
        }
    }

    /// Writes one of several lines, each of which the next one of its number replaces; nil takes it away.
    func status(_ text: String?, number: Int) {
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
    func status(_ text: String) {
        guard verbosity != .quiet else { return }
        isLineOpen.withLock { isOpen in
            write("\r\(sanitized(text))\u{1b}[K")
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

/// Lines, rows and columns of the terminal that standard error is.
private func terminalSize() -> (width: Int, height: Int) {
    var size = winsize()
    guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else { return (80, 24) }
    return (Int(size.ws_col), Int(size.ws_row))
}

/// Lines at the end of a terminal that are written again and again.
struct StatusBlock {
    private var lines: [Int: String] = [:]
    private var drawn = 0

    func has(_ number: Int) -> Bool { lines[number] != nil }

    /// - Parameter text: sanitized; nil for none.
    mutating func set(_ number: Int, _ text: String?) { lines[number] = text }

    /// What takes the lines off the terminal, and goes back to where the first began.
    mutating func erase() -> String {
        defer { drawn = 0 }
        return drawn == 0 ? "" : "\r" + (drawn > 1 ? "\u{1b}[\(drawn - 1)A" : "") + "\u{1b}[J"
    }

    /// The lines in the order of their numbers, cut to the terminal: a line that wraps, or scrolls out, could not be
    /// erased.
    mutating func draw(in size: (width: Int, height: Int)) -> String {
        var shown = lines.sorted { $0.key < $1.key }.map { String($0.value.prefix(max(1, size.width - 1))) }
        let limit = max(1, size.height - 1)
        if shown.count > limit {
            let more = shown.count - limit + 1
            shown = shown.prefix(limit - 1) + [String("and \(more) more".prefix(max(1, size.width - 1)))]
        }
        drawn = shown.count
        return shown.joined(separator: "\n")
    }
}

/// Shows how a flash goes on.
final class Reporter: Sendable {
    private struct State {
        var lastShown: ContinuousClock.Instant?
        var lastKind = ""
        var rate = TransferRate()
        var (packets, repeated, window) = (UInt64(0), UInt64(0), 1)
        var marks: [String: ContinuousClock.Instant] = [:]

        /// `, 1.6 % of packets again, window 32`; nothing where next to nothing was lost.
        var loss: String {
            guard repeated * 200 >= packets, repeated > 0 else { return "" }
            let permille = (repeated * 1000 + packets / 2) / packets
            return ", \(permille / 10).\(permille % 10) % of packets again, window \(window)"
        }
    }

    private let target: String
    private let number: Int?
    private let state = Mutex(State())

    /// - Parameters:
    ///   - target: its name.
    ///   - number: its place where it is one of several; their lines have its name in front.
    init(target: String, number: Int? = nil) {
        self.target = target
        self.number = number
    }

    private var prefix: String { number == nil ? "" : "\(target): " }

    func report(_ progress: FlashProgress) {
        switch progress {
        case .completed(let file, let packets, let repeated, let window):
            state.withLock { state in
                state.packets += packets
                state.repeated += repeated
                state.window = window
            }
            detail("the target has \(file): \(packets) packets, \(repeated) of them again, window \(window)")
        case .prepared(let id):
            detail("the image's content is \(id)\(since("preparing").map { ", prepared in \($0)" } ?? "")")
        case .wrote(let number, let bytes, let took):
            detail("\(number): \(Self.mebibytes(bytes)) written and compared in \(Self.seconds(took))")
        case .recording(let id): detail("this is run \(id)")
        case .reported: break
        case .note, .warning, .serving, .resetting, .asked, .proven:
            if let line = progress.logLine { Console.shared.line(prefix + line, progress.level) }
            step(progress)
        case .staging(let bytes, let total):
            show("staging", isLast: bytes == total) {
                "\(prefix)staging: \(Self.mebibytes(bytes)) of \(Self.mebibytes(total))"
            }
        case .transfer(let part, let parts, let bytes, let total, let elapsed):
            let rate = bytes.flatMap { bytes in state.withLock { $0.rate.take(bytes, at: elapsed) } }
            show("part \(part)", isLast: bytes == total) {
                Self.transfer("\(target): part \(part) of \(parts)", bytes, total, rate) + state.withLock { $0.loss }
            }
        case .unpacking(let read, let total):
            mark("preparing")
            show("unpacking", isLast: read == total) {
                "unpacking the image: \(Self.mebibytes(read)) of \(Self.mebibytes(total))"
            }
        case .preparing(let bytes, let total):
            mark("preparing")
            show("preparing", isLast: bytes == total) {
                "preparing the image: \(Self.mebibytes(bytes)) of \(Self.mebibytes(total))"
            }
        case .chunk(let number, let chunks, let bytes, _, let elapsed):
            let rate = state.withLock { $0.rate.take(bytes, at: elapsed) }
            show("chunks", isLast: false) {
                Self.chunk("\(target): chunk \(number) of \(chunks)", number, chunks, bytes, rate, elapsed)
                    + state.withLock { $0.loss }
            }
        case .waiting(let port, let elapsed):
            show("waiting", isLast: false) { "\(target): waiting for TCP port \(port), \(Int(Self.number(elapsed))) s" }
        }
    }

    // MARK: How long steps take

    private func detail(_ text: String) { Console.shared.line(prefix + text, .detail) }

    private func mark(_ step: String, again: Bool = false) {
        state.withLock { state in
            if again || state.marks[step] == nil { state.marks[step] = .now }
        }
    }

    private func since(_ step: String) -> String? {
        state.withLock { $0.marks[step] }.map { Self.seconds(ContinuousClock.now - $0) }
    }

    private func step(_ progress: FlashProgress) {
        switch progress {
        case .serving: mark("staging")
        case .resetting(_, _, let attempt):
            if attempt == 1, let time = since("staging") { detail("staged in \(time)") }
            mark("reset", again: true)
        case .asked: if let time = since("reset") { detail("asked \(time) after the reset began") }
        case .proven(_, let elapsed): detail("proven \(Self.seconds(elapsed)) after the reset")
        default: break
        }
    }

    /// A terminal sees every change, at most five a second. Elsewhere progress is for who asks for more: a line for each
    /// new step, and then every 10 s.
    private func show(_ kind: String, isLast: Bool, _ text: () -> String) {
        let interval: Duration = Console.shared.isTerminal ? .milliseconds(200) : .seconds(10)
        let now = ContinuousClock.now
        let isDue = state.withLock { state in
            let isDue = state.lastKind != kind || isLast || state.lastShown.map { now - $0 >= interval } ?? true
            if isDue { (state.lastShown, state.lastKind) = (now, kind) }
            return isDue
        }
        guard isDue else { return }
        switch (Console.shared.isTerminal, number) {
        case (false, _): Console.shared.line(text(), .detail)
        case (true, nil): Console.shared.status(text())
        case (true, let number?): Console.shared.status(text(), number: number)
        }
    }

    /// `cam: part 1 of 2, 10.0 MiB of 50.0 MiB, 8.0 MiB/s, 5 s left`, as much of it as is known.
    static func transfer(_ place: String, _ bytes: UInt64?, _ total: UInt64, _ rate: Double?) -> String {
        guard let bytes else { return place }
        var text = "\(place), \(mebibytes(bytes)) of \(mebibytes(total))"
        guard let rate, rate >= 1 else { return text }
        text += ", \(mebibytes(UInt64(rate)))/s"
        return text + (secondsLeft(bytes: bytes, of: total, rate: rate).map { ", \($0) s left" } ?? "")
    }

    /// - Parameter rate: bytes a second.
    /// - Returns: nil where it is not known, or nothing is left.
    static func secondsLeft(bytes: UInt64, of total: UInt64, rate: Double?) -> UInt64? {
        guard let rate, rate >= 1, bytes < total else { return nil }
        return UInt64((Double(total - bytes) / rate).rounded(.up))
    }

    /// `cam: chunk 10 of 40, 80.0 MiB loaded, 8.0 MiB/s, 30 s left`. Chunks that are there already take less time than
    /// others, so the time left is a rough one, and only told once a tenth is done.
    static func chunk(
        _ place: String, _ number: UInt64, _ chunks: UInt64, _ bytes: UInt64, _ rate: Double?, _ elapsed: Duration
    ) -> String {
        var text = "\(place), \(mebibytes(bytes)) loaded"
        if let rate, rate >= 1 { text += ", \(mebibytes(UInt64(rate)))/s" }
        return text + (secondsLeft(chunk: number, of: chunks, elapsed: elapsed).map { ", about \($0) s left" } ?? "")
    }

    /// - Returns: nil before a tenth is done, and at the last chunk.
    static func secondsLeft(chunk number: UInt64, of chunks: UInt64, elapsed: Duration) -> UInt64? {
        guard number > 1, number * 10 >= chunks, number < chunks else { return nil }
        return UInt64((Self.number(elapsed) * Double(chunks - number) / Double(number - 1)).rounded(.up))
    }

    static func mebibytes(_ bytes: UInt64) -> String {
        let tenths = (bytes * 10 + (1 << 19)) >> 20
        return "\(tenths / 10).\(tenths % 10) MiB"
    }

    static func number(_ duration: Duration) -> Double {
        Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
    }

    /// `12.3 s`.
    static func seconds(_ duration: Duration) -> String {
        let tenths = Int((number(duration) * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) s"
    }
}

/// Bytes a second since the target began to read; the time that it took to start does not count.
struct TransferRate {
    private var begin: (bytes: UInt64, elapsed: Duration)?
    private var last: UInt64 = 0

    /// - Returns: bytes a second; nil in the first second, when there is nothing to tell yet.
    mutating func take(_ bytes: UInt64, at elapsed: Duration) -> Double? {
        defer { last = bytes }
        guard let begin, bytes >= last else {
            // The first, or the target started over.
            begin = (bytes, elapsed)
            return nil
        }
        let seconds = Reporter.number(elapsed - begin.elapsed)
        guard seconds >= 1, bytes > begin.bytes else { return nil }
        return Double(bytes - begin.bytes) / seconds
    }
}
