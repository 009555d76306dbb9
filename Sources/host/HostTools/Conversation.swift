import Subprocess
import SystemPackage

/// A program that is written to and read from while it runs, as ssh is.
package final class Conversation {
    private let execution: Execution<CustomWriteInput, SequenceOutput, SequenceOutput>
    private var output: SubprocessOutputSequence.Iterator
    /// Whether it was ended because something took too long.
    package private(set) var hasTimedOut = false

    fileprivate static let ending = [TeardownStep.gracefulShutDown(allowedDurationToNextStep: .seconds(2))]
    /// Bytes that are kept of what it says on standard error.
    private static let errorLimit = 4096

    fileprivate init(_ execution: Execution<CustomWriteInput, SequenceOutput, SequenceOutput>) {
        self.execution = execution
        output = execution.standardOutput.makeAsyncIterator()
    }

    /// Writes all of it, or as much as the program takes before it ends; one that takes nothing in time is ended.
    ///
    /// - Throws: `CancellationError`.
    package func send(_ bytes: [UInt8], within limit: Duration) async throws {
        let writer = execution.standardInputWriter
        _ = try await limited(limit) { _ = try? await writer.write(bytes) }
    }

    /// Ends what it reads.
    package func finish() async { try? await execution.standardInputWriter.finish() }

    /// What it prints next, at least a byte; nil where it has ended. One that prints nothing in time is ended.
    ///
    /// - Throws: `CancellationError`.
    package func receive(within limit: Duration) async throws -> [UInt8]? {
        let buffer = try await limited(limit) { try? await output.next() }
        // Ctrl-C reaches a program on our terminal too, and may end it before we hear of it.
        guard let buffer else { try await Task.sleep(for: .milliseconds(200)); return nil }
        return unsafe buffer.withUnsafeBytes { unsafe Array($0) }
    }

    private func limited<Value>(_ limit: Duration, _ body: () async -> Value) async throws -> Value {
        let alarm = Self.alarm(limit, execution)
        let value = await body()
        alarm.cancel()
        if await alarm.value { hasTimedOut = true }
        try Task.checkCancellation()
        return value
    }

    /// Ends the program after a time; whether it did.
    private static func alarm(
        _ limit: Duration, _ execution: Execution<CustomWriteInput, SequenceOutput, SequenceOutput>
    ) -> Task<Bool, Never> {
        Task {
            do { try await Task.sleep(for: limit) } catch { return false }
            await execution.teardown(using: ending)
            return true
        }
    }

    /// The last line of what it says on standard error.
    fileprivate static func lastLine(of output: SubprocessOutputSequence) async -> String {
        var end: [UInt8] = []
        var iterator = output.makeAsyncIterator()
        while let buffer = try? await iterator.next() {
            end += unsafe buffer.withUnsafeBytes { unsafe Array($0) }
            end = end.suffix(errorLimit)
        }
        return String(decoding: end, as: UTF8.self).split(whereSeparator: \.isNewline).last.map(String.init) ?? ""
    }
}

extension ToolRunner {
    /// Runs a program in the caller's own environment for as long as `body` runs, and ends it then.
    ///
    /// - Parameter mayAsk: whether it may ask its user at the terminal, as ssh asks for a password.
    /// - Returns: the last line that it said on standard error.
    /// - Throws: ``HostToolError/missing(_:)``, ``HostToolError/notStarted(_:reason:)``; what `body` throws.
    package func converse(
        with tool: HostTool, _ arguments: [String], mayAsk: Bool, _ body: (Conversation) async throws -> Void
    ) async throws -> String {
        let program = try find(tool)
        var options = PlatformOptions()
        options.createSession = !mayAsk
        do {
            return try await Subprocess.run(
                .path(program), arguments: Arguments(arguments), environment: .inherit, platformOptions: options,
                input: .inputWriter, output: .sequence, error: .sequence
            ) { execution in
                async let words = Conversation.lastLine(of: execution.standardError)
                do {
                    try await body(Conversation(execution))
                } catch {
                    await execution.teardown(using: Conversation.ending)
                    throw error
                }
                await execution.teardown(using: Conversation.ending)
                return await words
            }.closureResult
        } catch let error as SubprocessError {
            try Task.checkCancellation()
            throw HostToolError.notStarted(tool, reason: "\(error)")
        }
    }
}
