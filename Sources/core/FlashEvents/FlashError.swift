package import DiskLayout
package import FlashPlan

/// Why a flash ended without proof. Each has an exit code, as `rpiflash --help` lists them.
package enum FlashError: Error, Hashable, Sendable {
    /// The target was flashed, but does not answer on this TCP port.
    case notUp(target: String, port: UInt16, within: Duration)
    /// The target reported FAILED; the bytes that it says it wrote, nil where it says nothing of use.
    case targetFailed(target: String, written: ByteCount?, expected: ByteCount)
    /// The target reported that it cannot make its card match; why, for programs and in its words, and what it says is on
    /// the card.
    case planFailed(target: String, code: Report.Code?, reason: String?, proven: ByteCount?, expected: ByteCount)
    /// The target asked for the image, but no outcome came.
    case noOutcome(String)
    /// The target's report is not what was to be written.
    case notProven(String)
    /// The target did not ask for the image after any of these resets, this long after each.
    case neverAsked(target: String, within: Duration, tried: [ResetMethod])
    /// The inventory is missing or invalid.
    case inventory(String)
    /// The image is missing or unfit.
    case image(String)
    /// The target is unknown, or another server's.
    case target(String)
    /// Something is wrong on this server: port, disk, lock, GPIO.
    case server(String)

    /// The exit status of `rpiflash` for this error.
    package var exitCode: Int32 {
        switch self {
        case .notUp: 1
        case .targetFailed, .planFailed: 2
        case .noOutcome: 3
        case .notProven: 4
        case .neverAsked: 5
        case .inventory: 6
        case .image: 7
        case .target: 8
        case .server: 9
        }
    }
}

extension FlashError {
    /// Why the target failed, as its report says for programs; nil where it says nothing of use, and for other errors.
    package var reportCode: Report.Code? {
        guard case .planFailed(_, let code, _, _, _) = self else { return nil }
        return code
    }
}

extension FlashError: CustomStringConvertible {
    /// One sentence for a person; for an inventory one line a mistake.
    package var description: String {
        switch self {
        case .notUp(let target, let port, let limit):
            "target \(target) was flashed and proven, but does not answer on TCP port \(port) within \(limit.text)"
        case .targetFailed(let target, let written, let expected):
            if let written {
                "target \(target) reported FAILED after \(written.bytes) of \(expected.bytes) bytes; its console says why"
            } else {
                "target \(target) reported FAILED; its console says why"
            }
        case .planFailed(let target, _, let reason, let proven, let expected):
            "target \(target) reported FAILED"
                + (proven.map { ", \($0.bytes) of \(expected.bytes) bytes are on its card" } ?? "") + ": "
                + (reason ?? "its console says why")
        case .neverAsked(let target, let limit, let tried):
            """
            target \(target) did not ask for its image within \(limit.text) after \(Self.list(tried)); \
            check its card, network cable and RESET wire, and the serverip in its rpiflash.env
            """
        case .noOutcome(let text), .notProven(let text), .inventory(let text), .image(let text), .target(let text),
            .server(let text):
            text
        }
    }

    /// `each of 3 resets (GPIO line 17 twice, then reset_command)`.
    private static func list(_ tried: [ResetMethod]) -> String {
        var ways: [(method: ResetMethod, times: Int)] = []
        for method in tried {
            if let last = ways.last, last.method == method {
                ways[ways.count - 1].times += 1
            } else {
                ways.append((method, 1))
            }
        }
        let texts = ways.map { way in
            switch way.times {
            case 1: "\(way.method)"
            case 2: "\(way.method) twice"
            default: "\(way.method) \(way.times) times"
            }
        }
        let resets = tried.count == 1 ? "the reset" : "each of \(tried.count) resets"
        return "\(resets) (\(texts.joined(separator: ", then ")))"
    }
}

extension Duration {
    /// `45 s`, or `250 ms` where it is not a whole number of seconds.
    package var text: String {
        let (seconds, attoseconds) = components
        let milliseconds = attoseconds / 1_000_000_000_000_000
        return milliseconds == 0 ? "\(seconds) s" : "\(seconds * 1000 + milliseconds) ms"
    }
}
