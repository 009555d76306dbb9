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
        if bytes.starts(with: [0xff, 0xfe]) || bytes.starts(with: [0xfe, 0xff]) {
            return add(1, 1, "the file is UTF-16; save it as UTF-8")
        }
        var reader = CSVReader(bytes)
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

    private mutating func readHeader(_ record: CSVRecord) {
        var columns: [Inventory.Column] = []
        for field in record.fields {
            guard let column = Inventory.Column(rawValue: field.text.lowercased()) else {
                if (try? MACAddress(field.text)) != nil {
                    return add(
                        record.line, field.column,
                        "a target where the header must be; the first line must be mac,ip,server,gpio")
                }
                add(
                    record.line, field.column,
                    "unknown column \(quoted(field.text)); must be one of "
                        + Inventory.Column.allCases.map(\.rawValue).joined(separator: ", "))
                continue
            }
            if columns.contains(column) { add(record.line, field.column, "column \(column.rawValue) is there twice") }
            columns.append(column)
        }
        for column in Inventory.Column.required where !columns.contains(column) {
            add(record.line, 1, "column \(column.rawValue) is missing; the header must have mac,ip,server,gpio")
        }
        if problems.total == 0 { header = columns }
    }

    private mutating func readRow(_ record: CSVRecord) {
        guard let header else { return }
        guard record.fields.count == header.count else {
            return add(
                record.line, record.fields.last?.column ?? 1,
                "the line has \(count(record.fields.count, "field")); must have \(header.count), as the header has")
        }
        var row = Row(line: record.line)
        for (column, field) in zip(header, record.fields) {
            if let reason = row.set(column, to: field) { add(record.line, field.column, reason) }
        }
        noteDuplicates(row)
        guard let mac = row.mac?.value, let ip = row.ip?.value, let server = row.server, row.isValid else { return }
        if row.gpio == nil, row.resetCommand == nil {
            return add(record.line, row.gpioColumn, "nothing resets this target; must have a gpio or a reset_command")
        }
        byMAC[mac] = targets.count
        byIP[ip] = targets.count
        if let name = row.name?.value { byName[name.lowercased()] = targets.count }
        targets.append(
            Target(
                mac: mac, ip: ip, server: server, gpio: row.gpio, name: row.name?.value,
                resetHoldMilliseconds: row.resetHold ?? Target.defaultResetHoldMilliseconds,
                resetCommand: row.resetCommand, console: row.console, tags: row.tags, line: row.line))
    }

    private mutating func noteDuplicates(_ row: Row) {
        if let mac = row.mac {
            if let first = lineOfMAC[mac.value] {
                add(row.line, mac.column, "mac \(mac.value) is already on line \(first)")
            } else {
                lineOfMAC[mac.value] = row.line
            }
        }
        if let ip = row.ip {
            if let first = lineOfIP[ip.value] {
                add(row.line, ip.column, "ip \(ip.value) is already on line \(first)")
            } else {
                lineOfIP[ip.value] = row.line
            }
        }
        if let name = row.name {
            if let first = lineOfName[name.value.lowercased()] {
                add(row.line, name.column, "name \(quoted(name.value)) is already on line \(first)")
            } else {
                lineOfName[name.value.lowercased()] = row.line
            }
        }
    }
}

func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }

/// A row while it is read.
private struct Row {
    struct Placed<Value> {
        var value: Value
        var column: Int
    }

    let line: Int
    var mac: Placed<MACAddress>?
    var ip: Placed<IPv4Address>?
    var server: String?
    var gpio: GPIOLine?
    var gpioColumn = 1
    var name: Placed<String>?
    var resetHold: Int?
    var resetCommand: String?
    var tags: [String] = []
    var console: SerialPort?
    var isValid = true

    init(line: Int) { self.line = line }

    /// Takes one field; returns what is wrong with it.
    mutating func set(_ column: Inventory.Column, to field: CSVField) -> String? {
        let problem = take(column, field)
        if problem != nil { isValid = false }
        return problem
    }

    private mutating func take(_ column: Inventory.Column, _ field: CSVField) -> String? {
        do {
            switch column {
            case .mac: mac = Placed(value: try MACAddress(field.text), column: field.column)
            case .ip: ip = Placed(value: try IPv4Address(field.text), column: field.column)
            case .server: return takeServer(field.text)
            case .gpio:
                gpioColumn = field.column
                if !field.text.isEmpty { gpio = try GPIOLine(field.text) }
            case .name: return takeName(field)
            case .resetHold: return takeHold(field.text)
            case .resetCommand: if !field.text.isEmpty { resetCommand = field.text }
            case .tags: return takeTags(field.text)
            case .console: if !field.text.isEmpty { console = try SerialPort(field.text) }
            }
            return nil
        } catch {
            return "\(error)"
        }
    }

    private mutating func takeServer(_ text: String) -> String? {
        let allowed = text.utf8.allSatisfy { $0.isLetter || $0.isDigit || ".-_:".utf8.contains($0) }
        guard !text.isEmpty, text.utf8.count <= 253, allowed else {
            return "\(quoted(text)) is no host name; must name the host that resets the target"
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
                "\(quoted(text)) is no name; must be at most 63 letters, digits, '.', '_' or '-', a letter or digit first"
        }
        // A name that reads as an address would hide the target with that address.
        guard (try? MACAddress(text)) == nil, (try? IPv4Address(text)) == nil else {
            return "\(quoted(text)) is no name; must not be an address"
        }
        name = Placed(value: text, column: field.column)
        return nil
    }

    private mutating func takeTags(_ text: String) -> String? {
        for word in text.split(whereSeparator: { $0 == " " || $0 == ";" }) {
            let isTag = word.utf8.allSatisfy { $0.isLetter || $0.isDigit || "._-".utf8.contains($0) }
            guard isTag, word.utf8.count <= 63 else {
                return
                    "\(quoted(String(word))) is no tag; must be at most 63 letters, digits, '.', '_' or '-', the next one behind a blank or ';'"
            }
            if !tags.contains(where: { $0.lowercased() == word.lowercased() }) { tags.append(String(word)) }
        }
        return nil
    }

    private mutating func takeHold(_ text: String) -> String? {
        if text.isEmpty { return nil }
        guard text.utf8.allSatisfy(\.isDigit), let number = Int(text), (1...60000).contains(number) else {
            return "\(quoted(text)) is no reset_hold_ms; must be 1 to 60000 milliseconds"
        }
        resetHold = number
        return nil
    }
}
