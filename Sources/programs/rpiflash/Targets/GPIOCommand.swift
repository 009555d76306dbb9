import ArgumentParser
import CommandOutput
import Configuration
import Flashing
import Glibc
import GPIO
import HostTools
import Inventory
import SystemPackage

/// `rpiflash gpio`.
struct GPIOCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gpio", abstract: "List this host's GPIO chips and lines, and which targets they reset.",
        discussion: """
            Looks, and requests no line. Shown are the lines that somebody uses, that are driven, or that reset a target \
            of this host; the inventory need not be there. An inventory that is invalid ends it with exit status 6, a \
            host without a GPIO chip with 9.

            EXAMPLES
              rpiflash gpio
              rpiflash gpio --all --json
            """)

    @Flag(help: "Every line of every chip.")
    var all = false

    @Flag(help: "One JSON object, for programs.")
    var json = false

    @Option(help: TargetOptions.inventoryHelp)
    var inventory: String?

    func run() throws {
        let report: GPIOReport
        let inventory = try givenInventory()
        do throws(GPIOError) {
            report = try GPIOReport(inventory: inventory, hostNames: ownHostNames(), everyLine: all)
        } catch {
            throw FlashError.server(error.description)
        }
        print(json ? report.json : report.table, terminator: "")
    }

    /// The inventory; nil where none was asked for and none is at the usual places.
    private func givenInventory() throws -> Inventory? {
        let isThere = defaultInventory.withPlatformString { access($0, F_OK) } == 0
        return inventory != nil || isThere ? try loadInventory(inventory.map { FilePath($0) }) : nil
    }
}

/// What `rpiflash gpio` shows.
struct GPIOReport {
    /// The version of ``json``: it grows when a field changes its meaning or goes.
    static let jsonVersion = 1

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
    init(inventory: Inventory?, hostNames: Set<String>, everyLine: Bool) throws(GPIOError) {
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
    var table: String {
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

    /// For programs, one JSON object.
    ///
    /// - `version`: ``jsonVersion``.
    /// - `libgpiod`: 1 or 2.
    /// - `inventory`: the file, or null.
    /// - `default_chip`: the name of the chip that an offset alone means, or null.
    /// - `chips`: `name`, `label`, `path`, `lines` (how many).
    /// - `lines`: `chip` (name), `offset`, `name` (null without one), `direction` (`input` or `output`), `used`,
    ///   `consumer` (null where nobody says), `targets` (names or addresses).
    /// - `chip_error`: why a chip is missing, or null.
    /// - `troubles`: targets of this host whose line is not to be found: `target`, `gpio` (as in the row), `reason`.
    var json: String {
        let chips = chips.map { chip in
            """
            {"name": \(quoted(chip.name)), "label": \(quoted(chip.label)), "path": \(quoted(chip.path)), \
            "lines": \(chip.lines)}
            """
        }
        let lines = lines.map { row in
            """
            {"chip": \(quoted(row.line.chip.name)), "offset": \(row.line.offset), "name": \(quoted(orNull: row.line.name)), \
            "direction": "\(row.line.isOutput ? "output" : "input")", "used": \(row.line.isUsed), \
            "consumer": \(quoted(orNull: row.line.consumer)), \
            "targets": [\(row.targets.map { quoted($0) }.joined(separator: ", "))]}
            """
        }
        let troubles = troubles.map { trouble in
            """
            {"target": \(quoted(trouble.target)), "gpio": \(quoted(trouble.gpio)), "reason": \(quoted(trouble.reason))}
            """
        }
        return """
            {
              "version": \(Self.jsonVersion),
              "libgpiod": \(libgpiodVersion),
              "inventory": \(quoted(orNull: inventory ?? "")),
              "default_chip": \(quoted(orNull: defaultChip?.name ?? "")),
              "chips": \(list(chips)),
              "chip_error": \(quoted(orNull: chipError?.description ?? "")),
              "lines": \(list(lines)),
              "troubles": \(list(troubles))
            }

            """
    }
}

/// A JSON array with an element on each line.
private func list(_ elements: [String]) -> String {
    elements.isEmpty ? "[]" : "[\n    " + elements.joined(separator: ",\n    ") + "\n  ]"
}

/// A JSON string (RFC 8259, section 7), in ASCII like all JSON of ours.
private func quoted(_ text: String) -> String { jsonLine(text) }

/// A JSON string; null where there is no text.
private func quoted(orNull text: String) -> String { text.isEmpty ? "null" : quoted(text) }
