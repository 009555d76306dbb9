import Configuration

/// What the file systems and the partition table of an OS image say of themselves.
package struct ImageIdentity: Hashable, Sendable {
    /// The identifier of the image's DOS partition table; nil where there is none. The PARTUUIDs of its partitions begin
    /// with its eight hexadecimal digits.
    package var diskID: UInt32?
    /// UUID of the file system on the image's first partition as /etc/fstab writes it, `1234-ABCD`; nil where there is
    /// none.
    package var bootUUID: String?
    /// UUID of the file system on the image's second partition as /etc/fstab writes it, lower case with dashes; nil where
    /// there is none.
    package var rootfsUUID: String?

    /// An image with these marks.
    package init(diskID: UInt32?, bootUUID: String?, rootfsUUID: String?) {
        (self.diskID, self.bootUUID, self.rootfsUUID) = (diskID, bootUUID, rootfsUUID)
    }

    /// The UUID of the file system on partition 1 or 2, if it is one that can stand in fstab.
    func uuid(ofPartition number: Int) -> String? {
        guard let uuid = number == 1 ? bootUUID : number == 2 ? rootfsUUID : nil,
            (1...64).contains(uuid.utf8.count),
            uuid.utf8.allSatisfy({ Byte.isHexDigit($0) || $0 == UInt8(ascii: "-") })
        else { return nil }
        return uuid
    }
}

/// A text of /etc/fstab (fstab(5)), kept byte for byte where nothing is to be changed.
package struct Fstab: Hashable, Sendable {
    /// The lines, each with its line end.
    private let lines: [[UInt8]]

    /// A line that is longer than this is not an entry that a person wrote; it is kept and not looked at.
    static let longestLine = 4096

    /// The text in these bytes, in any encoding that contains ASCII.
    package init(_ bytes: some Sequence<UInt8>) { lines = BootFiles.lines(of: bytes) }

    package init(_ text: String) { self.init(text.utf8) }

    /// The text with the image's partitions named so that they are found on a card with another partition table.
    package struct Relocated: Hashable, Sendable {
        /// The new text.
        package let bytes: [UInt8]
        /// What could not be changed and why: one sentence each, lower case.
        package let notes: [String]
        /// The entry of `/` lets its file system grow at the first boot, as was asked for.
        package let grows: Bool
        /// The new text; bytes that are not UTF-8 are shown as U+FFFD.
        package var text: String { String(decoding: bytes, as: UTF8.self) }
    }

    /// Names the image's two partitions by the UUIDs of their file systems, which do not depend on the partition table.
    ///
    /// Entries with `UUID=` or `LABEL=` and those of other disks stay as they are, and so do comments, order, white
    /// space, options and line ends.
    ///
    /// - Parameters:
    ///   - identity: the image's disk identifier and UUIDs.
    ///   - grow: `/` gets the option `x-systemd.growfs` (systemd.mount(5)): its file system grows to its partition's size
    ///     at the first boot.
    package func relocated(_ identity: ImageIdentity, grow: Bool) -> Relocated {
        var bytes: [UInt8] = []
        var notes: [String] = []
        var hasRoot = false
        var grows = false
        for (index, line) in lines.enumerated() {
            guard var entry = Entry(line) else {
                bytes += line
                continue
            }
            let place = "fstab line \(index + 1)"
            switch entry.partition(identity) {
            case .image(let number):
                if let uuid = identity.uuid(ofPartition: number) {
                    entry.replace(.spec, by: "UUID=\(uuid)")
                } else {
                    notes.append(
                        "\(place): \(sanitized(entry.spec, limit: 120)) stays, for the file system on the image's partition \(number) "
                            + "has no UUID that could take its place")
                }
            case .other(let reason): notes.append("\(place): \(sanitized(entry.spec, limit: 120)) stays, \(reason)")
            case .elsewhere: break
            }
            if grow, !hasRoot, entry.mountPoint == "/" {
                let obstacle = entry.grow()
                grows = obstacle == nil
                if let obstacle {
                    notes.append("\(place): the root file system does not grow at the first boot, \(obstacle)")
                }
            }
            hasRoot = hasRoot || entry.mountPoint == "/"
            bytes += entry.line
        }
        if grow, !hasRoot {
            notes.append(
                "fstab has no entry for /, so the root file system does not grow at the first boot; "
                    + "x-systemd.growfs must be an option of that entry")
        }
        return Relocated(bytes: bytes, notes: notes, grows: grows)
    }

    /// Where the image's first partition is mounted: the entry that names it, else one of FAT on /boot/firmware or /boot;
    /// nil where it is mounted nowhere.
    package func bootMountPoint(_ identity: ImageIdentity) -> String? { bootEntry(identity)?.mountPoint }

    /// Whether the system comes up without the image's first partition: `nofail`, `noauto`, or no entry at all.
    package func bootIsOptional(_ identity: ImageIdentity) -> Bool {
        guard let options = bootEntry(identity)?.options else { return true }
        return options.contains("nofail") || options.contains("noauto")
    }

    /// Whether the image's first partition is mounted for reading only.
    package func bootIsReadOnly(_ identity: ImageIdentity) -> Bool {
        bootEntry(identity)?.options.last { $0 == "ro" || $0 == "rw" } == "ro"
    }

    private func bootEntry(_ identity: ImageIdentity) -> Entry? {
        let entries = lines.compactMap(Entry.init).filter { $0.mountPoint.hasPrefix("/") }
        let named = entries.first { entry in
            if case .image(1) = entry.partition(identity) { return true }
            guard let uuid = identity.bootUUID, let own = entry.value(of: "UUID", folder: "by-uuid") else {
                return false
            }
            return own.lowercased() == uuid.lowercased()
        }
        // Ubuntu's images say LABEL=system-boot.
        return named
            ?? ["/boot/firmware", "/boot"].lazy.compactMap { place in
                entries.first { $0.mountPoint == place && ["vfat", "msdos"].contains($0.type) }
            }.first
    }
}

