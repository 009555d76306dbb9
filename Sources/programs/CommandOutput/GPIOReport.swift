import Configuration
import Flashing
package import GPIO
package import Inventory

/// What `rpiflash gpio` shows.
package struct GPIOReport {
    /// A line, and the targets of this host that it resets.
    struct Line {
        let line: LineDescription
        var targets: [String]
    }

    /// A target of this host whose line cannot be found.
    struct Trouble {
        let target: String
        let gpio: String
        let reason: String
    }

    let chips: [ChipDescription]
    /// Why a chip is missing.
    let chipError: GPIOError?
    let defaultChip: ChipDescription?
    let inventory: String?
    let lines: [Line]
    let troubles: [Trouble]

    /// Looks at all chips of this host.
    package init(inventory: Inventory?, hostNames: Set<String>, everyLine: Bool) throws(GPIOError) {
        let found = try GPIOChips()
        chips = found.all
        chipError = found.firstError
        defaultChip = try? found.defaultChip()
        self.inventory = inventory?.file

        var targets: [String: [String]] = [:]
        var troubles: [Trouble] = []
        for target in inventory?.targets ?? [] {
            guard let gpio = target.gpio, (try? target.checkServed(by: hostNames)) != nil else { continue }
            do throws(GPIOError) {
                targets[try found.line(gpio.reference).place, default: []].append(target.displayName)
            } catch {
                let trouble = Trouble(target: target.displayName, gpio: "\(gpio)", reason: error.description)
                troubles.append(trouble)
            }
        }
        self.troubles = troubles
        var lines: [Line] = []
        for chip in chips {
            for line in try found.lines(of: chip) {
                let shown = Line(line: line, targets: targets[line.place] ?? [])
                if everyLine || line.isUsed || line.isOutput || !shown.targets.isEmpty { lines.append(shown) }
            }
        }
        self.lines = lines
    }

    /// For people.
    package var table: String {
        var blocks = [
            textTable(
                [["CHIP", "LABEL", "LINES", "DEFAULT"]]
                    + chips.map { [$0.name, $0.label, "\($0.lines)", $0 == defaultChip ? "yes" : ""] })
        ]
        if lines.isEmpty {
            blocks.append("no line is in use or resets a target; --all lists every line\n")
        } else {
            blocks.append(
                textTable(
                    [["LINE", "NAME", "DIRECTION", "USED BY", "RESETS"]]
                        + lines.map { row in
                            [
                                row.line.place, row.line.name, row.line.isOutput ? "output" : "input",
                                row.line.isUsed && row.line.consumer.isEmpty ? "(no name)" : row.line.consumer,
                                inventory == nil ? "?" : row.targets.joined(separator: ", "),
                            ]
                        }))
        }
        if !troubles.isEmpty {
            blocks.append(
                textTable([["TARGET", "GPIO", "TROUBLE"]] + troubles.map { [$0.target, $0.gpio, $0.reason] }))
        }
        return (blocks + [notes.map { $0 + "\n" }.joined()]).joined(separator: "\n")
    }

    private var notes: [String] {
        var notes: [String] = []
        for row in lines {
            let place = row.line.place
            if row.targets.count > 1 {
                notes.append("\(place) resets \(row.targets.count) targets; each needs a line of its own")
            }
            if row.line.isForgotten, let target = row.targets.first {
                notes.append(
                    """
                    \(place) is driven, but nobody uses it: \(target) may be held in reset; \
                    rpiflash reset \(target) ends that
                    """)
            }
        }
        if let chipError {
            notes.append("not all chips are shown: \(chipError)")
        } else if defaultChip == nil {
            notes.append(
                "no default chip: none is a Raspberry Pi header; a row has to name the chip, as in gpiochip0:17")
        }
        notes.append(
            inventory.map { "inventory: \($0)" }
                ?? "inventory: none found, so that what a line resets is not known; give --inventory")
        return notes
    }
}

/// For programs: what `rpiflash gpio --json` prints; docs/json.md has its fields.
extension GPIOReport: Encodable {
    enum CodingKeys: String, CodingKey {
        case version, libgpiod, inventory, chips, lines, troubles
        case defaultChip = "default_chip"
        case chipError = "chip_error"
    }

    /// Writes every field, also those that are null.
    package func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        // Grows when a field changes its meaning or goes.
        try values.encode(1, forKey: .version)
        try values.encode(libgpiodVersion, forKey: .libgpiod)
        try values.encode(inventory, forKey: .inventory)
        try values.encode(defaultChip?.name, forKey: .defaultChip)
        try values.encode(chips.map(Chip.init), forKey: .chips)
        try values.encode(chipError?.description, forKey: .chipError)
        try values.encode(lines, forKey: .lines)
        try values.encode(troubles, forKey: .troubles)
    }

    private struct Chip: Encodable {
        let name: String
        let label: String
        let path: String
        let lines: Int

        init(_ chip: ChipDescription) {
            (name, label, path, lines) = (chip.name, chip.label, chip.path, Int(chip.lines))
        }
    }
}

extension GPIOReport.Trouble: Encodable {}

extension GPIOReport.Line: Encodable {
    enum CodingKeys: String, CodingKey { case chip, offset, name, direction, used, consumer, targets }

    func encode(to encoder: any Encoder) throws {
        func known(_ text: String) -> String? { text.isEmpty ? nil : text }
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(line.chip.name, forKey: .chip)
        try values.encode(line.offset, forKey: .offset)
        try values.encode(known(line.name), forKey: .name)
        try values.encode(line.isOutput ? "output" : "input", forKey: .direction)
        try values.encode(line.isUsed, forKey: .used)
        try values.encode(known(line.consumer), forKey: .consumer)
        try values.encode(targets, forKey: .targets)
    }
}

extension GPIOLine {
    /// For the GPIO module, which does not know the inventory.
    package var reference: LineReference {
        switch self {
        case .offset(let offset): .offset(offset)
        case .chipOffset(let chip, let offset): .chipOffset(chip: chip, offset: offset)
        case .name(let name): .name(name)
        }
    }
}
