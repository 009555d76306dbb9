import Configuration

/// An image's config.txt, which the Pi's firmware does not read on a card of ours: it reads partition 1 only.
///
/// U-Boot's boot script takes `kernel=`, `os_prefix=`, `cmdline=` and the initramfs from it; what else the firmware would
/// have done with it is lost. The form: https://www.raspberrypi.com/documentation/computers/config_txt.html.
package struct FirmwareConfiguration: Hashable, Sendable {
    private var settings: [Setting] = []
    private var unread: [String] = []
    private var included = 0
    private let script: BootScriptConfiguration
    private let bytes: [UInt8]

    private struct Setting: Hashable, Sendable {
        var place: String
        var name: String
        var value: String
        /// Filters that must hold, `[pi4]`; empty where it always applies.
        var filters: [String]
        var isIncluded: Bool
        /// Not on any board that rpiflash flashes.
        var isElsewhere: Bool
        /// The line in config.txt itself, from 0.
        var line: Int?

        var fullPlace: String { filters.isEmpty ? place : "\(place), \(filters.joined(separator: " "))" }
    }

    /// Models that boards of ours are. The boot script knows all but the last two, which have the device trees of others.
    private static let ownModels: Set = ["pi3", "pi3+", "pi4", "pi400", "pi02", "cm3", "cm4", "cm3+", "cm4s"]

    /// How deep files may include one another; the firmware's own limit is not documented.
    private static let deepest = 8
    /// How many files are included at most: one that includes itself twice would be read 256 times.
    private static let mostIncluded = 64

    /// The configuration in these bytes.
    ///
    /// - Parameter include: the contents of a file that an `include` line names, relative to the boot partition; nil
    ///   where there is none.
    package init(_ bytes: some Sequence<UInt8>, include: (String) -> [UInt8]? = { _ in nil }) {
        self.bytes = Array(bytes)
        script = BootScriptConfiguration(self.bytes)
        var filters = Filters()
        read(self.bytes.prefix { $0 != 0 }, file: "config.txt", depth: 0, &filters, include)
    }

    package init(_ text: String) { self.init(text.utf8) }

    /// Filters of the same kind replace one another, those of different kinds must all hold; `[all]` ends them.
    private struct Filters {
        var model: String?
        var others: [String] = []

        mutating func apply(_ filter: String) {
            if filter == "all" {
                self = Filters()
            } else if filter == "none" || filter.hasPrefix("pi") || filter.hasPrefix("cm") {
                model = filter
            } else {
                others.append(filter)
            }
        }

        var all: [String] { ((model.map { [$0] } ?? []) + others).map { "[\(sanitized($0, limit: 40))]" } }
        var isElsewhere: Bool { model.map { !FirmwareConfiguration.ownModels.contains($0) } ?? false }
    }

    private mutating func read(
        _ bytes: some Sequence<UInt8>, file: String, depth: Int, _ filters: inout Filters,
        _ include: (String) -> [UInt8]?
    ) {
        for (index, raw) in lines(of: bytes).enumerated() {
            let line = trimmed(String(decoding: raw, as: UTF8.self))
            let place = "\(sanitized(file, limit: 60)) line \(index + 1)"
            guard !line.isEmpty, !line.hasPrefix("#") else { continue }
            if line.hasPrefix("[") {
                // What is behind the bracket is no setting; without a bracket nothing is that condition.
                let name = line.dropFirst().prefix { $0 != "]" }
                filters.apply(name.endIndex == line.endIndex ? "[\(name)" : name.lowercased())
                continue
            }
            if let rest = line.dropping(prefix: "include ") {
                let name = trimmed(rest)
                if depth < Self.deepest, included < Self.mostIncluded, let content = include(name) {
                    included += 1
                    read(content, file: name, depth: depth + 1, &filters, include)
                } else if !filters.isElsewhere {
                    unread.append(
                        "\(place): include \(sanitized(name, limit: 120)) is not there, too deep or one of too many, "
                            + "what it says is lost"
                    )
                }
                continue
            }
            let name: String
            let value: String
            if line.hasPrefix("initramfs"), let blank = line.dropFirst(9).first, blank == " " || blank == "\t",
                case let rest = trimmed(line.dropFirst(9)), !rest.hasPrefix("=")
            {
                (name, value) = ("initramfs", rest)
            } else if let equals = line.firstIndex(of: "=") {
                (name, value) = (trimmed(line[..<equals]), trimmed(line[line.index(after: equals)...]))
            } else {
                continue
            }
            settings.append(
                Setting(
                    place: place, name: name, value: value, filters: filters.all, isIncluded: depth > 0,
                    isElsewhere: filters.isElsewhere, line: depth == 0 ? index : nil))
        }
    }

    /// Why the boot script starts nothing with this config.txt: one sentence, lower case; nil where it takes it.
    package var refusal: String? { script.refusal }

    /// What the boot script takes from config.txt on a machine: the last of each name that stands behind no section, or behind
    /// one of that machine.
    ///
    /// - Parameter deviceTree: the machine's device tree, U-Boot's `fdtfile`; nil where it has none.
    package func settings(deviceTree: String?) -> BootSettings { script.settings(deviceTree: deviceTree) }

    /// The kernel's file name as the boot script takes it on a board without a section of its own; nil where config.txt
    /// names none.
    package var kernel: String? { settings(deviceTree: nil).kernel }
    /// What stands in front of the names of kernel, initramfs, device tree and cmdline.txt: a folder with a slash at its
    /// end, or the start of a name; nil where there is none.
    package var osPrefix: String? { settings(deviceTree: nil).osPrefix }
    /// The initramfs's file name as the boot script takes it on a board without a section of its own; nil where config.txt
    /// names none.
    package var initramfs: String? { settings(deviceTree: nil).initramfs }

    /// Where the kernel's command line may lie, one list for each kind of board that config.txt tells apart: the first of
    /// a list that is there is the one. Lower case, without a slash in front.
    package var commandLinePaths: [[String]] {
        var lists: [[String]] = []
        for machine in [nil] + BootBoard.all.flatMap(\.machines) {
            let settings = settings(deviceTree: machine)
            let prefixes = [settings.osPrefix, ""].compactMap(\.self)
            let names = [settings.commandLine, "cmdline.txt"].compactMap(\.self)
            let list = names.flatMap { name in prefixes.map { BootSettings.key($0 + name) } }
            if !lists.contains(list) { lists.append(list) }
        }
        return lists
    }

    /// Overlays that apply on every board and take no parameter: those that fdtoverlay can apply as the firmware does, in
    /// the order in which they stand. The firmware takes another file for some names on a Pi 4 (overlays/overlay_map.dtb).
    package var overlaysWithoutParameters: [String] { plainOverlays.map { settings[$0].value } }

    private var plainOverlays: [Int] {
        // A dtparam belongs to the overlay in front of it, up to the next dtoverlay.
        let relevant = settings.indices.filter {
            Self.isOverlay(settings[$0].name) || Self.isParameter(settings[$0].name)
        }
        return relevant.enumerated().compactMap { position, index in
            let setting = settings[index]
            let next = position + 1 < relevant.count ? settings[relevant[position + 1]] : nil
            guard Self.isOverlay(setting.name), setting.filters.isEmpty, !setting.value.isEmpty,
                setting.value.utf8.allSatisfy({ $0.isNameByte }), next.map({ Self.isParameter($0.name) }) != true
            else { return nil }
            return index
        }
    }

    /// Whether the boot script looks behind such filters: none, or that of a board.
    private static func isOwn(_ filters: [String]) -> Bool {
        filters.isEmpty
            || (filters.count == 1
                && ownModels.subtracting(["cm3+", "cm4s"]).contains { filters[0] == "[\($0)]" })
    }

    private static func isOverlay(_ name: String) -> Bool { ["dtoverlay", "device_tree_overlay"].contains(name) }

    private static func isParameter(_ name: String) -> Bool {
        ["dtparam", "dtparams", "device_tree_param", "device_tree_params"].contains(name)
    }

    /// What the firmware would have done on a board of ours and U-Boot does not: one sentence each.
    package var lost: [String] { lost(applied: []) }

    /// What is lost where `applied`, some of ``overlaysWithoutParameters``, are applied to the device tree beforehand.
    package func lost(applied: Set<String>) -> [String] {
        let plain = Set(plainOverlays)
        var lost: [String] = []
        var others: [String] = []
        for (index, setting) in settings.enumerated() where !setting.isElsewhere {
            let shown =
                "\(setting.fullPlace): \(sanitized(setting.name, limit: 60))=\(sanitized(setting.value, limit: 120))"
            switch setting.name {
            case let name where Self.isOverlay(name):
                // An empty one ends the parameters of the overlay in front of it.
                guard !setting.value.isEmpty, !(plain.contains(index) && applied.contains(setting.value)) else {
                    continue
                }
                lost.append("\(shown) is lost, for U-Boot loads the device tree without overlays")
            case let name where Self.isParameter(name):
                lost.append("\(shown) is lost, for U-Boot loads the device tree without parameters")
            case "device_tree":
                lost.append("\(shown) is lost, for U-Boot takes the device tree by the board's name")
            case "overlay_prefix":
                lost.append("\(shown) is lost, for U-Boot loads no overlays")
            case "camera_auto_detect", "display_auto_detect":
                guard setting.value != "0" else { continue }
                lost.append(
                    "\(shown) is lost, for only the firmware looks for cameras and displays and adds their overlays")
            case "kernel", "os_prefix", "cmdline", "initramfs", "ramfsfile":
                if setting.isIncluded {
                    lost.append("\(shown) is lost, for U-Boot reads config.txt itself and not what it includes")
                } else if !Self.isOwn(setting.filters) {
                    lost.append("\(shown) is lost, for U-Boot knows no filters but those of boards")
                } else if let line = setting.line, isUnusual(line) {
                    lost.append(
                        "\(shown) is lost, for the boot script takes names of letters, digits and . _ - + @ ~ / =")
                } else if setting.name == "initramfs" || setting.name == "ramfsfile" {
                    let names = setting.value.split(separator: " ").first?.split(separator: ",").count ?? 0
                    if names > 1 {
                        lost.append("\(shown) is lost in part, for U-Boot loads one file and not \(names)")
                    }
                }
            case "upstream_kernel": continue
            case "auto_initramfs", "arm_64bit": continue
            default: others.append(setting.name)
            }
        }
        lost += unread
        lost += textNotes
        if !others.isEmpty {
            var names: [String] = []
            for name in others where !names.contains(name) { names.append(name) }
            let shown = names.prefix(12).map { sanitized($0, limit: 40) }.joined(separator: ", ")
            let more = names.count > 12 ? " and \(names.count - 12) more" : ""
            lost.append(
                "\(shown)\(more): settings of the firmware, which reads config.txt of the card's partition 1 and not the "
                    + "image's")
        }
        return lost
    }
}

