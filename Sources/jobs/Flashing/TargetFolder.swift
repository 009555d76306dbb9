import FlashEvents
import Configuration
import FlashPlan
import Glibc
import Inventory
import LinuxHost
package import SystemPackage

/// `<tftp root>/<mac>/`: where a target's files are staged.
///
/// Files are readable and folders open to everyone, because a foreign TFTP server reads them as another user. In a root
/// that a group shares, the group may write to them: another member cleans up after a flash that was killed.
struct TargetFolder: ~Copyable {
    /// The folder's name: the target's MAC address.
    let name: String
    /// The folder's path.
    let path: FilePath
    /// Made by this job, or left behind by one that was killed.
    private var isOurs: Bool

    static let probeName = "rpiflash-probe"
    /// What names the file that is about to appear.
    private static let newName = ".rpiflash-new"
    /// While it is there, a flash plan in the folder is ours, and chunks are.
    private static let planMarkName = ".rpiflash-plan"
    /// Only the other server's uploads are files here.
    static let reportName = Report.fileName

    /// Makes the folder where it is not there.
    init(root: FilePath, target: Target) throws(FlashError) {
        let name = target.mac.description
        let path = root.appending(name)
        let isNew = try Self.make(path)
        (self.name, self.path, isOurs) = (name, path, isNew)
    }

    /// - Returns: false where it was there.
    private static func make(_ path: FilePath) throws(FlashError) -> Bool {
        do throws(PathError) {
            if try makeFolder(path) { return true }
        } catch {
            throw .server("cannot make the folder \(path): \(error.errno)")
        }
        var status = stat()
        guard unsafe path.withPlatformString({ unsafe lstat($0, &status) }) == 0, status.st_mode & S_IFMT == S_IFDIR
        else {
            throw notAFolder(path)
        }
        guard unsafe path.withPlatformString({ unsafe access($0, W_OK | X_OK) }) == 0 else {
            let reason = "\(Errno(rawValue: errno))"
            throw .server("the folder \(path) cannot be written to: \(reason)\(remedy(for: path))")
        }
        return false
    }

    /// The end of a message about a folder that cannot be written to.
    static func remedy(for path: FilePath) -> String { Accounts.missingGroup(for: path).map { "; \($0)" } ?? "" }

    private static func notAFolder(_ path: FilePath) -> FlashError { .server("\(path) is not a folder; remove it") }

    /// Looks at a target's folder and makes nothing.
    ///
    /// - Returns: its path, and whether a flash plan of someone else is in it.
    static func inspect(root: FilePath, target: Target) throws(FlashError) -> (path: FilePath, hasForeignPlan: Bool) {
        let path = root.appending(target.mac.description)
        var status = stat()
        guard unsafe path.withPlatformString({ unsafe lstat($0, &status) }) == 0 else { return (path, false) }
        guard status.st_mode & S_IFMT == S_IFDIR else { throw notAFolder(path) }
        func has(_ name: String) -> Bool {
            exists(path.appending(name))
        }
        return (path, has(ChunkPlan.scriptName) && !has(planMarkName))
    }

    /// Removes what a job stages and what targets upload; other files stay.
    ///
    /// - Returns: how many files were removed.
    @discardableResult
    mutating func clean() -> Int {
        var removed = 0
        let names = (try? Folder.names(in: path)) ?? []
        let hasPlan = names.contains(Self.planMarkName)
        for name in names where Self.isStaged(name) || hasPlan && Self.isOfPlan(name) {
            if (try? unlinkFile(path.appending(name))) != nil { removed += 1 }
        }
        // The mark goes last: a clean-up that is cut off must be able to go on.
        if hasPlan { delete(Self.planMarkName) }
        if removed > 0 { isOurs = true }
        return removed
    }

    /// Removes everything that is ours, the folder too if nothing else is in it.
    mutating func remove() {
        clean()
        if isOurs { _ = unsafe path.withPlatformString { unsafe rmdir($0) } }
    }

    /// Whether a group shares the folder: its members may read and write what is in it.
    var isShared: Bool { AccessModes(in: path).file & S_IWGRP != 0 }

