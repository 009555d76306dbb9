import Synchronization
import TFTP

/// The jobs of a server, who may do what for them, and what came in.
final class Registry: Sendable {
    private struct Entry {
        var job: ServedFolder
        var events: AsyncStream<TimedTransferEvent>.Continuation
        var uploads: [String: [UInt8]] = [:]
        var refusals: Set<String> = []
        var windows: WindowMemory

        init(_ job: ServedFolder, events: AsyncStream<TimedTransferEvent>.Continuation) {
            (self.job, self.events, windows) = (job, events, job.windows)
        }
    }

    private let entries = Mutex<[String: Entry]>([:])

    /// Adds a job and returns its events.
    func add(_ job: ServedFolder) -> AsyncStream<TimedTransferEvent> {
        let (stream, continuation) = AsyncStream.makeStream(of: TimedTransferEvent.self)
        let old = entries.withLock { $0.updateValue(Entry(job, events: continuation), forKey: job.folder) }
        old?.events.finish()
        return stream
    }

    /// Adds a job and returns its events; nil where its folder has one.
    func addNew(_ job: ServedFolder) -> AsyncStream<TimedTransferEvent>? {
        let (stream, continuation) = AsyncStream.makeStream(of: TimedTransferEvent.self)
        let isNew = entries.withLock { entries in
            guard entries[job.folder] == nil else { return false }
            entries[job.folder] = Entry(job, events: continuation)
            return true
        }
        return isNew ? stream : nil
    }

    /// Ends a job.
    func remove(folder: String) {
        let old = entries.withLock { $0.removeValue(forKey: folder) }
        old?.events.finish()
    }

    func removeAll() {
        let all = entries.withLock { entries in
            let all = Array(entries.values)
            entries = [:]
            return all
        }
        for entry in all { entry.events.finish() }
    }

    func report(_ event: TransferEvent, folder: String) {
        let instant = MonotonicInstant.now
        guard let entry = entries.withLock({ $0[folder] }) else { return }
        let isEnd =
            switch event {
            case .completed, .interrupted: true
            default: false
            }
        entry.events.yield(TimedTransferEvent(event, at: instant, windows: isEnd ? entry.windows : nil))
    }

    /// The largest window for the next transfer of a job, in blocks, which is one of a file of `bytes`.
    func window(folder: String, bytes: UInt64) -> Int {
        (entries.withLock { $0[folder]?.windows } ?? WindowMemory()).window(forBytes: bytes)
    }

    /// Learns from a transfer that is over.
    func learn(folder: String, from counters: Sender.Counters, granted: Int, isComplete: Bool) {
        entries.withLock { $0[folder]?.windows.learn(from: counters, granted: granted, isComplete: isComplete) }
    }

    /// What a request names, where its sender may have it.
    enum Admission {
        case read(Grant)
        case write(folder: String, name: String)
        case refused(String)
    }

