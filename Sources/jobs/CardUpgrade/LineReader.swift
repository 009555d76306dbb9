import Configuration

/// Lines out of what a target sends (law 7): of limited length, each within its time.
struct LineReader {
    /// Bytes of a line at most: base64 of a boot script of 64 KiB, and a word.
    static let longest = 100_000

    let connection: any TargetConnection
    private var rest: [UInt8] = []
    private var searched = 0

    init(_ connection: any TargetConnection) { self.connection = connection }

    /// The next line, without its end.
    ///
    /// - Throws: ``BrokenConnection``; what the connection throws.
    mutating func next(within limit: Duration) async throws -> String {
        let deadline = ContinuousClock.now + limit
        while true {
            if let end = rest[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                var line = rest[..<end]
                if line.last == UInt8(ascii: "\r") { line.removeLast() }
                defer { (rest, searched) = (Array(rest[(end + 1)...]), 0) }
                return String(decoding: line, as: UTF8.self)
            }
            searched = rest.count
            guard searched <= Self.longest else {
                throw BrokenConnection.tooLong(String(decoding: rest, as: UTF8.self))
            }
            let left = deadline - ContinuousClock.now
            guard left > .zero, let bytes = try await connection.receive(within: left) else {
                throw connection.hasTimedOut || left <= .zero ? BrokenConnection.silent(limit) : .ended
            }
            rest += bytes
        }
    }
}

/// Why a conversation cannot continue. What a target says in it is untrusted.
enum BrokenConnection: Error, CustomStringConvertible {
    case ended
    case silent(Duration)
    case tooLong(String)
    /// It said something else than it should.
    case unexpected(String, instead: String)

    var description: String {
        switch self {
        case .ended: "the connection ended"
        case .silent(let limit): "nothing came for \(limit.components.seconds) s"
        case .tooLong(let line): "it said \(quoted(line)) and more, a line of over \(LineReader.longest) bytes"
        case .unexpected(let line, let wanted): "it said \(quoted(line)) instead of \(wanted)"
        }
    }
}