    /// Whether the target would find a plan here and take it instead of the parts.
    var hasForeignPlan: Bool {
        exists(path.appending(ChunkPlan.scriptName))
    }

    private static func isStaged(_ name: String) -> Bool {
        if [PartsPlan.manifestName, newName, probeName, reportName, Challenge.fileName].contains(name) { return true }
        if Outcome.Kind(rawValue: name) != nil { return true }
        guard name.hasPrefix(PartsPlan.partNamePrefix) else { return false }
        let number = name.dropFirst(PartsPlan.partNamePrefix.count)
        return !number.isEmpty && number.utf8.allSatisfy { (0x30...0x39).contains($0) }
    }

    /// Names that ``stage`` of a plan gives.
    static func chunkName(_ number: Int, _ encoding: ChunkEncoding) -> String {
        "chunk-\(number)" + (encoding == .gzip ? ".gz" : "")
    }
    /// The table of pieces.
    static let piecesName = "pieces"
    /// The image itself, which is not a file here. Short: with a mask behind it U-Boot's longest name is full.
    static let imageName = "img"

    private static func isOfPlan(_ name: String) -> Bool {
        name == ChunkPlan.scriptName || name == piecesName || name == Challenge.answerName || name.hasPrefix("chunk-")
    }

    /// From here on a flash plan in this folder is ours.
    func markPlan() throws(FlashError) { try write([], to: Self.planMarkName) }

    /// Makes a file that must not be there yet.
    ///
    /// - Parameter mode: nil: all may read it, and write it who may write to the folder.
    func create(_ name: String, mode: mode_t? = nil) throws(FlashError) -> FileDescriptor {
        let file = path.appending(name)
        do throws(PathError) {
            return try makeFile(file, mode: mode ?? AccessModes(in: path, isPrivate: false).file)
        } catch {
            throw .server("cannot make \(file): \(error.errno)")
        }
    }

    /// Makes a file with a short content.
    ///
    /// - Parameter shown: what errors call it, where it is renamed afterwards.
    func write(
        _ content: [UInt8], to name: String, mode: mode_t? = nil, shown: String? = nil
    ) throws(FlashError) {
        let file = try create(name, mode: mode)
        defer { try? file.close() }
        do {
            try file.writeAll(content)
        } catch {
            let place = path.appending(shown ?? name)
            throw (error as? Errno).map { .cannotWrite(place, $0) } ?? .server("cannot write \(place): \(error)")
        }
    }

    /// Puts the file that a target asks for first in place: all of it at once, and only when all others are there.
    func publish(_ content: [UInt8], as name: String) throws(FlashError) {
        try write(content, to: Self.newName, shown: name)
        let to = path.appending(name)
        do throws(Errno) {
            try renameFile(path.appending(Self.newName), to: to)
        } catch {
            throw .server("cannot make \(to): \(error)")
        }
    }

    /// Puts a file into the folder of a job that runs, in place of the one that was there.
    static func replace(_ name: String, in folder: FilePath, with content: [UInt8]) throws(FlashError) {
        let (new, path) = (folder.appending(newName), folder.appending(name))
        do throws(PathError) {
            try? unlinkFile(new)
            let file = try makeFile(new, mode: AccessModes(in: folder, isPrivate: false).file)
            defer { try? file.close() }
            do {
                try file.writeAll(content)
                try renameFile(new, to: path)
            } catch {
                throw PathError(path, error as? Errno ?? .ioError)
            }
        } catch {
            throw .cannotWrite(path, error.errno)
        }
    }

    /// The content of a file that another server wrote here, at most `limit` bytes and one more; nil where there is none.
    func read(_ name: String, limit: Int) -> [UInt8]? {
        SmallFile.start(of: path.appending(name), count: limit + 1)
    }

    /// Removes a file.
    func delete(_ name: String) { try? unlinkFile(path.appending(name)) }
}

/// A file that a target uploaded through another server, at most 64 KiB and one byte; nil where it cannot be read.
package func readUpload(_ path: FilePath) -> [UInt8]? {
    SmallFile.start(of: path, count: (64 << 10) + 1)
}