extension FirmwareConfiguration {
    /// Whether a line's value has something that no name for the boot script has.
    private func isUnusual(_ line: Int) -> Bool {
        guard let text = script.lines.first(where: { $0.index == line })?.text else { return false }
        return BootScriptConfiguration.setting(String(decoding: text, as: UTF8.self))?.value.contains("?") == true
    }

    /// What the text as a whole has that a reader does not take, or that cards made before do not.
    private var textNotes: [String] {
        var notes: [String] = []
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) {
            notes.append("config.txt begins with a byte order mark; its first line does not count")
        }
        if bytes.contains(0) {
            notes.append("config.txt has a zero byte; it ends there for the boot script, and must be ASCII or UTF-8")
        }
        guard refusal == nil else { return notes }
        if bytes.count > 8192 {
            notes.append(
                "config.txt has \(bytes.count) bytes; cards whose boot script is older than number 3 may read nothing of "
                    + "what is over 8192 bytes: bring them up to date with rpiflash upgrade")
        }
        let counting = lines(of: bytes).map { $0.prefix { $0 != Byte.hash } }
            .filter { $0.first.map { "[koiruc".utf8.contains($0) } ?? false }
        if counting.contains(where: { $0.contains(UInt8(ascii: "'")) }) {
            notes.append(
                "config.txt has an apostrophe in a line that counts; cards whose boot script is older than number 3 start "
                    + "nothing with it: bring them up to date with rpiflash upgrade")
        }
        return notes
    }
}

extension UInt8 {
    /// Letters, digits, `-`, `_` and `.`: what file names of overlays are made of.
    fileprivate var isNameByte: Bool {
        Byte.isDigit(self) || (0x61...0x7a).contains(self | 0x20) || [0x2d, 0x2e, 0x5f].contains(self)
    }
}

/// Without blanks and line ends around it.
private func trimmed(_ text: some StringProtocol) -> String {
    var scalars = Substring(text).unicodeScalars
    while let last = scalars.last, last.value <= 0x20 { scalars.removeLast() }
    while let first = scalars.first, first.value <= 0x20 { scalars.removeFirst() }
    return String(scalars)
}
