/// What the boot script takes from config.txt on one machine. An empty value is none.
package struct BootSettings: Hashable, Sendable {
    /// `kernel=`.
    package var kernel: String?
    /// `os_prefix=`: what is put in front of all names at first.
    package var osPrefix: String?
    /// `initramfs NAME`.
    package var initramfs: String?
    /// `ramfsfile=`.
    package var ramfsFile: String?
    /// `upstream_kernel=`.
    package var upstreamKernel: String?
    /// `cmdline=`.
    package var commandLine: String?
}

/// The files of a boot partition that the boot script starts on one machine, each with a slash in front.
package struct BootSelection: Hashable, Sendable {
    /// The kernel; nil where none is found.
    package var kernel: String?
    /// The initramfs; nil where none is found.
    package var initramfs: String?
    /// The file of the kernel's command line; nil where none is found.
    package var commandLine: String?
}

extension BootSettings {
    /// What is started with these settings.
    ///
    /// - Parameters:
    ///   - board: names that are usual there.
    ///   - files: paths on the boot partition, without a slash in front, in any case of letters.
    /// - Returns: names as the boot script writes them. Source: templates/boot/boot.cmd.
    package func selection(for board: BootBoard, among files: [String]) -> BootSelection {
        let present = Set(files.map(Self.key))
        let folders = ["/\(osPrefix ?? "")", "/"]
        func first(_ names: [String?]) -> String? {
            for name in names.compactMap(\.self) {
                for folder in folders where present.contains(Self.key(folder + name)) { return folder + name }
            }
            return nil
        }
        let kernel = first([self.kernel] + board.kernels)
        // initrd.img-X belongs to vmlinuz-X.
        let own = kernel.flatMap { path in
            path.ranges(of: "/vmlinuz").last.map { "initrd.img\(path[$0.upperBound...])" }
        }
        return BootSelection(
            kernel: kernel, initramfs: first([initramfs, ramfsFile, own] + board.initramfs),
            commandLine: first([commandLine, "cmdline.txt"]))
    }

    /// A path for comparison: FAT does not tell cases of letters apart, and several slashes are one.
    static func key(_ path: String) -> String { path.lowercased().split(separator: "/").joined(separator: "/") }
}

/// config.txt as the boot script reads it. docs/images.md has the rules as a table; templates/boot/boot.cmd is the other
/// reader, and both are tested with Tests/BootCases.
struct BootScriptConfiguration: Hashable, Sendable {
    /// Why the boot script starts nothing with this file; nil where it takes it.
    let refusal: String?
    /// The lines that count, as the boot script shortens them; `index` is the line's in the file, from 0.
    let lines: [Line]

    struct Line: Hashable, Sendable {
        var index: Int
        var text: [UInt8]
    }

    /// Bytes of config.txt at most.
    static let longestFile = 0x40000
    /// A line has fewer bytes: U-Boot's regular expressions take less than 8 KiB at a time.
    static let longestLine = 0x1e00
    /// The lines that count have at most that many bytes, with a mark in front of each.
    static let longestSettings = 0x1e00
    static let keys = ["kernel", "os_prefix", "initramfs", "ramfsfile", "upstream_kernel", "cmdline"]

    init(_ bytes: [UInt8]) {
        let all = bytes.split(separator: Byte.newline, omittingEmptySubsequences: false)
        var lines: [Line] = []
        for (index, line) in bytes.prefix(while: { $0 != 0 })
            .split(separator: Byte.newline, omittingEmptySubsequences: false).enumerated()
        {
            let text = Self.shortened(line)
            if !text.isEmpty { lines.append(Line(index: index, text: text)) }
        }
        self.lines = lines
        // Each setting stands in front once, and a mark behind all.
        let settings = Self.keys.reduce(1) { $0 + $1.utf8.count + 2 } + lines.reduce(0) { $0 + $1.text.count + 1 }
        if bytes.count > Self.longestFile {
            refusal = "config.txt has \(bytes.count) bytes; the boot script takes at most \(Self.longestFile) bytes"
        } else if let long = all.firstIndex(where: { $0.count >= Self.longestLine }) {
            refusal =
                "config.txt line \(long + 1) has \(all[long].count) bytes; the boot script takes lines of less than "
                + "\(Self.longestLine) bytes"
        } else if settings > Self.longestSettings {
            refusal =
                "config.txt has \(settings) bytes of settings that the boot script looks at; it takes at most "
                + "\(Self.longestSettings) bytes"
        } else {
            refusal = nil
        }
    }

