/// How a run ended: the count of its targets' verdicts, and the exit status, which is the worst of theirs.
package struct RunVerdict: Hashable, Sendable {
    /// All targets.
    package let count: Int
    /// Proven, also those that did not come up afterwards.
    package let proven: Int
    /// Proven, but not up.
    package let notUp: Int
    /// Never touched.
    package let notStarted: Int
    /// Touched, and not proven.
    package var failed: Int { count - proven - notStarted }
    /// Whether a signal ended it.
    package let isInterrupted: Bool
    /// The highest exit status of any target; 130 where the run was interrupted.
    package let status: Int32

    /// - Parameters:
    ///   - verdicts: one for each target.
    ///   - isCancelled: whether a signal came; it is why targets that were not started were not.
    package init(_ verdicts: [Verdict], isCancelled: Bool = false) {
        count = verdicts.count
        proven = verdicts.count { $0.proof != nil }
        notUp = verdicts.count { $0.proof != nil && !$0.isGood }
        notStarted = verdicts.count { $0.status == nil }
        status = Self.worst(of: verdicts.map(\.status), isCancelled: isCancelled)
        isInterrupted = status == Verdict.interruptedStatus
    }

    /// The exit status of several targets.
    ///
    /// - Parameters:
    ///   - statuses: of each target; nil where it was not started.
    ///   - isCancelled: whether a signal came; it is why targets that were not started were not.
    package static func worst(of statuses: [Int32?], isCancelled: Bool) -> Int32 {
        if isCancelled, statuses.contains(nil) { return Verdict.interruptedStatus }
        return statuses.compactMap(\.self).max() ?? 0
    }

    /// `7 of 8 proven, 1 of them not up, 1 not started`.
    package var line: String {
        "\(proven) of \(count) proven" + (notUp > 0 ? ", \(notUp) of them not up" : "")
            + (notStarted > 0 ? ", \(notStarted) not started" : "")
    }
}
