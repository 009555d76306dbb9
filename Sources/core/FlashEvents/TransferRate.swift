import Configuration

/// Bytes a second since the target began to read; the time that it took to start does not count.
package struct TransferRate: Sendable {
    private var begin: (bytes: UInt64, elapsed: Duration)?
    private var last: UInt64 = 0

    /// Nothing read yet.
    package init() {}

    /// - Returns: bytes a second; nil in the first second, when there is nothing to tell yet.
    package mutating func take(_ bytes: UInt64, at elapsed: Duration) -> Double? {
        defer { last = bytes }
        guard let begin, bytes >= last else {
            // The first, or the target started over.
            begin = (bytes, elapsed)
            return nil
        }
        let seconds = Figures.number(elapsed - begin.elapsed)
        guard seconds >= 1, bytes > begin.bytes else { return nil }
        return Double(bytes - begin.bytes) / seconds
    }
}

/// How long a transfer still takes.
extension TransferRate {
    /// - Parameter rate: bytes a second.
    /// - Returns: nil where it is not known, or nothing is left.
    package static func secondsLeft(bytes: UInt64, of total: UInt64, rate: Double?) -> UInt64? {
        guard let rate, rate >= 1, bytes < total else { return nil }
        return UInt64((Double(total - bytes) / rate).rounded(.up))
    }

    /// - Returns: nil before a tenth is done, and at the last chunk.
    package static func secondsLeft(chunk number: UInt64, of chunks: UInt64, elapsed: Duration) -> UInt64? {
        guard number > 1, number * 10 >= chunks, number < chunks else { return nil }
        return UInt64((Figures.number(elapsed) * Double(chunks - number) / Double(number - 1)).rounded(.up))
    }
}
