package import FoundationEssentials

extension RunRecord.TargetEntry {
    /// Whether a user who writes this means it.
    package func answers(to text: String) -> Bool {
        let text = text.lowercased()
        return text == name?.lowercased() || text == ip || text.replacing("-", with: ":") == mac
    }
}

extension StoredRun {
    /// What a text names.
    package enum Found {
        /// This run.
        case one(StoredRun)
        /// As many runs have names that start with it.
        case several(Int)
        /// No run, and no target of a run.
        case none
    }

    /// Finds a run: `last`, its name or as much of the beginning as no other has, or a target, whose last run is meant.
    ///
    /// - Parameter runs: the oldest first.
    package static func find(_ text: String, in runs: [StoredRun]) -> Found {
        if text == "last", let last = runs.last { return .one(last) }
        let named = runs.filter { $0.id.hasPrefix(text) }
        if named.count == 1 || named.first?.id == text { return .one(named[0]) }
        if named.count > 1 { return .several(named.count) }
        return runs.last { $0.record?.target.answers(to: text) == true }.map { .one($0) } ?? .none
    }

    /// The runs of a target that have all of the labels, the last ones of them.
    ///
    /// - Parameters:
    ///   - target: a name, IP address or MAC address; nil: any.
    ///   - last: how many; nil: all.
    package static func select(
        _ runs: [StoredRun], target: String? = nil, labels: [RunLabel] = [], last: Int? = nil
    ) -> [StoredRun] {
        let found = runs.filter { run in
            if let target, run.record?.target.answers(to: target) != true { return false }
            let own = run.record?.labels ?? [:]
            return labels.allSatisfy { own[$0.key] == $0.value }
        }
        return last.map { found.suffix($0) } ?? found
    }

    /// The runs that may be removed, the last one first. A run that lasts is left alone, also where its record is damaged.
    ///
    /// - Parameters:
    ///   - runs: the oldest first.
    ///   - keep: of each target the last ones stay, this many; nil: none for that.
    ///   - olderThan: seconds; what began later stays. nil: none for that. A run without a readable record counts as old.
    package static func prunable(
        _ runs: [StoredRun], keep: Int?, olderThan: Double?, now: Date
    ) -> [StoredRun] {
        var kept: [Substring: Int] = [:]
        return runs.reversed().filter { run in
            kept[run.targetDigits, default: 0] += 1
            let isOld =
                olderThan.map { age in run.record.map { now.timeIntervalSince($0.started) > age } ?? true } ?? true
            let isSurplus = keep.map { kept[run.targetDigits, default: 0] > $0 } ?? true
            return isOld && isSurplus && !run.isRunning
        }
    }
}
