public import BootFiles
public import DiskLayout
internal import HostTools

/// Files of a FAT filesystem in an image, read from it and changed in its view, by their path without a slash in front.
///
/// Read as Linux, U-Boot and the Pi's firmware read it: the kind by the boot sector's fields, so a FAT32 may have fewer
/// than 65525 clusters; the first FAT counts, and all of them are written. Names are compared without regard to case, long
/// ones and those of 8.3 alike. Source: Microsoft's FAT specification, 1.03 (fatgen103); Linux, fs/fat.
///
/// Each write happens whole or not at all.
public final class FATFiles {
    /// The image, or its view.
    package var image: ImageReader { area.image }
    let area: PartitionArea
    let geometry: FATGeometry
    private let table: FATTable

    /// A file or folder.
    struct Entry {
        var name: String
        /// As the entry has it: 8 and 3 bytes.
        var short: [UInt8]
        var isFolder: Bool
        var cluster: UInt32
        var size: UInt32
        /// Where the entry's 32 bytes are, in bytes from the filesystem's start.
        var offset: UInt64
    }

    /// A folder's entries as they lie there.
    private struct Folder {
        /// nil: the top folder of FAT12 and FAT16.
        var clusters: [UInt32]?
        var path: String
        var bytes: [UInt8]
        var entries: [Entry]
    }

    /// Bytes of a folder at most: 65536 entries. Source: Linux, fs/fat/fat.h, `FAT_MAX_DIR_SIZE`.
    private static let largestFolder = 2 << 20
    /// Files and folders at most; a boot partition has some hundred.
    private static let mostEntries = 100_000
    /// A file that is read at most: device trees and configurations have far less.
    package static let largestFile: UInt64 = 16 << 20
    /// The date of what is made, ``SourceDate/standard``: the same image gives the same bytes.
    private static let date: [UInt8] = [0x21, 0x56]

    /// - Parameters:
    ///   - image: takes changes where files are written.
    ///   - partition: one of its partitions.
    /// - Throws: ``FATError`` where there is no FAT filesystem that can be read.
    public convenience init(_ image: ImageReader, _ partition: Partition) throws(FATError) {
        let (area, start) = try imageFailure { () throws(OSImageError) in
            let area = try PartitionArea(partition, image)
            return (area, try area.head())
        }
        switch FATGeometry.probe(start, sectors: area.sectors) {
        case .absent: throw .damaged("there is no FAT filesystem in it")
        case .doubtful(_, let reason): throw .damaged(reason)
        case .found(let geometry): self.init(area, geometry)
        }
    }

    init(_ area: PartitionArea, _ geometry: FATGeometry) {
        self.area = area
        self.geometry = geometry
        table = FATTable(area: area, geometry: geometry)
    }

    // MARK: Reading

    /// The paths of all files, sorted, without a slash in front, as they are written in the filesystem.
    ///
    /// Bytes and UTF-16 that are no text become U+FFFD; such files are listed and cannot be asked for.
    ///
    /// - Throws: ``FATError``.
    public func names() throws(FATError) -> [String] {
        var names: [String] = []
        try walk { path, entry, _ throws(FATError) in
            if !entry.isFolder { names.append(path) }
        }
        return names.sorted()
    }

    /// The names of the kernel's command lines: one, or several where config.txt tells boards apart.
    ///
    /// - Parameter names: as ``names()`` gives them.
    public func commandLineNames(_ configuration: FirmwareConfiguration?, among names: [String]) -> [String] {
        var found: [String] = []
        for paths in (configuration ?? FirmwareConfiguration("")).commandLinePaths {
            let first = paths.lazy.compactMap { path in names.first { $0.lowercased() == path } }.first
            if let first, !found.contains(first) { found.append(first) }
        }
        return found
    }

    /// config.txt, with the files that it includes; nil where there is none.
    ///
    /// - Parameter names: as ``names()`` gives them.
    /// - Throws: ``FATError``.
    public func firmwareConfiguration(among names: [String]) throws(FATError) -> FirmwareConfiguration? {
        guard let name = names.first(where: { $0.lowercased() == "config.txt" }) else { return nil }
        let text = try read(name)
        var included: [String: [UInt8]] = [:]
        var texts = [text]
        while let text = texts.popLast(), included.count < 32 {
            for line in String(decoding: text, as: UTF8.self).split(whereSeparator: \.isNewline) {
                let words = line.split(whereSeparator: \.isWhitespace)
                guard words.count == 2, words[0] == "include", included[words[1].lowercased()] == nil,
                    let name = names.first(where: { $0.lowercased() == words[1].lowercased() })
                else { continue }
                let content = try read(name)
                included[words[1].lowercased()] = content
                texts.append(content)
            }
        }
        return FirmwareConfiguration(text) { included[$0.lowercased()] }
    }

