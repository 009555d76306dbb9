import Configuration
import Glibc
import Subprocess
import SystemPackage

/// A line for `/bin/sh`, as a row's `reset_command` has it.
///
/// The command's output goes to a nameless file, not a pipe: what it leaves running in the background may keep the file
/// open as long as it likes.
package struct ShellCommand: Sendable {
    /// The line.
    package let text: String

    /// The command.
    package init(_ text: String) { self.text = text }

    /// Runs the command and waits until it ends.
    ///
    /// - Parameter limit: how long it may take; then it and all that it started are ended.
    /// - Returns: the end of what it printed, at most 4 KiB.
    /// - Throws: ``ShellCommandError``, or `CancellationError` after it and all that it started were ended.
    @discardableResult
    package func run(within limit: Duration) async throws -> String {
        let file = try namelessFile()
        defer { try? file.close() }
        let status = try await withThrowingTaskGroup(of: TerminationStatus?.self) { group in
            group.addTask { try await execute(output: file) }
            group.addTask {
                try await Task.sleep(for: limit)
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next().flatMap { $0 }
        }
        try Task.checkCancellation()
        let printed = Self.end(of: file)
        switch status {
        case .exited(0)?: return printed
        case .exited(let code)?: throw ShellCommandError.failed(text, "exit status \(code)", output: printed)
        case .signaled(let signal)?: throw ShellCommandError.failed(text, "signal \(signal)", output: printed)
        case nil: throw ShellCommandError.tooSlow(text, limit, output: printed)
        }
    }

    private func namelessFile() throws(ShellCommandError) -> FileDescriptor {
        var path = Array("/tmp/rpiflash-output-XXXXXX\0".utf8CString)
        let file = unsafe mkstemp(&path)
        guard file >= 0 else { throw .notStarted(text, "no file in /tmp for its output: \(Errno(rawValue: errno))") }
        unsafe unlink(path)
        _ = fcntl(file, F_SETFD, FD_CLOEXEC)
        return FileDescriptor(rawValue: file)
    }

    private func execute(output: FileDescriptor) async throws -> TerminationStatus {
        var options = PlatformOptions()
        // A group of its own: it is ended with all that it started, and Ctrl-C reaches it through us alone.
        options.createSession = true
        options.teardownSequence = [.gracefulShutDown(toProcessGroup: true, allowedDurationToNextStep: .seconds(2))]
        do {
            return try await Subprocess.run(
                .path("/bin/sh"), arguments: ["-c", text], platformOptions: options, input: .none,
                output: .fileDescriptor(output, closeAfterSpawningProcess: false),
                error: .fileDescriptor(output, closeAfterSpawningProcess: false)
            ).terminationStatus
        } catch let error as SubprocessError {
            try Task.checkCancellation()
            throw ShellCommandError.notStarted(text, "\(error)")
        }
    }

    private static func end(of file: FileDescriptor) -> String {
        let size = (try? file.seek(offset: 0, from: .end)) ?? 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
            count = unsafe (try? file.read(fromAbsoluteOffset: max(0, size - 4096), into: .init(buffer))) ?? 0
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Why a command did not do what it should.
package enum ShellCommandError: Error, Hashable, Sendable {
    /// The shell could not be started.
    case notStarted(String, String)
    /// It ended with an exit status that is not 0, or by a signal.
    case failed(String, String, output: String)
    /// It took too long.
    case tooSlow(String, Duration, output: String)
}

extension ShellCommandError: CustomStringConvertible {
    /// One sentence for a person, with the last line that the command printed.
    package var description: String {
        switch self {
        case .notStarted(let text, let reason): "cannot start '\(text)': \(reason)"
        case .failed(let text, let status, let output): "'\(text)' ended with \(status)\(Self.lastLine(output))"
        case .tooSlow(let text, let limit, let output):
            "'\(text)' took longer than \(limit.components.seconds) s and was ended\(Self.lastLine(output))"
        }
    }

    private static func lastLine(_ output: String) -> String {
        guard let line = output.split(whereSeparator: \.isNewline).last else { return "" }
        return ": " + sanitized(line)
    }
}
