import Configuration

/// Turns records into targets and collects what is wrong.
struct Parser {
    let file: String
    var targets: [Target] = []
    var problems = InventoryErrors()
    var byIP: [IPv4Address: Int] = [:]
    var byMAC: [MACAddress: Int] = [:]
    var byName: [String: Int] = [:]
    /// The column of each field, in the header's order; nil before the header.
    private var header: [Inventory.Column]?
    /// Lines of the first use, also of rows that have another error.
    private var lineOfMAC: [MACAddress: Int] = [:]
    private var lineOfIP: [IPv4Address: Int] = [:]
    private var lineOfName: [String: Int] = [:]

    init(file: String) { self.file = file }

    private mutating func add(_ line: Int, _ column: Int, _ reason: String) {
        problems.add(InventoryError(file: file, line: line, column: column, reason: reason))
    }

    mutating func read(_ bytes: [UInt8]) {
        guard bytes.count <= Inventory.largestFile else {
            return add(
                1, 1, "the file has \(bytes.count) bytes; must be at most \(Inventory.largestFile) bytes (16 MiB)")
        }
        // With a byte order mark, or as its first letter shows.
        if bytes.starts(with: [0xff, 0xfe]) || bytes.starts(with: [0xfe, 0xff])
            || bytes.count > 1 && (bytes[0] == 0) != (bytes[1] == 0)
        {
            return add(1, 1, "the file is UTF-16; save it as UTF-8")
        }
        // Workbooks are zip archives (ECMA-376, ODF 1.3), older ones OLE files (MS-CFB 2.2).
        if bytes.starts(with: [0x50, 0x4b, 0x03, 0x04]) || bytes.starts(with: [0xd0, 0xcf, 0x11, 0xe0]) {
            return add(1, 1, "the file is a workbook of a spreadsheet; save it as CSV, in UTF-8, with commas")
        }
        var reader = CSVReader(bytes)
        do throws(CSVProblem) {
            try reader.skipSeparatorLine()
        } catch {
            return add(error.line, error.column, error.reason)
        }
        while true {
            do throws(CSVProblem) {
                guard let record = try reader.next() else { break }
                if header == nil {
                    readHeader(record)
                    // Without a header no row means anything.
                    if header == nil { return }
                } else {
                    readRow(record)
                }
            } catch {
                add(error.line, error.column, error.reason)
                if header == nil { return }
                reader.skipLine()
            }
        }
        if header == nil { add(1, 1, "the file has no header; the first line must be mac,ip,server,gpio") }
    }

    /// A record's fields without empty ones at its end: a spreadsheet makes all rows as long as the longest.
    private static func trimmed(_ fields: [CSVField], to count: Int = 0) -> [CSVField] {
        var fields = fields
        while fields.count > count, fields.last?.text.isEmpty == true { fields.removeLast() }
        return fields
    }

    private mutating func readHeader(_ record: CSVRecord) {
        var columns: [Inventory.Column] = []
        let only = record.fields.count == 1 ? record.fields.first : nil
        if let only, let separator = only.text.first(where: { CSVReader.name(of: String($0)) != nil }),
            let name = CSVReader.name(of: String(separator))
        {
            let place = only.text.prefix { $0 != separator }.count
            return add(only.line, only.column + place, CSVReader.wrongSeparator(name))
        }
        for field in Self.trimmed(record.fields) {
            guard let column = Inventory.Column(rawValue: field.text.lowercased()) else {
                if (try? MACAddress(field.text)) != nil {
                    return add(
                        field.line, field.column,
                        "a target where the header must be; the first line must be mac,ip,server,gpio")
                }
                add(
                    field.line, field.column,
                    "unknown column \(quoted(field.text)); must be one of "
                        + Inventory.Column.allCases.map(\.rawValue).joined(separator: ", "))
                continue
            }
            if columns.contains(column) { add(field.line, field.column, "column \(column.rawValue) is there twice") }
            columns.append(column)
        }
        for column in Inventory.Column.required where !columns.contains(column) {
            add(record.line, 1, "column \(column.rawValue) is missing; the header must have mac,ip,server,gpio")
        }
        if problems.total == 0 { header = columns }
    }

    private mutating func readRow(_ record: CSVRecord) {
        guard let header else { return }
        let fields = Self.trimmed(record.fields, to: header.count)
        guard fields.count == header.count else {
            return add(
                fields.last?.line ?? record.line, fields.last?.column ?? 1,
                "the line has \(count(fields.count, "field")); must have \(header.count), as the header has")
        }
        var row = Row(line: record.line)
        for (column, field) in zip(header, fields) {
            if let reason = row.set(column, to: field) { add(field.line, field.column, reason) }
        }
        noteDuplicates(row)
        guard let mac = row.mac?.value, let ip = row.ip?.value, let server = row.server, row.isValid else { return }
        if row.gpio == nil, row.resetCommand == nil {
            return add(
                row.gpioPlace.line, row.gpioPlace.column,
                "nothing resets this target; must have a gpio or a reset_command")
        }
        if let place = row.ip, (try? IPv4Address(server)) == ip {
            return add(place.line, place.column, "ip \(ip) is its server's too; must be the target's own")
        }
        byMAC[mac] = targets.count
        byIP[ip] = targets.count
        if let name = row.name?.value { byName[name.lowercased()] = targets.count }
        targets.append(
            Target(
                mac: mac, ip: ip, server: server, gpio: row.gpio, name: row.name?.value,
                resetHoldMilliseconds: row.resetHold ?? Target.defaultResetHoldMilliseconds,
                resetCommand: row.resetCommand, console: row.console, tags: row.tags,
                requiresSigned: row.requiresSigned, line: row.line))
    }

