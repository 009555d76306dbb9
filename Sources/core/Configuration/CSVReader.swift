/// One field of a CSV record and where it starts.
package struct CSVField {
    /// The value: quotes resolved; blanks around an unquoted value removed.
    package var text: String
    /// The line that it starts on: another one than its record's behind a field with line breaks.
    package var line: Int
    /// 1 for the first character of the line.
    package var column: Int
}

/// One record and the line that it starts on.
package struct CSVRecord {
    package var line: Int
    package var fields: [CSVField]
}

/// What is wrong in the text as CSV.
package struct CSVProblem: Error {
    package var line: Int
    package var column: Int
    package var reason: String
}

/// Splits text into records as RFC 4180 says, with LF, CR LF or CR at line ends.
///
/// Beyond the RFC: a line that is empty, or blank, or whose first character is `#`, is no record, and neither is one whose
/// fields are all empty, as spreadsheets write empty rows; blanks around an unquoted field do not belong to it; a line break
/// in quotes is LF, whatever the line ends are. A first line `sep=,` is Excel's way to name the separator.
package struct CSVReader {
    private let bytes: [UInt8]
    private var index = 0
    private var line = 1
    private var column = 1

    private static let (comma, quote, lf, cr) = (UInt8(ascii: ","), UInt8(ascii: "\""), UInt8(10), UInt8(13))
    private static let (space, tab, hash) = (UInt8(ascii: " "), UInt8(9), UInt8(ascii: "#"))

    /// What to do about a separator that is no comma.
    package static func wrongSeparator(_ name: String) -> String {
        "fields are separated by \(name); must be commas: save the file as CSV with commas"
    }

    package init(_ bytes: [UInt8]) {
        self.bytes = bytes
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { index = 3 }
    }

    /// Skips a first line `sep=,`.
    package mutating func skipSeparatorLine() throws(CSVProblem) {
        let ahead = bytes[index...].prefix { !Self.endsLine($0) }
        var text = String(decoding: ahead, as: UTF8.self)
        if text.count > 2, text.hasPrefix("\""), text.hasSuffix("\"") { text = String(text.dropFirst().dropLast()) }
        guard text.lowercased().hasPrefix("sep=") else { return }
        guard text.dropFirst(4) == "," else {
            let separator = String(text.dropFirst(4))
            throw CSVProblem(
                line: line, column: column,
                reason: Self.wrongSeparator(Self.name(of: separator) ?? "\(quoted(separator)), as this line says"))
        }
        skipLine()
    }

    /// What people call the other separators that spreadsheets write.
    package static func name(of separator: some StringProtocol) -> String? {
        switch separator {
        case ";": "semicolons"
        case "\t": "tabs"
        case "|": "vertical bars"
        default: nil
        }
    }

    private var current: UInt8? { index < bytes.count ? bytes[index] : nil }

    private mutating func advance() {
        // A column counts characters: UTF-8 continuation bytes are none.
        if bytes[index] & 0xc0 != 0x80 { column += 1 }
        index += 1
    }

    private mutating func endLine() {
        if bytes[index] == Self.cr, index + 1 < bytes.count, bytes[index + 1] == Self.lf { index += 1 }
        index += 1
        line += 1
        column = 1
    }

    private static func endsLine(_ byte: UInt8) -> Bool { byte == lf || byte == cr }

    /// Leaves the rest of the line after a problem, so that the next record can be read.
    package mutating func skipLine() {
        while let byte = current, !Self.endsLine(byte) { advance() }
        if current != nil { endLine() }
    }

    /// The next record, or nil at the end.
    package mutating func next() throws(CSVProblem) -> CSVRecord? {
        while let byte = current {
            if Self.endsLine(byte) {
                endLine()
            } else if byte == Self.hash {
                skipLine()
            } else if blankLine() {
                skipLine()
            } else {
                let record = try record()
                if record.fields.count == 1 || record.fields.contains(where: { !$0.text.isEmpty }) { return record }
            }
        }
        return nil
    }

    private func blankLine() -> Bool {
        var ahead = index
        while ahead < bytes.count, bytes[ahead] == Self.space || bytes[ahead] == Self.tab { ahead += 1 }
        return ahead == bytes.count || Self.endsLine(bytes[ahead])
    }

    private mutating func record() throws(CSVProblem) -> CSVRecord {
        var record = CSVRecord(line: line, fields: [])
        while true {
            record.fields.append(try field())
            guard let byte = current else { return record }
            if byte == Self.comma {
                advance()
            } else {
                endLine()
                return record
            }
        }
    }

    private mutating func skipBlanks() {
        while let byte = current, byte == Self.space || byte == Self.tab { advance() }
    }

    private mutating func field() throws(CSVProblem) -> CSVField {
        skipBlanks()
        let start = column
        if current == Self.quote { return try quotedField() }
        let first = index
        while let byte = current, byte != Self.comma, !Self.endsLine(byte) {
            if byte == Self.quote {
                throw CSVProblem(
                    line: line, column: column,
                    reason: "a quote inside a field without quotes; put the whole field in quotes and double this one")
            }
            advance()
        }
        var last = index
        while last > first, bytes[last - 1] == Self.space || bytes[last - 1] == Self.tab { last -= 1 }
        return CSVField(text: try text(bytes[first..<last], line: line, column: start), line: line, column: start)
    }

    private mutating func quotedField() throws(CSVProblem) -> CSVField {
        let (startLine, startColumn) = (line, column)
        var value: [UInt8] = []
        advance()
        while true {
            guard let byte = current else {
                throw CSVProblem(line: startLine, column: startColumn, reason: "a quoted field that nothing closes")
            }
            if byte == Self.quote {
                advance()
                guard current == Self.quote else { break }
                value.append(Self.quote)
                advance()
            } else if Self.endsLine(byte) {
                value.append(Self.lf)
                endLine()
            } else {
                value.append(byte)
                advance()
            }
        }
        skipBlanks()
        if let byte = current, byte != Self.comma, !Self.endsLine(byte) {
            if let name = Self.name(of: String(Unicode.Scalar(byte))) {
                throw CSVProblem(line: line, column: column, reason: Self.wrongSeparator(name))
            }
            // The next quote closed a field that should have ended lines before.
            throw line == startLine
                ? CSVProblem(
                    line: line, column: column,
                    reason: "text behind a closing quote; must be a comma or the line's end")
                : CSVProblem(
                    line: startLine, column: startColumn,
                    reason:
                        "a quoted field that ends on line \(line) with text behind its quote; close it, or double the "
                        + "quotes in it")
        }
        return CSVField(
            text: try text(value[...], line: startLine, column: startColumn), line: startLine, column: startColumn)
    }

    private func text(_ slice: ArraySlice<UInt8>, line: Int, column: Int) throws(CSVProblem) -> String {
        guard let text = String(validating: slice, as: UTF8.self) else {
            throw CSVProblem(line: line, column: column, reason: "bytes that are not UTF-8; save the file as UTF-8")
        }
        // Tabs, and line breaks in quotes, are all that text has.
        let control = text.unicodeScalars.first {
            $0.value < 0x20 && $0.value != 9 && $0.value != 10 || $0.value == 0x7f
        }
        if let control {
            throw CSVProblem(
                line: line, column: column, reason: "a control character (code \(control.value)); must be plain text")
        }
        return text
    }
}