    /// Whether the boot script starts a kernel from here.
    ///
    /// - Parameters:
    ///   - names: as ``names()`` gives them.
    ///   - commandLines: why nothing can be started with a command line, by its name.
    /// - Throws: ``FATError``.
    func bootOutlook(
        _ configuration: FirmwareConfiguration?, among names: [String], commandLines: [String: String]
    ) throws(FATError) -> BootOutlook {
        func key(_ path: String) -> String { path.lowercased().split(separator: "/").joined(separator: "/") }
        let choices = BootOutlook.choices(configuration, among: names)
        var kernels: [String: KernelKind] = [:]
        var obstacles: [String: String] = [:]
        for choice in choices {
            if let path = choice.selection.kernel, kernels[path] == nil,
                let name = names.first(where: { key($0) == key(path) })
            {
                kernels[path] = KernelKind(try start(of: name))
            }
            if let path = choice.selection.commandLine {
                obstacles[path] = commandLines.first { key($0.key) == key(path) }?.value
            }
        }
        return BootOutlook(configuration, choices: choices, kernels: kernels, commandLines: obstacles)
    }

    /// The first bytes of a file of any length, at most 4096.
    private func start(of path: String) throws(FATError) -> [UInt8] {
        let (found, _) = try find(path)
        guard var entry = found, !entry.isFolder else { throw .noFile(path) }
        entry.size = min(entry.size, 4096)
        return try content(of: entry, path)
    }

    /// A file's content.
    ///
    /// - Throws: ``FATError``: there is no such file, it is longer than 16 MiB, or its chain of clusters is damaged.
    public func read(_ path: String) throws(FATError) -> [UInt8] {
        let (entry, _) = try find(path)
        guard let entry else { throw .noFile(path) }
        guard !entry.isFolder else { throw .isFolder(path) }
        guard UInt64(entry.size) <= Self.largestFile else {
            throw .tooLong(path, bytes: UInt64(entry.size), limit: Self.largestFile)
        }
        return try content(of: entry, path)
    }

    private func content(of entry: Entry, _ path: String) throws(FATError) -> [UInt8] {
        guard entry.size > 0 else { return [] }
        let needed = clusters(for: UInt64(entry.size))
        let chain = try table.chain(from: entry.cluster, atMost: needed, of: path)
        guard UInt64(chain.count) == needed else { throw .damaged("\(path) ends before its length") }
        var content: [UInt8] = []
        content.reserveCapacity(Int(needed * geometry.clusterBytes))
        for run in runs(chain) {
            let (offset, count) = (geometry.offset(of: run.lowerBound), UInt64(run.count) * geometry.clusterBytes)
            content += try imageFailure { () throws(OSImageError) in try area.bytes(at: offset, count: count) }
        }
        content.removeLast(content.count - Int(entry.size))
        return content
    }

    /// Bytes of free clusters.
    ///
    /// - Throws: ``FATError``.
    public func freeBytes() throws(FATError) -> UInt64 { try table.countFree() * geometry.clusterBytes }

    // MARK: Writing

    /// Writes a file in place of what has this path, and reads it back. Folders that are missing are made.
    ///
    /// A file that is there keeps its name, attributes and times.
    ///
    /// - Throws: ``FATError``; nothing is changed then.
    public func write(_ content: [UInt8], to path: String) throws(FATError) {
        guard let overlay = area.image.overlay else { throw .tooManyChanges }
        let mark = overlay.mark()
        do throws(FATError) {
            let parts = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
            guard let name = parts.last, parts.allSatisfy({ Self.isName($0) }) else { throw FATError.badName(path) }
            var folder = try topFolder()
            for part in parts.dropLast() {
                let below = folder.path.isEmpty ? part : "\(folder.path)/\(part)"
                if let entry = Self.match(part, in: folder.entries) {
                    guard entry.isFolder else { throw FATError.isNoFolder(below) }
                    folder = try self.folder(at: entry.cluster, below)
                } else {
                    folder = try makeFolder(part, in: folder, below)
                }
            }
            if let entry = Self.match(name, in: folder.entries) {
                guard !entry.isFolder else { throw FATError.isFolder(path) }
                try replace(entry, by: content, path)
            } else {
                let chain = try store(content, in: [], path)
                try add(name, isFolder: false, cluster: chain.first ?? 0, size: content.count, to: folder, path)
            }
            let (written, _) = try find(path)
            guard let written, !written.isFolder, Int(written.size) == content.count,
                try self.content(of: written, path) == content
            else { throw FATError.damaged("\(path) does not hold what was written to it") }
        } catch {
            overlay.restore(mark)
            throw error
        }
    }