    private mutating func noteDuplicates(_ row: Row) {
        if let mac = row.mac {
            if let first = lineOfMAC[mac.value] {
                add(mac.line, mac.column, "mac \(mac.value) is already on line \(first)")
            } else {
                lineOfMAC[mac.value] = mac.line
            }
        }
        if let ip = row.ip {
            if let first = lineOfIP[ip.value] {
                add(ip.line, ip.column, "ip \(ip.value) is already on line \(first)")
            } else {
                lineOfIP[ip.value] = ip.line
            }
        }
        if let name = row.name {
            if let first = lineOfName[name.value.lowercased()] {
                add(name.line, name.column, "name \(quoted(name.value)) is already on line \(first)")
            } else {
                lineOfName[name.value.lowercased()] = name.line
            }
        }
    }
}

func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }

/// A row while it is read.
private struct Row {
    struct Placed<Value> {
        var value: Value
        var line: Int
        var column: Int
    }

    let line: Int
    var mac: Placed<MACAddress>?
    var ip: Placed<IPv4Address>?
    var server: String?
    var gpio: GPIOLine?
    var gpioPlace = (line: 1, column: 1)
    var name: Placed<String>?
    var resetHold: Int?
    var resetCommand: String?
    var tags: [String] = []
    var console: SerialPort?
    var requiresSigned = false
    var isValid = true

    init(line: Int) { self.line = line }

    /// Takes one field; returns what is wrong with it.
    mutating func set(_ column: Inventory.Column, to field: CSVField) -> String? {
        let problem = take(column, field)
        if problem != nil { isValid = false }
        return problem
    }

    private mutating func take(_ column: Inventory.Column, _ field: CSVField) -> String? {
        // A shell takes several lines; between tags a line break is as good as a blank.
        if column != .resetCommand, column != .tags, field.text.contains("\n") {
            return "\(quoted(field.text)) has a line break; only reset_command and tags may: is a quote not closed?"
        }
        do {
            switch column {
            case .mac: mac = Placed(value: try MACAddress(field.text), line: field.line, column: field.column)
            case .ip: ip = Placed(value: try IPv4Address(field.text), line: field.line, column: field.column)
            case .server: return takeServer(field.text)
            case .gpio:
                gpioPlace = (field.line, field.column)
                if !field.text.isEmpty { gpio = try GPIOLine(field.text) }
            case .name: return takeName(field)
            case .resetHold: return takeHold(field.text)
            case .resetCommand: if !field.text.isEmpty { resetCommand = field.text }
            case .tags: return takeTags(field.text)
            case .console: if !field.text.isEmpty { console = try SerialPort(field.text) }
            case .requireSigned:
                switch field.text {
                case "yes": requiresSigned = true
                case "", "no": break
                default: return "\(quoted(field.text)) is not a require_signed; must be yes, no or empty"
                }
            }
            return nil
        } catch {
            return "\(error)"
        }
    }

    private mutating func takeServer(_ text: String) -> String? {
        let allowed = text.utf8.allSatisfy { $0.isLetter || $0.isDigit || ".-_:".utf8.contains($0) }
        guard !text.isEmpty, text.utf8.count <= 253, allowed else {
            return "\(quoted(text)) is not a host name; must name the host that resets the target"
        }
        server = text
        return nil
    }

    private mutating func takeName(_ field: CSVField) -> String? {
        let text = field.text
        if text.isEmpty { return nil }
        let allowed = text.utf8.allSatisfy { $0.isLetter || $0.isDigit || "._-".utf8.contains($0) }
        guard allowed, text.utf8.count <= 63, let first = text.utf8.first, first.isLetter || first.isDigit else {
            return
                "\(quoted(text)) is not a name; must be at most 63 letters, digits, '.', '_' or '-', a letter or digit first"
        }
        // A name that reads as an address would hide the target with that address.
        guard (try? MACAddress(text)) == nil, (try? IPv4Address(text)) == nil else {
            return "\(quoted(text)) is not a name; must not be an address"
        }
        name = Placed(value: text, line: field.line, column: field.column)
        return nil
    }

    private mutating func takeTags(_ text: String) -> String? {
        for word in text.split(whereSeparator: { $0 == " " || $0 == ";" || $0 == "\n" || $0 == "\t" }) {
            let isTag = word.utf8.allSatisfy { $0.isLetter || $0.isDigit || "._-".utf8.contains($0) }
            guard isTag, word.utf8.count <= 63 else {
                return
                    "\(quoted(String(word))) is not a tag; must be at most 63 letters, digits, '.', '_' or '-', the next one behind a blank or ';'"
            }
            if !tags.contains(where: { $0.lowercased() == word.lowercased() }) { tags.append(String(word)) }
        }
        return nil
    }

    private mutating func takeHold(_ text: String) -> String? {
        if text.isEmpty { return nil }
        guard text.utf8.allSatisfy(\.isDigit), let number = Int(text), (1...60000).contains(number) else {
            return "\(quoted(text)) is not a reset_hold_ms; must be 1 to 60000 milliseconds"
        }
        resetHold = number
        return nil
    }
}
