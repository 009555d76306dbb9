import Configuration
import Crypto
package import DiskLayout
import FlashEvents
import FlashPlan

/// A recovery image, as far as an upgrade needs it.
package struct RecoveryCard: Sendable {
    /// A file of its partition 1.
    struct File: Sendable {
        let name: String
        let content: [UInt8]
        /// 64 lower-case hexadecimal digits.
        let sha256: String
    }

    /// The image's path, for messages.
    let image: String
    let starts: CardStarts
    let script: ScriptLabel
    /// In the order in which they are renamed.
    let files: [File]

    /// - Parameters:
    ///   - image: its path.
    ///   - table: its partition table.
    ///   - files: reads the files of its partition 1, by path.
    /// - Throws: ``FlashError/image(_:)`` where it cannot be used; what `files` throws.
    package init(image: String, table: PartitionTable, files: () throws -> [String: [UInt8]]) throws {
        do throws(CardMismatch) {
            starts = try CardStarts(table, of: image)
        } catch {
            throw FlashError.image(error.description)
        }
        let contents = try files()
        for needed in ["boot.scr", "u-boot.bin"] where contents[needed]?.isEmpty ?? true {
            throw FlashError.image("partition 1 of \(image) has no \(needed); must be a recovery image")
        }
        if let other = contents.keys.sorted().first(where: { !Self.isPlain($0) }) {
            throw FlashError.image(
                "partition 1 of \(image) has \(quoted(other)); only files with plain names (letters, digits, . _ + -) can be "
                    + "brought to a card")
        }
        guard let script = ScriptLabel(contents["boot.scr"] ?? []) else {
            throw FlashError.image("boot.scr of \(image) \(ScriptLabel.missing)")
        }
        guard script.starts == starts else {
            throw FlashError.image(
                "boot.scr of \(image) was made for partitions at LBA \(script.starts), its table has \(starts)")
        }
        self.image = image
        self.script = script
        // A card's own settings, which an upgrade leaves alone.
        let names = contents.keys.filter { $0.lowercased() != "rpiflash.env" }
        self.files = names.sorted {
            (Self.rank($0, isSigned: script.isSigned), $0) < (Self.rank($1, isSigned: script.isSigned), $1)
        }.map { name in
            let content = contents[name] ?? []
            let digest = SHA256Digest(Array(SHA256.hash(data: content)))
            return File(name: name, content: content, sha256: digest?.hex ?? "")
        }
    }

    /// Names that mean nothing to a shell, to tar or to a folder.
    private static func isPlain(_ name: String) -> Bool {
        name.utf8.allSatisfy { $0.isLetter || $0.isDigit || [0x2e, 0x5f, 0x2b, 0x2d].contains($0) }
            && !name.hasPrefix(".") && !name.hasPrefix("-") && (1...99).contains(name.utf8.count)
    }

    /// What starts first is renamed first, so that each file meets one of its own age or younger that has started it. A
    /// start file and its fixup file belong together, and are renamed one right after the other.
    ///
    /// A signed boot script comes before the device trees, which have the keys: every U-Boot runs it, and one that has a key
    /// runs no other.
    private static func rank(_ name: String, isSigned: Bool) -> String {
        let base = name.split(separator: ".", omittingEmptySubsequences: false).dropLast().joined(separator: ".")
        switch name {
        case "bootcode.bin": return "2"
        case "u-boot.bin": return "6"
        case "boot.scr": return isSigned ? "3z" : "7"
        case "config.txt": return "8"
        case _ where name.hasPrefix("start") && name.hasSuffix(".elf"): return "3\(base.dropFirst(5))a"
        case _ where name.hasPrefix("fixup") && name.hasSuffix(".dat"): return "3\(base.dropFirst(5))b"
        case _ where name.hasSuffix(".dtb"): return "4"
        default: return "1"
        }
    }
}

/// Where partitions 2 and 3 start, which the boot script knows.
struct CardStarts: Hashable, CustomStringConvertible {
    let boot: LBA
    let rootfs: LBA

    var description: String { "\(boot.sector) and \(rootfs.sector)" }

    init(boot: LBA, rootfs: LBA) { (self.boot, self.rootfs) = (boot, rootfs) }

    /// - Parameter what: whose table it is, for messages.
    /// - Throws: where no card of rpiflash has such a table.
    init(_ table: PartitionTable, of what: String) throws(CardMismatch) {
        func partition(_ number: Int) -> Partition? { table.partitions.first { $0.number == number } }
        guard let first = partition(1) else { throw CardMismatch("\(what) has no partition 1") }
        guard first.type == .fat32LBA, first.start == LBA(0) + CardLayout.alignment else {
            throw CardMismatch(
                "partition 1 of \(what) has type 0x\(String(first.type.code, radix: 16)) and starts at \(first.start); must "
                    + "have type 0xc and start at LBA 8192")
        }
        guard let second = partition(2), let third = partition(3) else {
            throw CardMismatch("\(what) has no partition \(partition(2) == nil ? 2 : 3); a card of rpiflash has three")
        }
        self.init(boot: second.start, rootfs: third.start)
        guard boot > first.start, rootfs > boot else {
            throw CardMismatch(
                "partitions 2 and 3 of \(what) start at LBA \(self); must be behind partition 1, in this order")
        }
    }
}

/// Why something is not a card of rpiflash.
struct CardMismatch: Error {
    let description: String
    init(_ description: String) { self.description = description }
}

/// What a boot script says of itself.
struct ScriptLabel: Hashable {
    let board: String
    let starts: CardStarts
    /// The server that is asked where rpiflash.env names none; empty where DHCP names it.
    let server: String
    /// Names of the keys that the card knows, which have signed the script; empty: it is not signed.
    let keys: [String]

    var isSigned: Bool { !keys.isEmpty }

    static let missing = "is not a boot script of rpiflash: it names no board and no card layout"

    /// - Parameter bytes: a script image; what is not text in it is skipped.
    init?(_ bytes: [UInt8]) {
        let text = String(decoding: bytes.filter { $0 == 0x0a || (0x20..<0x7f).contains($0) }, as: UTF8.self)
        guard
            let label = text.firstMatch(
                of: /rpiflash: boot script for ([a-z0-9_]+), card layout 0x([0-9a-f]+)\/0x([0-9a-f]+)/),
            let boot = UInt64(label.output.2, radix: 16), let rootfs = UInt64(label.output.3, radix: 16)
        else { return nil }
        board = String(label.output.1)
        starts = CardStarts(boot: LBA(boot), rootfs: LBA(rootfs))
        let line = text.firstMatch(of: /(?m)^test -n "\$\{serverip\}" \|\| setenv serverip *([0-9.]*)$/)
        server = line.map { String($0.output.1) } ?? ""
        let names = text.firstMatch(of: /(?m)^setenv l_keys "([A-Za-z0-9 -]*)"$/)
        keys = names.map { $0.output.1.split(separator: " ").map(String.init) } ?? []
    }
}
