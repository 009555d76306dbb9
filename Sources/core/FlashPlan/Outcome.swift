package import DiskLayout

/// What a target uploads when it is done: the file's name says how it went, its 8 bytes how much was written.
///
/// Source: docs/parts-protocol.md. Both come from the target and prove nothing until they were compared (law 7).
package struct Outcome: Hashable, Sendable {
    /// How it went.
    package enum Kind: String, Hashable, Sendable, CaseIterable {
        /// Everything was written, says the target.
        case ok = "OK"
        /// A step failed.
        case failed = "FAILED"

        /// The name of the uploaded file.
        package var fileName: String { rawValue }
    }

    /// Length of an outcome file.
    package static let encodedSize = 8

    /// How it went.
    package let kind: Kind
    /// Bytes that the target says it wrote to its card.
    package let written: ByteCount

    package init(kind: Kind, written: ByteCount) { (self.kind, self.written) = (kind, written) }

    /// Reads an uploaded file.
    ///
    /// - Parameters:
    ///   - kind: by the file's name.
    ///   - bytes: the file's content, 8 bytes, little endian.
    /// - Throws: ``OutcomeError``.
    package init(kind: Kind, bytes: some Collection<UInt8>) throws(OutcomeError) {
        guard bytes.count == Self.encodedSize else { throw .wrongLength(kind: kind, bytes.count) }
        self.kind = kind
        written = ByteCount(bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) })
    }

    /// The file's 8 bytes, little endian.
    package var encoded: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: written.bytes >> ($0 * 8)) } }
}

/// Why an uploaded file is no outcome.
package enum OutcomeError: Error, Hashable, Sendable {
    /// The file is not 8 bytes long.
    case wrongLength(kind: Outcome.Kind, Int)
}

extension OutcomeError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .wrongLength(let kind, let count):
            "target uploaded \(kind.fileName) with \(count) bytes; must be \(Outcome.encodedSize) bytes"
        }
    }
}
