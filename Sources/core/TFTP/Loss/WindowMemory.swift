/// The window that a client is granted, learned from what became of its transfers.
///
/// A client must hold what is sent to it faster than it reads. A Pi 3's network chip has 20 KiB for that and a 3+'s 12 KiB,
/// 13 and 8 packets; a window of 32 that does not fit loses its end, and two thirds and more of a file go again. No client
/// says how much it holds, so it is found out: a window that was too large is divided by four at once. After that a larger
/// one is only tried again now and then, twice as rarely after each failure, and where there is one on a short file, which
/// costs little. A single lost packet is another matter: it costs what was sent behind it in its window, and on a network
/// that loses 1 % a window of 32 is still the fastest.
package struct WindowMemory: Hashable, Sendable {
    /// The largest and the smallest window, in blocks.
    package let limits: ClosedRange<Int>
    /// The window that is granted, in blocks; the client may ask for less.
    package private(set) var window: Int
    /// The smallest window, in blocks, that has turned out to be too large; nil where none has.
    package private(set) var tooLarge: Int?
    /// Clean files of enough packets since the window changed or was tried.
    private var cleanFiles = 0
    /// How many of them come before a larger window is tried.
    private var pause = Self.firstPause

    /// Transfers of fewer packets tell nothing.
    static let fewest: UInt64 = 64
    /// Clean files before a window that was too large is tried again: the first time, and at most.
    static let (firstPause, longestPause) = (16, 1024)
    /// Files of so many bytes are tried on first: more than ``fewest`` packets of Ethernet's size, and not much more.
    static let trialBytes: ClosedRange<UInt64> = 128 << 10...1 << 20
    /// Where no such file comes, this many times the pause is long enough.
    static let pausesWithoutTrial = 4

    /// Begins with the largest window.
    package init(limits: ClosedRange<Int> = 4...64) {
        self.limits = limits
        window = limits.upperBound
    }

    /// The largest window for the next transfer, in blocks.
    ///
    /// - Parameter bytes: the file's length.
    package func window(forBytes bytes: UInt64) -> Int {
        guard tooLarge != nil, cleanFiles >= pause else { return window }
        guard Self.trialBytes.contains(bytes) || cleanFiles >= pause * Self.pausesWithoutTrial else { return window }
        return min(limits.upperBound, window * 2)
    }

    /// Learns from a transfer.
    ///
    /// - Parameters:
    ///   - counters: its DATA packets.
    ///   - granted: the window that it had, in blocks.
    ///   - isComplete: false where the client fell silent.
    package mutating func learn(from counters: Sender.Counters, granted: Int, isComplete: Bool) {
        if !isComplete {
            shrink(to: granted / 2, from: granted)
        } else if counters.sent < Self.fewest {
            return
        } else if counters.repeated * 10 >= counters.sent * 4 {
            // Two of five packets again: at 5 % loss a window of 32 does worse than that, one of 8 does not.
            shrink(to: granted / 4, from: granted)
        } else if counters.repeated * 20 <= counters.sent {
            wasClean(granted: granted)
        }
    }

    private mutating func shrink(to smaller: Int, from granted: Int) {
        if granted > window {
            // A try that failed: what was good before still is.
            pause = min(pause * 2, Self.longestPause)
        } else {
            window = max(limits.lowerBound, min(window, smaller))
            pause = Self.firstPause
        }
        tooLarge = min(tooLarge ?? granted, granted)
        cleanFiles = 0
    }

    private mutating func wasClean(granted: Int) {
        if granted > window {
            window = granted
            cleanFiles = 0
            // All that is known to be too large is larger than this.
            if let tooLarge, tooLarge <= granted { self.tooLarge = granted * 2 }
            if window >= limits.upperBound { tooLarge = nil }
        } else if tooLarge != nil {
            cleanFiles += 1
        }
    }
}

extension WindowMemory: Codable {
    /// The layout's version. Grows when a field changes its meaning; another one's is not read.
    static let version = 1

    private enum CodingKeys: String, CodingKey {
        case version, window, pause
        case tooLarge = "too_large"
        case cleanFiles = "clean_files"
    }

    /// Reads what ``encode(to:)`` wrote, for the default limits.
    ///
    /// - Throws: `DecodingError` where it is not that, or its numbers cannot have come from ``learn(from:granted:isComplete:)``.
    package init(from decoder: any Decoder) throws {
        self.init()
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        func number(_ key: CodingKeys, in range: ClosedRange<Int>) throws -> Int {
            let value = try fields.decode(Int.self, forKey: key)
            guard range.contains(value) else {
                throw DecodingError.dataCorruptedError(
                    forKey: key, in: fields,
                    debugDescription: "is \(value); must be \(range.lowerBound) to \(range.upperBound)")
            }
            return value
        }
        _ = try number(.version, in: Self.version...Self.version)
        window = try number(.window, in: limits)
        if try fields.decodeIfPresent(Int.self, forKey: .tooLarge) != nil {
            // A client may have asked for less than the smallest window.
            tooLarge = try number(.tooLarge, in: 2...limits.upperBound * 2)
        } else if window < limits.upperBound {
            throw DecodingError.dataCorruptedError(
                forKey: .window, in: fields, debugDescription: "is \(window), although no larger one was too large")
        }
        cleanFiles = try number(.cleanFiles, in: 0...Self.longestPause * Self.pausesWithoutTrial * 2)
        pause = try number(.pause, in: Self.firstPause...Self.longestPause)
    }

    /// Writes everything but the limits, so that another server or a later one can go on with it.
    package func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(Self.version, forKey: .version)
        try fields.encode(window, forKey: .window)
        try fields.encodeIfPresent(tooLarge, forKey: .tooLarge)
        // More of them than anything waits for make no difference.
        try fields.encode(min(cleanFiles, Self.longestPause * Self.pausesWithoutTrial), forKey: .cleanFiles)
        try fields.encode(pause, forKey: .pause)
    }
}

/// A ``WindowMemory`` that was kept by another process, or by an earlier one: another version's, and one that makes no
/// sense, is none. Reading it never fails, so that nothing else that lies beside it is lost.
package struct KeptWindows: Hashable, Sendable, Codable {
    /// nil: nothing that could be used.
    package let memory: WindowMemory?

    /// One to be kept.
    package init(_ memory: WindowMemory?) { self.memory = memory }

    /// Reads what ``encode(to:)`` wrote.
    package init(from decoder: any Decoder) { memory = try? WindowMemory(from: decoder) }

    /// Writes it as ``WindowMemory`` is written.
    package func encode(to encoder: any Encoder) throws {
        if let memory { return try memory.encode(to: encoder) }
        var value = encoder.singleValueContainer()
        try value.encodeNil()
    }
}
