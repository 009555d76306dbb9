/// An instant of CLOCK_MONOTONIC, which all processes of a host share. Source: clock_gettime(2). The sessions here read no
/// clock: whoever drives them says what time it is.
package struct MonotonicInstant: InstantProtocol, Sendable {
    /// Nanoseconds since some point in the past, the same for all processes until the host is started again.
    package let nanoseconds: Int64

    /// - Parameter nanoseconds: as the clock has them.
    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// This one and `duration`, to the nanosecond; at the end of the range the last one.
    package func advanced(by duration: Duration) -> MonotonicInstant {
        let (seconds, attoseconds) = duration.components
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        let limit: Int64 = seconds < 0 ? .min : .max
        if overflow { return MonotonicInstant(nanoseconds: limit) }
        let (sum, isPast) = nanoseconds.addingReportingOverflow(whole)
        if isPast { return MonotonicInstant(nanoseconds: limit) }
        let (result, isBehind) = sum.addingReportingOverflow(attoseconds / 1_000_000_000)
        return MonotonicInstant(nanoseconds: isBehind ? limit : result)
    }

    /// How long it is from this one to `other`; negative where that is earlier.
    package func duration(to other: MonotonicInstant) -> Duration {
        .nanoseconds(other.nanoseconds) - .nanoseconds(nanoseconds)
    }

    package static func < (a: MonotonicInstant, b: MonotonicInstant) -> Bool { a.nanoseconds < b.nanoseconds }
    /// A later one.
    package static func + (instant: MonotonicInstant, duration: Duration) -> MonotonicInstant {
        instant.advanced(by: duration)
    }
    /// How long it is from `b` to `a`.
    package static func - (a: MonotonicInstant, b: MonotonicInstant) -> Duration { b.duration(to: a) }
}