    private func replace(_ entry: Entry, by content: [UInt8], _ path: String) throws(FATError) {
        // As many as a file can have: what is behind its length is given back.
        let most = clusters(for: UInt64(UInt32.max))
        let old = entry.cluster == 0 ? [] : try table.chain(from: entry.cluster, atMost: most, of: path)
        let chain = try store(content, in: old, path)
        let first = chain.first ?? 0
        var record = try imageFailure { () throws(OSImageError) in try area.bytes(at: entry.offset, count: 32) }
        record.set(UInt64(first) & 0xffff, 2, at: 26)
        if geometry.kind == .fat32 { record.set(UInt64(first) >> 16, 2, at: 20) }
        record.set(UInt64(content.count), 4, at: 28)
        try put(record, at: entry.offset)
    }

    /// Lays a content into clusters: those of `old` first, free ones behind them. What is left of `old` becomes free.
    ///
    /// - Returns: the content's chain.
    private func store(_ content: [UInt8], in old: [UInt32], _ path: String) throws(FATError) -> [UInt32] {
        guard content.count <= Int(UInt32.max) else {
            throw .tooLong(path, bytes: UInt64(content.count), limit: UInt64(UInt32.max))
        }
        let needed = Int(clusters(for: UInt64(content.count)))
        var chain = Array(old.prefix(needed))
        if needed > old.count {
            let (found, free) = try table.findFree(needed - old.count)
            guard found.count == needed - old.count else {
                throw .noRoom(
                    path, needed: UInt64(content.count), free: (free + UInt64(old.count)) * geometry.clusterBytes)
            }
            chain += found
        }
        try table.link(chain, freeing: Array(old.dropFirst(needed)), isNew: max(0, needed - old.count))
        var done = 0
        for run in runs(chain) {
            let room = run.count * Int(geometry.clusterBytes)
            let part = content[done..<min(done + room, content.count)]
            try put(part + [UInt8](repeating: 0, count: room - part.count), at: geometry.offset(of: run.lowerBound))
            done += part.count
        }
        return chain
    }

    private func makeFolder(_ name: String, in parent: Folder, _ path: String) throws(FATError) -> Folder {
        let (found, free) = try table.findFree(1)
        guard let cluster = found.first else {
            throw .noRoom(path, needed: geometry.clusterBytes, free: free * geometry.clusterBytes)
        }
        try table.link([cluster], freeing: [], isNew: 1)
        var bytes = [UInt8](repeating: 0, count: Int(geometry.clusterBytes))
        // The top folder is number 0 here, also with FAT32.
        let isTop = parent.clusters == nil || parent.clusters?.first == geometry.rootCluster
        let above = isTop ? 0 : parent.clusters?.first ?? 0
        for (index, (name, number)) in [(".", cluster), ("..", above)].enumerated() {
            let short = Array(name.utf8) + [UInt8](repeating: 0x20, count: 11 - name.utf8.count)
            bytes.replaceSubrange(
                index * 32..<index * 32 + 32, with: Self.record(short, isFolder: true, cluster: number, size: 0))
        }
        try put(bytes, at: geometry.offset(of: cluster))
        try add(name, isFolder: true, cluster: cluster, size: 0, to: parent, path)
        return try folder(at: cluster, path)
    }

