/// What happened to a target's files on a TFTP server. A file's name is as it was asked for: a range of a file has a name of
/// its own. Our own server tells all of it; what another one does is seen through its folder, without most numbers.
package enum TransferEvent: Hashable, Sendable {
    /// A target began to read a file. `size` in bytes and the client's IPv4 address are nil where another server serves.
    case opened(file: String, size: UInt64? = nil, address: String? = nil)
    /// It has this many bytes of the file.
    case progress(file: String, bytes: UInt64)
    /// All of the file was sent; the last ACK may still be missing, and may be lost for ever.
    case sent(file: String)
    /// It has the whole file, which is `bytes` long. `packets` and `repeated` count DATA packets, `window` is the one that
    /// was agreed on, in blocks.
    case completed(file: String, bytes: UInt64? = nil, packets: UInt64, repeated: UInt64, window: Int = 1)
    /// Reading a file ended early.
    case interrupted(file: String, reason: String)
    /// A target uploaded a file: OK, FAILED, REPORT or CHALLENGE, at most 64 KiB, untrusted. Of our own server each name comes once.
    case uploaded(name: String, content: [UInt8])
    /// A request was refused. The same request of the same host is reported once.
    case refused(path: String, address: String, reason: String)
    /// A sign of life without a number: another server only.
    case activity
    /// The server is gone; nothing follows.
    case lost(String)
}
