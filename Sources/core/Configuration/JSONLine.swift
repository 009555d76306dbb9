import FoundationEssentials

/// One line of JSON, its keys in snake case: ASCII only, so that nothing in it means anything to a terminal (law 7).
package func jsonLine(_ value: some Encodable) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    // As in a run's record, docs/runs.md.
    encoder.dateEncodingStrategy = .iso8601
    // Numbers here are finite and texts are valid: what cannot fail, but must not end a flash.
    guard let data = try? encoder.encode(value) else { return "{}" }
    var line = ""
    for unit in String(decoding: data, as: UTF8.self).utf16 {
        if (0x20..<0x7f).contains(unit) {
            line.unicodeScalars.append(Unicode.Scalar(UInt8(unit)))
        } else {
            // Others than ASCII are in strings only.
            let digits = String(unit, radix: 16)
            line += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        }
    }
    return line
}
