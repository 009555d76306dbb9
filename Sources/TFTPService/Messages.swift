internal import FoundationEssentials
internal import TFTPServer

/// What a running service and its clients say to each other on a Unix socket (SOCK_SEQPACKET): one JSON object a message.
///
/// The service greets; the client registers one job, with the image as an open file where ranges of it are read; the
/// service says that it is taken, or why not, and then what happens. The job ends when the client closes the connection,
/// however that comes about.
enum ServiceVersion {
    /// Grows when a message changes its meaning.
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

    init(_ event: ServerEvent) {
        self =
            switch event {
            case .opened(let file, let size, let address): .opened(file: file, size: size, address: address)
            case .progress(let file, let bytes): .progress(file: file, bytes: bytes)
            case .sent(let file): .sent(file: file)
            case .completed(let file, let bytes, let sent, let repeated, let window):
                .completed(file: file, bytes: bytes, sent: sent, repeated: repeated, window: window)
            case .interrupted(let file, let reason): .interrupted(file: file, reason: reason)
            case .uploaded(let name, let content): .uploaded(name: name, content: Data(content))
            case .refused(let path, let address, let reason):
                .notServed(path: path, address: address, reason: reason)
            }
    }

    /// The event; nil for an answer to the registration.
    var event: ServerEvent? {
        switch self {
        case .registered, .refused: nil
        case .opened(let file, let size, let address): .opened(file: file, size: size, address: address)
        case .progress(let file, let bytes): .progress(file: file, bytes: bytes)
        case .sent(let file): .sent(file: file)
        case .completed(let file, let bytes, let sent, let repeated, let window):
            .completed(file: file, bytes: bytes, sent: sent, repeated: repeated, window: window)
        case .interrupted(let file, let reason): .interrupted(file: file, reason: reason)
        case .uploaded(let name, let content): .uploaded(name: name, content: [UInt8](content))
        case .notServed(let path, let address, let reason):
            .refused(path: path, address: address, reason: reason)
        }
    }
}

/// The longest message: an upload of 64 KiB in base 64, or the names of some thousand files.
let longestMessage = 192 << 10
