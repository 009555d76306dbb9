/// Bytes that text files of the boot partition are made of.
enum Byte {
    static let tab = UInt8(ascii: "\t")
    static let newline = UInt8(ascii: "\n")
    static let carriageReturn = UInt8(ascii: "\r")
    static let space = UInt8(ascii: " ")
    static let quote = UInt8(ascii: "\"")
    static let hash = UInt8(ascii: "#")
    static let backslash = UInt8(ascii: "\\")

    static func isBlank(_ byte: UInt8) -> Bool { byte == space || byte == tab }

    static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    static func isHexDigit(_ byte: UInt8) -> Bool { isDigit(byte) || (0x61...0x66).contains(byte | 0x20) }
}

/// The lines of a text, each with its line end, so that joined they are the text again. A last line without one is a
/// line; behind a last line end there is none.
func lines(of bytes: some Sequence<UInt8>) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    var line: [UInt8] = []
    for byte in bytes {
        line.append(byte)
        if byte == Byte.newline {
            lines.append(line)
            line = []
        }
    }
    if !line.isEmpty { lines.append(line) }
    return lines
}

extension StringProtocol {
    /// Whether this is `prefix` and more behind it, in any case of ASCII letters; what is behind it.
    func dropping(prefix: String) -> SubSequence? {
        let start = utf8.prefix(prefix.utf8.count)
        guard start.count == prefix.utf8.count,
            zip(start, prefix.utf8).allSatisfy({ asciiLowercased($0) == asciiLowercased($1) })
        else { return nil }
        return self[start.endIndex...]
    }
}

private func asciiLowercased(_ byte: UInt8) -> UInt8 { (0x41...0x5a).contains(byte) ? byte | 0x20 : byte }
