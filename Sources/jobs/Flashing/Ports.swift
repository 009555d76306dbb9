public import DiskLayout
public import FlashPlan
public import Inventory
public import SystemPackage
public import TFTP

/// What happened on a server, and how long ago.
public struct AgedEvent: Hashable, Sendable {
    /// What.
    public let event: TransferEvent
    /// How long ago it was when it was taken, at least zero.
    public let age: Duration

    /// An event as given; one of the future is one of now.
    public init(_ event: TransferEvent, age: Duration) { (self.event, self.age) = (event, max(.zero, age)) }
}

/// Where events wait until they are asked for.
public protocol TransferEvents: Sendable {
    /// What happened since the last call, in order.
    func take() -> [AgedEvent]
}

/// What a server hands out for a job.
public struct JobFiles: Hashable, Sendable {
    /// The target's folder in the TFTP root.
    public var folder: String
    /// Names of the files in it.
    public var names: Set<String>
    /// The one of them that a target asks for first: what it uploaded before that belongs to another try.
    public var entry: String
    /// A file elsewhere of which ranges may be read; nil where there is none.
    public var ranged: RangedFile?

    /// A file that is no file of the folder.
    public struct RangedFile: Hashable, Sendable {
        /// Its name for the target.
        public var name: String
        /// Where it is.
        public var path: FilePath
    }

    /// Files as given.
    public init(folder: String, names: Set<String>, entry: String) {
        self.folder = folder
        self.names = names
        self.entry = entry
    }
}

/// An image that is ready for flash plans: cut into chunks, each with its digest and a file to send.
public struct ChunkedImage: Sendable {
    /// A chunk and its file.
    public struct Chunk: Hashable, Sendable {
        /// Where it goes.
        public var place: ChunkPlace
        /// What it must be.
        public var digest: SHA256Digest
        /// How its file holds it.
        public var encoding: ChunkPlan.ChunkFile.Encoding
        /// Bytes of its file.
        public var encodedSize: ByteCount
        /// Its file in the store, by the name that ``ChunkedImage/link`` takes; equal chunks share one.
        public var file: String
        /// Where its entries start in the table of pieces.
        public var pieces: ByteCount

        /// A chunk as given.
        public init(
            place: ChunkPlace, digest: SHA256Digest, encoding: ChunkPlan.ChunkFile.Encoding, encodedSize: ByteCount,
            file: String, pieces: ByteCount
        ) {
            self.place = place
            self.digest = digest
            self.encoding = encoding
            self.encodedSize = encodedSize
            self.file = file
            self.pieces = pieces
        }
    }

    /// SHA-256 that follows from the content alone, 64 digits.
    public var id: String
    /// The image's layout.
    public var layout: OSImageLayout
    /// In the order in which they are written.
    public var chunks: [Chunk]
    /// The table of pieces, by the name that ``link`` takes, and its length.
    public var table: (file: String, size: ByteCount)
    /// The raw image, of which ranges can be served; nil where it is compressed.
    public var raw: FilePath?
    /// What a user should know of the image, one sentence; nil where there is nothing.
    public var remark: String?
    /// Whether other users of this host may not read what it alone has.
    public var isPrivate = false
    /// Gives a file of the store another name, without a copy where that is possible. `isForEveryone`: every user can read
    /// it then, else who may read the store's.
    public var link: @Sendable (_ file: String, _ path: FilePath, _ isForEveryone: Bool) throws -> Void

    /// An image as given.
    public init(
        id: String, layout: OSImageLayout, chunks: [Chunk], table: (file: String, size: ByteCount), raw: FilePath?,
        remark: String? = nil, isPrivate: Bool = false,
        link: @escaping @Sendable (_ file: String, _ path: FilePath, _ isForEveryone: Bool) throws -> Void
    ) {
        self.id = id
        self.layout = layout
        self.chunks = chunks
        self.table = table
        self.raw = raw
        self.remark = remark
        self.isPrivate = isPrivate
        self.link = link
    }
}

