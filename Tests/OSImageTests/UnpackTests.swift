import TestSupport
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
        let before = (try? ImageReader(packed))?.fingerprint
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
        #expect((try? ImageReader(packed))?.fingerprint == before)
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
        var generator = SeededGenerator(seed: 4)
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
        try run("sh", ["-c", "cd '\(url)' && cp README.txt os.img.xz && zip -q none.zip README.txt os.img.xz"])
        let none = FilePath(folder.path("none.zip"))
        await #expect(throws: OSImageError.noImageEntry(path: none, names: ["README.txt", "os.img.xz"])) {
            try await unpack(none, in: folder)
        }
        #expect(
            OSImageError.noImageEntry(path: "none.zip", names: ["README.txt", "os.img.xz"]).description
                == "none.zip: archive has no file that ends in .img, only README.txt, os.img.xz; must have exactly one")
        try run("sh", ["-c", "cd '\(url)' && zip -q -P secret locked.zip os.img"])
        await #expect(throws: OSImageError.self) { try await unpack(FilePath(folder.path("locked.zip")), in: folder) }
    }

    @Test func `takes a zip archive as macOS and vendors make it`() async throws {
        let folder = try TemporaryFolder()
        let raw = try rawFile(in: folder, mebibytes: 3)
        let script = """
            cd '\(folder.url.path)' && mkdir -p __MACOSX release && cp os.img release/os.img
            echo x >release/README && echo x >release/os.bmap && echo x >release/os.img.sha256
            echo x >__MACOSX/._os.img && echo x >__MACOSX/os.img && echo x >release/._os.img
            zip -q -r mac.zip __MACOSX release
            """
        try run("sh", ["-c", script])
        #expect(try await unpack(FilePath(folder.path("mac.zip")), in: folder) == raw)
    }

    /// The name's bytes, and whether the archive says that they are UTF-8 (bit 11 of the flags, APPNOTE 4.4.4). This process
    /// has the locale C, as rpiflash has.
    @Test(arguments: [
        (Array("größe.img".utf8), true), (Array("größe.img".utf8), false),
        ([0x67, 0x72, 0xf6, 0xdf, 0x65, 0x2e, 0x69, 0x6d, 0x67], false), ([0xff, 0xfe, 0x2e, 0x69, 0x6d, 0x67], true),
        ([0x0a, 0x1b, 0x2e, 0x49, 0x4d, 0x47], false),
    ])
    func `takes a zip archive whose entry has any name`(name: [UInt8], isUTF8: Bool) async throws {
        let folder = try TemporaryFolder()
        let raw = try rawFile(in: folder, mebibytes: 3)
        let placeholder = String(repeating: "x", count: name.count)
        try run(
            "sh", ["-c", "cd '\(folder.url.path)' && mv os.img \(placeholder) && zip -q -X a.zip \(placeholder)"])
        var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.path("a.zip"))))
        for (signature, flags, start) in [([0x50, 0x4b, 3, 4] as [UInt8], 6, 30), ([0x50, 0x4b, 1, 2], 8, 46)] {
            let header = try #require(
                bytes.indices.first {
                    bytes[$0...].starts(with: signature)
                        && bytes[($0 + start)...].starts(with: placeholder.utf8)
                })
            if isUTF8 { bytes[header + flags + 1] |= 0x08 }
            bytes.replaceSubrange(header + start..<header + start + name.count, with: name)
        }
        try folder.write(Data(bytes), to: "a.zip")
        #expect(try await unpack(FilePath(folder.path("a.zip")), in: folder) == raw)
    }

    @Test func `names the images that a zip archive has too many of, without control characters`() async throws {
        let folder = try TemporaryFolder()
        let script = """
            cd '\(folder.url.path)' && for n in 1 2 3 4 5; do echo x >$n.img; done && touch "$(printf 'a\\033b.img')"
            zip -q a.zip *.img
            """
        try run("sh", ["-c", script])
        let path = FilePath(folder.path("a.zip"))
        await #expect {
            try await unpack(path, in: folder)
        } throws: {
            "\($0)"
                == "\(path): archive has more than one image (1.img, 2.img, 3.img, 4.img and 2 more); "
                + "must have exactly one: unpack it, and give one of them"
        }
    }

    /// gzip: RFC 1952, 2.2, and what gzip(1) ignores: zeros, and anything that is not a member. zstd: RFC 8878, 3.1.2. xz:
    /// .xz file format 1.1, 2 and 2.2. bzip2: several streams, as pbzip2 writes them.
    @Test(arguments: [
        ("gzip", "cat a.gz b.gz"),
        ("gzip with zeros", "cat a.gz; head -c 300000 /dev/zero; cat b.gz; head -c 9 /dev/zero"),
        ("gzip, empty members", "gzip </dev/null; cat a.gz; gzip </dev/null; cat b.gz; gzip </dev/null"),
        ("gzip of OpenWrt's", #"cat a.gz b.gz; printf '\0\0\0\0\0\0\0\0{"metadata_version":"1.1"}FWx0'"#),
        ("gzip with a note of one byte", "cat a.gz b.gz; printf x"),
        ("zstd", "cat a.zst b.zst"),
        ("zstd, skippable frames", #"cat skip skip a.zst skip b.zst skip"#),
        ("pzstd's", "cat skip; zstd -q -c a; cat skip; zstd -q -c b"),
        ("xz", "cat a.xz b.xz"),
        ("xz with padding", #"cat a.xz; printf '\0\0\0\0'; cat b.xz; printf '\0\0\0\0\0\0\0\0'"#),
        ("bzip2", "cat a.bz2 b.bz2"),
    ])
    func `takes several members, frames or streams`(name: String, command: String) async throws {
        let folder = try TemporaryFolder()
        let raw = try rawFile(in: folder, mebibytes: 3)
        let script = """
            cd '\(folder.url.path)' && head -c 1000001 os.img >a && tail -c +1000002 os.img >b
            gzip -k a b && xz -k a b && zstd -q -k a b && bzip2 -k a b
            printf '\\x5e\\x2a\\x4d\\x18\\x04\\0\\0\\0abcd' >skip
            { \(command)
            } >packed
            """
        try run("bash", ["-c", script])
        #expect(try await unpack(FilePath(folder.path("packed")), in: folder) == raw)
    }

    @Test(arguments: ["cat a.xz; printf 'metadata'", "cat a.zst; printf 'metadata'"])
    func `refuses what its format allows nothing behind, as its own tool does`(command: String) async throws {
        let folder = try TemporaryFolder()
        _ = try rawFile(in: folder, mebibytes: 3)
        let script = "cd '\(folder.url.path)' && mv os.img a && xz -k a && zstd -q -k a && { \(command); } >packed"
        try run("bash", ["-c", script])
        await #expect(throws: OSImageError.self) { try await unpack(FilePath(folder.path("packed")), in: folder) }
    }

    /// Each cut of a small file. The ends of single members are given: up to there every reader sees a whole file.
    @Test(arguments: Compression.allCases, [1, 2])
    func `refuses what is cut, at every byte`(compression: Compression, members: Int) async throws {
        let folder = try TemporaryFolder()
        let raw = noise(11, count: 500) + Data(count: 5000) + noise(12, count: 100)
        try folder.write(raw, to: "os.img")
        let one = try Data(contentsOf: URL(fileURLWithPath: pack(compression, in: folder).string))
        // A zip archive has one directory.
        let whole = members == 2 && compression != .zip ? one + one : one
        let path = FilePath(folder.path("cut"))
        for count in (1..<whole.count).reversed() {
            try folder.write(whole.prefix(count), to: "cut")
            do {
                let content = try await unpack(path, in: folder)
                #expect(count == one.count && content == raw, "\(compression) cut to \(count) of \(whole.count) bytes")
            } catch {
                #expect(error is OSImageError)
                #expect(count != one.count, "\(error)")
            }
        }
        try folder.write(whole, to: "cut")
        #expect(try await unpack(path, in: folder) == (whole.count > one.count ? raw + raw : raw))
    }

    @Test func `compares the checksums of each gzip member`() async throws {
        let folder = try TemporaryFolder()
        _ = try rawFile(in: folder, mebibytes: 3)
        let one = [UInt8](try Data(contentsOf: URL(fileURLWithPath: pack(.gzip, in: folder).string)))
        // The first member's CRC-32, then its length; the second one is right.
        for (place, reason) in [(one.count - 8, "incorrect data check"), (one.count - 1, "incorrect length check")] {
            var bytes = one + one
            bytes[place] ^= 1
            try folder.write(Data(bytes), to: "two.gz")
            let path = FilePath(folder.path("two.gz"))
            await #expect(throws: OSImageError.cannotUnpack(path: path, by: .gzip, reason: reason)) {
                try await unpack(path, in: folder)
            }
        }
    }

    @Test(arguments: [
        ("xz -k os.img && gzip os.img.xz", "os.img.xz.gz", "is compressed twice (xz in gzip)"),
        ("gzip os.img && mv os.img.gz x && xz -c x >no-suffix", "no-suffix", "is compressed twice (gzip in xz)"),
        ("tar cf t os.img && gzip -c t >os.tar.gz", "os.tar.gz", "is a tar archive, compressed (gzip)"),
        ("tar cf t os.img && xz -c t >os.tar.xz", "os.tar.xz", "is a tar archive, compressed (xz)"),
        ("lz4 -q os.img x && bzip2 -c x >os.bz2", "os.bz2", "has an lz4 file in it"),
        ("gzip -c os.img >p.img && zip -q os.zip p.img", "os.zip", "is compressed twice (gzip in zip)"),
    ])
    func `refuses an image that is packed twice, with a command that works`(
        script: String, name: String, reason: String
    ) async throws {
        let folder = try TemporaryFolder()
        _ = try rawFile(in: folder)
        try run("sh", ["-c", "cd '\(folder.url.path)' && \(script)"])
        let path = FilePath(folder.path(name))
        do {
            _ = try await unpack(path, in: folder)
            Issue.record("accepted")
        } catch {
            #expect("\(error)".hasPrefix("\(path): \(reason)"), "\(error)")
            let command = try #require("\(error)".components(separatedBy: ": ").last)
            try run("sh", ["-c", "cd '\(folder.url.path)' && rm -f os.img p.img os.img.xz && \(command)"])
        }
        // Little was unpacked before it was told.
        let unpacked = try FileManager.default.contentsOfDirectory(atPath: folder.url.path).filter {
            $0.hasPrefix("unpacked-")
        }
        for name in unpacked {
            #expect(try Data(contentsOf: folder.url.appendingPathComponent(name)).count <= 1 << 20)
        }
    }

    /// The first bytes of each, from its specification.
    static let formats: [(OtherFormat, String, String)] = [
        (.sevenZip, #"7z\xbc\xaf\x27\x1c"#, "7z x"), (.lz4, #"\x04\x22\x4d\x18"#, "lz4 -dc"),
        (.rar, #"Rar!\x1a\x07\x01\x00"#, "7z x"), (.lzip, "LZIP\\x01", "lzip -dc"),
        (.lzma, #"\x5d\x00\x00\x80\x00\xff\xff\xff\xff\xff\xff\xff\xff"#, "unlzma -c"),
        (.compress, #"\x1f\x9d\x90"#, "gunzip -c"), (.emptyZip, #"PK\x05\x06"#, "download"),
        (.qcow2, #"QFI\xfb"#, "qemu-img convert -O raw"), (.vmdk, "KDMV", "qemu-img convert -O raw"),
        (.vhdx, "vhdxfile", "qemu-img convert -O raw"), (.vhd, "conectix", "qemu-img convert -O raw"),
        (.androidSparse, #"\x3a\xff\x26\xed"#, "simg2img"), (.webPage, "<!DOCTYPE html>", "download"),
        (.torrent, "d8:announce", "BitTorrent"),
    ]

    @Test(arguments: formats)
    func `names what is not taken, and what to do`(format: OtherFormat, start: String, remedy: String) throws {
        let folder = try TemporaryFolder()
        let path = FilePath(folder.path("a file"))
        try run("bash", ["-c", "{ printf '\(start)'; head -c 100000 /dev/zero; } >'\(path)'"])
        #expect(throws: OSImageError.otherFormat(path: path, format)) { try Compression(of: ImageReader(path)) }
        let text = OSImageError.otherFormat(path: path, format).description
        #expect(
            text.hasPrefix("\(path): is \(format.named); must be an image, raw or compressed")
                && text.contains(remedy))
        // A raw image may have the same boot code in front of its partition table.
        try run("bash", ["-c", "printf '\\x55\\xaa' | dd of='\(path)' bs=1 seek=510 conv=notrunc status=none"])
        #expect(try Compression(of: ImageReader(path)) == nil)
    }

    @Test func `names tar and VirtualBox, whose bytes are further on`() throws {
        let folder = try TemporaryFolder()
        try folder.write(Data(count: 2000), to: "os.img")
        let url = folder.url.path
        try run(
            "bash",
            [
                "-c",
                "cd '\(url)' && tar cf a.tar os.img && { head -c 64 /dev/zero; printf '\\x7f\\x10\\xda\\xbe'; } >a.vdi",
            ])
        for (name, format) in [("a.tar", OtherFormat.tar), ("a.vdi", .vdi)] {
            let path = FilePath(folder.path(name))
            #expect(throws: OSImageError.otherFormat(path: path, format)) { try Compression(of: ImageReader(path)) }
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
