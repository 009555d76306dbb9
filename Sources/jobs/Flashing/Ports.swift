package import FlashEvents
package import DiskLayout
package import FlashPlan
package import Inventory
package import SystemPackage
package import TFTP

/// What happened on a server, and how long ago.
package struct AgedEvent: Hashable, Sendable {
    /// What.
    package let event: TransferEvent
    /// How long ago it was when it was taken, at least zero.
    package let age: Duration

    /// An event as given; one of the future is one of now.
    package init(_ event: TransferEvent, age: Duration) { (self.event, self.age) = (event, max(.zero, age)) }
}

/// Where events wait until they are asked for.
package protocol TransferEvents: Sendable {
    /// What happened since the last call, in order.
    func take() -> [AgedEvent]
}

/// What a server hands out for a job.
package struct JobFiles: Sendable {
    /// The target's folder in the TFTP root.
    package var folder: String
    /// Names of the files in it.
    package var names: Set<String>
    /// The one of them that a target asks for first: what it uploaded before that belongs to another try.
    package var entry: String
    /// An open image whose ranges may be read; nil where there is none.
    package var ranged: RangedFile?

    /// A file that is not in the folder.
    package struct RangedFile: Sendable {
        /// Its name for the target.
        package var name: String
        /// What is read.
        package var image: any OpenImage
    }

    package init(folder: String, names: Set<String>, entry: String) {
        (self.folder, self.names, self.entry) = (folder, names, entry)
    }
}

/// An image that is ready for flash plans: cut into chunks, each with its digest and a file to send.
package struct ChunkedImage: Sendable {
    /// A chunk and its file.
    package struct Chunk: Hashable, Sendable {
        /// Where it goes.
        package var place: ChunkPlace
        /// What it must be.
        package var digest: SHA256Digest
        /// How its file holds it.
        package var encoding: ChunkEncoding
        /// Bytes of its file.
        package var encodedSize: ByteCount
        /// Its file in the store, by the name that ``ChunkedImage/link`` takes; equal chunks share one.
        package var file: String
        /// Where its entries start in the table of pieces.
        package var pieces: ByteCount

        package init(
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
    package var id: String
    /// The image's layout.
    package var layout: OSImageLayout
    /// In the order in which they are written.
    package var chunks: [Chunk]
    /// The table of pieces, by the name that ``link`` takes, and its length.
    package var table: (file: String, size: ByteCount)
    /// The raw image, whose ranges can be served; nil where it is compressed.
    package var raw: (any OpenImage)?
    /// What a user should know of the image, one sentence; nil where there is nothing.
    package var remark: String?
    /// Whether other users of this host may not read what it alone has.
    package var isPrivate = false
    /// Gives a file of the store another name, without a copy where that is possible. `isForEveryone`: every user can read
    /// it then, else who may read the store's.
    package var link: @Sendable (_ file: String, _ path: FilePath, _ isForEveryone: Bool) throws -> Void

    package init(
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
package enum StagedFileReader: Hashable, Sendable {
    /// This process, which may read what it has staged.
    case thisProcess
    /// Another process, in the group that shares the TFTP root.
    case group
    /// A server that was there before, as any user.
    case everyone
}

/// Our own server, with the port bound.
package protocol OwnServer: Sendable {
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
    package var reader: StagedFileReader { .thisProcess }
}

/// What another TFTP server answered to a test.
package enum ProbeAnswer: Hashable, Sendable {
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
package protocol ForeignServer: Sendable {
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
package enum ClaimedServer: Sendable {
    /// The port was free.
    case own(any OwnServer)
    /// Someone else has it.
    case foreign(any ForeignServer)
}

/// Signs scripts for U-Boot.
package struct ScriptSigner: Sendable {
    /// The keys' names, at least one; each signs.
    package var keys: [String]
    /// Makes a signed image of a script's text, as `source ADDRESS:NAME` takes it.
    package var sign: @Sendable (_ script: String, _ name: String) async throws -> [UInt8]

    package init(
        keys: [String], sign: @escaping @Sendable (_ script: String, _ name: String) async throws -> [UInt8]
    ) {
        (self.keys, self.sign) = (keys, sign)
    }
}

/// What a flash needs of the world.
package struct FlashPorts: Sendable {
    /// Opens the image, or gives the one that the run has open; its errors name the image.
    package var openImage: @Sendable (FilePath) async throws -> any OpenImage
    /// Prepares an image for flash plans, or finds it prepared. Its errors are ``FlashError``.
    package var prepareImage:
        @Sendable (FilePath, @escaping @Sendable (FlashProgress) -> Void) async throws -> ChunkedImage
    /// Renders a flash plan as a script image, signed where there is a ``signer``.
    package var renderPlan: @Sendable (ChunkPlan) async throws -> [UInt8]
    /// Signs with the bench's keys; nil where it has none.
    package var signer: ScriptSigner?
    /// Checks that the target can be reset, without touching it.
    package var checkReset: @Sendable (Target) throws -> Void
    /// Resets the target in one of its ``Inventory/Target/resetMethods``. Has a deadline of its own, and throws
    /// `CancellationError` only when it was cancelled.
    package var reset: @Sendable (Target, ResetMethod) async throws -> Void
    /// Binds the TFTP port or finds who has it.
    package var claimServer: @Sendable (_ root: FilePath, _ target: Target) async throws -> ClaimedServer
    /// Whether a connection to this TCP port of the target is accepted; takes at most some seconds.
    package var answers: @Sendable (_ target: Target, _ port: UInt16) async throws -> Bool
    /// Whether the target's console said something since this was asked last.
    package var heardConsole: @Sendable () -> Bool

    package init(
        openImage: @escaping @Sendable (FilePath) async throws -> any OpenImage,
        prepareImage:
            @escaping @Sendable (FilePath, @escaping @Sendable (FlashProgress) -> Void) async throws -> ChunkedImage,
        renderPlan: @escaping @Sendable (ChunkPlan) async throws -> [UInt8],
        signer: ScriptSigner? = nil,
        checkReset: @escaping @Sendable (Target) throws -> Void,
        reset: @escaping @Sendable (Target, ResetMethod) async throws -> Void,
        claimServer: @escaping @Sendable (FilePath, Target) async throws -> ClaimedServer,
        answers: @escaping @Sendable (Target, UInt16) async throws -> Bool,
        heardConsole: @escaping @Sendable () -> Bool = { false }
    ) {
        self.openImage = openImage
        self.prepareImage = prepareImage
        self.renderPlan = renderPlan
        self.signer = signer
        self.checkReset = checkReset
        self.reset = reset
        self.claimServer = claimServer
        self.answers = answers
        self.heardConsole = heardConsole
    }
}
