import Configuration
package import Doctor

/// What `rpiflash doctor --json` prints; docs/json.md has its fields.
package struct DoctorReport: Encodable {
    /// Grows when a field changes its meaning or goes.
    let version = 1
    let findings: [Finding]

    /// - Parameter findings: in the order in which they were made.
    package init(findings: [Finding]) { self.findings = findings }
}

/// A line for each finding, its level coloured.
package func findingTable(_ findings: [Finding]) -> String {
    let table = textTable(findings.map { [$0.level.rawValue, $0.topic, sanitized($0.text)] })
    return zip(findings, table.split(separator: "\n")).map { finding, line in
        let (level, style): (String, Palette.Style) =
            switch finding.level {
            case .ok: ("ok", .success)
            case .note: ("note", .warning)
            case .bad: ("bad", .error)
            }
        return Palette.standardOutput.paint(level, style) + line.dropFirst(level.count) + "\n"
    }.joined()
}
