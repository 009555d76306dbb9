package import BootScript
import Configuration
package import DiskLayout
import LinuxHost
package import SystemPackage

/// Where the files that go onto a card are found.
package struct CardSources: Hashable, Sendable {
    /// `files.yaml`: which firmware files a board gets.
    package var files: FilePath
    /// `config.txt`, a template.
    package var firmwareConfiguration: FilePath
    /// `rpiflash.env`, a template.
    package var environment: FilePath
    /// Folder of the script templates.
    package var templates: FilePath
    /// `config-linux.txt`, the same for boards that Linux flashes.
    package var linuxConfiguration: FilePath
    /// Folder of the board's u-boot.bin and dtb/; where Linux flashes it, of kernel.img, initramfs.img and dtb/.
    package var uboot: FilePath
    /// Folder of the Pi's firmware files.
    package var firmware: FilePath
    /// How to get what is missing of ``uboot``: the end of a message.
    package var ubootRemedy: String
    /// The same for ``firmware``.
    package var firmwareRemedy: String

    /// These places.
    package init(
        files: FilePath, firmwareConfiguration: FilePath, linuxConfiguration: FilePath, environment: FilePath,
        templates: FilePath, uboot: FilePath, firmware: FilePath, ubootRemedy: String, firmwareRemedy: String
    ) {
        self.files = files
        self.firmwareConfiguration = firmwareConfiguration
        self.linuxConfiguration = linuxConfiguration
        self.environment = environment
        self.templates = templates
        self.uboot = uboot
        self.firmware = firmware
        self.ubootRemedy = ubootRemedy
        self.firmwareRemedy = firmwareRemedy
    }
}

/// A file on partition 1.
package enum CardFile: Hashable, Sendable {
    /// A file of the host, under its own name.
    case copy(FilePath)
    /// A text made for this card.
    case text(name: String, String)
    /// The boot script, made into a U-Boot script image under this name.
    case script(name: String, String)
    /// A device tree of the host, under its own name, with the public halves of the card's keys.
    case tree(FilePath)
    /// The same of a board whose device tree is not on the card: nothing but the keys.
    case keys(name: String)
    /// The public half of one of the card's keys, PEM, as `NAME.pem`.
    case publicKey(name: String)
}

/// The keys that a card knows: one of them must have signed what it runs. All of them sign its boot script.
package struct CardKeys: Hashable, Sendable {
    /// The folder with the keys' files.
    package let folder: FilePath
    /// Their names, at least one.
    package let names: [String]

    package init(folder: FilePath, names: [String]) { (self.folder, self.names) = (folder, names) }
}

/// Renders the boot script for a board and a card.
///
/// - Throws: `TemplateError`; ``RecoveryImageError``.
package func makeBootScript(
    board: BoardProfile, card: CardLayout, templates: FilePath, serverAddress: String?, keys: [String] = []
) throws -> String {
    guard board.linux == nil else { throw RecoveryImageError.noBootScript(board: board.name) }
    let template = try Template(joining: BootScriptFiles.all) { name in
        let path = templates.appending(name)
        return try Template(readText(path), file: path.string)
    }
    return try renderBootScript(template: template, board: board, card: card, serverAddress: serverAddress, keys: keys)
}

/// Everything that goes onto partition 1, in the order in which it is copied.
///
/// - Parameters:
///   - board: which firmware, device trees and script.
///   - card: what the script is told of the card.
///   - network: what rpiflash.env starts with.
///   - sources: where all comes from.
///   - keys: the keys that it knows; empty: it runs what is not signed.
/// - Throws: `TemplateError`, `ConfigurationError`; ``RecoveryImageError``, for a file that is missing before anything is
///   made, with the command that makes it.
package func cardContents(
    board: BoardProfile, card: CardLayout, network: NetworkSettings, sources: CardSources, keys: [String] = []
) throws -> [CardFile] {
    if let linux = board.linux {
        return try linuxContents(linux, board: board, card: card, network: network, sources: sources, keys: keys)
    }
    var contents: [CardFile] = []
    if board.piFirmware {
        let list = try ConfigurationFile(
            yaml: readText(sources.files), name: sources.files.string,
            keys: ["firmware"] + FirmwareKind.allCases.map(\.key))
        var names = try list.list("firmware")
        for kind in FirmwareKind.allCases where board.deviceTrees.contains(where: { $0.hasPrefix(kind.rawValue) }) {
            names += try list.list(kind.key)
        }
        for (name, position) in names {
            guard !name.isEmpty, !name.contains("/"), !name.hasPrefix(".") else {
                throw ConfigurationError(
                    file: sources.files.string, position: position,
                    reason: "'\(name)' is not a file name without a folder"
                )
            }
            contents.append(.copy(sources.firmware.appending(name)))
        }
        let configuration = try Template(
            readText(sources.firmwareConfiguration), file: sources.firmwareConfiguration.string)
        contents.append(
            .text(
                name: "config.txt",
                try configuration.render(["arm_64bit": .word(board.architecture == .arm64 ? "1" : "0")])))
    }
    let built =
        [sources.uboot.appending("u-boot.bin")]
        + board.deviceTrees.map { sources.uboot.appending("dtb").appending("\($0).dtb") }
    for path in built {
        try require(path, remedy: sources.ubootRemedy)
    }
    for path in contents.copies { try require(path, remedy: sources.firmwareRemedy) }
    contents += built.map { !keys.isEmpty && $0.extension == "dtb" ? .tree($0) : .copy($0) }
    if !keys.isEmpty, board.deviceTrees.isEmpty { contents.append(.keys(name: "rpiflash-keys.dtb")) }

    let script = try makeBootScript(
        board: board, card: card, templates: sources.templates, serverAddress: network.serverAddress,
        keys: keys)
    contents.append(.script(name: "boot.scr", script))
    contents.append(try settings(network, sources: sources))
    return contents
}

