/// An image's config.txt, which the Pi's firmware does not read on a card of ours: it reads partition 1 only.
///
/// U-Boot's boot script takes `kernel=`, `os_prefix=`, `cmdline=` and the initramfs from it; what else the firmware would
/// have done with it is lost. The form: https://www.raspberrypi.com/documentation/computers/config_txt.html.
public struct FirmwareConfiguration: Hashable, Sendable {
    private var settings: [Setting] = []
    private var unread: [String] = []

    private struct Setting: Hashable, Sendable {
        var place: String
        var name: String
        var value: String
        /// Filters that must hold, `[pi4]`; empty where it always applies.
        var filters: [String]
        var isIncluded: Bool
        /// Not on any board that rpiflash flashes.
        var isElsewhere: Bool

        var fullPlace: String { filters.isEmpty ? place : "\(place), \(filters.joined(separator: " "))" }
    }

    /// Models of filters that no board of ours is.
    private static let otherModels: Set = [
        "pi0", "pi0w", "pi02", "pi1", "pi2", "pi5", "pi500", "cm0", "cm1", "cm5", "cm5l", "none",
    ]
    private static let models: Set = otherModels.union(["pi3", "pi3+", "pi4", "pi400", "cm3", "cm3+", "cm4", "cm4s"])

    /// How deep files may include one another; the firmware's own limit is not documented.
    private static let deepest = 8

    /// The configuration in these bytes.
    ///
    /// - Parameter include: the contents of a file that an `include` line names, relative to the boot partition; nil
    ///   where there is none.
    public init(_ bytes: some Sequence<UInt8>, include: (String) -> [UInt8]? = { _ in nil }) {
        var filters = Filters()
        read(bytes, file: "config.txt", depth: 0, &filters, include)
    }

    /// This text.
    public init(_ text: String) { self.init(text.utf8) }

    /// Filters of the same kind replace one another, those of different kinds must all hold; `[all]` ends them.
    private struct Filters {
        var model: String?
        var others: [String] = []

        mutating func apply(_ filter: String) {
            if filter == "all" {
                self = Filters()
            } else if FirmwareConfiguration.models.contains(filter) {
                model = filter
            } else {
                others.append(filter)
            }
        }

        var all: [String] { ((model.map { [$0] } ?? []) + others).map { "[\(harmless($0, limit: 40))]" } }
        var isElsewhere: Bool { model.map(FirmwareConfiguration.otherModels.contains) ?? false }
    }

    private mutating func read(
        _ bytes: some Sequence<UInt8>, file: String, depth: Int, _ filters: inout Filters,
        _ include: (String) -> [UInt8]?
    ) {
        for (index, raw) in lines(of: bytes).enumerated() {
            let line = trimmed(String(decoding: raw, as: UTF8.self))
            let place = "\(harmless(file, limit: 60)) line \(index + 1)"
            guard !line.isEmpty, !line.hasPrefix("#") else { continue }
            if line.hasPrefix("["), line.hasSuffix("]") {
                filters.apply(line.dropFirst().dropLast().lowercased())
                continue
            }
            if let rest = line.dropping(prefix: "include ") {
                let name = trimmed(rest)
                if depth < Self.deepest, let content = include(name) {
                    read(content, file: name, depth: depth + 1, &filters, include)
                } else if !filters.isElsewhere {
                    unread.append("\(place): include \(harmless(name)) is not there or too deep, what it says is lost")
                }
                continue
            }
            let name: String
            let value: String
            if let rest = line.dropping(prefix: "initramfs ") {
                (name, value) = ("initramfs", trimmed(rest))
            } else if let equals = line.firstIndex(of: "=") {
                (name, value) = (String(line[..<equals]), String(line[line.index(after: equals)...]))
            } else {
                continue
            }
            settings.append(
                Setting(
                    place: place, name: name, value: value, filters: filters.all, isIncluded: depth > 0,
                    isElsewhere: filters.isElsewhere))
        }
    }

