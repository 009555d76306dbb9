import Flashing
import FlashPlan
import Glibc
import HostTools
import Inventory
import SystemPackage
import TFTPServer

/// Serves by itself where the port is free, else finds out whether the server that has it will do.
struct TFTPServing: Serving {
    let listen: ListenAddress

    func start(root: FilePath, target: Target) async throws -> any ServingSession {
        do {
            let server = try await TFTPServer.start(root: root.string, host: listen.host, port: listen.port)
            return OwnSession(server: server, target: target, address: "\(listen.host):\(listen.port)")
        } catch {
            guard case .addressInUse = error else { throw error }
            // The address that the target will ask, since a server may listen on that one only.
            let any = listen.host == "0.0.0.0"
            let host = any ? ThisHost.ownAddress(towards: target.ip.description) ?? "127.0.0.1" : listen.host
            return ForeignSession(probe: ServerProbe(host: host, port: listen.port), root: root)
        }
    }
}

/// rpiflash's own server.
private struct OwnSession: ServingSession {
    let server: TFTPServer
    let target: Target
    let address: String

    var description: String { "serving by TFTP on \(address)" }
    var writesUploads: Bool { false }

    func serve(_ staged: StagedFiles) async throws -> AsyncStream<ServingEvent> {
        let events = server.add(
            Job(folder: staged.name, files: Set(staged.files), address: target.ip.description))
        return AsyncStream { feed in
            let task = Task {
                for await event in events {
                    if let translated = Self.translate(event) { feed.yield(translated) }
                }
                feed.finish()
            }
            feed.onTermination = { _ in task.cancel() }
        }
    }

    func stop() async { await server.stop() }

    private static func translate(_ event: ServerEvent) -> ServingEvent? {
        switch event {
        case .opened(let file, _, _): .opened(file: file)
        case .progress(let file, let bytes): .progress(file: file, bytes: bytes)
        case .completed(let file, _, let sent, let repeated):
            .completed(file: file, repeatedPerMille: sent == 0 ? nil : Int(repeated * 1000 / sent))
        case .interrupted(let file, let reason): .interrupted(file: file, reason: reason)
        case .uploaded(let name, let content): .uploaded(name: name, content: content)
        // The target asks for a plan first; that there is none is no news.
        case .refused(let path, _, _) where path.hasSuffix("/flash.scr"): nil
        case .refused(let path, let address, let reason): .refused("\(path) for \(address): \(reason)")
        }
    }
}

/// A server that is there already: tftpd-hpa, atftpd.
private struct ForeignSession: ServingSession {
    let probe: ServerProbe
    let root: FilePath

    var description: String { "using the TFTP server that is there already on \(probe.host):\(probe.port)" }
    var writesUploads: Bool { true }

    func serve(_ staged: StagedFiles) async throws -> AsyncStream<ServingEvent> {
        let place = "UDP \(probe.host):\(probe.port)"
        switch await probe.read("\(staged.name)/\(PartsPlan.manifestName)") {
        case .content(staged.manifest): break
        case .content, .refused, .taken:
            throw FlashFailure(
                .server,
                "the TFTP server on \(place) does not hand out \(root); stop it, or name its folder with --tftp-root")
        case .silence:
            throw FlashFailure(
                .server, "\(place) is taken by a program that does not answer TFTP; stop it, or name another --listen")
        }
        // The outcome has to come this way, so it is tried before the target is touched.
        let trial = staged.folder.appending("REPORT")
        let answer = await probe.write("\(staged.name)/REPORT", content: Array("trial\n".utf8))
        let isWritten = access(trial.string, F_OK) == 0
        _ = unlink(trial.string)
        guard case .taken = answer, isWritten else {
            let reason = if case .refused(_, let message) = answer { " (\(message))" } else { "" }
            throw FlashFailure(
                .server,
                "the TFTP server on \(place) takes no uploads\(reason); start tftpd-hpa with --create, or stop it")
        }

        let folder = staged.folder
        let watcher = try FolderWatch(folder: folder.string)
        let reader = Task { await watcher.run() }
        return AsyncStream { feed in
            let task = Task {
                for await event in watcher.events {
                    switch event {
                    case .opened(let name) where staged.files.contains(name): feed.yield(.opened(file: name))
                    case .closed(let name) where staged.files.contains(name):
                        feed.yield(.completed(file: name, repeatedPerMille: nil))
                    case .written(let name) where Job.uploads.contains(name):
                        // What is shorter was cut off; the target uploads it again.
                        guard let content = Self.upload(folder.appending(name)), content.count >= Outcome.encodedSize
                        else { break }
                        feed.yield(.uploaded(name: name, content: content))
                    default: break
                    }
                }
                feed.finish()
            }
            feed.onTermination = { _ in
                task.cancel()
                reader.cancel()
            }
        }
    }

    /// Nothing to end: the folder is watched as long as the events are read.
    func stop() async {}

    /// What the target uploaded, at most 64 KiB of it; untrusted.
    private static func upload(_ path: FilePath) -> [UInt8]? {
        guard let file = try? FileDescriptor.open(path, .readOnly, options: [.noFollow, .closeOnExec]) else {
            return nil
        }
        defer { try? file.close() }
        return try? [UInt8](unsafeUninitializedCapacity: Job.longestUpload) { buffer, count in
            count = try file.read(into: UnsafeMutableRawBufferPointer(buffer))
        }
    }
}