/// rpiflash.env.
private func settings(_ network: NetworkSettings, sources: CardSources) throws -> CardFile {
    let environment = try Template(readText(sources.environment), file: sources.environment.string)
    return .text(
        name: "rpiflash.env",
        try environment.render([
            "serverip": .word(network.serverAddress ?? ""),
            "ipaddr": .word(network.address ?? ""),
            "netmask": .word(network.netmask ?? ""),
            "gatewayip": .word(network.gateway ?? ""),
            "debug_console": .word(network.debugConsole ? "yes" : ""),
        ]))
}

/// The same for a board that Linux flashes: kernel, initramfs, device trees, and what the agent is told of the card.
private func linuxContents(
    _ linux: BoardProfile.LinuxSystem, board: BoardProfile, card: CardLayout, network: NetworkSettings,
    sources: CardSources, keys: [String]
) throws -> [CardFile] {
    var contents: [CardFile] = []
    let built =
        ["kernel.img", "initramfs.img"].map { sources.uboot.appending($0) }
        + board.deviceTrees.map { sources.uboot.appending("dtb").appending("\($0).dtb") }
    for path in built { try require(path, remedy: sources.ubootRemedy) }
    contents += built.map { .copy($0) }
    if board.piFirmware {
        let configuration = try Template(readText(sources.linuxConfiguration), file: sources.linuxConfiguration.string)
        contents.append(.text(name: "config.txt", try configuration.render([:])))
    }
    contents.append(.text(name: "cmdline.txt", linux.commandLine + "\n"))
    contents += keys.map { .publicKey(name: $0) }
    let facts = [
        ("board", board.name), ("boot_start", "\(card.boot.start.sector)"),
        ("rootfs_start", "\(card.rootfs.start.sector)"), ("start", linux.start.rawValue),
        ("reset_status", linux.resetStatus), ("serverip", network.serverAddress ?? ""),
        ("keys", keys.joined(separator: " ")), ("kernels", board.kernels.joined(separator: " ")),
        ("initramfs", board.initramfs.joined(separator: " ")), ("serial0", board.serialConsoles["serial0"] ?? ""),
        ("serial1", board.serialConsoles["serial1"] ?? ""),
    ]
    contents.append(
        .text(
            name: "rpiflash.card",
            "# What this card was made with, for the agent of its Linux. Settings are in rpiflash.env.\n"
                + facts.map { "\($0)=\($1)\n" }.joined()))
    contents.append(try settings(network, sources: sources))
    return contents
}

/// The Pi's chips, by what their device trees' names start with: each has boot files of its own.
private enum FirmwareKind: String, CaseIterable {
    case bcm2837, bcm2711

    var key: String { "firmware_\(rawValue)" }
}

extension [CardFile] {
    /// The host's files among them.
    var copies: [FilePath] {
        compactMap { file in
            if case .copy(let path) = file { path } else { nil }
        }
    }
}

/// The text of a file that people edit.
///
/// - Throws: ``RecoveryImageError`` where it is missing, unreadable, no UTF-8 or over 1 MiB, or another user could have
///   written it.
package func readText(_ path: FilePath) throws(RecoveryImageError) -> String {
    try checkTrust(path)
    let content: [UInt8]
    do throws(SmallFileError) {
        content = try SmallFile.read(path, limit: 1 << 20)
    } catch {
        switch error {
        case .tooLong: throw .notText(path: path)
        case .unreadable(let errno): throw .unreadable(path: path, errno: errno)
        }
    }
    guard let text = String(validating: content, as: UTF8.self) else { throw .notText(path: path) }
    return text
}

/// The profile of a board, from its file in a folder.
///
/// - Throws: `BoardProfileError`; ``RecoveryImageError``, for an unknown board with the names of those that there are.
package func readBoard(_ name: String, in folder: FilePath) throws -> BoardProfile {
    let boards = ((try? Folder.names(in: folder)) ?? []).filter { $0.hasSuffix(".yaml") }.map { String($0.dropLast(5)) }
    guard boards.contains(name) else {
        throw RecoveryImageError.unknownBoard(name, known: boards, folder: folder)
    }
    let path = folder.appending("\(name).yaml")
    return try BoardProfile(yaml: readText(path), file: path.string)
}

private func checkTrust(_ path: FilePath) throws(RecoveryImageError) {
    do throws(UntrustedFile) {
        try FileTrust.current.check(path)
    } catch {
        throw .untrusted("\(error)")
    }
}

private func require(_ path: FilePath, remedy: String) throws(RecoveryImageError) {
    try checkTrust(path)
    do {
        let file = try FileDescriptor.open(path, .readOnly)
        try file.close()
    } catch let error as Errno {
        throw error == .noSuchFileOrDirectory
            ? .missing(path: path, remedy: remedy) : .unreadable(path: path, errno: error)
    } catch {
        throw .unreadable(path: path, errno: .ioError)
    }
}
