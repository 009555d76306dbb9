public import Foundation

/// What a program said.
public struct Ran: Sendable {
    /// Its exit status.
    public let status: Int32
    /// What it printed.
    public let output: String
    /// What it logged.
    public let errors: String
}

/// A program is not there.
public struct ToolMissing: Error, CustomStringConvertible {
    /// One sentence.
    public let description: String

    /// No program of that name is found.
    public init(_ tool: String) { description = "\(tool) is missing" }
}

/// Where a program is, in PATH or among the system's.
public func find(_ tool: String) -> String? {
    let path = (Parts.environment["PATH"] ?? "").split(separator: ":").map(String.init)
    return (path + ["/usr/sbin", "/sbin"]).map { "\($0)/\(tool)" }
        .first { FileManager.default.isExecutableFile(atPath: $0) }
}

/// Runs a program, a path or one that is found, to its end, with `environment` beside the tests' own.
///
/// - Throws: ``ToolMissing``, or that it cannot be started.
@discardableResult
public func run(
    _ tool: String, _ arguments: [String], in folder: URL, environment: [String: String] = [:]
) throws -> Ran {
    guard let path = tool.hasPrefix("/") ? tool : find(tool) else {
        throw ToolMissing(tool)
    }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.currentDirectoryURL = folder
    process.environment = Parts.environment.merging(environment) { $1 }
    let said = try TemporaryFolder()
    // Files and not pipes: nothing has to be drained while it runs.
    let (output, errors) = (said.url.appendingPathComponent("output"), said.url.appendingPathComponent("errors"))
    for file in [output, errors] { try Data().write(to: file) }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = try FileHandle(forWritingTo: errors)
    try process.run()
    process.waitUntilExit()
    return Ran(
        status: process.terminationStatus, output: String(decoding: try Data(contentsOf: output), as: UTF8.self),
        errors: String(decoding: try Data(contentsOf: errors), as: UTF8.self))
}

/// A folder that goes when it is released.
public final class TemporaryFolder: Sendable {
    /// Where it is.
    public let url: URL

    /// An empty one.
    public init() throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("rpiflash-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    /// The path of something in it.
    public func path(_ name: String) -> String { url.appendingPathComponent(name).path }

    /// Writes a file, and the folders it is in.
    public func write(_ text: String, to name: String) throws { try write(Data(text.utf8), to: name) }

    /// Writes a file, and the folders it is in.
    public func write(_ data: Data, to name: String) throws {
        let file = url.appendingPathComponent(name)
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try data.write(to: file)
    }

    /// Makes a sparse file; returns its path.
    public func file(_ name: String, size: UInt64) throws -> String {
        try write(Data(), to: name)
        let handle = try FileHandle(forWritingTo: url.appendingPathComponent(name))
        try handle.truncate(atOffset: size)
        try handle.close()
        return path(name)
    }

    /// What is in a file.
    public func data(_ name: String) throws -> Data { try Data(contentsOf: url.appendingPathComponent(name)) }

    /// The names of all that is in it, hidden ones too.
    public func names(_ folder: String = "") throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: url.appendingPathComponent(folder).path).sorted()
    }
}
