/// Names of files, long ones and those of 8.3, and the entries that hold them. Source: fatgen103.
enum FATName {
    /// What FAT takes: 1 to 255 UTF-16 units, none of these signs, no blank or dot at its end.
    static func isValid(_ name: String) -> Bool {
        (1...255).contains(name.utf16.count) && name != "." && name != ".." && name.last != " " && name.last != "."
            && !name.unicodeScalars.contains {
                $0.value < 0x20 || $0.value == 0x7f || "\"*/:<>?\\|".contains(Character($0))
            }
    }

    /// An 8.3 name as Linux and U-Boot show it: parts that are marked so are in lower case.
    static func shown(_ short: [UInt8], lowerCase flags: UInt8) -> String {
        func part(_ bytes: ArraySlice<UInt8>, isLower: Bool) -> String {
            let end: Int = bytes.lastIndex { $0 != 0x20 }.map { $0 + 1 } ?? bytes.startIndex
            // Other code pages than ASCII's are not known.
            let text = String(decoding: bytes[bytes.startIndex..<end].map { $0 < 0x80 ? $0 : 0xff }, as: UTF8.self)
            return isLower ? text.lowercased() : text
        }
        // 0x05 stands for a first byte that would mean 'removed'.
        let bytes = short[0] == 0x05 ? [0xe5] + short.dropFirst() : short
        let (base, type) = (
            part(bytes[0..<8], isLower: flags & 0x08 != 0), part(bytes[8..<11], isLower: flags & 0x10 != 0)
        )
        return type.isEmpty ? base : "\(base).\(type)"
    }

    static func isShortByte(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || "$%'-_@~`!(){}^#&".utf8.contains(byte)
    }

    /// The 8.3 name of a new file, and whether it needs a long name beside it.
    static func short(for name: String, taken: Set<[UInt8]>) throws(FATError) -> ([UInt8], Bool) {
        let upper = Array(name.utf8).map { (0x61...0x7a).contains($0) ? $0 - 0x20 : $0 }
        let dot = upper.lastIndex(of: UInt8(ascii: "."))
        let (base, type) = (upper[..<(dot ?? upper.count)], upper[(dot.map { $0 + 1 } ?? upper.count)...])
        func padded(_ base: some Collection<UInt8>, _ type: some Collection<UInt8>) -> [UInt8] {
            let (spaces, count) = (UInt8(0x20), base.count)
            return base + [UInt8](repeating: spaces, count: 8 - count) + type
                + [UInt8](repeating: spaces, count: 3 - type.count)
        }
        if (1...8).contains(base.count), dot == nil ? type.isEmpty : (1...3).contains(type.count),
            base.allSatisfy(isShortByte), type.allSatisfy(isShortByte)
        {
            let short = padded(base, type)
            if !taken.contains(short) { return (short, upper != Array(name.utf8)) }
        }
        func usable(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
            bytes.filter { $0 != 0x20 && $0 != UInt8(ascii: ".") }.map { isShortByte($0) ? $0 : UInt8(ascii: "_") }
        }
        var stem = usable(base)
        if stem.isEmpty { stem = [UInt8(ascii: "_")] }
        for number in 1...999_999 {
            let tail = Array("~\(number)".utf8)
            let short = padded(Array(stem.prefix(8 - tail.count)) + tail, Array(usable(type).prefix(3)))
            if !taken.contains(short) { return (short, true) }
        }
        throw .badName(name)
    }

    /// Of an 8.3 name: what ties long-name entries to it. Source: fatgen103, `ChkSum`.
    static func checksum(_ short: [UInt8]) -> UInt8 {
        short.reduce(0) { sum, byte in (sum >> 1 | sum << 7) &+ byte }
    }

    static func longRecords(_ name: String, _ short: [UInt8]) -> [UInt8] {
        var units = Array(name.utf16)
        let parts = (units.count + 12) / 13
        if units.count % 13 != 0 {
            units.append(0)
            units += [UInt16](repeating: 0xffff, count: parts * 13 - units.count)
        }
        let sum = checksum(short)
        var records: [UInt8] = []
        for part in (0..<parts).reversed() {
            var record = [UInt8](repeating: 0, count: 32)
            record[0] = UInt8(part + 1) | (part == parts - 1 ? 0x40 : 0)
            (record[11], record[13]) = (0x0f, sum)
            for (index, place) in [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30].enumerated() {
                record.set(UInt64(units[part * 13 + index]), 2, at: place)
            }
            records += record
        }
        return records
    }

    static func record(_ short: [UInt8], isFolder: Bool, cluster: UInt32, size: Int) -> [UInt8] {
        var record = short + [UInt8](repeating: 0, count: 21)
        record[11] = isFolder ? 0x10 : 0x20
        // Made, used and written last.
        for place in [16, 18, 24] { record.replaceSubrange(place..<place + 2, with: FATFiles.date) }
        record.set(UInt64(cluster) >> 16, 2, at: 20)
        record.set(UInt64(cluster) & 0xffff, 2, at: 26)
        record.set(UInt64(size), 4, at: 28)
        return record
    }
}
