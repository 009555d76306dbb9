import Configuration

/// A text of cmdline.txt: the kernel's command line in its first line.
///
/// The Pi's firmware and U-Boot's boot script take the first line only; later lines are kept and mean nothing. A word may
/// hold blanks in double quotes, as the kernel reads it (lib/cmdline.c, `next_arg`).
package struct KernelCommandLine: Hashable, Sendable {
    /// The words of the first line with the white space in front of each.
    private var pieces: [Piece]
    /// White space behind the last word, and the line end.
    private var tail: [UInt8]
    /// The lines after the first.
    private let rest: [UInt8]

    private struct Piece: Hashable, Sendable {
        var blank: [UInt8]
        var word: [UInt8]
    }

    /// The text in these bytes.
    package init(_ bytes: some Sequence<UInt8>) {
        let lines = BootFiles.lines(of: bytes)
        rest = Array(lines.dropFirst().joined())
        pieces = []
        var piece = Piece(blank: [], word: [])
        var quoted = false
        for byte in lines.first ?? [] {
            let isSpace = Byte.isBlank(byte) || byte == Byte.newline || byte == Byte.carriageReturn
            // A quote that is never closed ends with the line.
            if byte == Byte.newline || (isSpace && !quoted) {
                if !piece.word.isEmpty {
                    pieces.append(piece)
                    piece = Piece(blank: [], word: [])
                }
                piece.blank.append(byte)
            } else {
                if byte == Byte.quote { quoted.toggle() }
                piece.word.append(byte)
            }
        }
        if piece.word.isEmpty {
            tail = piece.blank
        } else {
            pieces.append(piece)
            tail = []
        }
    }

    package init(_ text: String) { self.init(text.utf8) }

    /// The text of the file.
    package var bytes: [UInt8] { pieces.flatMap { $0.blank + $0.word } + tail + rest }
    /// The text of the file; bytes that are not UTF-8 are shown as U+FFFD.
    package var text: String { String(decoding: bytes, as: UTF8.self) }
    /// The first line's words, with their quotes.
    package var words: [String] { pieces.map { String(decoding: $0.word, as: UTF8.self) } }

    /// The command line with `words` behind it; a word that it already has is not added.
    ///
    /// - Parameter words: as the kernel reads them: with quotes where one holds a blank, without a line break.
    package func adding(_ words: [String]) -> KernelCommandLine {
        var result = self
        for word in words where !word.isEmpty && !result.words.contains(word) {
            result.pieces.append(Piece(blank: result.pieces.isEmpty ? [] : [Byte.space], word: Array(word.utf8)))
        }
        return result
    }

    /// The command line less the words for which `isRemoved` is true.
    package func removing(where isRemoved: (String) throws -> Bool) rethrows -> KernelCommandLine {
        var result = self
        result.pieces = []
        // What is in front of the first word stays there, whichever word that is.
        let start = pieces.first?.blank ?? []
        for piece in pieces where !(try isRemoved(String(decoding: piece.word, as: UTF8.self))) {
            result.pieces.append(result.pieces.isEmpty ? Piece(blank: start, word: piece.word) : piece)
        }
        return result
    }

    /// The command line for a card where partition 1 is U-Boot's.
    package struct Relocated: Hashable, Sendable {
        /// The new text.
        package let bytes: [UInt8]
        /// What was removed or cannot work, and why: one sentence each, lower case.
        package let notes: [String]
        /// The image would have made its root file system as large as the card on its first boot.
        package let wouldHaveGrown: Bool
        /// The new text; bytes that are not UTF-8 are shown as U+FFFD.
        package var text: String { String(decoding: bytes, as: UTF8.self) }
    }

    /// Removes what would change the card's partition table on the first boot, and has `root=` name the card's partition 3 where
    /// it named the image's second by the image's own table. The boot script replaces every `root=` anyway; a Pi whose firmware
    /// starts the kernel itself takes the file as it is.
    package func relocated() -> Relocated {
        var notes: [String] = []
        let growing = words.filter { Self.reasonToRemove($0) != nil }
        let quirk = "sdhci.debug_quirks2=4"
        var result = removing { word in
            if let reason = Self.reasonToRemove(word) {
                notes.append("removed \(sanitized(word, limit: 120)), \(reason)")
                return true
            }
            // Images set it for these first boots only, and the first-boot script takes it away again.
            guard word == quirk, !growing.isEmpty else { return false }
            notes.append(
                "removed \(word), which slows the card down for the sake of \(sanitized(growing[0], limit: 120)) alone")
            return true
        }
        result.rename(Self.cardRoot, where: Self.namesSecondPartition)
        for word in words where Self.namesPartition(word) {
            notes.append(
                "\(sanitized(word, limit: 120)) stays and names a partition by the image's own table; on the card partition 1 is "
                    + "U-Boot's and the image's partitions are 2 and 3")
        }
        let ignored = BootFiles.lines(of: rest).filter { !$0.allSatisfy { Byte.isBlank($0) || $0 < Byte.space } }.count
        if ignored > 0 {
            notes.append(
                "cmdline.txt has \(ignored) more line\(ignored == 1 ? "" : "s") behind its first; only the first counts"
            )
        }
        if !words.isEmpty, !words.contains(where: { $0.hasPrefix("root=") }) {
            notes.append("cmdline.txt has no root=; the boot script adds one, the card's partition 3")
        }
        return Relocated(bytes: result.bytes, notes: notes, wouldHaveGrown: !growing.isEmpty)
    }

    /// The command line with which the boot script starts the kernel; nil where the first line has no word, and it starts none.
    ///
    /// A blank is in front of it. Every `root=` becomes the card's partition 3, in quotes too, and where there is none it
    /// comes first; `console=serial0` and `serial1` get the names that the kernel knows. Source: step 5 of
    /// templates/boot/boot.cmd; docs/images.md has the rules.
    ///
    /// - Parameters:
    ///   - root: what stands behind `root=`.
    ///   - serial: the kernel's names of `serial0` and `serial1`.
    package func bootArguments(root: String, serial: (String, String)) -> [UInt8]? {
        let loaded = Array(bytes.prefix(Self.longestLoaded))
        var line = loaded.prefix { $0 != 0 && $0 != Byte.newline }
        // The script puts a line feed behind the file: only a zero byte ends it before that.
        if line.count == loaded.count || loaded[line.count] != 0 {
            while line.last == Byte.carriageReturn { line.removeLast() }
        }
        guard line.contains(where: { !Byte.isBlank($0) && $0 != Byte.carriageReturn }) else { return nil }
        var text = [Byte.space] + line
        let rootWord = Array(" root=\(root)".utf8)
        var isThere = false
        text = Self.replaced(text, word: "root=") { rest in
            isThere = true
            return (rootWord, rest.prefix { !Byte.isBlank($0) }.count)
        }
        if !isThere { text = rootWord + text }
        for (name, kernelName) in [("serial0", serial.0), ("serial1", serial.1)] {
            text = Self.replaced(text, word: "console=\(name)") { _ in (Array(" console=\(kernelName)".utf8), 0) }
        }
        return text
    }

    /// Bytes of the file that the boot script loads; the kernel takes half of that.
    static let longestLoaded = 4096
    /// Bytes that the kernel takes, less one for its end. Source: COMMAND_LINE_SIZE in Linux, arch/arm64 and arch/arm,
    /// include/uapi/asm/setup.h.
    static let longestForKernel = (arm64: 2047, arm: 1023)

    /// - Parameter replace: given what is behind the word, what stands for the blank and the word, and how much more of
    ///   what is behind goes.
    private static func replaced(
        _ text: [UInt8], word: String, by replace: (ArraySlice<UInt8>) -> ([UInt8], Int)
    ) -> [UInt8] {
        let word = Array(word.utf8)
        var result: [UInt8] = []
        var index = 0
        while index < text.count {
            let rest = text[(index + 1)...]
            if Byte.isBlank(text[index]), rest.starts(with: word) {
                let (new, more) = replace(rest.dropFirst(word.count))
                result += new
                index += 1 + word.count + more
            } else {
                result.append(text[index])
                index += 1
            }
        }
        return result
    }

    /// Why no kernel can be started with this command line: one sentence, lower case; nil where nothing is known.
    ///
    /// - Parameter name: the file's name.
    package func obstacle(name: String) -> String? {
        // As long as a card's PARTUUID is.
        let root = "PARTUUID=00000000-03"
        guard let text = bootArguments(root: root, serial: ("ttyAMA0", "ttyAMA0")) else {
            return "the first line of \(sanitized(name, limit: 120)) is empty; must be the kernel's command line"
        }
        let word = Array(" root=\(root)".utf8)
        let starts = text.indices.filter { text[$0...].starts(with: word) }
        guard starts.contains(where: { $0 + word.count <= Self.longestForKernel.arm64 }) else {
            return
                "root= of \(sanitized(name, limit: 120)) lies behind the \(Self.longestForKernel.arm64) bytes that the kernel takes of a "
                + "command line"
        }
        return nil
    }

    /// What a user should know of the text of the first line, as one sentence each.
    ///
    /// - Parameter name: the file's name.
    package func textNotes(name: String) -> [String] {
        var notes: [String] = []
        let name = sanitized(name, limit: 120)
        if bytes.contains(0) { notes.append("\(name) has a zero byte; it ends there for the boot script") }
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) {
            notes.append(
                "\(name) begins with a byte order mark; it belongs to the first word, which the kernel does not know")
        }
        if let text = bootArguments(root: "PARTUUID=00000000-03", serial: ("ttyAMA0", "ttyAMA0")),
            text.count > Self.longestForKernel.arm
        {
            let limit = Self.longestForKernel
            notes.append(
                "the command line of \(name) has \(text.count) bytes on a card; a kernel takes \(limit.arm64) bytes "
                    + "(\(limit.arm) with 32 bits) and drops the rest")
        }
        let line = BootFiles.lines(of: bytes).first ?? []
        for (byte, what, result) in [
            (UInt8(ascii: "'"), "an apostrophe (')", "start nothing with it"),
            (Byte.backslash, "a backslash (\\)", "take it away"),
        ] where line.contains(byte) {
            notes.append(
                "\(name) has \(what); cards whose boot script is older than number 3 \(result): bring them up to date with "
                    + "rpiflash upgrade")
        }
        return notes
    }

    /// Why a word must go; nil for all others.
    private static func reasonToRemove(_ word: String) -> String? {
        if word.hasPrefix("init=/"), word.hasSuffix("/raspberrypi-sys-mods/firstboot") {
            return
                "which writes a new disk id into the card's partition table, resizes the last partition and then reboots "
                + "with 'reboot -f 2' into what the firmware calls partition 2, past U-Boot"
        }
        if let path = word.dropping(prefix: "init="),
            path.split(separator: "/").last?.hasPrefix("init_resize") == true
        {
            return "which rewrites the card's partition table"
        }
        if word == "resize" {
            return "which lets the initramfs resize the last partition in the card's partition table"
        }
        return nil
    }

    /// A card is the first MMC device on every Pi that has one slot, and the kernel knows this name without an initramfs.
    static let cardRoot = "root=/dev/mmcblk0p3"

    /// Whether a word is a `root=` that names the second partition by its number: of a DOS table, or of the card.
    private static func namesSecondPartition(_ word: String) -> Bool {
        if word == "root=/dev/mmcblk0p2" { return true }
        guard let id = word.dropping(prefix: "root=PARTUUID="), id.hasSuffix("-02") else { return false }
        let digits = id.utf8.dropLast(3)
        return digits.count == 8 && digits.allSatisfy(Byte.isHexDigit)
    }

    private mutating func rename(_ new: String, where isMeant: (String) -> Bool) {
        for index in pieces.indices where isMeant(String(decoding: pieces[index].word, as: UTF8.self)) {
            pieces[index].word = Array(new.utf8)
        }
    }

    /// Whether a word other than `root=` names a partition by its number: `resume=/dev/mmcblk0p3`.
    private static func namesPartition(_ word: String) -> Bool {
        guard let equals = word.firstIndex(of: "="), word[..<equals] != "root" else { return false }
        let value = word[word.index(after: equals)...]
        return value.dropping(prefix: "PARTUUID=") != nil || value.hasPrefix("/dev/mmcblk")
            || value.hasPrefix("/dev/disk/by-partuuid/")
    }
}
