import TestSupport
package import Foundation

/// Why a fixture could not be made.
package struct FixtureError: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// What a program said.
package struct Ran: Sendable {
    package let status: Int32
    package let output: String
    package let errors: String
}

/// Where a program is, in PATH or among the system's.
package func find(_ tool: String) -> String? {
    let path = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
    return (path + ["/usr/sbin", "/sbin"]).map { "\($0)/\(tool)" }
        .first { FileManager.default.isExecutableFile(atPath: $0) }
}

/// Whether these programs are there. Locally a missing one skips a test visibly, in CI it fails it.
package func canUse(_ tools: [String]) -> Bool {
    tools.allSatisfy { find($0) != nil } || ProcessInfo.processInfo.environment["CI"] != nil
}

/// The same images each time, whatever the day.
private let fixed = [
    "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1700000000", "E2FSPROGS_FAKE_TIME": "1700000000",
]

/// Runs a program to its end.
@discardableResult
package func run(_ tool: String, _ arguments: [String], accept: Set<Int32> = [0]) throws -> Ran {
    guard let path = find(tool) else { throw FixtureError("\(tool) is missing") }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(fixed) { $1 }
    let folder = try TemporaryFolder()
    // Files and not pipes: nothing has to be drained while it runs.
    let (output, errors) = (folder.url.appendingPathComponent("output"), folder.url.appendingPathComponent("errors"))
    for file in [output, errors] { try Data().write(to: file) }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = try FileHandle(forWritingTo: errors)
    try process.run()
    process.waitUntilExit()
    let ran = Ran(
        status: process.terminationStatus, output: String(decoding: try Data(contentsOf: output), as: UTF8.self),
        errors: String(decoding: try Data(contentsOf: errors), as: UTF8.self))
    guard accept.contains(ran.status) else {
        throw FixtureError(
            "\(tool) \(arguments.joined(separator: " ")): status \(ran.status): \(ran.output)\(ran.errors)")
    }
    return ran
}

/// A folder that goes when it is released.
package final class TemporaryFolder: Sendable {
    package let url: URL

    package init() throws {
        url = FileManager.default.temporaryDirectory.appendingPathComponent("rpiflash-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(at: url) }

    package func path(_ name: String) -> String { url.appendingPathComponent(name).path }

    package func write(_ data: Data, to name: String) throws {
        let file = url.appendingPathComponent(name)
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try data.write(to: file)
    }
}

/// Bytes that do not compress.
package func noise(_ seed: UInt64, count: Int) -> Data {
    var generator = SeededGenerator(seed: seed)
    var words = [UInt64](repeating: 0, count: (count + 7) / 8)
    for index in words.indices { words[index] = generator.next() }
    return words.withUnsafeBytes { Data($0.prefix(count)) }
}
