package import DiskLayout

/// The boot script's template files, in the order in which they become one script. `templates/README.md` has the table of
/// values.
package enum BootScriptFiles {
    /// Has the script's number, `l_script`.
    package static let settings = "boot/settings.cmd"
    /// How the console goes to the network; flash plans begin with it too.
    package static let netconsole = "netconsole.cmd"
    /// All of them, paths in the folder of templates.
    package static let all = [settings, netconsole, "boot/network.cmd", "boot/parts.cmd", "boot/boot.cmd"]
}

/// Renders the boot script for one board and card.
///
/// - Parameters:
///   - template: ``BootScriptFiles/all``, joined.
///   - board: the board profile.
///   - card: the card that the script will live on.
///   - serverAddress: dotted IPv4 address used where rpiflash.env names none; nil: none.
///   - keys: names of the card's keys, one of which must have signed a plan; empty: it runs every plan.
/// - Returns: the script's text, as `mkimage -T script` takes it.
/// - Throws: ``TemplateError``.
package func renderBootScript(
    template: Template, board: BoardProfile, card: CardLayout, serverAddress: String?, keys: [String] = []
) throws(TemplateError) -> String {
    try template.renderScript([
        "board": .word(board.name),
        "boot_start": .hexadecimal(card.boot.start.sector),
        "rootfs_start": .hexadecimal(card.rootfs.start.sector),
        "image_skip": .hexadecimal(SectorCount(roundingUp: CardLayout.partsSkip).sectors),
        "keys": .words(keys),
        "server_address": .word(serverAddress ?? ""),
        "usb_ethernet": .flag(board.usbEthernet),
        "serial0": .word(board.serialConsoles["serial0"] ?? ""),
        "serial1": .word(board.serialConsoles["serial1"] ?? ""),
        "kernels": .words(board.kernels),
        "initramfs": .words(board.initramfs),
        "kernel_device_tree": .word(board.kernelDeviceTree.rawValue),
        "boot_command": .word(board.bootCommand.rawValue),
    ])
}
