public import DiskLayout

/// Renders `templates/boot.cmd` for one board and card. `templates/README.md` has the table of values.
///
/// - Parameters:
///   - template: the template's text.
///   - file: its name, for messages.
///   - board: the board profile.
///   - card: the card that the script will live on.
///   - serverAddress: dotted IPv4 address used where rpiflash.env names none; nil: none.
/// - Returns: the script's text, as `mkimage -T script` takes it.
/// - Throws: ``TemplateError``.
public func renderBootScript(
    template: String, file: String, board: BoardProfile, card: CardLayout, serverAddress: String?
) throws(TemplateError) -> String {
    try Template(template, file: file).render([
        "board": .word(board.name),
        "boot_start": .hexadecimal(card.boot.start.sector),
        "rootfs_start": .hexadecimal(card.rootfs.start.sector),
        "image_skip": .hexadecimal(SectorCount(roundingUp: CardLayout.partsSkip).sectors),
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
