import SystemPackage

/// What people have in place of an OS image, and that is not taken. Each is told by its first bytes.
package enum OtherFormat: String, Hashable, Sendable, CaseIterable {
    case sevenZip = "7z archive"
    case lz4 = "lz4 file"
    case tar = "tar archive"
    case rar = "RAR archive"
    case lzip = "lzip file"
    case lzma = "lzma file"
    case compress = "compress (.Z) file"
    case emptyZip = "zip archive with nothing in it"
    case qcow2 = "QEMU disk image (qcow2)"
    case vmdk = "VMware disk image (vmdk)"
    case vhdx = "Hyper-V disk image (vhdx)"
    case vhd = "Virtual PC disk image (vhd)"
    case vdi = "VirtualBox disk image (vdi)"
    case androidSparse = "sparse image of Android's"
    case webPage = "web page"
    case torrent = "torrent file"

    /// Its name behind an article.
    var named: String { (rawValue.hasPrefix("l") ? "an " : "a ") + rawValue }

    /// Where which bytes are. Sources: 7-Zip's 7zFormat.txt; lz4_Frame_format.md, its legacy frame too; POSIX ustar; RAR 5.0
    /// archive format; lzip's manual; QEMU's docs/interop/qcow2.txt; VMware's Virtual Disk Format 5.0; MS-VHDX 2.2.1; VHD
    /// specification 1.0; VirtualBox's VDICore.h; libsparse's sparse_format.h; BEP 3; APPNOTE 4.3.16.
    private var signatures: [(place: Int, bytes: [UInt8])] {
        func text(_ text: String, at place: Int = 0) -> (Int, [UInt8]) { (place, Array(text.utf8)) }
        return switch self {
        case .sevenZip: [(0, [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c])]
        case .lz4: [(0, [0x04, 0x22, 0x4d, 0x18]), (0, [0x02, 0x21, 0x4c, 0x18])]
        case .tar: [text("ustar", at: 257)]
        case .rar: [text("Rar!\u{1a}\u{7}")]
        case .lzip: [text("LZIP")]
        // Its header has no magic: told in ``init(_:)``.
        case .lzma: []
        case .compress: [(0, [0x1f, 0x9d])]
        case .emptyZip: [(0, [0x50, 0x4b, 0x05, 0x06])]
        case .qcow2: [(0, [0x51, 0x46, 0x49, 0xfb])]
        case .vmdk: [text("KDMV"), text("# Disk DescriptorFile")]
        case .vhdx: [text("vhdxfile")]
        case .vhd: [text("conectix")]
        case .vdi: [(64, [0x7f, 0x10, 0xda, 0xbe])]
        case .androidSparse: [(0, [0x3a, 0xff, 0x26, 0xed])]
        case .webPage: [text("<!doctype html"), text("<html")]
        case .torrent: [text("d8:announce"), text("d13:announce-list")]
        }
    }

    /// The format of a file with these first bytes; nil where it is none of these.
    ///
    /// - Parameter start: at least 512 bytes, or all that the file has.
    init?(_ start: [UInt8]) {
        // A raw image has a partition table: its boot code may be anything.
        if start.count >= 512, start[510] == 0x55, start[511] == 0xaa { return nil }
        let lowered = start.prefix(64).map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
        let found = Self.allCases.first { format in
            let bytes = format == .webPage ? lowered : start
            return format.signatures.contains { bytes.dropFirst($0.place).starts(with: $0.bytes) }
        }
        if let found {
            self = found
        } else if Self.isLZMA(start) {
            self = .lzma
        } else {
            return nil
        }
    }

    /// Whether this is the header of an .lzma file as every tool writes it: properties 0x5d, a dictionary of 4 KiB to 1 GiB
    /// whose length is a power of two or one and a half times one, and the content's length or all ones (LZMA SDK,
    /// lzma-specification.txt).
    private static func isLZMA(_ start: [UInt8]) -> Bool {
        guard start.count >= 13, start[0] == 0x5d else { return false }
        let dictionary = (1...4).reduce(UInt32(0)) { $0 | UInt32(start[$1]) << UInt32(8 * ($1 - 1)) }
        guard (1 << 12...1 << 30).contains(dictionary), (dictionary >> UInt32(dictionary.trailingZeroBitCount)) <= 3
        else { return false }
        return start[5...12].allSatisfy { $0 == 0xff } || start[10...12].allSatisfy { $0 == 0 }
    }

    /// What to do with such a file.
    func remedy(for path: FilePath) -> String {
        let file = path.string.shellQuoted
        func converted(_ suffix: String) -> String { FilePath(path.string + suffix).string.shellQuoted }
        return switch self {
        case .sevenZip, .rar: "unpack it first: 7z x \(file)"
        case .lz4: "unpack it first: lz4 -dc <\(file) >\(converted(".unpacked"))"
        case .tar: "unpack it first: tar xf \(file)"
        case .lzip: "unpack it first: lzip -dc <\(file) >\(converted(".unpacked"))"
        case .lzma: "unpack it first: unlzma -c <\(file) >\(converted(".unpacked"))"
        case .compress: "unpack it first: gunzip -c <\(file) >\(converted(".unpacked"))"
        case .qcow2, .vmdk, .vhdx, .vhd, .vdi: "convert it first: qemu-img convert -O raw \(file) \(converted(".img"))"
        case .androidSparse: "convert it first: simg2img \(file) \(converted(".img"))"
        case .emptyZip, .webPage: "download the image again"
        case .torrent: "give it to a BitTorrent client, which downloads the image"
        }
    }
}

/// What a compressed file has in it where that is not a raw image.
package enum PackedContent: Hashable, Sendable {
    /// A file that is compressed once more.
    case compressed(Compression)
    /// A file of another kind.
    case other(OtherFormat)
}
