internal import DiskLayout
internal import FlashPlan

/// What the server has seen of a target since its reset, and what follows from it. Pure: it is told the events.
///
/// The target is not trusted (law 7): OK counts only with the exact number of bytes, and only after every part has been
/// asked for; FAILED counts always.
struct Follower {
    let plan: PartsPlan
    /// The manifest or a part has been asked for since the reset.
    private(set) var hasAsked = false
    private var opened: Set<UInt64> = []
    private var current: (part: UInt64, bytes: UInt64) = (0, 0)

    init(plan: PartsPlan) { self.plan = plan }

    /// What the job does next.
    enum Step: Equatable {
        case goOn
        case tell(FlashEvent)
        case done(ByteCount)
        case fail(FlashFailure)
    }

    mutating func take(_ event: ServingEvent) -> Step {
        switch event {
        case .opened(let file):
            if file == PartsPlan.manifestName {
                defer { hasAsked = true }
                // A target that starts again from the beginning: a power cut, or a reset by someone else.
                if hasAsked {
                    opened = []
                    return .tell(.warning("target has started again and asks for the image once more"))
                }
                return .tell(.note("target asks for its image"))
            }
            guard let part = number(of: file) else { return .goOn }
            hasAsked = true
            opened.insert(part)
            current = (part, 0)
            return .tell(progress)
        case .progress(let file, let bytes):
            guard let part = number(of: file) else { return .goOn }
            current = (part, min(bytes, plan.part(part).size.bytes))
            return .tell(progress)
        case .completed(let file, let repeated):
            guard let part = number(of: file) else { return .goOn }
            current = (part, plan.part(part).size.bytes)
            if let repeated, repeated >= 10 {
                return .tell(
                    .warning("the network lost about \(repeated) of 1000 packets while part \(part) was loaded"))
            }
            return .tell(progress)
        case .interrupted(let file, let reason):
            return .tell(.warning("loading of \(file) was interrupted: \(reason)"))
        case .refused(let what):
            return .tell(.warning("refused: \(what)"))
        case .uploaded(let name, let content):
            guard let kind = Outcome.Kind(rawValue: name) else { return .goOn }
            return judge(kind, content)
        }
    }

    /// Whether an outcome is believed.
    private func judge(_ kind: Outcome.Kind, _ content: [UInt8]) -> Step {
        let outcome: Outcome
        do {
            outcome = try Outcome(kind: kind, bytes: content)
        } catch {
            return .fail(FlashFailure(kind == .failed ? .failed : .countDiffers, error.description))
        }
        let expected = plan.bytesToWrite
        if kind == .failed {
            return .fail(
                FlashFailure(
                    .failed,
                    "target reported FAILED after \(outcome.written.bytes) of \(expected.bytes) bytes; "
                        + "its console says why"))
        }
        guard opened.count == Int(plan.partCount) else {
            return .fail(
                FlashFailure(
                    .countDiffers,
                    "target reported OK, but asked for \(opened.count) of \(plan.partCount) parts only"))
        }
        guard outcome.written == expected else {
            return .fail(
                FlashFailure(
                    .countDiffers,
                    "target reported OK with \(outcome.written.bytes) bytes; must be exactly \(expected.bytes) bytes"))
        }
        return .done(expected)
    }

    private var progress: FlashEvent {
        let before = plan.partSectors.byteCount.bytes * current.part
        return .progress(
            part: current.part, parts: plan.partCount, bytes: before + current.bytes,
            total: plan.totalSectors.byteCount.bytes)
    }

    private func number(of file: String) -> UInt64? {
        guard file.hasPrefix(PartsPlan.partNamePrefix),
            let number = UInt64(file.dropFirst(PartsPlan.partNamePrefix.count)),
            number < plan.partCount
        else { return nil }
        return number
    }
}
