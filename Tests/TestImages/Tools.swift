package import Foundation
package import TestSupport

/// Why a fixture could not be made.
package struct FixtureError: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// Whether these programs are there. Locally a missing one skips a test visibly, in CI it fails it.
package func canUse(_ tools: [String]) -> Bool {
    tools.allSatisfy { find($0) != nil } || ProcessInfo.processInfo.environment["CI"] != nil
}

/// The same images each time, whatever the day.
private let fixed = [
    "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1700000000", "E2FSPROGS_FAKE_TIME": "1700000000",
]

/// Runs a program to its end, the same each time.
///
/// - Throws: ``FixtureError`` where it ends with a status that is not expected.
@discardableResult
package func run(_ tool: String, _ arguments: [String], accept: Set<Int32> = [0]) throws -> Ran {
    let here = URL(fileURLWithPath: FileManager.default.currentDirectoryPath)
    let ran = try run(tool, arguments, in: here, environment: fixed)
    guard accept.contains(ran.status) else {
        throw FixtureError(
            "\(tool) \(arguments.joined(separator: " ")): status \(ran.status): \(ran.output)\(ran.errors)")
    }
    return ran
}

/// Bytes that do not compress.
package func noise(_ seed: UInt64, count: Int) -> Data {
    var generator = SeededGenerator(seed: seed)
    var words = [UInt64](repeating: 0, count: (count + 7) / 8)
    for index in words.indices { words[index] = generator.next() }
    return words.withUnsafeBytes { Data($0.prefix(count)) }
}
