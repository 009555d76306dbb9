internal import CGPIOD
internal import Glibc

/// How a line is named.
public enum LineReference: Hashable, Sendable {
    /// An offset on the default chip: the one with the Pi's header.
    case offset(UInt32)
    /// An offset on the chip with this name or label.
    case chipOffset(chip: String, offset: UInt32)
    /// The line with this name.
    case name(String)
}

/// A GPIO chip as the kernel describes it.
public struct ChipDescription: Hashable, Sendable {
    /// Its device file.
    public let path: String
    /// The kernel's name, `gpiochip0`; it can change from boot to boot.
    public let name: String
    /// The driver's name for it, `pinctrl-bcm2711`.
    public let label: String
    /// How many lines it has.
    public let lines: UInt32

    /// Labels of the chips that carry a Raspberry Pi's 40-pin header: up to the Pi 3, the Pi 4, the Pi 5.
    static let headerLabels: Set<String> = ["pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1"]
}

/// A line as the kernel describes it.
public struct LineDescription: Hashable, Sendable {
    /// The chip.
    public let chip: ChipDescription
    /// Its number on the chip.
    public let offset: UInt32
    /// Its name; empty where it has none.
    public let name: String
    /// Who has requested it; empty where nobody says so.
    public let consumer: String
    /// Whether someone has requested it.
    public let isUsed: Bool

    /// `gpiochip0:17`.
    public var place: String { "\(chip.name):\(offset)" }
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
            chip: chip, offset: offset, name: text(info.name), consumer: text(info.consumer), isUsed: info.used)
    }
}

/// The text of a C array that ends in 0.
private func text<Tuple>(_ tuple: Tuple) -> String {
    unsafe withUnsafeBytes(of: tuple) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
}

/// The chips of this host, in the order of their device files.
///
/// - Parameter folder: where the device files are.
/// - Throws: ``GPIOError/noChips`` where there is none.
public func gpioChips(in folder: String = "/dev") throws(GPIOError) -> [ChipDescription] {
    var chips: [ChipDescription] = []
    var firstError: GPIOError?
    for path in chipPaths(in: folder) {
        do throws(GPIOError) {
            chips.append(try ChipHandle(path: path).info(path: path))
        } catch {
            firstError = firstError ?? error
        }
    }
    if chips.isEmpty { throw firstError ?? .noChips }
    return chips
}

private func chipPaths(in folder: String) -> [String] {
    guard let stream = unsafe opendir(folder) else { return [] }
    defer { unsafe closedir(stream) }
    var numbers: [UInt32] = []
    while let entry = unsafe readdir(stream) {
        // Raspberry Pi OS links a Pi 5's old name gpiochip4 to the chip, which must not be there twice.
        if unsafe Int(entry.pointee.d_type) == Int(DT_LNK) { continue }
        let name = unsafe text(entry.pointee.d_name)
        if name.hasPrefix("gpiochip"), let number = UInt32(name.dropFirst("gpiochip".count)) { numbers.append(number) }
    }
    return numbers.sorted().map { "\(folder)/gpiochip\($0)" }
}

/// Finds the line that a reference names; nothing is requested.
///
/// - Throws: ``GPIOError`` where there is no such line, or more than one.
public func findLine(_ reference: LineReference) throws(GPIOError) -> LineDescription {
    let chips = try gpioChips()
    switch reference {
    case .offset(let offset): return try line(offset, on: try defaultChip(of: chips))
    case .chipOffset(let name, let offset):
        if let chip = chips.first(where: { $0.name == name }) { return try line(offset, on: chip) }
        // A label may be there twice (two equal expanders); a name never is.
        let labelled = chips.filter { $0.label == name }
        guard let chip = labelled.first else { throw .noSuchChip(name, chips: names(chips)) }
        guard labelled.count == 1 else { throw .ambiguousChip(name, chips: labelled.map(\.name)) }
        return try line(offset, on: chip)
    case .name(let name):
        var found: [LineDescription] = []
        var others: [String] = []
        for chip in chips {
            let handle = try ChipHandle(path: chip.path)
            for offset in 0..<chip.lines {
                let line = try handle.line(offset, of: chip)
                if line.name == name { found.append(line) } else if !line.name.isEmpty { others.append(line.name) }
            }
        }
        guard let line = found.first else { throw .noSuchLine(name, names: others) }
        guard found.count == 1 else { throw .ambiguousLine(name, places: found.map(\.place)) }
        return line
    }
}

/// The chip that an offset alone means: the Pi's header, found by its label because numbers change; where none is a
/// Pi's, the only chip that there is.
func defaultChip(of chips: [ChipDescription]) throws(GPIOError) -> ChipDescription {
    if let header = chips.first(where: { ChipDescription.headerLabels.contains($0.label) }) { return header }
    guard chips.count == 1 else { throw .noDefaultChip(chips: names(chips)) }
    return chips[0]
}

private func names(_ chips: [ChipDescription]) -> [String] {
    chips.map { $0.label.isEmpty ? $0.name : "\($0.name) (\($0.label))" }
}

private func line(_ offset: UInt32, on chip: ChipDescription) throws(GPIOError) -> LineDescription {
    guard offset < chip.lines else { throw .noSuchOffset(offset, chip: chip.name, lines: chip.lines) }
    return try ChipHandle(path: chip.path).line(offset, of: chip)
}
