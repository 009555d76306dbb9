/// A text with values in double braces: `setenv l_skip {{image_skip}}`.
///
/// Strict both ways: a name without a value, a value without a name and a brace pair that is left over are errors.
/// Double braces mean nothing to U-Boot's shell, so a script reads the same before and after.
package struct Template: Hashable, Sendable {
    /// The template's name, for messages.
    package let file: String
    private let pieces: [Piece]

    private enum Piece: Hashable {
        case text(String)
        case name(String, file: String, line: Int, column: Int)
    }

    /// Takes a template apart.
    ///
    /// - Parameters:
    ///   - text: the template.
    ///   - file: its name, for messages.
    /// - Throws: ``TemplateError`` for a pair that is not closed on its line, a name that is not a name, or a lone `}}`.
    package init(_ text: String, file: String) throws(TemplateError) {
        self.file = file
        var pieces: [Piece] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            if index > 0 { pieces.append(.text("\n")) }
            try Self.parse(Array(line), line: index + 1, file: file, into: &pieces)
        }
        self.pieces = pieces
    }

    /// One template of several files, one behind the other; each message names the file that it is about.
    ///
    /// - Parameters:
    ///   - files: their names, at least one.
    ///   - read: reads one.
    package init<Failure: Error>(
        joining files: [String], read: (_ name: String) throws(Failure) -> Template
    ) throws(Failure) {
        var parts: [Template] = []
        for name in files { parts.append(try read(name)) }
        file = parts.first?.file ?? ""
        pieces = parts.flatMap(\.pieces)
    }

    private static func parse(
        _ text: [Character], line: Int, file: String, into pieces: inout [Piece]
    ) throws(TemplateError) {
        func isPair(_ brace: Character, at index: Int) -> Bool {
            index + 1 < text.count && text[index] == brace && text[index + 1] == brace
        }
        var plain = ""
        var index = 0
        while index < text.count {
            if isPair("}", at: index) {
                throw TemplateError(file: file, line: line, column: index + 1, reason: "}} without {{")
            }
            guard isPair("{", at: index) else {
                plain.append(text[index])
                index += 1
                continue
            }
            guard let close = (index + 2..<text.count).first(where: { isPair("}", at: $0) }) else {
                throw TemplateError(file: file, line: line, column: index + 1, reason: "{{ is not closed on its line")
            }
            let name = String(text[index + 2..<close])
            guard !name.isEmpty, name.allSatisfy({ $0.isASCII && ($0.isLowercase || $0.isNumber || $0 == "_") }) else {
                throw TemplateError(
                    file: file, line: line, column: index + 1,
                    reason: "'\(name)' is not a name; a name has lower-case letters, digits and _ and no spaces")
            }
            pieces.append(.text(plain))
            pieces.append(.name(name, file: file, line: line, column: index + 1))
            plain = ""
            index = close + 2
        }
        pieces.append(.text(plain))
    }

    /// The text with every name replaced by its value.
    ///
    /// - Parameter values: one for each name in the template, and no other.
    /// - Throws: ``TemplateError`` for an unknown or unused name, or a value with a character that a script could take
    ///   for more than text.
    package func render(_ values: [String: TemplateValue]) throws(TemplateError) -> String {
        var unused = Set(values.keys)
        var result = ""
        for piece in pieces {
            switch piece {
            case .text(let text):
                result += text
            case .name(let name, let file, let line, let column):
                guard let value = values[name] else {
                    throw TemplateError(
                        file: file, line: line, column: column,
                        reason: "unknown name '\(name)'; known are \(values.keys.sorted().joined(separator: ", "))")
                }
                if let bad = value.forbiddenCharacter {
                    throw TemplateError(
                        file: file, line: line, column: column,
                        reason: "value of '\(name)' has the character \(bad.debugDescription); "
                            + "allowed are letters, digits and . _ - + , / : @")
                }
                unused.remove(name)
                result += value.text
            }
        }
        if let name = unused.min() {
            throw TemplateError(
                file: file, line: 1, column: 1, reason: "value '\(name)' is not used anywhere in the template")
        }
        return result
    }

    /// The text with every name replaced, as U-Boot's shell can read it: a line that ends in `&&` or `||` becomes one with the
    /// next. Other shells do that themselves; U-Boot's ends the list at the end of the line, and runs what follows
    /// whatever came before (common/cli_hush.c, parse_stream). Comments between such lines go.
    ///
    /// - Parameter values: as for ``render(_:)``.
    /// - Throws: ``TemplateError``, as ``render(_:)``.
    package func renderScript(_ values: [String: TemplateValue]) throws(TemplateError) -> String {
        var lines: [Substring] = []
        var list: String?
        for line in try render(values).split(separator: "\n", omittingEmptySubsequences: false) {
            let code = line.drop { $0 == " " }
            guard !code.hasPrefix("#") else {
                if list == nil { lines.append(line) }
                continue
            }
            let joined = list.map { "\($0) \(code)" } ?? String(line)
            list = joined.hasSuffix("&&") || joined.hasSuffix("||") ? joined : nil
            if list == nil { lines.append(Substring(joined)) }
        }
        if let list { lines.append(Substring(list)) }
        return lines.joined(separator: "\n")
    }

    /// The text once for each element, one behind the other, for a value of another template.
    ///
    /// - Parameter elements: as for ``render(_:)``.
    /// - Throws: ``TemplateError``, as ``render(_:)``.
    package func render(each elements: [[String: TemplateValue]]) throws(TemplateError) -> RenderedText {
        var result = ""
        for element in elements { result += try render(element) }
        return RenderedText(text: result)
    }
}

/// Text that a template made: every value in it has passed the allow-list.
package struct RenderedText: Hashable, Sendable {
    let text: String
}

/// What a template's name stands for. Text passes an allow-list, so that no value can end a word or start a command.
package enum TemplateValue: Hashable, Sendable {
    /// A number, rendered in hexadecimal with 0x as U-Boot reads it.
    case hexadecimal(UInt64)
    /// One word; empty is allowed.
    case word(String)
    /// Words, rendered with a space between them.
    case words([String])
    /// `yes` or `no`.
    case flag(Bool)
    /// What another template made, as it is.
    case rendered(RenderedText)

    var text: String {
        switch self {
        case .hexadecimal(let number): "0x" + String(number, radix: 16)
        case .word(let word): word
        case .words(let words): words.joined(separator: " ")
        case .flag(let flag): flag ? "yes" : "no"
        case .rendered(let rendered): rendered.text
        }
    }

    var forbiddenCharacter: Character? {
        let words =
            switch self {
            case .hexadecimal, .flag, .rendered: [String]()
            case .word(let word): [word]
            case .words(let words): words
            }
        return words.joined().first { character in
            !(character.isASCII && (character.isLetter || character.isNumber || "._-+,/:@".contains(character)))
        }
    }
}

/// Why a template cannot be rendered, and where.
package struct TemplateError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The template's name.
    package let file: String
    /// 1 for the first line.
    package let line: Int
    /// 1 for the first character.
    package let column: Int
    /// What is wrong there.
    package let reason: String
    /// As people read it: `file:line:column: reason`.
    package var description: String { "\(file):\(line):\(column): \(reason)" }
}
