/// A point of time on a clock that never goes back, in nanoseconds since some start. The machines here read no clock:
/// whoever drives them says what time it is.
public struct Moment: Hashable, Comparable, Sendable {
    /// Nanoseconds since the start.
    public let nanoseconds: Int64

    /// The point of time.
    public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// The earlier one is less.
    public static func < (a: Moment, b: Moment) -> Bool { a.nanoseconds < b.nanoseconds }
    /// A later point of time.
    public static func + (moment: Moment, interval: Interval) -> Moment {
        Moment(nanoseconds: moment.nanoseconds &+ interval.nanoseconds)
    }
    /// From `b` to `a`.
    public static func - (a: Moment, b: Moment) -> Interval { Interval(nanoseconds: a.nanoseconds &- b.nanoseconds) }
}

/// A length of time in nanoseconds.
public struct Interval: Hashable, Comparable, Sendable {
    /// Nanoseconds.
    public let nanoseconds: Int64

    /// The length of time.
    public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// This many milliseconds.
    public static func milliseconds(_ count: Int64) -> Interval { Interval(nanoseconds: count * 1_000_000) }
    /// This many seconds.
    public static func seconds(_ count: Int64) -> Interval { .milliseconds(count * 1000) }

    /// The shorter one is less.
    public static func < (a: Interval, b: Interval) -> Bool { a.nanoseconds < b.nanoseconds }
    /// Some times as long.
    public static func * (interval: Interval, factor: Int64) -> Interval {
        Interval(nanoseconds: interval.nanoseconds * factor)
    }
}
