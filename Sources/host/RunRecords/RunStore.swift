import FoundationEssentials
import Glibc
import LinuxHost
package import SystemPackage

/// The folder of run records: one folder a run.
package struct RunStore: Sendable {
    /// Where they are unless told otherwise.
    package static let defaultPath: FilePath = "/var/lib/rpiflash/runs"
    /// The text of the record.
    static let recordName = "run.json"
    /// What happened, one JSON object a line.
    static let eventsName = "events.jsonl"
    /// The console, sanitized; each line with its seconds since the run began in front.
    static let consoleName = "console.log"
    /// What the target uploaded as REPORT, sanitized.
    static let reportName = "report.txt"

    /// The folder.
    package let path: FilePath

    /// - Parameter path: the folder; made with the first run.
    package init(at path: FilePath = Self.defaultPath) { self.path = path }

    /// Begins a run's record, locked for as long as the process lives or until it is finished.
    ///
    /// - Parameter record: of which the id is set.
    /// - Throws: ``RunStoreError``.
    package func begin(_ record: RunRecord) throws(RunStoreError) -> OpenRun {
        do { try makeFolders(path) } catch { throw RunStoreError(error) }
        let name = Self.name(of: record)
        for attempt in 1...1000 {
            var record = record
            record.id = attempt == 1 ? name : "\(name)-\(attempt)"
            let folder = path.appending(record.id)
            let isNew: Bool
            do { isNew = try makeFolder(folder) } catch { throw RunStoreError(error) }
            if isNew { return try OpenRun(record, in: folder) }
        }
        throw RunStoreError(path.appending(name), EEXIST)
    }

    /// `20261125-062038-b827eb3d60b9`: the time is UTC.
    private static func name(of record: RunRecord) -> String {
        let time = record.started.formatted(.iso8601).prefix(19).replacing(/[-:]/, with: "")
        return "\(time.replacing("T", with: "-"))-\(record.target.mac.filter { $0 != ":" })"
    }

    /// All runs, the oldest first. A folder that is none of ours is left out.
    ///
    /// - Throws: ``RunStoreError``; a folder that is not there has no runs.
    package func list() throws(RunStoreError) -> [StoredRun] {
        let names: [String]
        do throws(Errno) {
            names = try Folder.names(in: path)
        } catch .noSuchFileOrDirectory {
            return []
        } catch {
            throw RunStoreError(path, error.rawValue)
        }
        return names.filter(Self.isID).map { StoredRun(id: $0, folder: path.appending($0)) }
    }

    /// The runs of a target, the oldest first.
    ///
    /// - Parameter mac: the target's Ethernet address.
    /// - Throws: ``RunStoreError``.
    package func list(mac: String) throws(RunStoreError) -> [StoredRun] {
        let digits = mac.filter { $0 != ":" }
        return try list().filter { $0.targetDigits == digits }
    }

    /// The run of a target that is going on now; nil where there is none.
    ///
    /// - Parameter mac: the target's Ethernet address.
    /// - Throws: ``RunStoreError``.
    package func running(mac: String) throws(RunStoreError) -> StoredRun? {
        // A target has one flash at a time, so that only its last run can go on.
        let last = try list(mac: mac).last
        return last?.isRunning == true ? last : nil
    }

    /// Removes a run's record. One that is going on is left alone.
    ///
    /// - Returns: whether it is gone.
    /// - Throws: ``RunStoreError``.
    package func remove(_ run: StoredRun) throws(RunStoreError) -> Bool {
        if run.isRunning { return false }
        // A run has files only, and only these.
        for name in run.files() {
            let file = run.folder.appending(name)
            guard unsafe unlink(file.string) == 0 || errno == ENOENT else { throw RunStoreError(file, errno) }
        }
        guard unsafe rmdir(run.folder.string) == 0 || errno == ENOENT else { throw RunStoreError(run.folder, errno) }
        return true
    }

    /// What ``name(of:)`` makes, with a number behind it or without.
    static func isID(_ name: String) -> Bool {
        unsafe name.wholeMatch(of: madeName) != nil
    }

    // Compiled once: for each of thousands of names it takes seconds.
    private nonisolated(unsafe) static let madeName = #/[0-9]{8}-[0-9]{6}-[0-9a-f]{12}(-[0-9]{1,4})?/#
}

/// A run's record as it lies in the store.
package struct StoredRun: Hashable, Sendable {
    /// Its folder's name.
    package let id: String
    /// Its folder.
    package let folder: FilePath

    /// The digits of its target's Ethernet address, from its name; also where the record is damaged.
    package var targetDigits: Substring { id.dropFirst(16).prefix(12) }

    /// Its record; nil where it cannot be read.
    package var record: RunRecord? {
        guard let bytes = SmallFile.start(of: folder.appending(RunStore.recordName), count: 1 << 20) else { return nil }
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        guard let record = try? decoder.decode(RunRecord.self, from: Data(bytes)),
            record.version == RunRecord.currentVersion, record.id == id
        else { return nil }
        return record
    }

    /// Whether the process that flashes is alive.
    package var isRunning: Bool {
        let descriptor = unsafe open(folder.appending(RunStore.eventsName).string, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return false }
        defer { closeUnlocked(descriptor) }
        return flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK
    }

    /// What its files take, in bytes.
    package var bytes: UInt64 {
        files().reduce(0) { sum, name in
            var status = stat()
            return unsafe lstat(folder.appending(name).string, &status) == 0 ? sum + UInt64(status.st_size) : sum
        }
    }

    /// What of a run there is, by the files' names.
    func files() -> [String] {
        [RunStore.recordName, RunStore.eventsName, RunStore.consoleName, RunStore.reportName, OpenRun.temporaryName]
    }

    /// The console's file.
    package var console: FilePath { folder.appending(RunStore.consoleName) }
    /// The events' file.
    package var events: FilePath { folder.appending(RunStore.eventsName) }
    /// The file of what the target reported; it is not there where it reported nothing.
    package var report: FilePath { folder.appending(RunStore.reportName) }
}

/// Why a record cannot be kept or read.
package struct RunStoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Which file or folder.
    package let path: FilePath
    /// What the system says.
    package let errno: Errno

    init(_ path: FilePath, _ code: Int32) { (self.path, self.errno) = (path, Errno(rawValue: code)) }

    init(_ error: PathError) { (path, errno) = (error.path, error.errno) }

    package var description: String { "\(path): \(errno)" }
}
