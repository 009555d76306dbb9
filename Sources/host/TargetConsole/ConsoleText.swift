import Configuration

/// Turns what a console sends, which is untrusted (law 7), into lines that do nothing to a terminal or a file's reader.
///
/// Line feed ends a line, and so does a carriage return alone, with which a console writes over a line. A backspace takes
/// back a character, as it would on a terminal. Escape sequences that only colour or move are left out; any other control
/// character, and what is no UTF-8, is written in digits: `\x07`. Memory is bounded by the longest line.
package struct ConsoleText: Sendable {
    /// The most bytes of a line; what is longer goes on in the next one.
    package static let longestLine = 1024

    private enum State: Sendable {
        case text
        /// After a carriage return: a line feed that follows belongs to it.
        case returned
        /// After ESC.
        case escape
        /// Within `ESC [ … letter`, with the bytes so far.
        case sequence([UInt8])
    }

    private var line: [UInt8] = []
    private var state = State.text

    /// At the beginning of a line.
    package init() {}

    /// Takes what came next.
    ///
    /// - Returns: the lines that are ended by it, sanitized.
    package mutating func take(_ bytes: some Sequence<UInt8>) -> [String] {
        var lines: [String] = []
        for byte in bytes { take(byte, &lines) }
        return lines
    }

    /// Whether something waits for the end of its line.
    package var isOpen: Bool { !line.isEmpty }

    /// The line that was not ended yet; nil where there is none.
    package mutating func flush() -> String? {
        if case .sequence(let bytes) = state { line += [0x1b, UInt8(ascii: "[")] + bytes }
        state = .text
        if line.isEmpty { return nil }
        return end()
    }

    private mutating func end() -> String {
        defer { line.removeAll(keepingCapacity: true) }
        return Self.text(line)
    }

    private mutating func take(_ byte: UInt8, _ lines: inout [String]) {
        switch state {
        case .escape:
            state = byte == UInt8(ascii: "[") ? .sequence([]) : .text
            if case .sequence = state { return }
            line.append(0x1b)
        case .sequence(let bytes):
            switch byte {
            // Parameters; a sequence that is longer than any real one is none.
            case 0x20...0x3f where bytes.count < 32: state = .sequence(bytes + [byte])
            case 0x40...0x7e: state = .text
            default:
                line += [0x1b, UInt8(ascii: "[")] + bytes
                state = .text
                take(byte, &lines)
            }
            return
        case .returned:
            state = .text
            if byte == UInt8(ascii: "\n") { return }
        case .text: break
        }
        switch byte {
        case UInt8(ascii: "\n"): lines.append(end())
        case UInt8(ascii: "\r"):
            lines.append(end())
            state = .returned
        case 0x08: if !line.isEmpty { line.removeLast() }
        case 0x1b: state = .escape
        case UInt8(ascii: "\t"): line.append(UInt8(ascii: " "))
        case 0: break
        default: line.append(byte)
        }
        if line.count >= Self.longestLine { lines.append(end()) }
    }

    /// Bytes that are no UTF-8 stay visible.
    private static func text(_ bytes: [UInt8]) -> String {
        if let text = String(validating: bytes, as: UTF8.self) { return sanitized(text) }
        var result = ""
        for byte in bytes {
            if (0x20..<0x7f).contains(byte) {
                result.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte, radix: 16)
                result += "\\x" + (digits.count < 2 ? "0" : "") + digits
            }
        }
        return result
    }
}
