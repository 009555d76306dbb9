public import BootFiles
internal import DiskLayout
internal import Glibc
public import HostTools
public import SystemPackage

/// Files of a FAT filesystem that has a file for itself, read and changed by mtools.
public struct FATFiles: Sendable {
    /// The file; it begins with the filesystem.
    public let image: FilePath
    private let scratch: FilePath
    private let tools: ToolRunner

    /// - Parameters:
    ///   - image: a file that begins with the filesystem.
    ///   - scratch: a path for files on their way in and out; nothing is there.
    ///   - tools: runs mtools.
    public init(_ image: FilePath, scratch: FilePath, tools: ToolRunner) {
        self.image = image
        self.scratch = scratch
        self.tools = tools
    }

    /// The paths of all files, without a slash in front, as they are written in the filesystem.
    ///
    /// - Throws: `HostToolError`; `CancellationError`.
    public func names() async throws -> [String] { try await tools.filesOfFAT(image) }

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
    /// - Throws: `HostToolError`, ``OSImageError``; `CancellationError`.
    public func firmwareConfiguration(among names: [String]) async throws -> FirmwareConfiguration? {
        guard let name = names.first(where: { $0.lowercased() == "config.txt" }) else { return nil }
        let text = try await read(name)
        var included: [String: [UInt8]] = [:]
        var texts = [text]
        while let text = texts.popLast(), included.count < 32 {
            for line in String(decoding: text, as: UTF8.self).split(whereSeparator: \.isNewline) {
                let words = line.split(whereSeparator: \.isWhitespace)
                guard words.count == 2, words[0] == "include", included[words[1].lowercased()] == nil,
                    let name = names.first(where: { $0.lowercased() == words[1].lowercased() })
                else { continue }
                let content = try await read(name)
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
    /// - Throws: `HostToolError`, ``OSImageError``; `CancellationError`.
    func bootOutlook(
        _ configuration: FirmwareConfiguration?, among names: [String], commandLines: [String: String]
    ) async throws -> BootOutlook {
        func key(_ path: String) -> String { path.lowercased().split(separator: "/").joined(separator: "/") }
        let choices = BootOutlook.choices(configuration, among: names)
        var kernels: [String: KernelKind] = [:]
        var obstacles: [String: String] = [:]
        for choice in choices {
            if let path = choice.selection.kernel, kernels[path] == nil,
                let name = names.first(where: { key($0) == key(path) })
            {
                kernels[path] = KernelKind(try await start(of: name))
            }
            if let path = choice.selection.commandLine {
                obstacles[path] = commandLines.first { key($0.key) == key(path) }?.value
            }
        }
        return BootOutlook(configuration, choices: choices, kernels: kernels, commandLines: obstacles)
    }

    /// The first bytes of a file of any length, at most 4096.
    private func start(of name: String) async throws -> [UInt8] {
        defer { try? removeFile(scratch) }
        try await tools.copyOutOfFAT(image, name: name, to: scratch)
        let file = try FileDescriptor.open(scratch, .readOnly)
        defer { try? file.close() }
        return try unsafe [UInt8](unsafeUninitializedCapacity: 4096) { buffer, done in
            done = try unsafe file.read(into: UnsafeMutableRawBufferPointer(buffer))
        }
    }

    /// A file's content.
    ///
    /// - Parameter name: as ``names()`` gives it.
    /// - Throws: `HostToolError`, ``OSImageError``; `CancellationError`.
    public func read(_ name: String) async throws -> [UInt8] {
        defer { try? removeFile(scratch) }
        try await tools.copyOutOfFAT(image, name: name, to: scratch)
        return try readFile(scratch)
    }

    /// Writes a file in place of what has this name, and reads it back. Folders that are missing are made.
    ///
    /// - Parameter name: its path, without a slash in front.
    /// - Throws: `HostToolError`, ``OSImageError``; `CancellationError`.
    public func write(_ content: [UInt8], to name: String) async throws {
        var folder = ""
        let there = try await names().map { $0.lowercased() }
        for part in name.split(separator: "/").dropLast() {
            folder += (folder.isEmpty ? "" : "/") + part
            if !there.contains(where: { $0.hasPrefix(folder.lowercased() + "/") }) {
                try await tools.makeFolderInFAT(image, folder)
            }
        }
        do {
            defer { try? removeFile(scratch) }
            let file = try FileDescriptor.open(
                scratch, .writeOnly, options: [.create, .exclusiveCreate], permissions: [.ownerReadWrite])
            defer { try? file.close() }
            try file.writeAll(content)
            try await tools.copyIntoFAT(image, from: scratch, as: name)
        }
        guard try await read(name) == content else {
            throw OSImageError.cannotWrite(path: FilePath(name), errno: .ioError)
        }
    }
}

/// A file's content; at most 16 MiB.
func readFile(_ path: FilePath) throws -> [UInt8] {
    let limit = 16 << 20
    let file = try FileDescriptor.open(path, .readOnly)
    defer { try? file.close() }
    let count = Int(try Stat(path).size)
    guard count <= limit else { throw OSImageError.tooLarge(path: path, limit: ByteCount(UInt64(limit))) }
    return try unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, done in
        while done < count {
            let part = unsafe UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[done...])
            let read = try unsafe file.read(into: part)
            guard read > 0 else { throw Errno.ioError }
            done += read
        }
    }
}

/// C: `unlink`.
func removeFile(_ path: FilePath) throws {
    guard unsafe path.withPlatformString({ unsafe unlink($0) }) == 0 else { throw Errno(rawValue: errno) }
}

extension PartitionArea {
    /// Copies the partition into a new file, holes as holes.
    func copy(to path: FilePath) async throws {
        let file = try SparseFile(path, image: image.path, limit: ByteCount(bytes))
        var next = start
        while let data = try image.data(in: next..<start + bytes) {
            let end = min(data.upperBound, data.lowerBound + 1 << 20)
            let content = try image.bytes(at: data.lowerBound, count: Int(end - data.lowerBound))
            try unsafe content.withUnsafeBytes { try unsafe file.append($0, at: data.lowerBound - start) }
            next = end
            try Task.checkCancellation()
            await Task.yield()
        }
        file.extend(to: bytes)
        try file.finish()
    }

    /// Takes over what differs in a file that the partition was copied to and that was changed since, as far as it is in
    /// use there: into the image's view.
    func takeChanges(from path: FilePath) throws {
        let changed = try ImageReader(path)
        let all = Partition(number: 1, type: .fat32LBA, start: LBA(0), size: SectorCount(sectors))
        let step: UInt64 = 64 << 10
        for extent in try usedExtents(of: all, in: changed).extents {
            var next = extent.offset.byteCount.bytes
            let end = extent.end.byteCount.bytes
            while next < end {
                let count = min(step, end - next)
                let (old, new) = try (bytes(at: next, count: count), changed.bytes(at: next, count: Int(count)))
                if old != new { try takeBlocks(old, new, at: next) }
                next += count
            }
        }
    }

    private func takeBlocks(_ old: [UInt8], _ new: [UInt8], at offset: UInt64) throws {
        var index = 0
        while index < new.count {
            let range = index..<min(index + 4096, new.count)
            if old[range] != new[range] {
                let taken = try unsafe Array(new[range]).withUnsafeBytes {
                    try unsafe image.write($0, at: start + offset + UInt64(index))
                }
                guard taken else { throw OSImageError.cannotWrite(path: image.path, errno: .noSpace) }
            }
            index = range.upperBound
        }
    }
}
