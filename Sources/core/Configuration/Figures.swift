/// Numbers as people read them.
package enum Figures {
    /// `12.3 MiB`.
    package static func mebibytes(_ bytes: UInt64) -> String {
        let tenths = (bytes * 10 + (1 << 19)) >> 20
        return "\(tenths / 10).\(tenths % 10) MiB"
    }

    /// Seconds as a number.
    package static func number(_ duration: Duration) -> Double {
        Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
    }

    /// `12.3 s`.
    package static func seconds(_ duration: Duration) -> String {
        let tenths = Int((number(duration) * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) s"
    }

    /// `10.0 MiB/s`; nil where it is not known.
    ///
    /// - Parameter rate: bytes a second.
    package static func rate(_ rate: Double?) -> String? { rate.map { mebibytes(UInt64($0)) + "/s" } }
}
