import DiskLayout
import Foundation
import TestSupport

extension CardLayout {
    /// Some card: 64 MiB to 1 TiB, any sizes that fit it.
    static func random(seed: UInt64) throws -> CardLayout {
        var generator = SeededGenerator(seed: seed)
        let uboot = UInt64.random(in: 1...64, using: &generator) * 4
        let boot = UInt64.random(in: 1...512, using: &generator) * 4
        let rootfs = UInt64.random(in: 1...(1 << UInt64.random(in: 13...31, using: &generator)), using: &generator)
        let behind = UInt64.random(in: 0...100_000, using: &generator)
        let card = ByteCount((4 + uboot + boot) << 20) + SectorCount(rootfs + behind).byteCount
        return try CardLayout(
            cardSize: card, ubootSize: .mebibytes(uboot), bootSize: .mebibytes(boot),
            rootfsSize: Bool.random(using: &generator) || rootfs + behind < 8192 ? SectorCount(rootfs).byteCount : nil,
            diskID: DiskID(UInt32.random(in: 1...UInt32.max, using: &generator)) ?? CardLayout.defaultDiskID)
    }
}

/// The second opinion.
let sfdisk = find("sfdisk")
/// Locally a missing tool skips a test visibly, in CI it fails it.
let canUseSfdisk = sfdisk != nil || ProcessInfo.processInfo.environment["CI"] != nil

/// What sfdisk prints; `input` is its script.
@discardableResult
func runSfdisk(_ arguments: [String], input: String = "", in folder: URL) throws -> (status: Int32, output: String) {
    guard let sfdisk else { throw ToolMissing("sfdisk") }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: sfdisk)
    process.arguments = arguments
    process.currentDirectoryURL = folder
    let (standardInput, standardOutput) = (Pipe(), Pipe())
    process.standardInput = standardInput
    process.standardOutput = standardOutput
    process.standardError = FileHandle.nullDevice
    try process.run()
    try standardInput.fileHandleForWriting.write(contentsOf: Data(input.utf8))
    try standardInput.fileHandleForWriting.close()
    let output = standardOutput.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: output, as: UTF8.self))
}
