package import FlashPlan
package import Inventory

/// How the flash of one target ended. What is proven, the exit status and its sentence are decided here, once, for every
/// reporter, every record and every exit status.
package struct Verdict: Sendable {
    /// The three ways to end, and a fourth for a target that was never touched.
    package enum Ending: Sendable {
        /// Proven, and up where that was waited for.
        case flashed(FlashResult)
        /// It failed.
        case failed(FlashError)
        /// The run was interrupted.
        case interrupted
        /// The target was never touched; why.
        case notStarted(String)
    }

    /// The exit status of what a signal ended.
    package static let interruptedStatus: Int32 = 130
    /// What is said of it.
    package static let interruptedText = "interrupted; everything staged is removed, RESET is released"

    /// The target.
    package let target: Target
    /// How it ended.
    package let ending: Ending
    /// What the target proved, also where it did not come up afterwards; nil where nothing is proven.
    package let proof: FlashProof?
    /// From the reset to the proof; nil where nothing is proven.
    package let flashTime: Duration?

    /// A target that is proven, and up where that was waited for.
    package init(_ target: Target, _ result: FlashResult) {
        self.target = target
        ending = .flashed(result)
        (proof, flashTime) = (result.proof, result.flashTime)
    }

    /// A flash that ended with an error.
    ///
    /// - Parameter proof: what the target proved before that. It counts only where the target did not come up: a FAILED
    ///   that came late takes it back.
    package init(_ target: Target, _ error: any Error, after proof: (FlashProof, elapsed: Duration)?) {
        self.target = target
        switch error {
        case is CancellationError: ending = .interrupted
        case let error as FlashError: ending = .failed(error)
        default: ending = .failed(.server("\(error)"))
        }
        let isKept = if case .failed(.notUp) = ending { true } else { false }
        (self.proof, flashTime) = isKept ? (proof?.0, proof?.elapsed) : (nil, nil)
    }

    /// A target that was never touched.
    package init(_ target: Target, notStarted reason: String) {
        self.target = target
        ending = .notStarted(reason)
        (proof, flashTime) = (nil, nil)
    }

    /// Whether the target is proven, and up where that was waited for.
    package var isGood: Bool { if case .flashed = ending { true } else { false } }

    /// From the proof until the target was up; nil where it was not waited for or did not come up.
    package var upAfter: Duration? { if case .flashed(let result) = ending { result.upAfter } else { nil } }

    /// The exit status that this target's flash has alone; nil where it was not started.
    package var status: Int32? {
        switch ending {
        case .flashed: 0
        case .failed(let error): error.exitCode
        case .interrupted: Self.interruptedStatus
        case .notStarted: nil
        }
    }

    /// Why it is not flashed, one sentence; nil where it is.
    package var sentence: String? {
        switch ending {
        case .flashed: nil
        case .failed(let error): error.description
        case .interrupted: Self.interruptedText
        case .notStarted(let reason): reason
        }
    }

    /// Why the target failed, as its report says for programs; nil where it says nothing of use.
    package var reportCode: Report.Code? { if case .failed(let error) = ending { error.reportCode } else { nil } }
}
