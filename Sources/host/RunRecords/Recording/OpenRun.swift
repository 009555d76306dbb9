import FoundationEssentials
import Glibc
import LinuxHost
import Synchronization
package import SystemPackage

/// The record of a run in progress. What cannot be written does not stop a flash: the first error is kept.
package final class OpenRun: Sendable {
    /// The most bytes that are kept of the console; and of the events.
    package static let longestConsole = 4 << 20
    static let longestEvents = 16 << 20
    static let temporaryName = "run.json.new"

    private struct File {
        let descriptor: Int32
        let path: FilePath
        let limit: Int
        var count = 0
    }

    private struct State {
        var events: File
        var console: File
        var problem: RunStoreError?
    }

    /// The record's name.
    package let id: String
    /// Its folder.
    package let folder: FilePath
    private let state: Mutex<State>

    init(_ record: RunRecord, in folder: FilePath) throws(RunStoreError) {
        id = record.id
        self.folder = folder
        func make(_ name: String, _ limit: Int) throws(RunStoreError) -> File {
            let path = folder.appending(name)
            do throws(PathError) {
                return File(descriptor: try makeFile(path, isAppending: true).rawValue, path: path, limit: limit)
            } catch {
                throw RunStoreError(error)
            }
        }
        let events = try make(RunStore.eventsName, Self.longestEvents)
        // Given back with the process, however that ends. Nobody else can have it for long: who looks whether the run goes on
        // has it for a moment.
        guard flock(events.descriptor, LOCK_EX) == 0 else {
            let code = errno
            close(events.descriptor)
            throw RunStoreError(events.path, code)
        }
        let console: File
        do throws(RunStoreError) {
            console = try make(RunStore.consoleName, Self.longestConsole)
        } catch {
            closeUnlocked(events.descriptor)
            throw error
        }
        state = Mutex(State(events: events, console: console))
        write(record)
    }

    deinit {
        state.withLock { state in
            close(state.console.descriptor)
            closeUnlocked(state.events.descriptor)
        }
    }

    /// The first error of any writing; nil where all is kept.
    package var problem: RunStoreError? { state.withLock { $0.problem } }

    /// Adds an event, a line of JSON without its end.
    package func addEvent(_ line: String) {
        state.withLock { state in state.problem = state.problem ?? Self.add(line + "\n", to: &state.events) }
    }

    /// Adds a line of the console.
    ///
    /// - Parameters:
    ///   - line: sanitized.
    ///   - seconds: since the run began.
    package func addConsole(_ line: String, seconds: Double) {
        let text = Self.stamp(seconds) + line + "\n"
        state.withLock { state in
            // A console that never ends must not fill the disk.
            let isFull = state.console.count + text.utf8.count > state.console.limit
            if isFull, state.console.count <= state.console.limit {
                state.problem =
                    state.problem
                    ?? Self.add(
                        "(more than \(state.console.limit) bytes: the rest is not kept)\n", to: &state.console,
                        force: true)
                state.console.count = state.console.limit + 1
            } else {
                state.problem = state.problem ?? Self.add(text, to: &state.console)
            }
        }
    }

    /// `[   12.345] `.
    static func stamp(_ seconds: Double) -> String {
        let milliseconds = UInt64(max(0, seconds * 1000).rounded())
        let (whole, rest) = ("\(milliseconds / 1000)", "\(milliseconds % 1000)")
        return "[" + String(repeating: " ", count: max(0, 5 - whole.count)) + whole + "."
            + String(repeating: "0", count: 3 - rest.count) + rest + "] "
    }

    private static func add(_ text: String, to file: inout File, force: Bool = false) -> RunStoreError? {
        guard force || file.count + text.utf8.count <= file.limit else { return nil }
        file.count += text.utf8.count
        do {
            _ = try FileDescriptor(rawValue: file.descriptor).writeAll(text.utf8)
            return nil
        } catch {
            return RunStoreError(file.path, (error as? Errno)?.rawValue ?? EIO)
        }
    }

    /// Keeps what the target reported.
    ///
    /// - Parameter lines: sanitized.
    package func keepReport(_ lines: [String]) {
        replace(RunStore.reportName, with: lines.map { $0 + "\n" }.joined())
    }

    /// Writes the record anew.
    package func write(_ record: RunRecord) {
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .iso8601
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        // Numbers in it are finite, so that it can be encoded.
        guard let data = try? encoder.encode(record) else { return }
        replace(RunStore.recordName, with: String(decoding: data, as: UTF8.self) + "\n")
    }

    private func replace(_ name: String, with text: String) {
        let (new, path) = (folder.appending(Self.temporaryName), folder.appending(name))
        var code: Int32 = 0
        do {
            let file = try replaceFile(new)
            _ = try file.closeAfter { try file.writeAll(text.utf8) }
            if unsafe rename(new.string, path.string) != 0 { code = errno }
        } catch {
            code = ((error as? PathError)?.errno ?? error as? Errno ?? .ioError).rawValue
        }
        if code != 0 {
            let error = RunStoreError(path, code)
            state.withLock { $0.problem = $0.problem ?? error }
        }
    }
}