    /// Adds an entry to a folder, which grows where it has no room for it.
    private func add(
        _ name: String, isFolder: Bool, cluster: UInt32, size: Int, to folder: Folder, _ path: String
    ) throws(FATError) {
        let (short, hasLongName) = try Self.shortName(for: name, taken: Set(folder.entries.map(\.short)))
        var records: [UInt8] = []
        if hasLongName { records += Self.longNameRecords(name, short) }
        records += Self.record(short, isFolder: isFolder, cluster: cluster, size: size)
        let needed = records.count / 32

        // A run of entries that are free; all behind the first that starts with 0 are.
        var (first, count, endsThere) = (0, 0, false)
        let slots = folder.bytes.count / 32
        for slot in 0..<slots where count < needed {
            let start = folder.bytes[slot * 32]
            endsThere = endsThere || start == 0
            if endsThere || start == 0xe5 {
                if count == 0 { first = slot }
                count += 1
            } else {
                count = 0
            }
        }
        if count == 0 { first = slots }
        var clusters = folder.clusters
        if count < needed {
            guard let old = clusters else {
                throw .folderFull(folder.path, entries: slots)
            }
            let more = Int(self.clusters(for: UInt64(needed - count) * 32))
            guard folder.bytes.count + more * Int(geometry.clusterBytes) <= Self.largestFolder else {
                throw .folderFull(folder.path, entries: slots)
            }
            let (found, free) = try table.findFree(more)
            guard found.count == more else {
                throw .noRoom(
                    path, needed: UInt64(more) * geometry.clusterBytes, free: free * geometry.clusterBytes)
            }
            try table.link(old + found, freeing: [], isNew: more)
            for cluster in found {
                let zeros = [UInt8](repeating: 0, count: Int(geometry.clusterBytes))
                try put(zeros, at: geometry.offset(of: cluster))
            }
            clusters = old + found
        }
        for (index, start) in stride(from: 0, to: records.count, by: 32).enumerated() {
            try put(Array(records[start..<start + 32]), at: offset(ofSlot: first + index, clusters))
        }
        // What was behind the end is no entry.
        if endsThere, first + needed < slots, folder.bytes[(first + needed) * 32] != 0 {
            try put([0], at: offset(ofSlot: first + needed, clusters))
        }
    }

    private func offset(ofSlot slot: Int, _ clusters: [UInt32]?) -> UInt64 {
        let byte = UInt64(slot) * 32
        guard let clusters else { return (geometry.dataStart - geometry.rootSectors) * 512 + byte }
        return geometry.offset(of: clusters[Int(byte / geometry.clusterBytes)]) + byte % geometry.clusterBytes
    }

    private func put(_ bytes: [UInt8], at offset: UInt64) throws(FATError) {
        let taken = try imageFailure { () throws(OSImageError) in try area.write(bytes, at: offset) }
        guard taken else { throw .tooManyChanges }
    }

    private func clusters(for bytes: UInt64) -> UInt64 { (bytes + geometry.clusterBytes - 1) / geometry.clusterBytes }

    /// Neighbours in a chain, joined.
    private func runs(_ chain: [UInt32]) -> [Range<UInt32>] {
        var runs: [Range<UInt32>] = []
        for cluster in chain {
            if let last = runs.last, last.upperBound == cluster {
                runs[runs.count - 1] = last.lowerBound..<cluster + 1
            } else {
                runs.append(cluster..<cluster + 1)
            }
        }
        return runs
    }

    // MARK: Folders

    private func topFolder() throws(FATError) -> Folder {
        guard geometry.kind != .fat32 else { return try folder(at: geometry.rootCluster, "") }
        let start = (geometry.dataStart - geometry.rootSectors) * 512
        let bytes = try imageFailure { () throws(OSImageError) in
            try area.bytes(at: start, count: geometry.rootSectors * 512)
        }
        return Folder(clusters: nil, path: "", bytes: bytes, entries: entries(in: bytes, nil))
    }

    private func folder(at cluster: UInt32, _ path: String) throws(FATError) -> Folder {
        let shown = path.isEmpty ? "the top folder" : path
        let most = UInt64(Self.largestFolder) / geometry.clusterBytes
        let chain = try table.chain(from: cluster, atMost: max(1, most) + 1, of: shown)
        guard UInt64(chain.count) <= max(1, most) else {
            throw .damaged("\(shown) has more than \(Self.largestFolder) bytes")
        }
        var bytes: [UInt8] = []
        for run in runs(chain) {
            let (offset, count) = (geometry.offset(of: run.lowerBound), UInt64(run.count) * geometry.clusterBytes)
            bytes += try imageFailure { () throws(OSImageError) in try area.bytes(at: offset, count: count) }
        }
        return Folder(clusters: chain, path: path, bytes: bytes, entries: entries(in: bytes, chain))
    }

    /// What a path leads to, and the folder that it is in.
    private func find(_ path: String) throws(FATError) -> (Entry?, Folder) {
        var folder = try topFolder()
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        for part in parts.dropLast() {
            let below = folder.path.isEmpty ? part : "\(folder.path)/\(part)"
            guard let entry = Self.match(part, in: folder.entries) else { return (nil, folder) }
            guard entry.isFolder else { throw .isNoFolder(below) }
            folder = try self.folder(at: entry.cluster, below)
        }
        return (parts.last.flatMap { Self.match($0, in: folder.entries) }, folder)
    }

    private static func match(_ name: String, in entries: [Entry]) -> Entry? {
        if let same = entries.first(where: { $0.name == name }) { return same }
        let lower = name.lowercased()
        return entries.first { $0.name.lowercased() == lower || shown($0.short, lowerCase: 0).lowercased() == lower }
    }

