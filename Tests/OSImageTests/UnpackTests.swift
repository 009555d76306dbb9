import DiskLayout
import Foundation
import SystemPackage
import TestImages
import Testing

@testable import OSImage

private let packers = ["xz", "gzip", "zstd", "bzip2", "zip"]

/// A raw file with noise, zeros, single bytes among zeros, and a tail of zeros that ends within a block.
private func rawFile(in folder: TemporaryFolder, mebibytes: Int = 8) throws -> Data {
    var data = noise(9, count: 1 << 20)
    data += Data(count: (mebibytes - 2) << 20)
    data[1 << 20 + 500_017] = 1
    data += noise(10, count: 70_001)
    data += Data(count: (1 << 20) - 70_000 + 123)
    try folder.write(data, to: "os.img")
    return data
}

/// Packs os.img; the packed file's path.
@discardableResult
private func pack(_ compression: Compression, in folder: TemporaryFolder, _ options: String = "") throws -> FilePath {
    let (tool, suffix) =
        switch compression {
        case .xz: ("xz -k -T1", "xz")
        case .gzip: ("gzip -k", "gz")
        case .zstd: ("zstd -q -k", "zst")
        case .bzip2: ("bzip2 -k", "bz2")
        case .zip: ("zip -q os.img.zip", "zip")
        }
    try run("sh", ["-c", "cd '\(folder.url.path)' && \(tool) \(options) os.img"])
    return FilePath(folder.path("os.img.\(suffix)"))
}

private func unpack(_ path: FilePath, in folder: TemporaryFolder, limit: ByteCount = .mebibytes(64)) async throws
    -> Data
{
    let target = folder.path("unpacked-\(UUID().uuidString)")
    try await unpackOSImage(ImageReader(path), to: FilePath(target), limit: limit) { _ in }
    return try Data(contentsOf: URL(fileURLWithPath: target))
}

