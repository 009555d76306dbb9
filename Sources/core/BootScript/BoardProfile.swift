import Yams

/// What differs between boards: `uboot/boards/<board>.yaml`.
package struct BoardProfile: Hashable, Sendable {
    /// As in `make uboot BOARD=…`, the file's name less `.yaml`.
    package let name: String
    /// U-Boot's defconfig; empty where Linux flashes the board.
    package let defconfig: String
    /// `arm64` or `arm`.
    package let architecture: Architecture
    /// Prefix of the cross compiler's tools.
    package let crossCompile: String
    /// Names of the configuration fragments, applied in order.
    package let fragments: [String]
    /// Device trees on partition 1, names of U-Boot's sources less `.dts`; empty where the machine brings its own.
    package let deviceTrees: [String]
    /// Where the kernel's device tree comes from.
    package let kernelDeviceTree: DeviceTreeSource
    /// U-Boot's command that starts the kernel.
    package let bootCommand: BootCommand
    /// Kernel file names on partition 2, tried in order after the one that config.txt names.
    package let kernels: [String]
    /// initramfs file names on partition 2, tried in order after the one that belongs to config.txt's kernel.
    package let initramfs: [String]
    /// Kernel names of the consoles that a command line calls `serial0` and `serial1`.
    package let serialConsoles: [String: String]
    /// Ethernet hangs on USB where the board has no other: `usb start` before it is used.
    package let usbEthernet: Bool
    /// Files of partition 1 come with the Pi's firmware (bootcode.bin, start.elf, config.txt).
    package let piFirmware: Bool
    /// The Linux that flashes the board; nil: U-Boot does.
    package let linux: LinuxSystem?

    /// What flashes a board that no U-Boot can: `recovery_image/linux/build` makes it, docs/linux-target.md explains it.
    package struct LinuxSystem: Hashable, Sendable {
        /// The Debian suite that the kernel comes from; empty: that of the machine that builds it.
        package let suite: String
        /// Kernel modules, in the order in which they are loaded.
        package let modules: [String]
        /// The kernel's command line.
        package let commandLine: String
        /// How it starts what is on partition 2.
        package let start: Start
        /// The physical address of the register that names the partition to start; only with ``Start/firmware``.
        package let resetStatus: String

        /// How an image is started.
        package enum Start: String, Codable, Sendable {
            /// By a reset, after which the Pi's firmware starts partition 2 as it is.
            case firmware
            /// From the running kernel.
            case kexec
        }
    }

    /// Who flashes a board.
    package enum System: String, Codable, Sendable { case uboot, linux }

    /// The processor's instruction set.
    package enum Architecture: String, Codable, Sendable { case arm64, arm }
    /// Where the kernel's device tree comes from: partition 2, or U-Boot's own (`${fdtcontroladdr}`).
    package enum DeviceTreeSource: String, Codable, Sendable { case image, uboot }
    /// `booti` for a 64-bit Image, `bootz` for a 32-bit zImage.
    package enum BootCommand: String, Codable, Sendable { case booti, bootz }
}

extension BoardProfile: Codable {
    /// The keys of the file, in its order.
    package enum CodingKeys: String, CodingKey, CaseIterable, Sendable {
        case name, system, defconfig
        case architecture = "arch"
        case crossCompile = "cross_compile"
        case fragments
        case deviceTrees = "device_trees"
        case kernelDeviceTree = "kernel_device_tree"
        case bootCommand = "boot_command"
        case kernels, initramfs
        case serial0, serial1
        case usbEthernet = "usb_ethernet"
        case piFirmware = "pi_firmware"
        case linuxSuite = "linux_suite"
        case linuxModules = "linux_modules"
        case linuxCommandLine = "linux_command_line"
        case linuxStart = "linux_start"
        case linuxResetStatus = "linux_reset_status"

        /// The one system whose boards have the key; nil: all have it.
        package var system: System? {
            switch self {
            case .defconfig, .crossCompile, .fragments: .uboot
            case .linuxSuite, .linuxModules, .linuxCommandLine, .linuxStart, .linuxResetStatus: .linux
            default: nil
            }
        }
    }

