public import DiskLayout

/// Renders `templates/boot.cmd` for one board and card.
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
    throw TemplateError(file: file, line: 1, column: 1, reason: "not there yet")
}

/// Why a template cannot be rendered, and where.
public struct TemplateError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The template's name.
    public let file: String
    /// 1 for the first line.
    public let line: Int
    /// 1 for the first character.
    public let column: Int
    /// What is wrong there.
    public let reason: String
    public var description: String { "\(file):\(line):\(column): \(reason)" }
}
