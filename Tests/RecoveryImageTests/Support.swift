import BootScript
import DiskLayout
import Foundation
import RecoveryImage
import SystemPackage
import TestSupport
import Testing

/// The source tree.
let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

/// The built program: in RPIFLASH_BIN, else next to the test program.
let program: URL = {
    let folder =
        ProcessInfo.processInfo.environment["RPIFLASH_BIN"].map { URL(fileURLWithPath: $0, relativeTo: root) }
        ?? URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
    return folder.appendingPathComponent("rpiflash-gen")
}()

/// What the tests check with, besides what the program itself needs.
let hostTools = [
    "mkfs.vfat", "mcopy", "mdir", "mkimage", "dumpimage", "sfdisk", "fsck.vfat", "xz", "sha256sum", "bmaptool",
]
let missingTools = hostTools.filter { find($0) == nil }
/// Locally a missing tool skips a test visibly, in CI it fails it.
let canUseTools = missingTools.isEmpty || ProcessInfo.processInfo.environment["CI"] != nil

/// Whether a test may make a mount namespace of its own.
let canUnshare =
    (try? run("unshare", ["-rm", "true"], in: root).status) == 0 || ProcessInfo.processInfo.environment["CI"] != nil

/// Bytes that nobody mistakes for others, of a length that fills no cluster.
func filler(_ seed: UInt8, count: Int) -> Data {
    let pattern = Data((0..<251).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ Int(seed)) })
    var data = Data()
    while data.count < count { data.append(data.isEmpty ? pattern : data) }
    return data.prefix(count)
}

/// A work folder like the source tree's: card.yaml, and stand-ins for what is built and fetched, whose content nothing
/// looks at.
func workFolder(ubootSize: String = "8 MiB", bootSize: String = "8 MiB", cardSize: String = "256 MiB") throws
    -> TemporaryFolder
{
    let folder = try TemporaryFolder()
    try folder.write(
        "card_size: \(cardSize)\nuboot_size: \(ubootSize)\nboot_size: \(bootSize)\n", to: "recovery_image/card.yaml")
    for name in ["files.yaml", "config.txt", "rpiflash.env"] {
        try folder.write(
            Data(contentsOf: root.appendingPathComponent("recovery_image/\(name)")), to: "recovery_image/\(name)")
    }
    for (index, name) in [
        "LICENCE.broadcom", "bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat", "start_x.elf",
    ]
    .enumerated() {
        try folder.write(filler(UInt8(index), count: 10_001 * (index + 1)), to: "build/firmware/\(name)")
    }
    for board in ["rpi_arm64", "rpi_3_32b", "rpi_4_32b", "qemu_arm64"] {
        try folder.write(filler(99, count: 600_123), to: "build/uboot/\(board)/u-boot.bin")
        for tree in try profile(board).deviceTrees {
            try folder.write(
                filler(UInt8(truncatingIfNeeded: tree.count), count: 20_011), to: "build/uboot/\(board)/dtb/\(tree).dtb"
            )
        }
    }
    return folder
}

/// A board's own profile.
func profile(_ board: String) throws -> BoardProfile {
    try readBoard(board, in: FilePath(root.appendingPathComponent("uboot/boards").path))
}

/// A command's arguments, with the source tree's templates and boards, and all else from the work folder: no program takes
/// anything from there unless it is told to. What was built is named by RPIFLASH_BUILD=build.
func withPlaces(_ arguments: [String]) -> [String] {
    var arguments = arguments
    if arguments.first != "layout" {
        arguments += ["--templates", root.appendingPathComponent("templates").path]
        arguments += ["--boards", root.appendingPathComponent("uboot/boards").path]
    }
    if !arguments.contains("--card") { arguments += ["--card", "recovery_image/card.yaml"] }
    if arguments.first == "recovery-image" { arguments += ["--files", "recovery_image"] }
    return arguments
}

/// Runs rpiflash-gen in a work folder, with the source tree's templates and boards.
func generate(
    _ arguments: [String], in folder: TemporaryFolder, environment: [String: String] = [:]
) throws -> Ran {
    var arguments = withPlaces(arguments)
    // Compressing takes longest, and little hangs on it.
    if arguments.first == "recovery-image", !arguments.contains("--xz") { arguments.append("--no-xz") }
    let environment = ["SOURCE_DATE_EPOCH": "", "RPIFLASH_BUILD": "build"].merging(environment) { $1 }
    return try run(program.path, arguments, in: folder.url, environment: environment)
}