/// Who opens the files that are staged, which says what modes they need.
public enum StagedFileReader: Hashable, Sendable {
    /// This process, which may read what it has staged.
    case thisProcess
    /// Another process, in the group that shares the TFTP root.
    case group
    /// A server that was there before, as any user.
    case everyone
}

/// Our own server, with the port bound.
public protocol OwnServer: Sendable {
    /// Address and port, for messages.
    var address: String { get }
    /// Who opens the files.
    var reader: StagedFileReader { get }
    /// Hands out these files to the target from now on, and takes its outcome.
    ///
    /// - Throws: any error, with a description for a person.
    func serve(_ files: JobFiles, to target: Target) throws -> any TransferEvents
    /// Frees the port.
    func stop() async
}

extension OwnServer {
    /// A server in this process.
    public var reader: StagedFileReader { .thisProcess }
}

/// What another TFTP server answered to a test.
public enum ProbeAnswer: Hashable, Sendable {
    /// The content of the file that was read.
    case content([UInt8])
    /// The upload was taken.
    case taken
    /// An error, in the server's words.
    case refused(String)
    /// Nothing that is TFTP.
    case silence
}

/// A TFTP server that was there before, and serves some folder.
public protocol ForeignServer: Sendable {
    /// Address and port, for messages.
    var address: String { get }
    /// Reads a small file.
    func read(_ path: String) async -> ProbeAnswer
    /// Writes a small file.
    func write(_ path: String, content: [UInt8]) async -> ProbeAnswer
    /// Follows what the server does with the files of a folder from now on.
    ///
    /// - Throws: any error, with a description for a person.
    func watch(_ folder: FilePath) throws -> any TransferEvents
}

/// Who serves.
public enum ClaimedServer: Sendable {
    /// The port was free.
    case own(any OwnServer)
    /// Someone else has it.
    case foreign(any ForeignServer)
}

/// A way to reset a target.
public enum ResetMethod: Hashable, Sendable, CustomStringConvertible {
    /// Pulls its RESET line low through this GPIO line.
    case line(GPIOLine)
    /// Runs the row's reset_command.
    case command

    /// As messages name it.
    public var description: String {
        switch self {
        case .line(let line): "GPIO line \(line)"
        case .command: "reset_command"
        }
    }
}

extension Target {
    /// The ways to reset it that its row has, the first the one to take: the line, then the command.
    public var resetMethods: [ResetMethod] {
        (gpio.map { [.line($0)] } ?? []) + (resetCommand == nil ? [] : [.command])
    }

    /// The resets of a flash, one after the other for as long as the target does not ask for its image: the first way
    /// twice, since a single reset may be missed, then the other one.
    var resetAttempts: [ResetMethod] { resetMethods.prefix(1) + resetMethods }
}

/// What a flash needs of the world.
public struct FlashPorts: Sendable {
    /// Reads and checks the image's partition table; its errors name the image.
    public var inspectImage: @Sendable (FilePath) throws -> OSImageLayout
    /// Prepares an image for flash plans, or finds it prepared. Its errors are ``FlashError``.
    public var prepareImage:
        @Sendable (FilePath, @escaping @Sendable (FlashProgress) -> Void) async throws -> ChunkedImage
    /// Renders a flash plan as a script image.
    public var renderPlan: @Sendable (ChunkPlan) throws -> [UInt8]
    /// Checks that the target can be reset, without touching it.
    public var checkReset: @Sendable (Target) throws -> Void
    /// Resets the target in one of its ``Inventory/Target/resetMethods``. Has a deadline of its own, and throws
    /// `CancellationError` only when it was cancelled.
    public var reset: @Sendable (Target, ResetMethod) async throws -> Void
    /// Binds the TFTP port or finds who has it.
    public var claimServer: @Sendable (_ root: FilePath, _ target: Target) async throws -> ClaimedServer
    /// Whether a connection to this TCP port of the target is accepted; takes at most some seconds.
    public var answers: @Sendable (_ target: Target, _ port: UInt16) async throws -> Bool
    /// Whether the target's console said something since this was asked last.
    public var heardConsole: @Sendable () -> Bool