    /// A line without comment, blanks around it and blanks around `=`; other blanks are one, and what is in no usual name is
    /// a question mark. Empty where it cannot count.
    private static func shortened(_ line: ArraySlice<UInt8>) -> [UInt8] {
        let line = line.prefix { $0 != Byte.hash }
        guard let first = line.first, Byte.isBlank(first) || "[koiruc".utf8.contains(first) else { return [] }
        func isBlank(_ byte: UInt8) -> Bool { Byte.isBlank(byte) || byte == Byte.carriageReturn }
        var text: [UInt8] = []
        for byte in line.drop(while: isBlank) {
            if isBlank(byte) {
                if text.last != Byte.space { text.append(Byte.space) }
            } else {
                text.append(isUsual(byte) ? byte : questionMark)
            }
        }
        var result: [UInt8] = []
        var index = 0
        while index < text.count {
            let equals = text[index] == Byte.space ? index + 1 : index
            if equals < text.count, text[equals] == equalsSign {
                result.append(equalsSign)
                index = equals + 1
                if index < text.count, text[index] == Byte.space { index += 1 }
            } else {
                result.append(text[index])
                index += 1
            }
        }
        return result
    }

    static let questionMark = UInt8(ascii: "?")
    private static let equalsSign = UInt8(ascii: "=")

    private static func isUsual(_ byte: UInt8) -> Bool {
        Byte.isDigit(byte) || (0x61...0x7a).contains(byte | 0x20) || "._-/+@~,=[]".utf8.contains(byte)
    }

    /// The sections that count on a machine. Source: the names of U-Boot's device trees, and
    /// https://www.raspberrypi.com/documentation/computers/config_txt.html#model-filters.
    static func sections(of deviceTree: String?) -> Set<String> {
        guard let tree = deviceTree else { return [] }
        var sections: Set<String> = []
        if tree.contains("rpi-3") || tree.contains("cm3") { sections.insert("pi3") }
        if tree.contains("3-a-plus") || tree.contains("3-b-plus") { sections.insert("pi3+") }
        if tree.contains("zero-2") { sections.insert("pi02") }
        if tree.contains("rpi-4") || tree.contains("cm4") { sections.insert("pi4") }
        if tree.contains("rpi-400") { sections.insert("pi400") }
        if tree.contains("cm3") { sections.insert("cm3") }
        if tree.firstMatch(of: /cm4[^s]/) != nil { sections.insert("cm4") }
        return sections
    }

    /// The settings on a machine.
    ///
    /// - Parameter deviceTree: U-Boot's `fdtfile`; nil where it has none.
    func settings(deviceTree: String?) -> BootSettings {
        let own = Self.sections(of: deviceTree)
        var isElsewhere = false
        var isConditional = false
        var values: [String: String] = [:]
        for line in lines {
            let text = String(decoding: line.text, as: UTF8.self)
            if text.hasPrefix("[") {
                let section = text.lowercased()
                if section.hasPrefix("[all]") {
                    (isElsewhere, isConditional) = (false, false)
                } else if own.contains(where: { section.hasPrefix("[\($0)]") }) {
                    isElsewhere = false
                } else if ["[pi", "[cm", "[none]"].contains(where: { section.hasPrefix($0) }) {
                    isElsewhere = true
                } else {
                    isConditional = true
                }
            } else if !isElsewhere, !isConditional, let (key, value) = Self.setting(text) {
                values[key] = value
            }
        }
        func value(_ key: String) -> String? { values[key].flatMap { $0.isEmpty ? nil : $0 } }
        return BootSettings(
            kernel: value("kernel"), osPrefix: value("os_prefix"), initramfs: value("initramfs"),
            ramfsFile: value("ramfsfile"), upstreamKernel: value("upstream_kernel"), commandLine: value("cmdline"))
    }

    /// The setting of a shortened line, if it is one that counts; its value ends at a blank or a comma.
    static func setting(_ text: String) -> (key: String, value: String)? {
        for key in keys where text.hasPrefix(key) {
            let rest = text.dropFirst(key.count)
            guard rest.hasPrefix("=") || (key == "initramfs" && rest.hasPrefix(" ")) else { continue }
            let value = rest.dropFirst().prefix { $0 != " " && $0 != "," }
            return (key, value.map { $0 == "[" || $0 == "]" ? "?" : String($0) }.joined())
        }
        return nil
    }
}
