import TestSupport
import BootFiles
import DiskLayout
import Foundation
import Glibc
import HostTools
import LinuxHost
import OSImage
import SystemPackage
import TestImages

/// Makes mutations of images and judges what the product makes of them.
final class Fuzzer {
    private let seed: UInt64
    private let folder: FilePath
    private let images: [Image]
    private let judge: Judge
    private var accepted = 0
    private var changed = 0
    /// Room to compare two views. For as long as the process lives.
    private let buffers = (0..<2).map { _ in UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 8)
    }

    /// A working copy, and where its records are.
    private struct Image {
        let path: FilePath
        let original: [UInt8]
        /// Kinds of places, each a list of ranges of bytes: a kind is chosen first, so that few bytes that matter are hit
        /// as often as many that do not.
        let places: [[Range<Int>]]
    }

    /// What a mutation is judged by.
    struct Wrong: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    init(seed: UInt64, images: [FilePath], folder: FilePath) throws {
        self.seed = seed
        self.folder = folder
        judge = Judge(folder)
        self.images = try images.enumerated().map { index, path in
            let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path.string)))
            let copy = folder.appending("image\(index)")
            try Data(bytes).write(to: URL(fileURLWithPath: copy.string))
            return Image(path: copy, original: bytes, places: try Self.places(in: copy, bytes, folder))
        }
    }

    func summary(isolation: isolated (any Actor)? = #isolation) async -> String {
        "\(accepted) accepted, \(changed) of them changed, \(await judge.count) filesystems looked at by fsck"
    }

    /// Checks that all mutations were undone, and that nobody else wrote.
    func checkImages() throws {
        for image in images where try Data(contentsOf: URL(fileURLWithPath: image.path.string)) != Data(image.original)
        {
            throw Wrong("\(image.path) is not as it was (law 4)")
        }
    }

    // MARK: Mutating

    private static func places(in path: FilePath, _ bytes: [UInt8], _ folder: FilePath) throws -> [[Range<Int>]] {
        let layout = try inspectOSImage(at: path)
        let reader = try ImageReader(path)
        var places: [[Range<Int>]] = [[440..<512]]
        for (partition, copy) in [(layout.boot, copyFATRecords), (layout.rootfs, copyExtRecords)] {
            let start = Int(partition.start.byteOffset.bytes)
            let records = folder.appending("records")
            guard try copy(reader, partition, records) else { throw Wrong("\(path): partition \(partition.number)") }
            let content = [UInt8](try Data(contentsOf: URL(fileURLWithPath: records.string)))
            try FileManager.default.removeItem(atPath: records.string)
            // Boot sector or superblock; what is behind it; lines of 32 bytes that hold something; texts.
            places.append(partition.number == 1 ? [start..<start + 90] : [start + 1024..<start + 1024 + 0x180])
            places.append([start..<start + 4096])
            let lines = content.withUnsafeBytes { content in
                stride(from: 0, to: content.count - 31, by: 32).filter { at in
                    stride(from: at, to: at + 32, by: 8).contains {
                        content.loadUnaligned(fromByteOffset: $0, as: UInt64.self) != 0
                    }
                }
            }
            // The first few are tables, the last few folders: both halves alike.
            let halves = [lines.prefix(lines.count / 2), lines.suffix(lines.count - lines.count / 2)]
            places += halves.map { $0.map { start + $0..<start + $0 + 32 } }.filter { !$0.isEmpty }
        }
        for text in ["root=PARTUUID", "dtoverlay", "arm_64bit", "/dev/mmcblk", "PARTUUID=12345678-02  "] {
            if let found = Data(bytes).range(of: Data(text.utf8)) {
                places.append([max(0, found.lowerBound - 64)..<min(bytes.count, found.upperBound + 128)])
            }
        }
        return places
    }

    private static let numbers: [UInt64] = [
        0, 1, 2, 3, 0xf, 0x10, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xfff8, 0xffff, 0x1_0000, 0x0fff_ffff,
        0x7fff_ffff,
        0x8000_0000, 0xffff_fff8, 0xffff_ffff,
    ]

    /// Some changes of an image; those of one number are always the same.
    private func mutations(_ number: UInt64) -> (image: Image, changes: [(offset: Int, bytes: [UInt8])]) {
        var random = SeededGenerator(seed: seed &* 0x1_0000_0001 &+ number)
        let image = images[Int(random.next() % UInt64(images.count))]
        var changes: [(Int, [UInt8])] = []
        for _ in 0..<[1, 1, 1, 2, 4][Int(random.next() % 5)] {
            let kind = image.places[Int(random.next() % UInt64(image.places.count))]
            let range = kind[Int(random.next() % UInt64(kind.count))]
            let offset = range.lowerBound + Int(random.next() % UInt64(range.count))
            let old = Array(image.original[offset..<min(offset + 32, image.original.count)])
            switch random.next() % 6 {
            case 0: changes.append((offset, [old[0] ^ UInt8(1) << UInt8(random.next() % 8)]))
            case 1: changes.append((offset, [UInt8(truncatingIfNeeded: random.next())]))
            case 2, 3:
                let value = Self.numbers[Int(random.next() % UInt64(Self.numbers.count))]
                let size = [1, 2, 4][Int(random.next() % 3)]
                let place = offset / size * size
                changes.append((place, (0..<size).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }))
            case 4:
                // Something of the same kind from elsewhere.
                let other = kind[Int(random.next() % UInt64(kind.count))]
                changes.append((range.lowerBound, Array(image.original[other.prefix(range.count)])))
            default:
                let value = UInt8(truncatingIfNeeded: random.next() & 1 == 0 ? 0 : random.next())
                changes.append((offset, [UInt8](repeating: value, count: min(old.count, 1 + Int(random.next() % 32)))))
            }
        }
        return (image, changes.filter { $0.0 + $0.1.count <= image.original.count })
    }

    /// Applies a mutation, judges it, and takes it back.
    func judge(_ number: UInt64) async throws {
        let (image, changes) = mutations(number)
        let file = try FileDescriptor.open(image.path, .readWrite)
        defer { try? file.close() }
        for change in changes { try file.writeAll(toAbsoluteOffset: Int64(change.offset), change.bytes) }
        defer {
            for change in changes {
                let old = image.original[change.offset..<change.offset + change.bytes.count]
                _ = try? file.writeAll(toAbsoluteOffset: Int64(change.offset), old)
            }
        }
        do {
            try await judge(image.path, number)
        } catch is OSImageError {
            // Refused, with a sentence.
        }
    }

    // MARK: Judging

    private func judge(_ path: FilePath, _ number: UInt64) async throws {
        let layout = try inspectOSImage(at: path)
        let image = try ImageReader(path)
        let growth: RootfsGrowth = number % 3 == 0 ? .always : .automatic
        let relocation = try await relocateOSImage(
            image, layout: layout, work: folder, growth: growth, tools: judge.tools, checks: judge.checks)
        accepted += 1
        let view = relocation.view
        if view.overlay?.isEmpty == false { changed += 1 }
        for partition in [layout.boot, layout.rootfs] {
            let usage = try usedExtents(of: partition, in: view)
            var end: UInt64 = 0
            for extent in usage.extents {
                guard extent.offset.sectors >= end, extent.end <= partition.size else {
                    throw Wrong("extents of partition \(partition.number) overlap or lie outside")
                }
                end = extent.end.sectors
            }
            let changes = relocation.changes.filter { $0.partition == partition.number }
            let isRepaired = relocation.notes.contains {
                $0.contains("repaired") || $0.contains("journal was replayed")
            }
            let differs = try isDifferent(view, image, partition)
            guard changes.isEmpty || differs else {
                throw Wrong("changes of partition \(partition.number) are not there")
            }
            guard !changes.isEmpty || !differs || isRepaired else {
                throw Wrong("partition \(partition.number) differs and nothing is told of it")
            }
            guard differs else { continue }
            let isSound = partition.number == 1 ? judge.checks.isSoundFAT : judge.checks.isSoundExt
            if try await isSound(image, partition) {
                guard try await isSound(view, partition) else {
                    throw Wrong("partition \(partition.number) was sound and is not once it is changed")
                }
            }
            if changed % 50 == 0 { try await checkCopy(view, partition) }
        }
        if !relocation.grows, relocation.obstacles.isEmpty, growth == .always,
            !relocation.notes.contains(where: {
                $0.contains("grow") || $0.contains("it stays as it is") || $0.contains("fstab")
            })
        {
            throw Wrong("the rootfs does not grow, and nothing is told of it")
        }
        for change in relocation.changes where change.partition == 1 {
            guard try FATFiles(view, layout.boot).read(change.path) == change.after else {
                throw Wrong("\(change.path) is not what is told of it")
            }
        }
        try await write(to: layout.boot, of: view)
    }

    /// What settings for a first boot do: a file more, and one that is there.
    private func write(to partition: Partition, of view: ImageReader) async throws {
        guard let overlay = view.overlay else { return }
        do {
            let files = try FATFiles(view, partition)
            guard (try? files.check()) != nil else { return }
            let wasSound = try await judge.checks.isSoundFAT(view, partition)
            for (name, count) in [("a folder/a new file [1].txt", 700), ("CONFIG.TXT", 3000), ("firstrun.sh", 0)] {
                let mark = overlay.mark()
                let content = [UInt8](repeating: UInt8(ascii: "x"), count: count)
                do {
                    try files.write(content, to: name)
                    guard try files.read(name) == content else { throw Wrong("\(name) is not what was written") }
                } catch let error as FATError {
                    guard !overlay.differs(from: mark) else {
                        throw Wrong("something is left of what failed: \(error)")
                    }
                }
            }
            do { try files.check() } catch { throw Wrong("boot partition \(error) once files are written") }
            if wasSound, try await !judge.checks.isSoundFAT(view, partition) {
                throw Wrong("boot partition was sound and is not once files are written")
            }
        } catch let error as FATError {
            if case .image(let error) = error { throw error }
        }
    }

    private func isDifferent(_ view: ImageReader, _ image: ImageReader, _ partition: Partition) throws -> Bool {
        guard view.overlay?.isEmpty == false else { return false }
        let (start, size) = (partition.start.byteOffset.bytes, partition.size.byteCount.bytes)
        let (one, other) = (buffers[0], buffers[1])
        for offset in stride(from: 0, to: size, by: one.count) {
            let count = Int(min(UInt64(one.count), size - offset))
            try view.read(into: .init(rebasing: one[..<count]), at: start + offset)
            try image.read(into: .init(rebasing: other[..<count]), at: start + offset)
            if let a = one.baseAddress, let b = other.baseAddress, memcmp(a, b, count) != 0 { return true }
        }
        return false
    }

    private func content(_ image: ImageReader, _ partition: Partition) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(partition.size.byteCount.bytes))
        try bytes.withUnsafeMutableBytes { try image.read(into: $0, at: partition.start.byteOffset.bytes) }
        return bytes
    }

    /// Checks that the copy of a filesystem's records is judged as the whole filesystem is.
    private func checkCopy(_ view: ImageReader, _ partition: Partition) async throws {
        let whole = folder.appending("whole")
        try Data(try content(view, partition)).write(to: URL(fileURLWithPath: whole.string))
        defer { try? FileManager.default.removeItem(atPath: whole.string) }
        let (isFAT, tools) = (partition.number == 1, judge.tools)
        let found = try await isFAT ? tools.isSoundFAT(whole) : tools.isSoundExt(whole)
        let judged =
            try await isFAT ? judge.checks.isSoundFAT(view, partition) : judge.checks.isSoundExt(view, partition)
        guard found == judged else {
            throw Wrong("partition \(partition.number) is judged otherwise (\(judged)) than the whole of it (\(found))")
        }
    }
}

