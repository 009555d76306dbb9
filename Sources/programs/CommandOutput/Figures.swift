/// Numbers as people read them.
package enum Figures {
    package static func mebibytes(_ bytes: UInt64) -> String {
        let tenths = (bytes * 10 + (1 << 19)) >> 20
        return "\(tenths / 10).\(tenths % 10) MiB"
    }

    package static func number(_ duration: Duration) -> Double {
        Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
    }

    /// `12.3 s`.
    package static func seconds(_ duration: Duration) -> String {
        let tenths = Int((number(duration) * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) s"
    }
}
