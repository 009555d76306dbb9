package import DiskLayout

/// What a target proved to be on its card, and what that took.
package struct FlashProof: Hashable, Sendable {
    /// Everything proven to be on the card.
    package let bytes: ByteCount
    /// The part of it that was written; the rest was on the card already.
    package let written: ByteCount
    /// What the target loaded from the server.
    package let loaded: ByteCount
    /// How often the target retried a step.
    package let retries: UInt64

    /// The part of it that was on the card already.
    package var same: ByteCount { bytes - written }

    /// Numbers as given; `written` is at most `bytes`.
    package init(bytes: ByteCount, written: ByteCount, loaded: ByteCount, retries: UInt64) {
        (self.bytes, self.written, self.loaded, self.retries) = (bytes, written, loaded, retries)
    }
}

/// As run records have it: an object of plain numbers.
extension FlashProof: Codable {
    enum CodingKeys: String, CodingKey { case bytes, written, loaded, retries }

    /// - Throws: `DecodingError` where a number is missing, or where more was written than is proven.
    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        bytes = ByteCount(try values.decode(UInt64.self, forKey: .bytes))
        written = ByteCount(try values.decode(UInt64.self, forKey: .written))
        loaded = ByteCount(try values.decode(UInt64.self, forKey: .loaded))
        retries = try values.decode(UInt64.self, forKey: .retries)
        guard written <= bytes else {
            throw DecodingError.dataCorruptedError(
                forKey: .written, in: values, debugDescription: "more was written than is proven")
        }
    }

    /// Writes the numbers.
    package func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(bytes.bytes, forKey: .bytes)
        try values.encode(written.bytes, forKey: .written)
        try values.encode(loaded.bytes, forKey: .loaded)
        try values.encode(retries, forKey: .retries)
    }
}
