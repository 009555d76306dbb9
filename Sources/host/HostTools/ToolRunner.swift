import Subprocess
package import SystemPackage

/// Runs programs of the host in a fixed environment, so that what they make depends on what they are given alone.
package struct ToolRunner: Sendable {
    /// Folders searched, in order.
    private let folders: [FilePath]
    private let environment: [Environment.Key: String]

    /// - Parameters:
    ///   - path: `PATH`'s value; the system's own folders are searched behind it, because an ordinary user's PATH lacks
    ///     /usr/sbin, where mkfs.vfat is.
    ///   - sourceDate: the time that is written into what is made, in place of the present.
    package init(path: String?, sourceDate: SourceDate) {
        self.init(
            path: path, sourceDate: sourceDate,
            folders: ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"])
    }

    /// - Parameter folders: searched behind `path`.
    package init(path: String?, sourceDate: SourceDate, folders system: [FilePath]) {
        let own = (path ?? "").split(separator: ":").filter { $0.hasPrefix("/") }.map { FilePath(String($0)) }
        folders = own + system.filter { !own.contains($0) }
        environment = [
            "PATH": folders.map(\.string).joined(separator: ":"),
            "LC_ALL": "C",
            "TZ": "UTC",
            "SOURCE_DATE_EPOCH": "\(sourceDate.seconds)",
            // mtools doubts geometries that mkfs.vfat makes, and reads the user's own settings.
            "MTOOLS_SKIP_CHECK": "1",
            "MTOOLSRC": "/dev/null",
            // The time that e2fsck writes.
            "E2FSCK_TIME": "\(sourceDate.seconds)",
            "E2FSPROGS_FAKE_TIME": "\(sourceDate.seconds)",
        ]
    }

    /// Where `tool` is; a name with a slash is its path.
    ///
    /// - Throws: ``HostToolError/missing(_:)``.
    package func find(_ tool: HostTool) throws(HostToolError) -> FilePath {
        let paths = tool.name.contains("/") ? [FilePath(tool.name)] : folders.map { $0.appending(tool.name) }
        for path in paths {
            guard let status = try? Stat(path), status.type == .regular,
                !status.permissions.isDisjoint(with: [.ownerExecute, .groupExecute, .otherExecute])
            else { continue }
            return path
        }
        throw .missing(tool)
    }

    /// Runs `tool` and waits until it ends; ended with the task that waits.
    ///
    /// - Parameters:
    ///   - arguments: as given, no shell between.
    ///   - folder: its working directory.
    ///   - input: what it reads; nothing by default.
    /// - Returns: what it printed, at most 1 MiB.
    /// - Throws: ``HostToolError``, with what it printed on standard error; `CancellationError`.
    @discardableResult
    package func run(
        _ tool: HostTool, _ arguments: [String], in folder: FilePath? = nil,
        input: (@Sendable (ToolInput) async throws -> Void)? = nil
    ) async throws -> String {
        let program = try find(tool)
        let status: TerminationStatus
        let output: String
        let errors: String
        // Ctrl-C reaches this process alone, which then ends the program and cleans up.
        var options = PlatformOptions()
        options.createSession = true
        do {
            let result = try await Subprocess.run(
                .path(program), arguments: Arguments(arguments), environment: .custom(environment),
                workingDirectory: folder, platformOptions: options, input: .inputWriter,
                output: .string(limit: 1 << 20),
                error: .string(limit: 1 << 20)
            ) { execution in
                let writer = execution.standardInputWriter
                do {
                    try await input?(ToolInput { bytes in _ = try await writer.write(bytes) })
                } catch is SubprocessError {
                    // It stopped reading: its exit status and its words tell why.
                }
                try await writer.finish()
            }
            (status, output, errors) = (
                result.terminationStatus, result.standardOutput, result.standardError
            )
        } catch let error as SubprocessError {
            throw HostToolError.notStarted(tool, reason: "\(error)")
        }
        try Task.checkCancellation()
        switch status {
        case .exited(0): return output
        case .exited(let code): throw HostToolError.failed(tool, status: "exit status \(code)", errors: errors)
        case .signaled(let signal): throw HostToolError.failed(tool, status: "signal \(signal)", errors: errors)
        }
    }

    /// Runs `tool`, whose words nobody reads, and waits until it ends; ended with the task that waits.
    ///
    /// - Returns: its exit status; nil where a signal ended it.
    /// - Throws: ``HostToolError/missing(_:)``, ``HostToolError/notStarted(_:reason:)``; `CancellationError`.
    package func status(of tool: HostTool, _ arguments: [String]) async throws -> Int32? {
        let program = try find(tool)
        var options = PlatformOptions()
        options.createSession = true
        let status: TerminationStatus
        do {
            status = try await Subprocess.run(
                .path(program), arguments: Arguments(arguments), environment: .custom(environment),
                platformOptions: options, input: .none, output: .discarded, error: .discarded
            ).terminationStatus
        } catch let error as SubprocessError {
            throw HostToolError.notStarted(tool, reason: "\(error)")
        }
        try Task.checkCancellation()
        guard case .exited(let code) = status else { return nil }
        return code
    }
}

/// The standard input of a running program.
package struct ToolInput: Sendable {
    private let sink: @Sendable ([UInt8]) async throws -> Void

    init(_ sink: @escaping @Sendable ([UInt8]) async throws -> Void) { self.sink = sink }

    /// Writes all of `bytes`; waits while the program does not read.
    package func write(_ bytes: [UInt8]) async throws { try await sink(bytes) }
}
