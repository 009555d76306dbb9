/// An archive of files as every tar takes it. Source: POSIX.1-1988, `struct` in <tar.h>.
enum UStar {
    /// What ends an archive: two blocks of zeros.
    static let end = [UInt8](repeating: 0, count: 1024)

    /// A regular file: its header and content, in blocks of 512 bytes.
    ///
    /// - Parameters:
    ///   - name: ASCII, at most 99 bytes.
    ///   - content: less than 8 GiB.
    static func member(_ name: String, _ content: [UInt8]) -> [UInt8] {
        func octal(_ value: Int, _ width: Int) -> String {
            let digits = String(value, radix: 8)
            return String(repeating: "0", count: width - digits.count) + digits
        }
        var header = [UInt8](repeating: 0, count: 512)
        func put(_ text: String, at offset: Int) {
            header.replaceSubrange(offset..<offset + text.utf8.count, with: text.utf8)
        }
        put(name, at: 0)  // name
        put(octal(0o755, 7), at: 100)  // mode
        put(octal(0, 7), at: 108)  // uid
        put(octal(0, 7), at: 116)  // gid
        put(octal(content.count, 11), at: 124)  // size
        put(octal(0, 11), at: 136)  // mtime
        put("        ", at: 148)  // chksum, blanks while it is computed
        put("0", at: 156)  // typeflag: a regular file
        put("ustar\u{0}00", at: 257)  // magic, version
        put(octal(header.reduce(0) { $0 + Int($1) }, 6) + "\u{0}", at: 148)
        return header + content + [UInt8](repeating: 0, count: (512 - content.count % 512) % 512)
    }
}