    /// The ports as given.
    public init(
        inspectImage: @escaping @Sendable (FilePath) throws -> OSImageLayout,
        prepareImage:
            @escaping @Sendable (FilePath, @escaping @Sendable (FlashProgress) -> Void) async throws -> ChunkedImage,
        renderPlan: @escaping @Sendable (ChunkPlan) throws -> [UInt8],
        checkReset: @escaping @Sendable (Target) throws -> Void,
        reset: @escaping @Sendable (Target, ResetMethod) async throws -> Void,
        claimServer: @escaping @Sendable (FilePath, Target) async throws -> ClaimedServer,
        answers: @escaping @Sendable (Target, UInt16) async throws -> Bool,
        heardConsole: @escaping @Sendable () -> Bool = { false }
    ) {
        self.inspectImage = inspectImage
        self.prepareImage = prepareImage
        self.renderPlan = renderPlan
        self.checkReset = checkReset
        self.reset = reset
        self.claimServer = claimServer
        self.answers = answers
        self.heardConsole = heardConsole
    }
}

/// What a flash tells while it runs.
public enum FlashProgress: Hashable, Sendable {
    /// Something worth a line in the log.
    case note(String)
    /// Something that may be wrong.
    case warning(String)
    /// This server hands out the root from now on; another one that was there before, where it is not our own.
    case serving(root: FilePath, address: String, isOwn: Bool)
    /// The image is prepared; its content has this id.
    case prepared(id: String)
    /// The target is reset, the `attempt`th time, 1 for the first.
    case resetting(target: String, method: ResetMethod, attempt: Int)
    /// The target asks for its image.
    case asked
    /// The target has all of a file. `packets` and `repeated` count DATA packets, `window` is the
    /// one that was agreed on, in blocks. Another server tells nothing of it.
    case completed(file: String, packets: UInt64, repeated: UInt64, window: Int = 1)
    /// The target has written a chunk or part of this many bytes and compared it; it took that long from the file's last
    /// packet to what the target asked next. Another server tells nothing of it.
    case wrote(number: UInt64, bytes: UInt64, took: Duration)
    /// The target uploaded this REPORT, untrusted; its outcome is told afterwards.
    case reported([UInt8])
    /// This run is recorded under this name.
    case recording(id: String)
    /// The target has proven what is on its card, this long after the reset.
    case proven(FlashProof, elapsed: Duration)
    /// A compressed image is unpacked; bytes are of the compressed file.
    case unpacking(read: UInt64, total: UInt64)
    /// The image is prepared: read, hashed and compressed.
    case preparing(bytes: UInt64, total: UInt64)
    /// The image is copied to the TFTP root.
    case staging(bytes: UInt64, total: UInt64)
    /// The target takes a part; bytes are of all parts together. `bytes` is nil where another server serves.
    case transfer(part: UInt64, parts: UInt64, bytes: UInt64?, total: UInt64, elapsed: Duration)
    /// The target is at a chunk; bytes are of all chunks' files that it loaded, of which it needs those that differ only.
    case chunk(number: UInt64, chunks: UInt64, bytes: UInt64, total: UInt64, elapsed: Duration)
    /// The target is waited for.
    case waiting(port: UInt16, elapsed: Duration)

    /// The line that a log should have of it; nil for how far something is.
    public var logLine: String? {
        switch self {
        case .note(let text): text
        case .warning(let text): "warning: \(text)"
        case .serving(let root, let address, true): "serving \(root) on \(address)"
        case .serving(_, let address, false): "using the TFTP server that is there, on \(address)"
        case .resetting(let target, let method, 1): "resetting target \(target) (\(method))"
        case .asked: "the target asks for its image"
        case .proven(let proven, _):
            "the target reported OK with \(proven.bytes.bytes) bytes, exactly what was to be on its card"
        // Of a further reset a warning has told.
        case .resetting, .completed, .prepared, .wrote, .reported, .recording, .unpacking, .preparing, .staging,
            .transfer, .chunk, .waiting:
            nil
        }
    }
}