    /// Decides about a request.
    ///
    /// - Parameters:
    ///   - path: as it was sent; untrusted.
    ///   - address: of the sender, dotted.
    ///   - writing: an upload.
    func admit(path: String, address: String, writing: Bool) -> Admission {
        let parts = (path.hasPrefix("/") ? path.dropFirst() : path[...]).split(
            separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let job = entries.withLock({ $0[String(parts[0])]?.job }) else {
            return .refused("no job serves it")
        }
        let name = String(parts[1])
        let grant = writing ? nil : Grant(name: name, job: job)
        guard writing ? ServedFolder.uploads.contains(name) : grant != nil else {
            return .refused(writing ? "only OK, FAILED, REPORT and CHALLENGE are taken" : "not part of the job")
        }
        guard job.address == address || ARPTable.mac(of: address) == job.folder else {
            return .refused("not the job's target")
        }
        guard let grant else { return .write(folder: job.folder, name: name) }
        if name == job.entry { entries.withLock { $0[job.folder]?.uploads = [:] } }
        return .read(grant)
    }

    /// Reports a refused request to the job whose folder it names, or else to all, once.
    func refused(path: String, address: String, reason: String) {
        let key = "\(address) \(path)"
        let receivers = entries.withLock { entries in
            let named = entries.keys.filter { path.contains($0) }
            return (named.isEmpty ? Array(entries.keys) : named).compactMap {
                folder -> AsyncStream<TimedTransferEvent>.Continuation? in
                // The limit keeps a flood of made-up names out of memory and out of the log.
                guard var entry = entries[folder], entry.refusals.count < 64, entry.refusals.insert(key).inserted
                else { return nil }
                entries[folder] = entry
                return entry.events
            }
        }
        let event = TimedTransferEvent(.refused(path: path, address: address, reason: reason), at: .now)
        for receiver in receivers { receiver.yield(event) }
    }

    /// Takes a complete upload. The first of a name counts; the same again is a client that missed the last ACK.
    ///
    /// - Returns: false where another content came under this name before, or the job is over.
    func take(upload content: [UInt8], name: String, folder: String) -> Bool {
        let (isTaken, events) = entries.withLock { entries -> (Bool, AsyncStream<TimedTransferEvent>.Continuation?) in
            guard var entry = entries[folder] else { return (false, nil) }
            if let old = entry.uploads[name] { return (old == content, nil) }
            entry.uploads[name] = content
            entries[folder] = entry
            return (true, entry.events)
        }
        events?.yield(TimedTransferEvent(.uploaded(name: name, content: content), at: .now))
        return isTaken
    }
}

/// A file of a job, or parts of it, that a request may have.
struct Grant: Hashable, Sendable {
    /// What of a file is asked for.
    enum Part: Hashable, Sendable {
        case all
        /// A run of sectors, not empty.
        case range(Range<UInt64>)
        /// Runs of sectors, in order and apart from each other, none empty; what is behind the file's end is left out of the
        /// last one.
        case pieces([Range<UInt64>])
    }

    /// The job's folder.
    let folder: String
    /// The name that was asked for, with its part.
    let name: String
    /// The file's name without a part.
    let file: String
    let source: ServedFolder.Source
    /// What is asked of the file.
    let part: Part

    /// What `name` means in a job; nil where the job does not have it, or its part is malformed or empty.
    init?(name: String, job: ServedFolder) {
        folder = job.folder
        self.name = name
        if let source = job.files[name] {
            file = name
            self.source = source
            part = .all
            return
        }
        guard let at = name.lastIndex(of: "@"), case let file = String(name[..<at]), job.ranged.contains(file),
            let source = job.files[file], case let text = name[name.index(after: at)...],
            let part = text.contains("-") ? Self.pieces(text) : Self.range(text).map({ Part.range($0) })
        else { return nil }
        self.file = file
        self.source = source
        self.part = part
    }

    /// Reads `<start>-<mask>`.
    private static func pieces(_ text: Substring) -> Part? {
        let halves = text.split(separator: "-", omittingEmptySubsequences: false)
        guard halves.count == 2, halves[1].utf8.count * 4 <= ServedFolder.mostPieces, let start = number(halves[0])
        else {
            return nil
        }
        var runs: [Range<UInt64>] = []
        var piece = start
        for digit in halves[1].utf8 {
            guard let bits = Character(UnicodeScalar(digit)).hexDigitValue else { return nil }
            for bit in [8, 4, 2, 1] {
                let (end, overflow) = piece.addingReportingOverflow(ServedFolder.pieceSectors)
                guard !overflow else { return nil }
                if bits & bit != 0 {
                    if let last = runs.last, last.upperBound == piece {
                        runs[runs.count - 1] = last.lowerBound..<end
                    } else {
                        runs.append(piece..<end)
                    }
                }
                piece = end
            }
        }
        return runs.isEmpty ? nil : .pieces(runs)
    }

    /// Reads `<start>+<count>`.
    private static func range(_ text: Substring) -> Range<UInt64>? {
        let numbers = text.split(separator: "+", omittingEmptySubsequences: false)
        guard numbers.count == 2, let start = number(numbers[0]), let count = number(numbers[1]), count > 0 else {
            return nil
        }
        let (end, overflow) = start.addingReportingOverflow(count)
        return overflow ? nil : start..<end
    }

    private static func number(_ text: Substring) -> UInt64? {
        // UInt64 itself would take a sign.
        guard text.utf8.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 || isLetter($0) }) else { return nil }
        return UInt64(text, radix: 16)
    }

    private static func isLetter(_ byte: UInt8) -> Bool { UInt8(ascii: "a")...UInt8(ascii: "f") ~= byte | 0x20 }
}