/// One entry of fstab and the line that it stands in.
private struct Entry {
    private(set) var line: [UInt8]
    /// Where in the line its fields are; at least two.
    private var fields: [Range<Int>]

    enum Field: Int { case spec, mountPoint, type, options }

    enum Partition {
        /// Partition 1 or 2 of the image.
        case image(Int)
        /// What the entry says cannot be found on the card, and why.
        case other(String)
        /// Another disk, or a name that holds on any card.
        case elsewhere
    }

    /// The entry in `line`; nil for comments, empty lines and what is not an entry.
    init?(_ line: [UInt8]) {
        guard line.count <= Fstab.longestLine, !line.contains(0) else { return nil }
        var fields: [Range<Int>] = []
        var start: Int?
        for (index, byte) in line.enumerated() {
            if Byte.isBlank(byte) || byte == Byte.newline || byte == Byte.carriageReturn {
                if let first = start { fields.append(first..<index) }
                start = nil
            } else {
                start = start ?? index
            }
        }
        if let first = start { fields.append(first..<line.count) }
        guard fields.count >= 2, line[fields[0].lowerBound] != Byte.hash else { return nil }
        self.line = line
        self.fields = fields
    }

    private func text(_ field: Field) -> String? {
        guard field.rawValue < fields.count else { return nil }
        return unescaped(line[fields[field.rawValue]])
    }

    var spec: String { text(.spec) ?? "" }
    var type: String { text(.type) ?? "" }
    var options: [String] { (text(.options) ?? "defaults").split(separator: ",").map(String.init) }

    /// Without a slash at its end.
    var mountPoint: String {
        let text = text(.mountPoint) ?? ""
        return text.utf8.count > 1 && text.hasSuffix("/") ? String(text.dropLast()) : text
    }

    mutating func replace(_ field: Field, by text: String) {
        let range = fields[field.rawValue]
        let bytes = Array(text.utf8)
        line.replaceSubrange(range, with: bytes)
        let change = bytes.count - range.count
        fields[field.rawValue] = range.lowerBound..<(range.upperBound + change)
        for later in fields.indices.dropFirst(field.rawValue + 1) {
            fields[later] = (fields[later].lowerBound + change)..<(fields[later].upperBound + change)
        }
    }

    /// Adds the option that lets the file system grow; else why it cannot.
    mutating func grow() -> String? {
        let option = "x-systemd.growfs"
        guard !options.contains(option) else { return nil }
        // systemd-growfs(8): these three.
        guard ["ext4", "btrfs", "xfs"].contains(type) else {
            return
                "its type '\(sanitized(type, limit: 120))' is not one that x-systemd.growfs can grow: ext4, btrfs, xfs"
        }
        guard options.last(where: { $0 == "ro" || $0 == "rw" }) != "ro" else {
            return "its option ro lets nothing write to it"
        }
        if fields.count > Field.options.rawValue {
            let old = String(decoding: line[fields[Field.options.rawValue]], as: UTF8.self)
            replace(.options, by: "\(old),\(option)")
        } else {
            line.insert(contentsOf: " defaults,\(option)".utf8, at: fields[Field.type.rawValue].upperBound)
        }
        return nil
    }

