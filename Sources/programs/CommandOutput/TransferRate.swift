import Configuration

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
        let seconds = Figures.number(elapsed - begin.elapsed)
        guard seconds >= 1, bytes > begin.bytes else { return nil }
        return Double(bytes - begin.bytes) / seconds
    }
}
