public import FlashEvents
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
public struct JobFiles: Sendable {
    /// The target's folder in the TFTP root.
    public var folder: String
    /// Names of the files in it.
    public var names: Set<String>
    /// The one of them that a target asks for first: what it uploaded before that belongs to another try.
    public var entry: String
    /// An open image of which ranges may be read; nil where there is none.
    public var ranged: RangedFile?

    /// A file that is not in the folder.
    public struct RangedFile: Sendable {
        /// Its name for the target.
        public var name: String
        /// What is read.
        public var image: any OpenImage
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
        public var encoding: ChunkEncoding
        /// Bytes of its file.
        public var encodedSize: ByteCount
        /// Its file in the store, by the name that ``ChunkedImage/link`` takes; equal chunks share one.
        public var file: String
        /// Where its entries start in the table of pieces.
        public var pieces: ByteCount

        /// A chunk as given.
        public init(
            place: ChunkPlace, digest: SHA256Digest, encoding: ChunkEncoding, encodedSize: ByteCount,
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
    public var raw: (any OpenImage)?
    /// What a user should know of the image, one sentence; nil where there is nothing.
    public var remark: String?
    /// Whether other users of this host may not read what it alone has.
    public var isPrivate = false
    /// Gives a file of the store another name, without a copy where that is possible. `isForEveryone`: every user can read
    /// it then, else who may read the store's.
    public var link: @Sendable (_ file: String, _ path: FilePath, _ isForEveryone: Bool) throws -> Void

    /// An image as given.
    public init(
        id: String, layout: OSImageLayout, chunks: [Chunk], table: (file: String, size: ByteCount),
        raw: (any OpenImage)?,
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

/// What a flash needs of the world.
public struct FlashPorts: Sendable {
    /// Opens the image, or gives the one that the run has open; its errors name the image.
    public var openImage: @Sendable (FilePath) async throws -> any OpenImage
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
        openImage: @escaping @Sendable (FilePath) async throws -> any OpenImage,
        prepareImage:
            @escaping @Sendable (FilePath, @escaping @Sendable (FlashProgress) -> Void) async throws -> ChunkedImage,
        renderPlan: @escaping @Sendable (ChunkPlan) throws -> [UInt8],
        checkReset: @escaping @Sendable (Target) throws -> Void,
        reset: @escaping @Sendable (Target, ResetMethod) async throws -> Void,
        claimServer: @escaping @Sendable (FilePath, Target) async throws -> ClaimedServer,
        answers: @escaping @Sendable (Target, UInt16) async throws -> Bool,
        heardConsole: @escaping @Sendable () -> Bool = { false }
    ) {
        self.openImage = openImage
        self.prepareImage = prepareImage
        self.renderPlan = renderPlan
        self.checkReset = checkReset
        self.reset = reset
        self.claimServer = claimServer
        self.answers = answers
        self.heardConsole = heardConsole
    }
}
