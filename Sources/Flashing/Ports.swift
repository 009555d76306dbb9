public import DiskLayout
public import Inventory
public import SystemPackage

/// What a job needs of the world. The executable plugs the real things in; each error it throws becomes one sentence.
public struct Ports: Sendable {
    /// Reads an image's layout; the file is only read.
    public var inspectImage: @Sendable (FilePath) throws -> OSImageLayout
    /// Serves the TFTP root.
    public var serving: any Serving
    /// Resets targets.
    public var resetting: any Resetting
    /// Whether a TCP connection to the port is accepted, within a second or two.
    public var answers: @Sendable (_ address: IPv4Address, _ port: UInt16) async -> Bool
    /// Names and addresses of this host, as an inventory's `server` column may have them.
    public var hostNames: @Sendable () -> [String]
    /// What time is measured and waited with.
    public var clock: any Clock<Duration>

    /// Ports as given.
    public init(
        inspectImage: @escaping @Sendable (FilePath) throws -> OSImageLayout, serving: any Serving,
        resetting: any Resetting, answers: @escaping @Sendable (IPv4Address, UInt16) async -> Bool,
        hostNames: @escaping @Sendable () -> [String], clock: any Clock<Duration> = ContinuousClock()
    ) {
        self.inspectImage = inspectImage
        self.serving = serving
        self.resetting = resetting
        self.answers = answers
        self.hostNames = hostNames
        self.clock = clock
    }
}

/// Makes sure that somebody serves the TFTP root.
public protocol Serving: Sendable {
    /// Takes the port, or finds the server that has it.
    ///
    /// - Parameters:
    ///   - root: the TFTP root.
    ///   - target: who will ask.
    /// - Throws: where neither is possible.
    func start(root: FilePath, target: Target) async throws -> any ServingSession
}

/// A server that hands out one job's files.
public protocol ServingSession: Sendable {
    /// For people: who serves, and where.
    var description: String { get }
    /// Somebody else's server writes the uploads into the folder, which it must be able to write.
    var writesUploads: Bool { get }
    /// Begins to hand out the files of a job that has been staged, and proves that they are handed out.
    ///
    /// - Returns: what happens from now on.
    /// - Throws: where the staged files cannot be had from the server.
    func serve(_ staged: StagedFiles) async throws -> AsyncStream<ServingEvent>
    /// Ends serving.
    func stop() async
}

/// What was staged, for the one who serves it.
public struct StagedFiles: Hashable, Sendable {
    /// The folder, `<root>/<mac>`.
    public let folder: FilePath
    /// Its name, the MAC address.
    public let name: String
    /// The manifest's content: small, so that a server can be asked for it as a proof.
    public let manifest: [UInt8]
    /// Names of all files.
    public let files: [String]
}

/// What a server sees of a target.
public enum ServingEvent: Hashable, Sendable {
    /// A file is being read.
    case opened(file: String)
    /// Bytes of the file that have arrived.
    case progress(file: String, bytes: UInt64)
    /// The file has arrived; shares of a thousand DATA packets that had to be repeated, where known.
    case completed(file: String, repeatedPerMille: Int?)
    /// Reading ended early.
    case interrupted(file: String, reason: String)
    /// OK, FAILED or REPORT came, untrusted.
    case uploaded(name: String, content: [UInt8])
    /// A request was refused.
    case refused(String)
}

/// Resets targets.
public protocol Resetting: Sendable {
    /// Checks, without touching the target, that its row can be used: the GPIO line is there and free.
    func check(_ target: Target) async throws
    /// Resets by the row's GPIO line, or where it has none by its command.
    func reset(_ target: Target) async throws
    /// Runs the row's `reset_command`.
    func runCommand(of target: Target) async throws
}
