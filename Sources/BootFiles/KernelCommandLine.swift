/// A text of cmdline.txt: the kernel's command line in its first line.
///
/// The Pi's firmware and U-Boot's boot script take the first line only; later lines are kept and mean nothing. A word may
/// hold blanks in double quotes, as the kernel reads it (lib/cmdline.c, `next_arg`).
public struct KernelCommandLine: Hashable, Sendable {
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
    public init(_ bytes: some Sequence<UInt8>) {
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

    /// This text.
    public init(_ text: String) { self.init(text.utf8) }

    /// The text of the file.
    public var bytes: [UInt8] { pieces.flatMap { $0.blank + $0.word } + tail + rest }
    /// The text of the file; bytes that are no UTF-8 are shown as U+FFFD.
    public var text: String { String(decoding: bytes, as: UTF8.self) }
    /// The first line's words, with their quotes.
    public var words: [String] { pieces.map { String(decoding: $0.word, as: UTF8.self) } }

    /// The command line with `words` behind it; a word that it already has is not added.
    ///
    /// - Parameter words: as the kernel reads them: with quotes where one holds a blank, without a line break.
    public func adding(_ words: [String]) -> KernelCommandLine {
        var result = self
        for word in words where !word.isEmpty && !result.words.contains(word) {
            result.pieces.append(Piece(blank: result.pieces.isEmpty ? [] : [Byte.space], word: Array(word.utf8)))
        }
        return result
    }

    /// The command line less the words for which `isRemoved` is true.
    public func removing(where isRemoved: (String) throws -> Bool) rethrows -> KernelCommandLine {
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
    public struct Relocated: Hashable, Sendable {
        /// The new text.
        public let bytes: [UInt8]
        /// What was removed or cannot work, and why: one sentence each, lower case.
        public let notes: [String]
        /// The image would have made its root file system as large as the card on its first boot.
        public let wouldHaveGrown: Bool
        /// The new text; bytes that are no UTF-8 are shown as U+FFFD.
        public var text: String { String(decoding: bytes, as: UTF8.self) }
    }

    /// Removes what would change the card's partition table on the first boot. `root=` stays: the boot script replaces it
    /// by the card's partition 3.
    public func relocated() -> Relocated {
        var notes: [String] = []
        let growing = words.filter { Self.reasonToRemove($0) != nil }
        let quirk = "sdhci.debug_quirks2=4"
        let result = removing { word in
            if let reason = Self.reasonToRemove(word) {
                notes.append("removed \(harmless(word)), \(reason)")
                return true
            }
            // Images set it for these first boots only, and the first-boot script takes it away again.
            guard word == quirk, !growing.isEmpty else { return false }
            notes.append("removed \(word), which slows the card down for the sake of \(harmless(growing[0])) alone")
            return true
        }
        for word in words where Self.namesPartition(word) {
            notes.append(
                "\(harmless(word)) stays and names a partition by the image's own table; on the card partition 1 is "
                    + "U-Boot's and the image's partitions are 2 and 3")
        }
        let ignored = BootFiles.lines(of: rest).filter { !$0.allSatisfy { Byte.isBlank($0) || $0 < Byte.space } }.count
        if ignored > 0 {
            notes.append(
                "cmdline.txt has \(ignored) more line\(ignored == 1 ? "" : "s") behind its first; only the first counts"
            )
        }
        if words.isEmpty {
            notes.append("the first line of cmdline.txt is empty; it must hold the kernel's command line")
        } else if !words.contains(where: { $0.hasPrefix("root=") }) {
            notes.append("cmdline.txt has no root=; the boot script adds one, the card's partition 3")
        }
        return Relocated(bytes: result.bytes, notes: notes, wouldHaveGrown: !growing.isEmpty)
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

    /// Whether a word other than `root=` names a partition by its number: `resume=/dev/mmcblk0p3`.
    private static func namesPartition(_ word: String) -> Bool {
        guard let equals = word.firstIndex(of: "="), word[..<equals] != "root" else { return false }
        let value = word[word.index(after: equals)...]
        return value.dropping(prefix: "PARTUUID=") != nil || value.hasPrefix("/dev/mmcblk")
            || value.hasPrefix("/dev/disk/by-partuuid/")
    }
}
