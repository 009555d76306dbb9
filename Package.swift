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
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let subprocess = Target.Dependency.product(name: "Subprocess", package: "swift-subprocess")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")

// The layers are the folders of Sources, and point down only: programs -> jobs -> core; host -> core, c, LinuxHost.
// A job declares a small port, the program plugs the host's module in. docs/design.md has the picture, Tests/StructureTests
// keep the rule.
let package = Package(
    name: "rpiflash",
    products: [
        .executable(name: "rpiflash", targets: ["rpiflash"]),
        .executable(name: "rpiflash-gen", targets: ["rpiflash-gen"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
    ],
    targets: [
        // c: module maps and thin shims only.
        .systemLibrary(
            name: "CFDisk", path: "Sources/c/CFDisk", pkgConfig: "fdisk", providers: [.apt(["libfdisk-dev"])]),
        .systemLibrary(
            name: "CGPIODLibrary", path: "Sources/c/CGPIODLibrary", pkgConfig: "libgpiod",
            providers: [.apt(["libgpiod-dev"])]),
        // Linked by name: a cross-build finds no pkg-config file, and C has no module map's `link`.
        .target(
            name: "CGPIOD", dependencies: ["CGPIODLibrary"], path: "Sources/c/CGPIOD",
            linkerSettings: [.linkedLibrary("gpiod")]),
        .systemLibrary(
            name: "CExt2FS", path: "Sources/c/CExt2FS", pkgConfig: "ext2fs", providers: [.apt(["libext2fs-dev"])]),
        .systemLibrary(
            name: "CDeflate", path: "Sources/c/CDeflate", pkgConfig: "libdeflate", providers: [.apt(["libdeflate-dev"])]
        ),
        .systemLibrary(
            name: "CArchive", path: "Sources/c/CArchive", pkgConfig: "libarchive", providers: [.apt(["libarchive-dev"])]
        ),
        .systemLibrary(name: "CZlib", path: "Sources/c/CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),

        .target(name: "CUnixSocket", path: "Sources/c/CUnixSocket"),

        // core: pure values and rules; no files, no sockets, no clock.
        .target(name: "Configuration", dependencies: [yams], path: "Sources/core/Configuration", swiftSettings: strict),
        .target(
            name: "DiskLayout", dependencies: ["Configuration"], path: "Sources/core/DiskLayout", swiftSettings: strict),
        .target(
            name: "BootScript", dependencies: ["Configuration", "DiskLayout", yams], path: "Sources/core/BootScript",
            swiftSettings: strict),
        .target(
            name: "FlashPlan", dependencies: ["BootScript", "Configuration", "DiskLayout"],
            path: "Sources/core/FlashPlan",
            swiftSettings: strict),
        .target(
            name: "BootFiles", dependencies: ["Configuration", "DiskLayout", yams], path: "Sources/core/BootFiles",
            swiftSettings: strict),
        .target(
            name: "FlashEvents", dependencies: ["Configuration", "DiskLayout", "FlashPlan", "Inventory"],
            path: "Sources/core/FlashEvents", swiftSettings: strict),
        .target(name: "TFTP", path: "Sources/core/TFTP", swiftSettings: strict),
        .target(
            name: "Inventory", dependencies: ["Configuration"], path: "Sources/core/Inventory", swiftSettings: strict),

        // host: what touches the machine.
        .target(name: "LinuxHost", dependencies: [system], path: "Sources/host/LinuxHost", swiftSettings: strictC),
        .target(
            name: "FDisk", dependencies: ["CFDisk", "DiskLayout"], path: "Sources/host/FDisk", swiftSettings: strictC),
        .target(
            name: "GPIO", dependencies: ["CGPIOD", "LinuxHost", system], path: "Sources/host/GPIO",
            swiftSettings: strictC),
        .target(
            name: "HostTools", dependencies: ["Configuration", "LinuxHost", subprocess, system],
            path: "Sources/host/HostTools", swiftSettings: strictC),
        .target(
            name: "OSImage",
            dependencies: [
                "BootFiles", "CArchive", "CExt2FS", "CZlib", "DiskLayout", "FDisk", "HostTools", "LinuxHost", system,
            ],
            path: "Sources/host/OSImage", swiftSettings: strictC),
        .target(
            name: "ImageStore",
            dependencies: [
                "BootFiles", "CDeflate", "DiskLayout", "FlashPlan", "HostTools", "LinuxHost", "OSImage", crypto, system,
            ],
            path: "Sources/host/ImageStore", swiftSettings: strictC),
        .target(
            name: "RunRecords",
            dependencies: [
                "Configuration", "FlashEvents", "FlashPlan", "LinuxHost", "TFTP", "TargetConsole", system,
            ],
            path: "Sources/host/RunRecords", swiftSettings: strictC),
        .target(
            name: "TargetConsole", dependencies: ["Configuration", "Inventory", "LinuxHost"],
            path: "Sources/host/TargetConsole",
            swiftSettings: strictC),
        .target(
            name: "TFTPServer", dependencies: ["TFTP", nioCore, nioPosix, system], path: "Sources/host/TFTPServer",
            swiftSettings: strictC),
        .target(
            name: "TFTPService", dependencies: ["CUnixSocket", "Configuration", "TFTP", "TFTPServer", system],
            path: "Sources/host/TFTPService", swiftSettings: strictC),

        .target(
            name: "WebServer",
            dependencies: ["FlashEvents", nioCore, nioHTTP1, nioPosix, system],
            path: "Sources/host/WebServer", swiftSettings: strictC),

        // jobs: use cases.
        .target(
            name: "RecoveryImage", dependencies: ["Configuration", "DiskLayout", "BootScript", "LinuxHost", system],
            path: "Sources/jobs/RecoveryImage", swiftSettings: strict),
        .target(
            name: "Flashing",
            dependencies: [
                "Configuration", "DiskLayout", "FlashEvents", "FlashPlan", "Inventory", "LinuxHost", "TFTP", system,
            ],
            path: "Sources/jobs/Flashing", swiftSettings: strictC),

        .target(
            name: "Doctor", dependencies: ["Configuration", "DiskLayout", "Inventory", "LinuxHost", system],
            path: "Sources/jobs/Doctor", swiftSettings: strict),

        .target(
            name: "CardUpgrade",
            dependencies: ["Configuration", "DiskLayout", "FlashEvents", "FlashPlan", "Inventory", crypto],
            path: "Sources/jobs/CardUpgrade", swiftSettings: strict),

        // programs: options, wiring, exit codes; and what both print.
        .target(
            name: "CommandOutput",
            dependencies: [
                "CardUpgrade", "Configuration", "DiskLayout", "Doctor", "FlashEvents", "FlashPlan", "Flashing", "GPIO",
                "ImageStore", "LinuxHost",
                "Inventory", "OSImage", "RunRecords", "TFTP", system,
            ],
            path: "Sources/programs/CommandOutput", swiftSettings: strict),
        .target(
            name: "Wiring",
            dependencies: [
                "BootFiles", "BootScript", "CardUpgrade", "CommandOutput", "Configuration", "DiskLayout", "Doctor",
                "FDisk",
                "FlashEvents", "FlashPlan", "Flashing", "GPIO", "HostTools", "ImageStore", "Inventory", "LinuxHost",
                "OSImage", "RunRecords", "TFTP", "TFTPServer", "TFTPService", "TargetConsole", system,
            ],
            path: "Sources/programs/Wiring", swiftSettings: strict),
        .target(
            name: "CommandOptions",
            dependencies: [
                "CommandOutput", "Configuration", "FlashEvents", "Flashing", "HostTools", "ImageStore",
                "Inventory",
                "LinuxHost", "OSImage", "RunRecords", "TFTPService", "Wiring", argumentParser, system,
            ],
            path: "Sources/programs/CommandOptions", swiftSettings: strict),
        .executableTarget(
            name: "rpiflash-gen",
            dependencies: [
                "BootFiles", "BootScript", "CommandOutput", "Configuration", "DiskLayout", "FDisk", "FlashEvents",
                "FlashPlan", "HostTools", "LinuxHost", "OSImage", "RecoveryImage", argumentParser, system,
            ],
            path: "Sources/programs/rpiflash-gen", swiftSettings: strict),
        .executableTarget(
            name: "rpiflash",
            dependencies: [
                "BootFiles", "BootScript", "CardUpgrade", "CommandOptions", "CommandOutput", "Configuration",
                "DiskLayout", "Doctor",
                "FlashEvents", "FlashPlan",
                "Flashing", "GPIO", "HostTools", "ImageStore", "Inventory", "LinuxHost", "OSImage", "RunRecords",
                "TFTP",
                "TFTPServer", "TFTPService", "TargetConsole", "WebServer", "Wiring", argumentParser, system,
            ],
            path: "Sources/programs/rpiflash", swiftSettings: strict),

        // The layers, held to their rule.
        .testTarget(name: "StructureTests", swiftSettings: strict),
        .testTarget(
            name: "LinuxHostTests", dependencies: ["LinuxHost", "TestSupport", system], swiftSettings: strict),
        .testTarget(
            name: "DiskLayoutTests", dependencies: ["DiskLayout", "FDisk", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "BootFilesTests",
            dependencies: ["BootFiles", "Configuration", "DiskLayout", "TestSupport", subprocess, system, yams],
            swiftSettings: strict),
        .testTarget(
            name: "BootScriptTests", dependencies: ["BootFiles", "BootScript", "DiskLayout"], swiftSettings: strict),
        .testTarget(
            name: "HostToolsTests", dependencies: ["HostTools", "TestSupport", system], swiftSettings: strict),
        .testTarget(
            name: "RecoveryImageTests",
            dependencies: ["RecoveryImage", "FDisk", "LinuxHost", "OSImage", "TestImages", "TestSupport", system],
            swiftSettings: strict),
        // Images made with mkfs and the like, for the tests of what reads them.
        .target(
            name: "TestImages", dependencies: ["DiskLayout", "FDisk", "TestSupport"], path: "Tests/TestImages",
            swiftSettings: strict),
        // Scripts that tests run, and where what was built lies.
        .target(
            name: "TestSupport", dependencies: [subprocess, system], path: "Tests/TestSupport", swiftSettings: strict),
        // Judges mutations of images in a process that a crash may end.
        .executableTarget(
            name: "image-fuzzer",
            dependencies: [
                "BootFiles", "DiskLayout", "HostTools", "LinuxHost", "OSImage", "TestImages", "TestSupport", system,
            ],
            path: "Tests/ImageFuzzer", swiftSettings: strict),
        .testTarget(
            name: "OSImageTests",
            dependencies: [
                "BootFiles", "DiskLayout", "HostTools", "LinuxHost", "OSImage", "TestImages", "TestSupport",
                "image-fuzzer", system,
            ],
            swiftSettings: strict),
        // What readers of foreign bytes must hold to, for ReaderFuzzTests and for libFuzzer.
        .target(
            name: "ReaderFuzz",
            dependencies: [
                "BootFiles", "Configuration", "DiskLayout", "FlashPlan", "Inventory", "TFTP", "TargetConsole",
            ],
            path: "Tests/ReaderFuzz", swiftSettings: strict),
        .testTarget(name: "ReaderFuzzTests", dependencies: ["ReaderFuzz"], swiftSettings: strict),
        // A hostile target against the real server, for FuzzingTests and `make fuzz-target`.
        .executableTarget(
            name: "target-fuzzer",
            dependencies: [
                "CommandOutput", "Configuration", "DiskLayout", "FlashEvents", "FlashPlan", "Flashing", "HostTools",
                "Inventory",
                "RunRecords", "TFTP", "TFTPServer", "TargetConsole", "TestSupport", "Wiring", argumentParser, system,
            ],
            path: "Tests/TargetFuzzer", swiftSettings: strict),
        .testTarget(
            name: "ImageStoreTests",
            dependencies: [
                "BootFiles", "DiskLayout", "FlashPlan", "HostTools", "ImageStore", "LinuxHost", "OSImage", "TestImages",
                "TestSupport", system,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "FlashPlanTests",
            dependencies: ["BootScript", "Configuration", "DiskLayout", "FlashPlan", subprocess, system],
            swiftSettings: strict),
        .testTarget(name: "InventoryTests", dependencies: ["Configuration", "Inventory"], swiftSettings: strict),
        .testTarget(name: "TFTPTests", dependencies: ["TFTP", "TFTPServer", "TestSupport"], swiftSettings: strict),
        // The TFTP server alone, for virtual_target/benchmarks/bench-tftp; no product.
        .executableTarget(
            name: "tftp-bench-server", dependencies: ["TFTP", "TFTPServer"], path: "Tests/TFTPBenchServer",
            swiftSettings: strict),
        .testTarget(
            name: "TargetConsoleTests", dependencies: ["Configuration", "TargetConsole"], swiftSettings: strict),
        .testTarget(
            name: "RunRecordsTests", dependencies: ["FlashEvents", "RunRecords", "TFTP", system], swiftSettings: strict),
        .testTarget(
            name: "TFTPServiceTests", dependencies: ["TFTP", "TFTPServer", "TFTPService", system],
            swiftSettings: strict),
        .testTarget(
            name: "FlashingTests",
            dependencies: [
                "DiskLayout", "FlashEvents", "Flashing", "FlashPlan", "Inventory", "LinuxHost", "OSImage", "TFTP",
                "TestSupport", system,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "CardUpgradeTests",
            dependencies: [
                "CardUpgrade", "Configuration", "DiskLayout", "FlashEvents", "Inventory", "TestSupport", subprocess,
                system,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "DoctorTests", dependencies: ["Configuration", "DiskLayout", "Doctor", "Inventory", system],
            swiftSettings: strict),
        .testTarget(
            name: "WebServerTests", dependencies: ["FlashEvents", "WebServer"], swiftSettings: strict),
        // The built programs: help, exit statuses, messages, signals, and a flash with TFTP clients as the target.
        .testTarget(
            name: "CommandOptionsTests", dependencies: ["CommandOptions", "Flashing", "Wiring", argumentParser],
            swiftSettings: strict),
        .testTarget(
            name: "CommandOutputTests",
            dependencies: [
                "CommandOutput", "Configuration", "DiskLayout", "FlashEvents", "FlashPlan", "Flashing", "Inventory",
                "RunRecords", system,
            ],
            swiftSettings: strict),
        .testTarget(
            name: "CommandTests",
            dependencies: [
                "CommandOutput", "FlashEvents", "FlashPlan", "Flashing", "TestImages", "TestSupport", "rpiflash",
                "rpiflash-gen",
                system,
            ],
            swiftSettings: strict),
        // The built program and the shim on recorded GPIO lines, in QEMU.
        .testTarget(
            name: "GPIOTests", dependencies: ["GPIO", "TestSupport", system], exclude: ["vm"], swiftSettings: strict),
        // rpiflash's TFTP server alone, for tests in the virtual target's network.
        .executableTarget(
            name: "rpiflash-test-server", dependencies: ["TFTP", "TFTPServer", system], path: "Tests/TestServer",
            swiftSettings: strict),
        // Power cuts at exact points, for virtual_target/scenarios/exact-cuts.
        .executableTarget(
            name: "rpiflash-power-cuts", dependencies: ["TestSupport", argumentParser], path: "Tests/PowerCuts",
            swiftSettings: strict),
        // The whole system: the built binaries, real U-Boot in QEMU, a real kernel.
        .testTarget(
            name: "SystemTests",
            dependencies: [
                "BootScript", "DiskLayout", "FlashPlan", "TestSupport", "rpiflash-power-cuts", "rpiflash-test-server",
                "target-fuzzer", system,
            ],
            swiftSettings: strict),
    ]
)

// libFuzzer: `make fuzz-readers` builds everything with its instrumentation, in a folder of its own.
if Context.environment["RPIFLASH_LIBFUZZER"] != nil {
    package.targets += [
        .target(name: "CLibFuzzer", path: "Tests/CLibFuzzer"),
        .executableTarget(
            name: "reader-fuzzer", dependencies: ["CLibFuzzer", "ReaderFuzz"], path: "Tests/ReaderFuzzer",
            swiftSettings: strict),
    ]
}
