/// What both sides of a transfer agree on.
package struct TransferOptions: Hashable, Sendable {
    /// Bytes in every block but the last, 8 to 65464; 512 where nothing was agreed. Source: RFC 2348.
    package var blockSize = 512
    /// Blocks that are sent before an ACK is waited for, 1 to 65535; 1 where nothing was agreed. Source: RFC 7440.
    package var windowSize = 1
    /// Seconds after which the client repeats itself, 1 to 255. Source: RFC 2349.
    package var timeout: Int?
    /// The OACK that tells the client; nil where it asked for nothing that is taken.
    package var acknowledgement: [Packet.Option]?

    /// Nothing agreed on.
    package init() {}

    /// What a server grants.
    package struct Limits: Hashable, Sendable {
        /// The largest block; 65464 is RFC 2348's.
        package var blockSize = 65464
        /// The largest window.
        package var windowSize = 64
        /// The largest window in bytes: what is held in memory for a transfer.
        package var windowBytes = 512 << 10

        /// The defaults.
        package init() {}
    }

    /// Answers a request's options. Those that are unknown or make no sense are left out of the answer, as RFC 2347
    /// says; too large ones are answered with the limit.
    ///
    /// - Parameters:
    ///   - requested: the client's options; of two with one name the first counts.
    ///   - size: the file's length in bytes for a read (the answer to `tsize`); nil for a write, where the client's own
    ///     is repeated.
    ///   - limits: what this server grants.
    package init(answering requested: [Packet.Option], size: UInt64?, limits: Limits) {
        var answer: [Packet.Option] = []
        var requestedWindow: Int?
        for option in requested where !answer.contains(where: { $0.name == option.name }) {
            guard let value = Self.number(option.value) else { continue }
            switch option.name {
            case "blksize":
                guard value >= 8 else { continue }
                blockSize = Int(min(value, UInt64(limits.blockSize)))
                answer.append(Packet.Option(name: option.name, value: String(blockSize)))
            case "windowsize":
                guard (1...65535).contains(value) else { continue }
                requestedWindow = Int(value)
                answer.append(option)
            case "timeout":
                // The answer must repeat the client's value. It limits the back-off; the first repeats come sooner.
                guard (1...255).contains(value) else { continue }
                timeout = Int(value)
                answer.append(Packet.Option(name: option.name, value: option.value))
            case "tsize":
                // curl takes the answer 0 for an error.
                guard size != 0 else { continue }
                answer.append(Packet.Option(name: option.name, value: String(size ?? value)))
            default: continue
            }
        }
        if let requestedWindow {
            windowSize = max(1, min(requestedWindow, limits.windowSize, limits.windowBytes / blockSize))
            let granted = Packet.Option(name: "windowsize", value: String(windowSize))
            answer = answer.map { $0.name == granted.name ? granted : $0 }
        }
        acknowledgement = answer.isEmpty ? nil : answer
    }

    /// The `tsize` of a write request: how long the client says its file is, in bytes.
    package static func announcedSize(_ options: [Packet.Option]) -> UInt64? {
        options.first { $0.name == "tsize" }.flatMap { number($0.value) }
    }

    private static func number(_ text: String) -> UInt64? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return UInt64(text)
    }
}
