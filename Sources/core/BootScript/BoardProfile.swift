import Yams

/// What differs between boards: `uboot/boards/<board>.yaml`.
public struct BoardProfile: Hashable, Sendable {
    /// As in `make uboot BOARD=…`, the file's name less `.yaml`.
    public let name: String
    /// U-Boot's defconfig.
    public let defconfig: String
    /// `arm64` or `arm`.
    public let architecture: Architecture
    /// Prefix of the cross compiler's tools.
    public let crossCompile: String
    /// Names of the configuration fragments, applied in order.
    public let fragments: [String]
    /// Device trees on partition 1, names of U-Boot's sources less `.dts`; empty where the machine brings its own.
    public let deviceTrees: [String]
    /// Where the kernel's device tree comes from.
    public let kernelDeviceTree: DeviceTreeSource
    /// U-Boot's command that starts the kernel.
    public let bootCommand: BootCommand
    /// Kernel file names on partition 2, tried in order after the one that config.txt names.
    public let kernels: [String]
    /// initramfs file names on partition 2, tried in order after the one that belongs to config.txt's kernel.
    public let initramfs: [String]
    /// Kernel names of the consoles that a command line calls `serial0` and `serial1`.
    public let serialConsoles: [String: String]
    /// Ethernet hangs on USB where the board has no other: `usb start` before it is used.
    public let usbEthernet: Bool
    /// Files of partition 1 come with the Pi's firmware (bootcode.bin, start.elf, config.txt).
    public let piFirmware: Bool

    /// The processor's instruction set.
    public enum Architecture: String, Codable, Sendable { case arm64, arm }
    /// Where the kernel's device tree comes from: partition 2, or U-Boot's own (`${fdtcontroladdr}`).
    public enum DeviceTreeSource: String, Codable, Sendable { case image, uboot }
    /// `booti` for a 64-bit Image, `bootz` for a 32-bit zImage.
    public enum BootCommand: String, Codable, Sendable { case booti, bootz }
}

extension BoardProfile: Decodable {
    enum CodingKeys: String, CodingKey, CaseIterable {
        case name, defconfig
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
    }

    /// Decodes a profile; every key must be there.
    ///
    /// - Throws: `DecodingError`.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        name = try values.decode(String.self, forKey: .name)
        defconfig = try values.decode(String.self, forKey: .defconfig)
        architecture = try values.decode(Architecture.self, forKey: .architecture)
        crossCompile = try values.decode(String.self, forKey: .crossCompile)
        fragments = try values.decode([String].self, forKey: .fragments)
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

    /// Reads a profile.
    ///
    /// - Parameters:
    ///   - yaml: the file's text.
    ///   - file: its name, for messages.
    /// - Throws: ``BoardProfileError``.
    public init(yaml: String, file: String) throws(BoardProfileError) {
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
        } catch {
            throw BoardProfileError(file: file, reason: "\(error)")
        }
    }
}

/// Why a board profile cannot be used.
public struct BoardProfileError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file's name.
    public let file: String
    /// What is wrong in it.
    public let reason: String
    /// As people read it: `file: reason`.
    public var description: String { "\(file): \(reason)" }
}
