// swift-tools-version: 6.2
import PackageDescription

/// Swift 6 mode everywhere, and a warning is an error: what is built here writes to cards that nobody can reach.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]
/// For the modules that call C.
let strictC: [SwiftSetting] = strict + [.strictMemorySafety()]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let subprocess = Target.Dependency.product(name: "Subprocess", package: "swift-subprocess")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")

// Dependencies point down only: executables -> use cases -> pure; effects -> pure + C.
// A use case declares a small port; the executable plugs the effect in. docs/design.md has the picture.
let package = Package(
    name: "rpiflash",
    products: [
        .executable(name: "rpiflash", targets: ["rpiflash"]),
        .executable(name: "rpiflash-gen", targets: ["rpiflash-gen"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
    ],
    targets: [
        // C: module maps and thin shims only.
        .systemLibrary(name: "CFDisk", pkgConfig: "fdisk", providers: [.apt(["libfdisk-dev"])]),
        .systemLibrary(name: "CGPIODLibrary", pkgConfig: "libgpiod", providers: [.apt(["libgpiod-dev"])]),
        .target(name: "CGPIOD", dependencies: ["CGPIODLibrary"]),
        .systemLibrary(name: "CExt2FS", pkgConfig: "ext2fs", providers: [.apt(["libext2fs-dev"])]),
        .systemLibrary(name: "CDeflate", pkgConfig: "libdeflate", providers: [.apt(["libdeflate-dev"])]),
        .systemLibrary(name: "CArchive", pkgConfig: "libarchive", providers: [.apt(["libarchive-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),

        .target(name: "CUnixSocket"),

        // Pure: no files, no sockets, no clock.
        .target(name: "DiskLayout", dependencies: [yams], swiftSettings: strict),
        .target(name: "BootScript", dependencies: ["DiskLayout", yams], swiftSettings: strict),
        .target(name: "FlashPlan", dependencies: ["BootScript", "DiskLayout"], swiftSettings: strict),
        .target(name: "BootFiles", dependencies: ["DiskLayout", yams], swiftSettings: strict),
        .target(name: "TFTP", swiftSettings: strict),
        .target(name: "Inventory", swiftSettings: strict),

        // Effects.
        .target(name: "LinuxHost", dependencies: [system], swiftSettings: strict),
        .target(name: "FDisk", dependencies: ["CFDisk", "DiskLayout"], swiftSettings: strictC),
        .target(name: "GPIO", dependencies: ["CGPIOD"], swiftSettings: strictC),
        .target(name: "HostTools", dependencies: [subprocess, system], swiftSettings: strict),
        .target(
            name: "OSImage",
            dependencies: ["BootFiles", "CArchive", "CExt2FS", "CZlib", "DiskLayout", "FDisk", "HostTools", system],
            swiftSettings: strictC),
        .target(
            name: "ImageStore",
            dependencies: [
                "BootFiles", "CDeflate", "DiskLayout", "FlashPlan", "HostTools", "LinuxHost", "OSImage", crypto, system,
            ],
            swiftSettings: strictC),
        .target(
            name: "RunRecords", dependencies: ["LinuxHost", system], swiftSettings: strict),
        .target(name: "TargetConsole", swiftSettings: strictC),
        .target(name: "TFTPServer", dependencies: ["TFTP", nioCore, nioPosix, system], swiftSettings: strict),
        .target(name: "TFTPService", dependencies: ["CUnixSocket", "TFTPServer", system], swiftSettings: strictC),

        // Use cases.
        .target(
            name: "RecoveryImage", dependencies: ["DiskLayout", "BootScript", "LinuxHost", system],
            swiftSettings: strict),
        .target(
            name: "Flashing", dependencies: ["DiskLayout", "FlashPlan", "Inventory", "LinuxHost", logging, system],
            swiftSettings: strict),

        // Executables: options, wiring, exit codes; nothing else.
        .executableTarget(
            name: "rpiflash-gen",
            dependencies: [
                "BootFiles", "BootScript", "DiskLayout", "FDisk", "HostTools", "LinuxHost", "OSImage",
                "RecoveryImage", argumentParser,
                system,
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "rpiflash",
            dependencies: [
                "BootFiles", "BootScript", "DiskLayout", "FlashPlan", "Flashing", "GPIO", "HostTools", "ImageStore",
                "Inventory", "LinuxHost", "OSImage", "RunRecords", "TFTPServer", "TFTPService", "TargetConsole",
                argumentParser,
                logging,
                system,
            ],
            swiftSettings: strict),

        .testTarget(
            name: "LinuxHostTests", dependencies: ["LinuxHost", "TestSupport", system], swiftSettings: strict),
        .testTarget(name: "DiskLayoutTests", dependencies: ["DiskLayout", "FDisk"], swiftSettings: strict),
        .testTarget(
            name: "BootFilesTests", dependencies: ["BootFiles", "DiskLayout", "TestSupport", subprocess, system, yams],
            swiftSettings: strict),
        .testTarget(
            name: "BootScriptTests", dependencies: ["BootFiles", "BootScript", "DiskLayout"], swiftSettings: strict),
        .testTarget(
            name: "RecoveryImageTests",
            dependencies: ["RecoveryImage", "FDisk", "HostTools", "OSImage", "TestImages", system],
            swiftSettings: strict),
        // Images made with mkfs and the like, for the tests of what reads them.
        .target(
            name: "TestImages", dependencies: ["DiskLayout", "FDisk"], path: "Tests/TestImages", swiftSettings: strict),
        // Scripts that tests run, and where what was built lies.
        .target(
            name: "TestSupport", dependencies: [subprocess, system], path: "Tests/TestSupport", swiftSettings: strict),
        // Judges mutations of images in a process that a crash may end.
        .executableTarget(
            name: "image-fuzzer",
            dependencies: ["BootFiles", "DiskLayout", "HostTools", "OSImage", "TestImages", system],
            path: "Tests/ImageFuzzer", swiftSettings: strict),
        .testTarget(
            name: "OSImageTests",
            dependencies: [
                "BootFiles", "DiskLayout", "HostTools", "OSImage", "TestImages", "TestSupport", "image-fuzzer", system,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "ImageStoreTests",
            dependencies: [
                "BootFiles", "DiskLayout", "HostTools", "ImageStore", "LinuxHost", "OSImage", "TestImages", system,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "FlashPlanTests", dependencies: ["BootScript", "DiskLayout", "FlashPlan", subprocess, system],
            swiftSettings: strict),
        .testTarget(name: "InventoryTests", dependencies: ["Inventory"], swiftSettings: strict),
        .testTarget(name: "TFTPTests", dependencies: ["TFTP", "TFTPServer"], swiftSettings: strict),
        // The TFTP server alone, for virtual_target/bench-tftp; no product.
        .executableTarget(
            name: "tftp-bench-server", dependencies: ["TFTPServer"], path: "Tests/TFTPBenchServer",
            swiftSettings: strict),
        .testTarget(name: "TargetConsoleTests", dependencies: ["TargetConsole"], swiftSettings: strict),
        .testTarget(
            name: "RunRecordsTests", dependencies: ["RunRecords", system], swiftSettings: strict),
        .testTarget(
            name: "TFTPServiceTests", dependencies: ["TFTPServer", "TFTPService", system], swiftSettings: strict),
        .testTarget(
            name: "FlashingTests",
            dependencies: ["DiskLayout", "Flashing", "FlashPlan", "Inventory", "LinuxHost", system],
            swiftSettings: strict),
        // The built programs: help, exit statuses, messages, signals, and a flash with TFTP clients as the target.
        .testTarget(
            name: "CommandTests", dependencies: ["TestImages", "TestSupport", "rpiflash", system],
            swiftSettings: strict),
        // The built program and the shim on recorded GPIO lines, in QEMU.
        .testTarget(
            name: "GPIOTests", dependencies: ["GPIO", "TestSupport", system], exclude: ["vm"], swiftSettings: strict),
        // rpiflash's TFTP server alone, for tests in the virtual target's network.
        .executableTarget(
            name: "rpiflash-test-server", dependencies: ["TFTPServer"], path: "Tests/TestServer",
            swiftSettings: strict),
        // The whole system: the built binaries, real U-Boot in QEMU, a real kernel.
        .testTarget(
            name: "SystemTests",
            dependencies: [
                "BootScript", "DiskLayout", "FlashPlan", "TestSupport", "rpiflash-test-server", system,
            ],
            swiftSettings: strict),
    ]
)
