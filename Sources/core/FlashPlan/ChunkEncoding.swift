/// How a chunk's bytes lie in its file, in the store and on the server.
package enum ChunkEncoding: String, Hashable, Sendable, Codable {
    /// As they are.
    case raw
    /// As one gzip member (RFC 1952).
    case gzip
}
