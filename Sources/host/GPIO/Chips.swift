import CGPIOD
import Glibc
import LinuxHost
import SystemPackage

/// How a line is named.
package enum LineReference: Hashable, Sendable {
    /// An offset on the default chip: the one with the Pi's header.
    case offset(UInt32)
    /// An offset on the chip with this name or label.
    case chipOffset(chip: String, offset: UInt32)
    /// The line with this name.
    case name(String)
}

/// A GPIO chip as the kernel describes it.
package struct ChipDescription: Hashable, Sendable {
    /// Its device file.
    package let path: String
    /// The kernel's name, `gpiochip0`; it can change from boot to boot.
    package let name: String
    /// The driver's name for it, `pinctrl-bcm2711`.
    package let label: String
    /// How many lines it has.
    package let lines: UInt32

    /// Labels of the chips that carry a Raspberry Pi's 40-pin header: up to the Pi 3, the Pi 4, the Pi 5.
    static let headerLabels: Set<String> = ["pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1"]
}

/// A line as the kernel describes it.
package struct LineDescription: Hashable, Sendable {
    /// The chip.
    package let chip: ChipDescription
    /// Its number on the chip.
    package let offset: UInt32
    /// Its name; empty where it has none.
    package let name: String
    /// Who has requested it; empty where nobody says so.
    package let consumer: String
    /// Whether someone has requested it.
    package let isUsed: Bool
    /// Whether it is driven. One that nobody uses was left so by its last user.
    package let isOutput: Bool
    /// Whether it is driven and nobody uses it: a program that held it was killed, or firmware set it up. Known without a
    /// request, and all that is: what the wire has can only be read by the line's user.
    package var isForgotten: Bool { isOutput && !isUsed }

    /// `gpiochip0:17`.
    package var place: String { "\(chip.name):\(offset)" }
}

/// An open chip; closed with the value.
@safe struct ChipHandle: ~Copyable {
    let raw: OpaquePointer

    init(path: String) throws(GPIOError) {
        guard let raw = unsafe cgpiod_chip_open(path) else {
            throw .system(call: "open", line: path, code: errno)
        }
        unsafe self.raw = raw
    }

    deinit { unsafe cgpiod_chip_close(raw) }

    func info(path: String) throws(GPIOError) -> ChipDescription {
        var info = cgpiod_chip_info()
        guard unsafe cgpiod_chip_get_info(raw, &info) == 0 else {
            throw .system(call: "ask about", line: path, code: errno)
        }
        return ChipDescription(path: path, name: text(info.name), label: text(info.label), lines: info.lines)
    }

    func line(_ offset: UInt32, of chip: ChipDescription) throws(GPIOError) -> LineDescription {
        var info = cgpiod_line_info()
        guard unsafe cgpiod_chip_get_line_info(raw, offset, &info) == 0 else {
            throw .system(call: "ask about", line: "\(chip.name):\(offset)", code: errno)
        }
        return LineDescription(
            chip: chip, offset: offset, name: text(info.name), consumer: text(info.consumer), isUsed: info.used,
            isOutput: info.output)
    }
}

/// The text of a C array that ends in 0. Any program may name itself a line's user: what a terminal would obey is not kept.
private func text<Tuple>(_ tuple: Tuple) -> String {
    let text = unsafe withUnsafeBytes(of: tuple) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    let scalars = text.unicodeScalars.map { $0.properties.generalCategory == .control ? "\u{fffd}" : $0 }
    return String(String.UnicodeScalarView(scalars))
}

/// The major version of the libgpiod that this was built with, 1 or 2. C: cgpiod_api.
package var libgpiodVersion: Int { Int(cgpiod_api()) }