@Suite(.enabled(if: canUse(packers))) struct UnpackTests {
    @Test(arguments: Compression.allCases)
    func `unpacks every byte, zeros as holes, and tells how far it is`(compression: Compression) async throws {
        let folder = try TemporaryFolder()
        let raw = try rawFile(in: folder)
        let packed = try pack(compression, in: folder)
        let before = FileFingerprint(of: packed)
        let target = folder.path("unpacked.img")
        var steps: [UnpackProgress] = []
        try await unpackOSImage(ImageReader(packed), to: FilePath(target), limit: .mebibytes(64)) { steps.append($0) }
        #expect(try Data(contentsOf: URL(fileURLWithPath: target)) == raw)
        let reader = try ImageReader(FilePath(target))
        #expect(try reader.dataBytes(in: 0..<reader.size.bytes).bytes < 3 << 20)
        #expect(steps.count >= 7)
        #expect(steps.last?.unpacked.bytes == UInt64(raw.count) && steps.last?.read == steps.last?.total)
        #expect(zip(steps, steps.dropFirst()).allSatisfy { $0.read <= $1.read && $0.unpacked <= $1.unpacked })
        // Law 4.
        #expect(FileFingerprint(of: packed) == before)
    }

    @Test(arguments: Compression.allCases)
    func `refuses what is cut short, anywhere`(compression: Compression) async throws {
        let folder = try TemporaryFolder()
        _ = try rawFile(in: folder)
        let whole = try Data(contentsOf: URL(fileURLWithPath: pack(compression, in: folder).string))
        for count in [whole.count - 1, whole.count - 4, whole.count - 9, whole.count / 2, 40] {
            try folder.write(whole.prefix(count), to: "cut")
            let path = FilePath(folder.path("cut"))
            await #expect {
                try await unpack(path, in: folder)
            } throws: { error in
                guard case OSImageError.cannotUnpack(path, compression, _) = error else { return false }
                return "\(error)".hasPrefix("\(path): image cannot be unpacked (\(compression.rawValue)): ")
                    && !"\(error)".contains("\n") && !"\(error)".contains("No progress")
            }
        }
    }

    @Test(arguments: Compression.allCases)
    func `refuses what was damaged, or gives the same bytes`(compression: Compression) async throws {
        let folder = try TemporaryFolder()
        let raw = try rawFile(in: folder, mebibytes: 3)
        let whole = try Data(contentsOf: URL(fileURLWithPath: pack(compression, in: folder).string))
        var generator = SeededGenerator(4)
        var refused = 0
        for _ in 0..<40 {
            var damaged = whole
            let place = Int.random(in: 6..<whole.count, using: &generator)
            damaged[place] ^= UInt8.random(in: 1...255, using: &generator)
            try folder.write(damaged, to: "damaged")
            do {
                // Names and times in headers may change unnoticed; content may not.
                #expect(try await unpack(FilePath(folder.path("damaged")), in: folder) == raw)
            } catch is OSImageError {
                refused += 1
            }
        }
        #expect(refused > 30)
    }

    @Test(arguments: Compression.allCases)
    func `refuses a bomb at the limit, with little written`(compression: Compression) async throws {
        let folder = try TemporaryFolder()
        try folder.write(Data(count: 32 << 20), to: "os.img")
        let packed = try pack(compression, in: folder)
        await #expect(throws: OSImageError.tooLarge(path: packed, limit: ByteCount(1_000_000))) {
            try await unpack(packed, in: folder, limit: ByteCount(1_000_000))
        }
    }

    @Test func `takes the only image of a zip archive, whatever lies beside it`() async throws {
        let folder = try TemporaryFolder()
        let raw = try rawFile(in: folder, mebibytes: 3)
        let url = folder.url.path
        try folder.write(Data("read me".utf8), to: "README.txt")
        try run("sh", ["-c", "cd '\(url)' && mkdir d.img && zip -q -r two.zip README.txt d.img os.img"])
        #expect(try await unpack(FilePath(folder.path("two.zip")), in: folder) == raw)

        try run("sh", ["-c", "cd '\(url)' && cp os.img other.IMG && zip -q three.zip os.img README.txt other.IMG"])
        let three = FilePath(folder.path("three.zip"))
        await #expect(throws: OSImageError.otherEntries(path: three, names: ["os.img", "other.IMG"])) {
            try await unpack(three, in: folder)
        }
        try run("sh", ["-c", "cd '\(url)' && zip -q none.zip README.txt"])
        let none = FilePath(folder.path("none.zip"))
        await #expect(throws: OSImageError.otherEntries(path: none, names: [])) { try await unpack(none, in: folder) }
        try run("sh", ["-c", "cd '\(url)' && zip -q -P secret locked.zip os.img"])
        await #expect(throws: OSImageError.self) { try await unpack(FilePath(folder.path("locked.zip")), in: folder) }
    }

    @Test func `refuses several gzip members, whose checksums it could not compare`() async throws {
        let folder = try TemporaryFolder()
        _ = try rawFile(in: folder, mebibytes: 3)
        let packed = try pack(.gzip, in: folder)
        let twice = try Data(contentsOf: URL(fileURLWithPath: packed.string))
        try folder.write(twice + twice, to: "twice.gz")
        let path = FilePath(folder.path("twice.gz"))
        await #expect {
            try await unpack(path, in: folder)
        } throws: {
            "\($0)"
                == "\(path): image cannot be unpacked (gzip): its checksum is wrong, or it has more than one gzip member"
        }
    }

    @Test func `stops when it is cancelled`() async throws {
        let folder = try TemporaryFolder()
        _ = try rawFile(in: folder)
        let packed = try pack(.gzip, in: folder)
        let target = FilePath(folder.path("unpacked.img"))
        let job = Task {
            try await unpackOSImage(ImageReader(packed), to: target, limit: .mebibytes(64)) { _ in
                withUnsafeCurrentTask { $0?.cancel() }
            }
        }
        await #expect(throws: CancellationError.self) { try await job.value }
    }
}