    /// The value that the boot script takes: the last in config.txt itself that stands behind no filter or behind this
    /// board's; nil where it is empty. Source: step 5 of templates/boot.cmd.
    private func taken(_ name: String, board: String? = nil) -> Setting? {
        let own = board.map { ["[\($0)]"] }
        guard
            let last = settings.last(where: {
                $0.name == name && !$0.isIncluded && ($0.filters.isEmpty || $0.filters == own)
            }), !last.value.isEmpty
        else { return nil }
        return last
    }

    /// The kernel's file name as the boot script takes it on a board without a section of its own; nil where config.txt
    /// names none.
    public var kernel: String? { taken("kernel")?.value }
    /// What stands in front of the names of kernel, initramfs, device tree and cmdline.txt: a folder with a slash at its
    /// end, or the start of a name; nil where there is none.
    public var osPrefix: String? { taken("os_prefix")?.value }

    /// Where the kernel's command line may lie, one list for each kind of board that config.txt tells apart: the first of
    /// a list that is there is the one. Lower case.
    public var commandLinePaths: [[String]] {
        let boards: [String?] = [nil] + Self.models.subtracting(Self.otherModels).sorted()
        var lists: [[String]] = []
        for board in boards {
            let prefixes = [taken("os_prefix", board: board)?.value, ""].compactMap(\.self)
            let names = [taken("cmdline", board: board)?.value, "cmdline.txt"].compactMap(\.self)
            let list = names.flatMap { name in prefixes.map { "\($0)\(name)".lowercased() } }
            if !lists.contains(list) { lists.append(list) }
        }
        return lists
    }

    /// The initramfs's file name; nil where config.txt names none. The last that stands behind no filter.
    public var initramfs: String? {
        settings.last { $0.name == "initramfs" && $0.filters.isEmpty }.flatMap { setting in
            setting.value.split(separator: " ").first?.split(separator: ",").first.map(String.init)
        }
    }

    /// Overlays that apply on every board and take no parameter: those that fdtoverlay can apply as the firmware does, in
    /// the order in which they stand. The firmware takes another file for some names on a Pi 4 (overlays/overlay_map.dtb).
    public var overlaysWithoutParameters: [String] { plainOverlays.map { settings[$0].value } }

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
            || (filters.count == 1 && models.subtracting(otherModels).contains { filters[0] == "[\($0)]" })
    }

    private static func isOverlay(_ name: String) -> Bool { ["dtoverlay", "device_tree_overlay"].contains(name) }

    private static func isParameter(_ name: String) -> Bool {
        ["dtparam", "dtparams", "device_tree_param", "device_tree_params"].contains(name)
    }

    /// What the firmware would have done on a board of ours and U-Boot does not: one sentence each.
    public var lost: [String] { lost(applied: []) }

    /// What is lost where `applied`, some of ``overlaysWithoutParameters``, are applied to the device tree beforehand.
    public func lost(applied: Set<String>) -> [String] {
        let plain = Set(plainOverlays)
        var lost: [String] = []
        var others: [String] = []
        for (index, setting) in settings.enumerated() where !setting.isElsewhere {
            let shown = "\(setting.fullPlace): \(harmless(setting.name, limit: 60))=\(harmless(setting.value))"
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
            case "kernel", "os_prefix", "cmdline":
                if setting.isIncluded {
                    lost.append("\(shown) is lost, for U-Boot reads config.txt itself and not what it includes")
                } else if !Self.isOwn(setting.filters) {
                    lost.append("\(shown) is lost, for U-Boot knows no filters but those of boards")
                }
            case "upstream_kernel": continue
            case "initramfs":
                let names = setting.value.split(separator: " ").first?.split(separator: ",").count ?? 0
                if names > 1 { lost.append("\(shown) is lost in part, for U-Boot loads one file and not \(names)") }
            case "auto_initramfs", "arm_64bit": continue
            default: others.append(setting.name)
            }
        }
        lost += unread
        if !others.isEmpty {
            var names: [String] = []
            for name in others where !names.contains(name) { names.append(name) }
            let shown = names.prefix(12).map { harmless($0, limit: 40) }.joined(separator: ", ")
            let more = names.count > 12 ? " and \(names.count - 12) more" : ""
            lost.append(
                "\(shown)\(more): settings of the firmware, which reads config.txt of the card's partition 1 and not the "
                    + "image's")
        }
        return lost
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
