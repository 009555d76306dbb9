internal import Subprocess
internal import SystemPackage

/// A shell command of the inventory, such as a row's `reset_command`.
public struct ShellCommand: Sendable {
    /// The text, as /bin/sh takes it.
    public let text: String
    /// Variables that it finds beside this process's own.
    public let environment: [String: String]

    /// A command as given.
    public init(_ text: String, environment: [String: String] = [:]) {
        self.text = text
        self.environment = environment
    }

    /// Runs the command and waits until it ends. It is ended with the task that waits, or at the deadline.
    ///
    /// - Parameter deadline: how long it may take.
    /// - Throws: ``ShellCommandError``; `CancellationError`.
    public func run(deadline: Duration = .seconds(60)) async throws {
        let variables = Dictionary(
            uniqueKeysWithValues: environment.map { (Environment.Key(stringLiteral: $0.key), Optional($0.value)) })
        let command = text
        let result = try await withThrowingTaskGroup(of: (TerminationStatus, String)?.self) { group in
            group.addTask {
                let record = try await Subprocess.run(
                    .path("/bin/sh"), arguments: ["-c", command], environment: .inherit.updating(variables),
                    output: .discarded, error: .string(limit: 64 << 10))
                return (record.terminationStatus, record.standardError)
            }
            group.addTask {
                try await Task.sleep(for: deadline)
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
        try Task.checkCancellation()
        guard let (status, message) = result else {
            throw ShellCommandError.deadline(text, seconds: deadline.components.seconds)
        }
        let lastLine = message.split(separator: "\n").last.map(String.init) ?? ""
        switch status {
        case .exited(0): return
        case .exited(let code): throw ShellCommandError.failed(text, "exit status \(code)", lastLine)
        case .signaled(let signal): throw ShellCommandError.failed(text, "signal \(signal)", lastLine)
        }
    }
}

/// Why a command did not do its work.
public enum ShellCommandError: Error, Hashable, Sendable {
    /// It ended with another status than 0; its last words on standard error.
    case failed(String, String, String)
    /// It did not end in time.
    case deadline(String, seconds: Int64)
}

extension ShellCommandError: CustomStringConvertible {
    /// One sentence for a person.
    public var description: String {
        switch self {
        case .failed(let command, let status, let message):
            "command '\(command)' failed with \(status)\(message.isEmpty ? "" : ": \(message)")"
        case .deadline(let command, let seconds): "command '\(command)' did not end within \(seconds) s"
        }
    }
}