/// fsck.vfat and e2fsck, run once for what has the same records.
private final class Judge: Sendable {
    let tools = ToolRunner(path: ProcessInfo.processInfo.environment["PATH"], sourceDate: .standard)
    private let folder: FilePath
    private let known = Verdicts()

    init(_ folder: FilePath) { self.folder = folder }

    private actor Verdicts {
        var verdicts: [Int: Bool] = [:]
        func get(_ key: Int) -> Bool? { verdicts[key] }
        func set(_ key: Int, _ verdict: Bool) { verdicts[key] = verdict }
        var count: Int { verdicts.count }
    }

    var count: Int { get async { await known.count } }

    var checks: FilesystemChecks {
        FilesystemChecks(
            isSoundFAT: { [self] view, partition in
                try await judge(view, partition, copyFATRecords) { try await self.tools.isSoundFAT($0) }
            },
            isSoundExt: { [self] view, partition in
                try await judge(view, partition, copyExtRecords) { try await self.tools.isSoundExt($0) }
            })
    }

    private func judge(
        _ view: ImageReader, _ partition: Partition, _ copy: (ImageReader, Partition, FilePath) throws -> Bool,
        _ isSound: (FilePath) async throws -> Bool
    ) async throws -> Bool {
        let path = folder.appending("judged")
        guard try copy(view, partition, path) else { return false }
        defer { try? FileManager.default.removeItem(atPath: path.string) }
        let key = try Self.hash(of: path)
        if let verdict = await known.get(key) { return verdict }
        let verdict = try await isSound(path)
        await known.set(key, verdict)
        return verdict
    }

    /// A hash of a sparse file's data and of where they are. Of 10,000 files no two are expected to share one.
    private static func hash(of path: FilePath) throws -> Int {
        let file = try ImageReader(path)
        var hasher = Hasher()
        hasher.combine(file.size.bytes)
        var end: UInt64 = 0
        while let data = try file.data(in: end..<file.size.bytes) {
            var bytes = [UInt8](repeating: 0, count: data.count)
            try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: data.lowerBound) }
            hasher.combine(data.lowerBound)
            bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
            end = data.upperBound
        }
        return hasher.finalize()
    }
}