/// The GPIO chips of this host; looking at them requests no line.
package struct GPIOChips: Sendable {
    /// In the order of their device files.
    package let all: [ChipDescription]
    /// Why one of the others could not be opened: what is missing in ``all`` may be there.
    package let firstError: GPIOError?

    private static let folder = "/dev"

    /// Looks for `/dev/gpiochip*`.
    ///
    /// - Throws: ``GPIOError/noChips`` where there is none, ``GPIOError/system(call:line:code:)`` where none can be opened.
    package init() throws(GPIOError) {
        var chips: [ChipDescription] = []
        var firstError: GPIOError?
        for path in Self.paths() {
            do throws(GPIOError) {
                chips.append(try ChipHandle(path: path).info(path: path))
            } catch {
                firstError = firstError ?? error
            }
        }
        if chips.isEmpty { throw firstError ?? .noChips }
        self.init(all: chips, firstError: firstError)
    }

    init(all: [ChipDescription], firstError: GPIOError? = nil) { (self.all, self.firstError) = (all, firstError) }

    /// The device files: `/dev/gpiochip0`, …; none of them is opened.
    package static func paths() -> [String] {
        // Raspberry Pi OS links a Pi 5's old name gpiochip4 to the chip, which must not be there twice.
        let files = ((try? Folder.entries(of: FilePath(folder))) ?? []).filter { !$0.isLink }
        let numbers = files.compactMap { number(of: $0.name) }
        return numbers.sorted().map { "\(folder)/gpiochip\($0)" }
    }

    /// 4 for `gpiochip4`.
    private static func number(of name: some StringProtocol) -> UInt32? {
        name.hasPrefix("gpiochip") ? UInt32(name.dropFirst("gpiochip".count)) : nil
    }

    /// The chip that an offset alone means: the Pi's header, found by its label because numbers change; where none is a
    /// Pi's, the only chip that there is.
    ///
    /// - Throws: ``GPIOError/noDefaultChip(chips:)``, or why a chip that may be the one could not be opened.
    package func defaultChip() throws(GPIOError) -> ChipDescription {
        if let header = all.first(where: { ChipDescription.headerLabels.contains($0.label) }) { return header }
        if let firstError { throw firstError }
        guard all.count == 1 else { throw .noDefaultChip(chips: names) }
        return all[0]
    }

    /// All lines of a chip, in the order of their offsets.
    ///
    /// - Throws: ``GPIOError/system(call:line:code:)``.
    package func lines(of chip: ChipDescription) throws(GPIOError) -> [LineDescription] {
        let handle = try ChipHandle(path: chip.path)
        var lines: [LineDescription] = []
        for offset in 0..<chip.lines { lines.append(try handle.line(offset, of: chip)) }
        return lines
    }

    /// The line that a reference names.
    ///
    /// - Throws: ``GPIOError`` where there is no such line, or more than one.
    package func line(_ reference: LineReference) throws(GPIOError) -> LineDescription {
        switch reference {
        case .offset(let offset): return try line(offset, on: try defaultChip())
        case .chipOffset(let name, let offset): return try line(offset, on: try chip(name))
        case .name(let name): return try line(named: name)
        }
    }

    private func line(_ offset: UInt32, on chip: ChipDescription) throws(GPIOError) -> LineDescription {
        guard offset < chip.lines else { throw .noSuchOffset(offset, chip: chip.name, lines: chip.lines) }
        return try ChipHandle(path: chip.path).line(offset, of: chip)
    }

    private func chip(_ name: String) throws(GPIOError) -> ChipDescription {
        if let chip = all.first(where: { $0.name == name }) ?? linkedChip(name) { return chip }
        // A label may be there twice (two equal expanders); a name never is.
        let labelled = all.filter { $0.label == name }
        guard let chip = labelled.first else { throw firstError ?? .noSuchChip(name, chips: names) }
        guard labelled.count == 1 else { throw .ambiguousChip(name, chips: labelled.map(\.name)) }
        return chip
    }

    /// The chip that an old name is a link to.
    private func linkedChip(_ name: String) -> ChipDescription? {
        guard Self.number(of: name) != nil, let path = unsafe realpath("\(Self.folder)/\(name)", nil) else {
            return nil
        }
        defer { unsafe free(path) }
        let target = unsafe String(cString: path)
        return all.first { $0.path == target }
    }

    private func line(named name: String) throws(GPIOError) -> LineDescription {
        var found: [LineDescription] = []
        var others: [String] = []
        for chip in all {
            for line in try lines(of: chip) {
                if line.name == name { found.append(line) } else if !line.name.isEmpty { others.append(line.name) }
            }
        }
        guard let line = found.first else { throw firstError ?? .noSuchLine(name, names: others) }
        guard found.count == 1 else { throw .ambiguousLine(name, places: found.map(\.place)) }
        return line
    }

    private var names: [String] { all.map { $0.label.isEmpty ? $0.name : "\($0.name) (\($0.label))" } }
}

/// Finds the line that a reference names; nothing is requested.
///
/// - Throws: ``GPIOError`` where there is no such line, or more than one.
package func findLine(_ reference: LineReference) throws(GPIOError) -> LineDescription {
    try GPIOChips().line(reference)
}
