import Configuration
import FoundationEssentials
import TFTP
import TFTPServer

/// What a running service and its clients say to each other on a Unix socket (SOCK_SEQPACKET): one JSON object a message.
///
/// The service greets; the client registers one job, with the image as an open file where ranges of it are read; the
/// service says that it is taken, or why not, and then what happens. The job ends when the client closes the connection,
/// however that comes about.
enum ServiceVersion {
    /// Grows when a message changes its meaning. A field that is new is optional and leaves it as it is: who does not know
    /// the field skips it.
    static let current = 1
}

/// The service's first message.
struct Greeting: Codable {
    var version: Int
    /// The TFTP root: path, and which folder that is, whatever it is called elsewhere.
    var root: String
    var device: UInt64
    var inode: UInt64
}

/// The client's only message.
struct Registration: Codable {
    var version: Int
    var folder: String
    var address: String
    /// Names of files in the job's folder.
    var files: [String]
    /// The one of them that a target asks for first.
    var entry: String
    /// The name of the file that comes along with this message; its ranges may be read.
    var open: String?
    /// What is known of the window that the target takes; nil where nothing is, and from a client of before 0.2.
    var windows: KeptWindows?
}

/// What the service says after that.
enum ServiceMessage: Codable {
    case registered
    case refused(reason: String)
    case opened(file: String, size: UInt64, address: String)
    case progress(file: String, bytes: UInt64)
    case sent(file: String)
    case completed(file: String, bytes: UInt64, sent: UInt64, repeated: UInt64, window: Int)
    case interrupted(file: String, reason: String)
    case uploaded(name: String, content: Data)
    case notServed(path: String, address: String, reason: String)

    /// The message for an event; nil for what our own server never tells.
    init?(_ event: TransferEvent) {
        let message: Self? =
            switch event {
            case .opened(let file, let size, let address):
                .opened(file: file, size: size ?? 0, address: address ?? "")
            case .progress(let file, let bytes): .progress(file: file, bytes: bytes)
            case .sent(let file): .sent(file: file)
            case .completed(let file, let bytes, let packets, let repeated, let window):
                .completed(file: file, bytes: bytes ?? 0, sent: packets, repeated: repeated, window: window)
            case .interrupted(let file, let reason): .interrupted(file: file, reason: reason)
            case .uploaded(let name, let content): .uploaded(name: name, content: Data(content))
            case .refused(let path, let address, let reason):
                .notServed(path: path, address: address, reason: reason)
            case .activity, .lost: nil
            }
        guard let message else { return nil }
        self = message
    }

    /// The event; nil for an answer to the registration.
    var event: TransferEvent? {
        switch self {
        case .registered, .refused: nil
        case .opened(let file, let size, let address): .opened(file: file, size: size, address: address)
        case .progress(let file, let bytes): .progress(file: file, bytes: bytes)
        case .sent(let file): .sent(file: file)
        case .completed(let file, let bytes, let sent, let repeated, let window):
            .completed(file: file, bytes: bytes, packets: sent, repeated: repeated, window: window)
        case .interrupted(let file, let reason): .interrupted(file: file, reason: reason)
        case .uploaded(let name, let content): .uploaded(name: name, content: [UInt8](content))
        case .notServed(let path, let address, let reason):
            .refused(path: path, address: address, reason: reason)
        }
    }
}

/// What the service says of an event, and when that was.
struct TimedMessage: Codable {
    var message: ServiceMessage
    /// ``MonotonicInstant/nanoseconds``; nil from a service of before 0.2, whose events count from when they came.
    var at: Int64?
    /// ``TimedTransferEvent/windows``; never from a service of before 0.2.
    var windows: KeptWindows?

    private enum Key: String, CodingKey { case at, windows }

    /// nil for what our own server never tells.
    init?(_ event: TimedTransferEvent) {
        guard let message = ServiceMessage(event.event) else { return nil }
        (self.message, at, windows) = (message, event.instant.nanoseconds, event.windows.map { KeptWindows($0) })
    }

    init(from decoder: any Decoder) throws {
        message = try ServiceMessage(from: decoder)
        let fields = try decoder.container(keyedBy: Key.self)
        at = try fields.decodeIfPresent(Int64.self, forKey: .at)
        windows = try fields.decodeIfPresent(KeptWindows.self, forKey: .windows)
    }

    func encode(to encoder: any Encoder) throws {
        try message.encode(to: encoder)
        var fields = encoder.container(keyedBy: Key.self)
        try fields.encodeIfPresent(at, forKey: .at)
        try fields.encodeIfPresent(windows, forKey: .windows)
    }

    /// The event, never later than now; nil for an answer to the registration.
    func event(receivedAt now: MonotonicInstant) -> TimedTransferEvent? {
        message.event.map {
            TimedTransferEvent(
                $0, at: min(now, at.map(MonotonicInstant.init(nanoseconds:)) ?? now), windows: windows?.memory)
        }
    }
}

extension Registration {
    /// The most files of a job: a plan's chunks, its script and its table, with room to spare.
    static let mostFiles = 8192

    /// Why it is not taken; nil where nothing is wrong with it. It comes from another process and is checked as what a
    /// target sends is.
    func problem(hasFile: Bool) -> String? {
        if version != ServiceVersion.current {
            return "it speaks version \(version), this service \(ServiceVersion.current)"
        }
        if (try? MACAddress(folder))?.description != folder { return "its folder is not named by a MAC address" }
        if (try? IPv4Address(address))?.description != address { return "its address is not a dotted IPv4 address" }
        if files.count > Self.mostFiles { return "it has \(files.count) files; must be at most \(Self.mostFiles)" }
        if !(files + [entry] + (open.map { [$0] } ?? [])).allSatisfy(Self.isFileName) {
            return "a file's name is not 1 to 64 letters, digits and . _ - + @, or starts with a dot"
        }
        if (open == nil) == hasFile { return hasFile ? "a file came without a name" : "a file is missing" }
        return nil
    }

    /// As the names in a flash plan are, docs/plan-protocol.md.
    private static func isFileName(_ text: String) -> Bool {
        let bytes = text.utf8
        return (1...64).contains(bytes.count) && bytes.first != UInt8(ascii: ".")
            && bytes.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"),
                    UInt8(ascii: "+"), UInt8(ascii: "@"):
                    true
                default: false
                }
            }
    }
}

/// The longest message: an upload of 64 KiB in base 64, or the names of some thousand files.
let longestMessage = 192 << 10