    /// Calls with everything below the top folder, a folder before what is in it.
    private func walk(
        _ body: (_ path: String, Entry, _ folder: [UInt32]?) throws(FATError) -> Void
    ) throws(FATError) {
        var count = 0
        var seen: Set<UInt32> = geometry.kind == .fat32 ? [geometry.rootCluster] : []
        var folders = [try topFolder()]
        while let folder = folders.popLast() {
            for entry in folder.entries {
                count += 1
                guard count <= Self.mostEntries else {
                    throw .damaged("it has more than \(Self.mostEntries) files")
                }
                let path = folder.path.isEmpty ? entry.name : "\(folder.path)/\(entry.name)"
                try body(path, entry, folder.clusters)
                guard entry.isFolder else { continue }
                guard seen.insert(entry.cluster).inserted else {
                    throw .damaged("folder \(path) begins where another one does")
                }
                guard path.utf8.count <= 4096 else { throw .damaged("folder \(path.prefix(60))… is too deep") }
                folders.append(try self.folder(at: entry.cluster, path))
            }
        }
    }

    /// The entries of a folder: no volume label, nothing that was removed, neither `.` nor `..`.
    private func entries(in bytes: [UInt8], _ clusters: [UInt32]?) -> [Entry] {
        var entries: [Entry] = []
        // What long-name entries, which lie before the entry that they name, have told: the last part comes first.
        var (units, expected, sum): ([UInt16], UInt8, UInt8) = ([], 0, 0)
        var isWhole = false
        for slot in 0..<bytes.count / 32 {
            let at = slot * 32
            let first = bytes[at]
            if first == 0 { break }
            let attributes = bytes[at + 11]
            if first != 0xe5, attributes & 0x3f == 0x0f {
                let order = first & 0x3f
                if first & 0x40 != 0 {
                    (units, expected, sum, isWhole) = ([], order, bytes[at + 13], false)
                }
                guard order > 0, order <= 20, order == expected, bytes[at + 13] == sum else {
                    (expected, isWhole) = (0, false)
                    continue
                }
                let part = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30].map { UInt16(bytes.u16(at + $0)) }
                units = part + units
                expected -= 1
                isWhole = expected == 0
                continue
            }
            defer { (expected, isWhole) = (0, false) }
            guard first != 0xe5, attributes & 0x08 == 0 else { continue }
            let short = Array(bytes[at..<at + 11])
            guard first != UInt8(ascii: ".") else { continue }
            let name: String
            if isWhole, sum == Self.checksum(short) {
                name = String(decoding: units.prefix { $0 != 0 && $0 != 0xffff }, as: UTF16.self)
            } else {
                name = Self.shown(short, lowerCase: bytes[at + 12])
            }
            let high = geometry.kind == .fat32 ? bytes.u16(at + 20) << 16 : 0
            entries.append(
                Entry(
                    name: name, short: short, isFolder: attributes & 0x10 != 0,
                    cluster: UInt32(high | bytes.u16(at + 26)) & 0x0fff_ffff, size: UInt32(bytes.u32(at + 28)),
                    offset: offset(ofSlot: slot, clusters)))
        }
        return entries
    }

    // MARK: Names

    /// What FAT takes: 1 to 255 UTF-16 units, none of these signs, no blank or dot at its end.
    private static func isName(_ name: String) -> Bool {
        (1...255).contains(name.utf16.count) && name != "." && name != ".." && name.last != " " && name.last != "."
            && !name.unicodeScalars.contains {
                $0.value < 0x20 || $0.value == 0x7f || "\"*/:<>?\\|".contains(Character($0))
            }
    }

    /// An 8.3 name as Linux and U-Boot show it: parts that are marked so are in lower case.
    private static func shown(_ short: [UInt8], lowerCase flags: UInt8) -> String {
        func part(_ bytes: ArraySlice<UInt8>, isLower: Bool) -> String {
            let end = bytes.lastIndex { $0 != 0x20 }.map { $0 + 1 } ?? bytes.startIndex
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

    private static func isShortByte(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || "$%'-_@~`!(){}^#&".utf8.contains(byte)
    }

    /// The 8.3 name of a new file, and whether it needs a long name beside it.
    static func shortName(for name: String, taken: Set<[UInt8]>) throws(FATError) -> ([UInt8], Bool) {
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
    private static func checksum(_ short: [UInt8]) -> UInt8 {
        short.reduce(0) { sum, byte in (sum >> 1 | sum << 7) &+ byte }
    }

    private static func longNameRecords(_ name: String, _ short: [UInt8]) -> [UInt8] {
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

    private static func record(_ short: [UInt8], isFolder: Bool, cluster: UInt32, size: Int) -> [UInt8] {
        var record = short + [UInt8](repeating: 0, count: 21)
        record[11] = isFolder ? 0x10 : 0x20
        // Made, used and written last.
        for place in [16, 18, 24] { record.replaceSubrange(place..<place + 2, with: date) }
        record.set(UInt64(cluster) >> 16, 2, at: 20)
        record.set(UInt64(cluster) & 0xffff, 2, at: 26)
        record.set(UInt64(size), 4, at: 28)
        return record
    }

    // MARK: Soundness

    /// Checks what a writer relies on: all FATs are the same, every chain is whole, as long as its file, and ends, no
    /// cluster is in two chains, and none in use is in no chain.
    ///
    /// - Throws: ``FATError/damaged(_:)`` with the first that is not so.
    public func check() throws(FATError) {
        guard geometry.activeFAT == nil else { throw .damaged("only one of its FATs counts (mirroring is off)") }
        try table.checkCopies()
        var seen = ClusterSet(geometry.clusters)
        func take(_ chain: [UInt32], _ path: String) throws(FATError) {
            for cluster in chain {
                guard seen.insert(cluster) else {
                    throw .damaged("cluster \(cluster) belongs to \(path) and to another file")
                }
            }
        }
        if geometry.kind == .fat32 {
            try take(
                try table.chain(from: geometry.rootCluster, atMost: geometry.clusters, of: "the top folder"),
                "the top folder")
        }
        try walk { path, entry, _ throws(FATError) in
            guard entry.isFolder || entry.size > 0 || entry.cluster != 0 else { return }
            guard entry.isFolder || entry.size > 0 else { throw .damaged("\(path) is empty and has clusters") }
            let chain = try table.chain(from: entry.cluster, atMost: geometry.clusters, of: path)
            guard entry.isFolder || UInt64(chain.count) == clusters(for: UInt64(entry.size)) else {
                throw .damaged("\(path) has \(chain.count) clusters and \(entry.size) bytes")
            }
            try take(chain, path)
        }
        let used = geometry.clusters - (try table.countFree()) - (try table.countBad())
        guard used == seen.count else { throw .damaged("\(used - min(used, seen.count)) clusters belong to no file") }
    }

    /// Copies what fsck.vfat looks at into a new file: all but the contents of files, as holes.
    func copyRecords(to file: SparseFile) throws {
        var chains: [UInt32] = []
        if geometry.kind == .fat32 { chains += try topFolder().clusters ?? [] }
        var folders: [(UInt32, String)] = []
        try walk { path, entry, _ throws(FATError) in
            if entry.isFolder { folders.append((entry.cluster, path)) }
        }
        for (cluster, path) in folders { chains += try folder(at: cluster, path).clusters ?? [] }
        try area.copy(0, geometry.dataStart * 512, to: file)
        for run in runs(chains.sorted()) {
            try area.copy(geometry.offset(of: run.lowerBound), UInt64(run.count) * geometry.clusterBytes, to: file)
        }
        file.extend(to: area.bytes)
        try file.finish()
    }
}

/// Why a file of a FAT filesystem cannot be read or written: what of the filesystem is so, to be read behind its name.
public enum FATError: Error, Hashable, Sendable {
    /// There is no such file.
    case noFile(String)
    /// It is a folder.
    case isFolder(String)
    /// Another file is where a folder must be.
    case isNoFolder(String)
    /// A file is longer than it may be.
    case tooLong(String, bytes: UInt64, limit: UInt64)
    /// The bytes that a file or folder needs, and those that are free for it.
    case noRoom(String, needed: UInt64, free: UInt64)
    /// A folder, "" the top one, cannot take another entry.
    case folderFull(String, entries: Int)
    /// A name that FAT does not take.
    case badName(String)
    /// It is not as a FAT filesystem must be.
    case damaged(String)
    /// More is changed than a view can hold.
    case tooManyChanges
    /// The image cannot be read.
    case image(OSImageError)
}

extension FATError: CustomStringConvertible {
    /// One clause that goes behind 'boot partition': lower case, with numbers.
    public var description: String {
        switch self {
        case .noFile(let path): "has no file \(path)"
        case .isFolder(let path): "has a folder \(path); must be a file"
        case .isNoFolder(let path): "has a file \(path); must be a folder"
        case .tooLong(let path, let bytes, let limit):
            "has a file \(path) of \(bytes) bytes; must be at most \(limit) bytes"
        case .noRoom(let path, let needed, let free):
            "has no room for \(path): \(needed) bytes are needed, \(free) bytes are free"
        case .folderFull(let path, let entries):
            "has no room for another entry in its \(path.isEmpty ? "top folder" : "folder \(path)"): it takes \(entries)"
        case .badName(let path): "cannot have a file named \(path)"
        case .damaged(let reason): "is damaged: \(reason)"
        case .tooManyChanges: "would get more than 64 MiB of changes"
        case .image(let error): "\(error)"
        }
    }
}

/// What reading an image throws, as a FAT's error.
private func imageFailure<Value>(_ body: () throws(OSImageError) -> Value) throws(FATError) -> Value {
    do {
        return try body()
    } catch {
        throw .image(error)
    }
}

/// Bits of clusters.
private struct ClusterSet {
    private var words: [UInt64]
    private(set) var count: UInt64 = 0

    init(_ clusters: UInt64) { words = Array(repeating: 0, count: Int(clusters / 64) + 2) }

    /// False where it was there.
    mutating func insert(_ cluster: UInt32) -> Bool {
        let (word, bit) = (Int(cluster / 64), UInt64(1) << UInt64(cluster % 64))
        guard words[word] & bit == 0 else { return false }
        words[word] |= bit
        count += 1
        return true
    }
}

/// The FATs: read from the first, written to all.
private final class FATTable {
    private let area: PartitionArea
    private let geometry: FATGeometry
    /// What was read last of the first FAT.
    private var window: (start: UInt64, bytes: [UInt8]) = (0, [])

    /// Whole entries of 16 and 32 bits; a FAT12 is shorter than that.
    private static let windowBytes: UInt64 = 8192

    init(area: PartitionArea, geometry: FATGeometry) {
        self.area = area
        self.geometry = geometry
    }

    /// Bytes of the table that hold entries.
    private var length: UInt64 { ((geometry.clusters + 2) * geometry.entryBits + 7) / 8 }

    private func read(_ fat: UInt64, at start: UInt64) throws(FATError) -> [UInt8] {
        let offset = (geometry.reserved + fat * geometry.fatSectors) * 512
        let count = min(Self.windowBytes, length - start)
        return try imageFailure { () throws(OSImageError) in try area.bytes(at: offset + start, count: count) }
    }

    private static func value(_ bytes: [UInt8], _ index: Int, _ kind: Filesystem) -> UInt32 {
        switch kind {
        case .fat12:
            let pair = bytes.u16(index + index / 2)
            return UInt32(index % 2 == 0 ? pair & 0xfff : pair >> 4)
        case .fat16: return UInt32(bytes.u16(index * 2))
        default: return UInt32(bytes.u32(index * 4)) & 0x0fff_ffff
        }
    }

    private static func set(_ value: UInt32, _ bytes: inout [UInt8], _ index: Int, _ kind: Filesystem) {
        switch kind {
        case .fat12:
            let at = index + index / 2
            let pair = bytes.u16(at)
            bytes.set(index % 2 == 0 ? pair & 0xf000 | UInt64(value) : pair & 0xf | UInt64(value) << 4, 2, at: at)
        case .fat16: bytes.set(UInt64(value), 2, at: index * 2)
        // The upper 4 bits are somebody else's.
        default: bytes.set(bytes.u32(index * 4) & 0xf000_0000 | UInt64(value), 4, at: index * 4)
        }
    }

    /// The window of an entry and its number there.
    private func place(_ cluster: UInt32) -> (start: UInt64, index: Int) {
        guard geometry.kind != .fat12 else { return (0, Int(cluster)) }
        let byte = UInt64(cluster) * geometry.entryBits / 8
        let start = byte / Self.windowBytes * Self.windowBytes
        return (start, Int((byte - start) * 8 / geometry.entryBits))
    }

    private func entry(_ cluster: UInt32) throws(FATError) -> UInt32 {
        let (start, index) = place(cluster)
        if window.start != start || window.bytes.isEmpty { window = (start, try read(0, at: start)) }
        return Self.value(window.bytes, index, geometry.kind)
    }

    /// The clusters of a chain, and no more than `most` of them.
    func chain(from first: UInt32, atMost most: UInt64, of path: String) throws(FATError) -> [UInt32] {
        window = (0, [])
        var chain: [UInt32] = []
        var next = first
        while UInt64(chain.count) < most {
            guard geometry.holds(next) else { throw .damaged("\(path) has a cluster \(next) that there is not") }
            chain.append(next)
            let value = try entry(next)
            if value >= geometry.endOfChain { break }
            // A loop is longer than all clusters.
            guard UInt64(chain.count) <= geometry.clusters else { throw .damaged("\(path) has no end") }
            next = value
        }
        return chain
    }

    /// Calls with each entry of each window of the first FAT, and of the last one.
    private func scan(_ body: (_ cluster: UInt32, _ value: UInt32, _ last: UInt32) -> Bool) throws(FATError) {
        var cluster: UInt32 = 0
        var start: UInt64 = 0
        while start < length {
            let one = try read(0, at: start)
            let other = geometry.fats > 1 ? try read(geometry.fats - 1, at: start) : one
            let all = UInt32(geometry.clusters + 2)
            let entries = min(UInt32(UInt64(one.count) * 8 / geometry.entryBits), all - cluster)
            for index in 0..<Int(entries) {
                let (value, last) = (
                    Self.value(one, index, geometry.kind), Self.value(other, index, geometry.kind)
                )
                if cluster >= 2, !body(cluster, value, last) { return }
                cluster += 1
            }
            start += Self.windowBytes
        }
    }

    /// Free clusters, as many as are wanted, the lowest first; and how many were seen.
    func findFree(_ count: Int) throws(FATError) -> (found: [UInt32], free: UInt64) {
        var found: [UInt32] = []
        try scan { cluster, value, last in
            if value == 0, last == 0 { found.append(cluster) }
            return found.count < count
        }
        return (found, UInt64(found.count))
    }

    func countFree() throws(FATError) -> UInt64 {
        var count: UInt64 = 0
        try scan { _, value, _ in
            if value == 0 { count += 1 }
            return true
        }
        return count
    }

    func countBad() throws(FATError) -> UInt64 {
        let bad = geometry.endOfChain - 1
        var count: UInt64 = 0
        try scan { _, value, _ in
            if value == bad { count += 1 }
            return true
        }
        return count
    }

    func checkCopies() throws(FATError) {
        var start: UInt64 = 0
        while start < length {
            let one = try read(0, at: start)
            guard start > 0 || one.first == geometry.media else {
                throw .damaged("its FAT does not start with its media byte \(geometry.media)")
            }
            for fat in 1..<max(1, geometry.fats) where try read(fat, at: start) != one {
                throw .damaged("its FATs differ")
            }
            start += Self.windowBytes
        }
    }

    /// Makes a chain of clusters, and others free.
    ///
    /// - Parameter isNew: how many of the chain, its last ones, were free.
    func link(_ chain: [UInt32], freeing: [UInt32], isNew: Int) throws(FATError) {
        window = (0, [])
        var changes: [(cluster: UInt32, value: UInt32)] = freeing.map { ($0, 0) }
        for (index, cluster) in chain.enumerated() {
            // The highest number that ends a chain, as others write it.
            let end = geometry.endOfChain | 7
            changes.append((cluster, index + 1 < chain.count ? chain[index + 1] : end))
        }
        changes.sort { $0.cluster < $1.cluster }
        var next = 0
        while next < changes.count {
            let start = place(changes[next].cluster).start
            let group = changes[next...].prefix { place($0.cluster).start == start }
            for fat in 0..<geometry.fats {
                let old = try read(fat, at: start)
                var bytes = old
                for change in group {
                    Self.set(change.value, &bytes, place(change.cluster).index, geometry.kind)
                }
                if bytes != old { try put(bytes, at: (geometry.reserved + fat * geometry.fatSectors) * 512 + start) }
            }
            next += group.count
        }
        try count(Int64(freeing.count) - Int64(isNew))
    }

    /// Brings the number of free clusters up to date where FAT32 keeps one. Source: fatgen103, FSInfo.
    private func count(_ more: Int64) throws(FATError) {
        guard more != 0, let sector = geometry.infoSector else { return }
        var info = try imageFailure { () throws(OSImageError) in try area.bytes(at: sector * 512, count: 512) }
        guard info.u32(0) == 0x4161_5252, info.u32(484) == 0x6141_7272, info.u32(488) <= geometry.clusters else {
            return
        }
        let free = Int64(info.u32(488)) + more
        info.set(UInt64(max(0, min(free, Int64(geometry.clusters)))), 4, at: 488)
        try put(info, at: sector * 512)
    }

    private func put(_ bytes: [UInt8], at offset: UInt64) throws(FATError) {
        let taken = try imageFailure { () throws(OSImageError) in try area.write(bytes, at: offset) }
        guard taken else { throw .tooManyChanges }
    }
}

extension [UInt8] {
    /// Little endian; the caller knows that the bytes are there.
    fileprivate mutating func set(_ value: UInt64, _ count: Int, at offset: Int) {
        for index in 0..<count { self[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(index * 8)) }
    }
}