    /// The value of `TAG=value`, quoted or not, or of /dev/disk/`folder`/value.
    func value(of tag: String, folder: String) -> String? {
        if let path = spec.dropping(prefix: "/dev/disk/\(folder)/") { return String(path) }
        guard var value = spec.dropping(prefix: tag + "=") else { return nil }
        for quote in ["\"", "'"] where value.utf8.count >= 2 && value.hasPrefix(quote) && value.hasSuffix(quote) {
            value = value.dropFirst().dropLast()
            break
        }
        return String(value)
    }

    /// `/`, or a place where images mount their first partition.
    private var isOfSystem: Bool { ["/", "/boot", "/boot/firmware"].contains(mountPoint) }

    func partition(_ identity: ImageIdentity) -> Partition {
        if let value = value(of: "PARTUUID", folder: "by-partuuid") { return partition(uuid: value, identity) }
        if spec.dropping(prefix: "PARTLABEL=") != nil || spec.hasPrefix("/dev/disk/by-partlabel/") {
            return isOfSystem ? .other("for partitions have no labels in the card's DOS partition table") : .elsewhere
        }
        if let (disk, number) = numbered(spec) {
            // mmcblk0 is the card that the system runs from; on other disks partitions 1 and 2 are the image's only
            // where the image would have been booted from them.
            guard disk == "mmcblk0" || isOfSystem else { return .elsewhere }
            return partition(number: number)
        }
        return .elsewhere
    }

    private func partition(number: Int) -> Partition {
        switch number {
        case 1, 2: .image(number)
        default: .other("for the image has no partition \(number): it has 1 and 2, which become 2 and 3 of the card")
        }
    }

    private func partition(uuid: String, _ identity: ImageIdentity) -> Partition {
        let parts = uuid.split(separator: "-", omittingEmptySubsequences: false)
        if parts.count == 2, parts[0].utf8.count == 8, let disk = UInt32(parts[0], radix: 16), disk == identity.diskID,
            parts[1].utf8.count == 2, let number = Int(parts[1], radix: 16), parts[1].utf8.allSatisfy(Byte.isHexDigit)
        {
            return partition(number: number)
        }
        guard isOfSystem else { return .elsewhere }
        let own = identity.diskID.map { "its disk id is \(hex($0))" } ?? "it has no disk id"
        return .other("for it names no partition of this image, \(own)")
    }

    /// The disk and the number in the name of a partition: `/dev/mmcblk0p2`, `/dev/sda2`, `/dev/nvme0n1p2`,
    /// `/dev/disk/by-id/…-part2`.
    private func numbered(_ spec: String) -> (disk: String, number: Int)? {
        guard let name = spec.dropping(prefix: "/dev/") else { return nil }
        let digits = name.utf8.reversed().prefix(while: Byte.isDigit).count
        guard (1...3).contains(digits), let number = Int(name.suffix(digits)) else { return nil }
        let stem = name.dropLast(digits)
        if stem.hasPrefix("disk/by-path/") || stem.hasPrefix("disk/by-id/") {
            return stem.hasSuffix("-part") ? (String(stem.dropLast(5)), number) : nil
        }
        if let letters = stem.dropping(prefix: "sd") {
            let good = (1...2).contains(letters.utf8.count) && letters.utf8.allSatisfy { (0x61...0x7a).contains($0) }
            return good ? (String(stem), number) : nil
        }
        guard stem.hasSuffix("p") else { return nil }
        let disk = stem.dropLast()
        if let unit = disk.dropping(prefix: "mmcblk") {
            return !unit.isEmpty && unit.utf8.allSatisfy(Byte.isDigit) ? (String(disk), number) : nil
        }
        guard let unit = disk.dropping(prefix: "nvme") else { return nil }
        let units = unit.split(separator: "n", omittingEmptySubsequences: false)
        let good = units.count == 2 && units.allSatisfy { !$0.isEmpty && $0.utf8.allSatisfy(Byte.isDigit) }
        return good ? (String(disk), number) : nil
    }
}

/// Eight hexadecimal digits.
private func hex(_ number: UInt32) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: 8 - digits.utf8.count) + digits
}

/// A field's text: `\040` and the like are characters that separate fields (fstab(5)).
private func unescaped(_ field: ArraySlice<UInt8>) -> String {
    var bytes: [UInt8] = []
    var rest = field
    while let byte = rest.popFirst() {
        let octal = rest.prefix(3)
        if byte == Byte.backslash, octal.count == 3, octal.allSatisfy({ (0x30...0x37).contains($0) }),
            let value = UInt8(String(decoding: octal, as: UTF8.self), radix: 8)
        {
            bytes.append(value)
            rest = rest.dropFirst(3)
        } else {
            bytes.append(byte)
        }
    }
    return String(decoding: bytes, as: UTF8.self)
}