    /// Decodes a profile; every key must be there that boards of its system have, and none of another's. Without a system it is
    /// U-Boot's.
    ///
    /// - Throws: `DecodingError`.
    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        name = try values.decode(String.self, forKey: .name)
        architecture = try values.decode(Architecture.self, forKey: .architecture)
        let system = try values.decodeIfPresent(System.self, forKey: .system) ?? .uboot
        for key in values.allKeys where key.system.map({ $0 != system }) == true {
            throw DecodingError.dataCorruptedError(
                forKey: key, in: values,
                debugDescription: "a board with system: \(system.rawValue) has no key \(key.rawValue)")
        }
        if system == .linux {
            let start = try values.decode(LinuxSystem.Start.self, forKey: .linuxStart)
            linux = LinuxSystem(
                suite: try values.decode(String.self, forKey: .linuxSuite),
                modules: try values.decode([String].self, forKey: .linuxModules),
                commandLine: try values.decode(String.self, forKey: .linuxCommandLine), start: start,
                resetStatus: start == .firmware ? try values.decode(String.self, forKey: .linuxResetStatus) : "")
        } else {
            linux = nil
        }
        defconfig = system == .uboot ? try values.decode(String.self, forKey: .defconfig) : ""
        crossCompile = system == .uboot ? try values.decode(String.self, forKey: .crossCompile) : ""
        fragments = system == .uboot ? try values.decode([String].self, forKey: .fragments) : []
        deviceTrees = try values.decode([String].self, forKey: .deviceTrees)
        kernelDeviceTree = try values.decode(DeviceTreeSource.self, forKey: .kernelDeviceTree)
        bootCommand = try values.decode(BootCommand.self, forKey: .bootCommand)
        kernels = try values.decode([String].self, forKey: .kernels)
        initramfs = try values.decode([String].self, forKey: .initramfs)
        serialConsoles = [
            "serial0": try values.decode(String.self, forKey: .serial0),
            "serial1": try values.decode(String.self, forKey: .serial1),
        ]
        usbEthernet = try values.decode(Bool.self, forKey: .usbEthernet)
        piFirmware = try values.decode(Bool.self, forKey: .piFirmware)
    }

    /// Encodes the keys of the file.
    ///
    /// - Throws: `EncodingError`.
    package func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        for key in keys {
            switch self[key] {
            case .text(let text): try values.encode(text, forKey: key)
            case .list(let words): try values.encode(words, forKey: key)
            case .flag(let flag): try values.encode(flag, forKey: key)
            }
        }
    }

    /// The keys that boards of its system have, in the file's order.
    package var keys: [CodingKeys] { CodingKeys.allCases.filter { ($0.system ?? system) == system } }

    /// Who flashes the board.
    package var system: System { linux == nil ? .uboot : .linux }

    /// What a key of the file has.
    package enum Value: Hashable, Sendable {
        /// One word.
        case text(String)
        /// Words in brackets.
        case list([String])
        /// `true` or `false`.
        case flag(Bool)

        /// As a script reads them, without white space in any.
        package var words: [String] {
            switch self {
            case .text(let text): [text]
            case .list(let words): words
            case .flag(let flag): [flag ? "true" : "false"]
            }
        }
    }

    /// The value of a key.
    package subscript(key: CodingKeys) -> Value {
        switch key {
        case .name: .text(name)
        case .defconfig: .text(defconfig)
        case .architecture: .text(architecture.rawValue)
        case .crossCompile: .text(crossCompile)
        case .fragments: .list(fragments)
        case .deviceTrees: .list(deviceTrees)
        case .kernelDeviceTree: .text(kernelDeviceTree.rawValue)
        case .bootCommand: .text(bootCommand.rawValue)
        case .kernels: .list(kernels)
        case .initramfs: .list(initramfs)
        case .serial0, .serial1: .text(serialConsoles[key.rawValue] ?? "")
        case .usbEthernet: .flag(usbEthernet)
        case .piFirmware: .flag(piFirmware)
        case .system: .text(system.rawValue)
        case .linuxSuite: .text(linux?.suite ?? "")
        case .linuxModules: .list(linux?.modules ?? [])
        case .linuxCommandLine: .text(linux?.commandLine ?? "")
        case .linuxStart: .text(linux?.start.rawValue ?? "")
        case .linuxResetStatus: .text(linux?.resetStatus ?? "")
        }
    }

    /// Reads a profile.
    ///
    /// - Parameters:
    ///   - yaml: the file's text.
    ///   - file: its name, for messages.
    /// - Throws: ``BoardProfileError``.
    package init(yaml: String, file: String) throws(BoardProfileError) {
        do {
            self = try YAMLDecoder().decode(BoardProfile.self, from: yaml)
            let known = Set(CodingKeys.allCases.map(\.rawValue))
            for key in (try Yams.compose(yaml: yaml)?.mapping?.keys).map(Array.init) ?? [] {
                guard let name = key.string, known.contains(name) else {
                    throw BoardProfileError(
                        file: file,
                        reason: "\(key.mark.map { "\($0.line):\($0.column): " } ?? "")unknown key \(key.string ?? "")")
                }
            }
        } catch let error as BoardProfileError {
            throw error
        } catch let DecodingError.keyNotFound(key, _) {
            throw BoardProfileError(file: file, reason: "key \(key.stringValue) is missing")
        } catch let DecodingError.dataCorrupted(context) {
            throw BoardProfileError(file: file, reason: context.debugDescription)
        } catch {
            throw BoardProfileError(file: file, reason: "\(error)")
        }
    }
}

/// Why a board profile cannot be used.
package struct BoardProfileError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file's name.
    package let file: String
    /// What is wrong in it.
    package let reason: String
    /// As people read it: `file: reason`.
    package var description: String { "\(file): \(reason)" }
}
