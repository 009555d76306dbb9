import LinuxHost

/// The time that is written into what is made, in place of the time at which it is made.
///
/// https://reproducible-builds.org/specs/source-date-epoch/
package struct SourceDate: Hashable, Sendable {
    /// Seconds since 1970, UTC. Range 1980-01-01 to 2107-12-31: what FAT can tell.
    package let seconds: UInt64

    /// 2023-01-01, the year of the U-Boot that the product builds. Any fixed date does: a build from a release's
    /// archive, which has no git, gives the same bytes as one from a clone.
    package static let standard = SourceDate(seconds: 1_672_531_200)

    private init(seconds: UInt64) { self.seconds = seconds }

    /// The time that `SOURCE_DATE_EPOCH` gives, moved into the range; ``standard`` where it is not set or empty.
    ///
    /// - Throws: ``SourceDateError`` where it is not a whole number.
    package init(environmentValue: String?) throws(SourceDateError) {
        guard let text = environmentValue, !text.isEmpty else {
            self = .standard
            return
        }
        guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let seconds = UInt64(text)
        else { throw SourceDateError(text: text) }
        self.init(seconds: min(max(seconds, 315_532_800), 4_354_819_198))
    }
}

/// SOURCE_DATE_EPOCH is not a number of seconds.
package struct SourceDateError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What it is.
    package let text: String
    package var description: String { "SOURCE_DATE_EPOCH is '\(text)'; must be a whole number of seconds since 1970" }
}
