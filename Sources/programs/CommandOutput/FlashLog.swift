package import FlashEvents
import Configuration
import Synchronization

/// Shows the progress of a flash.
package final class FlashLog: Sendable {
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
    package init(target: String, number: Int? = nil) { (self.target, self.number) = (target, number) }

    private var prefix: String { number == nil ? "" : "\(target): " }

    package func report(_ progress: FlashProgress) {
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
            detail("\(number): \(Figures.mebibytes(bytes)) written and compared in \(Figures.seconds(took))")
        case .recording(let id): detail("this is run \(id)")
        case .reported: break
        case .note, .warning, .serving, .resetting, .asked, .proven:
            if let line = progress.logLine { Log.shared.line(prefix + line, progress.level) }
            step(progress)
        case .staging(let bytes, let total):
            show("staging", isLast: bytes == total) {
                "\(prefix)staging: \(Figures.mebibytes(bytes)) of \(Figures.mebibytes(total))"
            }
        case .transfer(let part, let parts, let bytes, let total, let elapsed):
            let rate = bytes.flatMap { bytes in state.withLock { $0.rate.take(bytes, at: elapsed) } }
            show("part \(part)", isLast: bytes == total) {
                Self.transfer("\(target): part \(part) of \(parts)", bytes, total, rate) + state.withLock { $0.loss }
            }
        case .unpacking(let read, let total):
            mark("preparing")
            show("unpacking", isLast: read == total) {
                "unpacking the image: \(Figures.mebibytes(read)) of \(Figures.mebibytes(total))"
            }
        case .preparing(let bytes, let total):
            mark("preparing")
            show("preparing", isLast: bytes == total) {
                "preparing the image: \(Figures.mebibytes(bytes)) of \(Figures.mebibytes(total))"
            }
        case .chunk(let number, let chunks, let bytes, _, let elapsed):
            let rate = state.withLock { $0.rate.take(bytes, at: elapsed) }
            show("chunks", isLast: false) {
                Self.chunk("\(target): chunk \(number) of \(chunks)", number, chunks, bytes, rate, elapsed)
                    + state.withLock { $0.loss }
            }
        case .waiting(let port, let elapsed):
            show("waiting", isLast: false) {
                "\(target): waiting for TCP port \(port), \(Int(Figures.number(elapsed))) s"
            }
        }
    }

    // MARK: How long steps take

    private func detail(_ text: String) { Log.shared.line(prefix + text, .detail) }

    private func mark(_ step: String, again: Bool = false) {
        state.withLock { state in
            if again || state.marks[step] == nil { state.marks[step] = .now }
        }
    }

    private func since(_ step: String) -> String? {
        state.withLock { $0.marks[step] }.map { Figures.seconds(ContinuousClock.now - $0) }
    }

    private func step(_ progress: FlashProgress) {
        switch progress {
        case .serving: mark("staging")
        case .resetting(_, _, let attempt):
            if attempt == 1, let time = since("staging") { detail("staged in \(time)") }
            mark("reset", again: true)
        case .asked: if let time = since("reset") { detail("asked \(time) after the reset began") }
        case .proven(_, let elapsed): detail("proven \(Figures.seconds(elapsed)) after the reset")
        default: break
        }
    }

    /// A terminal sees every change, at most five a second. Elsewhere progress is for who asks for more: a line for each
    /// new step, and then every 10 s.
    private func show(_ kind: String, isLast: Bool, _ text: () -> String) {
        let interval: Duration = Log.shared.isTerminal ? .milliseconds(200) : .seconds(10)
        let now = ContinuousClock.now
        let isDue = state.withLock { state in
            let isDue = state.lastKind != kind || isLast || state.lastShown.map { now - $0 >= interval } ?? true
            if isDue { (state.lastShown, state.lastKind) = (now, kind) }
            return isDue
        }
        guard isDue else { return }
        switch (Log.shared.isTerminal, number) {
        case (false, _): Log.shared.line(text(), .detail)
        case (true, nil): Log.shared.status(text())
        case (true, let number?): Log.shared.status(text(), number: number)
        }
    }

    /// `cam: part 1 of 2, 10.0 MiB of 50.0 MiB, 8.0 MiB/s, 5 s left`, as much of it as is known.
    static func transfer(_ place: String, _ bytes: UInt64?, _ total: UInt64, _ rate: Double?) -> String {
        guard let bytes else { return place }
        var text = "\(place), \(Figures.mebibytes(bytes)) of \(Figures.mebibytes(total))"
        guard let rate, rate >= 1 else { return text }
        text += ", \(Figures.mebibytes(UInt64(rate)))/s"
        return text + (TransferRate.secondsLeft(bytes: bytes, of: total, rate: rate).map { ", \($0) s left" } ?? "")
    }

    /// `cam: chunk 10 of 40, 80.0 MiB loaded, 8.0 MiB/s, 30 s left`. Chunks that are there already take less time than
    /// others, so the time left is a rough one, and only told once a tenth is done.
    static func chunk(
        _ place: String, _ number: UInt64, _ chunks: UInt64, _ bytes: UInt64, _ rate: Double?, _ elapsed: Duration
    ) -> String {
        var text = "\(place), \(Figures.mebibytes(bytes)) loaded"
        if let rate, rate >= 1 { text += ", \(Figures.mebibytes(UInt64(rate)))/s" }
        let left = TransferRate.secondsLeft(chunk: number, of: chunks, elapsed: elapsed)
        return text + (left.map { ", about \($0) s left" } ?? "")
    }
}

extension FlashProgress {
    /// What its line in the log is.
    var level: Log.Level {
        switch self {
        case .warning: .warning
        case .proven: .success
        default: .note
        }
    }
}
