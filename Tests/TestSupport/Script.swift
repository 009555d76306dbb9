internal import Foundation
internal import Subprocess
public import SystemPackage

/// Where what was built lies, for tests that run it.
public enum Parts {
    /// The source tree.
    public static let repository = FilePath(#filePath).removingLastComponent().removingLastComponent()
        .removingLastComponent()
    /// The environment of the tests.
    public static let environment = ProcessInfo.processInfo.environment
    /// What make targets make: RPIFLASH_BUILD, else `build`.
    public static let build = environment["RPIFLASH_BUILD"].map { FilePath($0) } ?? repository.appending("build")
    /// The programs: RPIFLASH_BIN, else `.build/debug`.
    public static let programs =
        environment["RPIFLASH_BIN"].map { FilePath($0) } ?? repository.appending(".build/debug")
    /// Where what is missing fails a test; elsewhere it is skipped visibly.
    public static let isCI = environment["CI"] != nil

    /// Whether all of it is there, or has to be.
    public static func has(_ needed: [FilePath]) -> Bool {
        isCI || needed.allSatisfy { FileManager.default.fileExists(atPath: $0.string) }
    }

    /// Seconds after which what a test runs counts as hanging, and is ended. No test is to be judged by the time that it
    /// takes, so this is far more than the slowest of them takes on a machine with a lot else to do.
    public static let hangs = 1800

    /// A folder for this run, kept for a look at a failure.
    public static func scratch(_ name: String) -> FilePath {
        let path = FilePath(FileManager.default.temporaryDirectory.path).appending(
            "\(name).\(ProcessInfo.processInfo.processIdentifier)")
        try? FileManager.default.createDirectory(atPath: path.string, withIntermediateDirectories: true)
        return path
    }
}

/// What a command left behind.
public struct CommandResult: Sendable {
    /// The exit status; 128 and the signal's number where a signal ended it.
    public let status: Int32
    /// What it printed.
    public let stdout: String
    /// What it logged.
    public let stderr: String

    /// Everything, for a failed test.
    public var text: String { "status \(status)\n--- stdout\n\(stdout)\n--- stderr\n\(stderr)" }
    /// The lines of the log.
    public var errorLines: [String] { stderr.split(separator: "\n").map(String.init) }
}

/// Runs a bash script with `set -euo pipefail`.
///
/// - Parameters:
///   - script: what comes after that.
///   - variables: added to the environment.
///   - seconds: after which it is ended, where ``Parts/hangs`` is not enough.
///   - prefix: a command that runs bash.
public func runScript(
    _ script: String, _ variables: [String: String], seconds: Int = Parts.hangs, prefix: [String] = []
) async throws -> CommandResult {
    let updates = variables.map { (Environment.Key(stringLiteral: $0.key), Optional($0.value)) }
    let result = try await run(
        .name("timeout"),
        arguments: Arguments(
            ["--kill-after=10", "\(max(seconds, Parts.hangs))"] + prefix + [
                "bash", "-c", "set -euo pipefail\n" + script,
            ]),
        environment: .inherit.updating(Dictionary(uniqueKeysWithValues: updates)),
        output: .string(limit: 16 << 20), error: .string(limit: 16 << 20))
    let status: Int32 =
        switch result.terminationStatus {
        case .exited(let code): code
        case .signaled(let signal): 128 + signal
        }
    return CommandResult(status: status, stdout: result.standardOutput, stderr: result.standardError)
}
