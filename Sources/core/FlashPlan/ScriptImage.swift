/// A script in U-Boot's legacy image format, as `mkimage -A arm -T script -C none -n NAME -d FILE` makes it and
/// `source` takes it.
///
/// Source: U-Boot, include/image.h (`struct legacy_img_hdr`); all numbers are big endian.
package enum ScriptImage {
    /// Wraps a script.
    ///
    /// - Parameters:
    ///   - script: the text, not empty: an empty one is an error to U-Boot.
    ///   - name: at most 32 bytes; what is longer is cut.
    ///   - time: seconds since 1970, shown by tools only.
    /// - Returns: header, the script's length, 4 bytes 0, the script.
    package static func encode(script: String, name: String, time: UInt32) -> [UInt8] {
        let text = Array(script.utf8)
        precondition(!text.isEmpty && text.count < 1 << 30, "script of \(text.count) bytes")
        // A script image is one of several images: a list of lengths, ended by 0, comes first.
        let data = UInt32(text.count).bigEndianBytes + UInt32(0).bigEndianBytes + text
        var label = Array(name.utf8.prefix(32))
        label += [UInt8](repeating: 0, count: 32 - label.count)
        func header(checksum: UInt32) -> [UInt8] {
            var header = UInt32(0x2705_1956).bigEndianBytes  // ih_magic
            header += checksum.bigEndianBytes  // ih_hcrc, over the header with this field 0
            header += time.bigEndianBytes  // ih_time
            header += UInt32(data.count).bigEndianBytes  // ih_size
            header += UInt32(0).bigEndianBytes  // ih_load
            header += UInt32(0).bigEndianBytes  // ih_ep
            header += CRC32.of(data).bigEndianBytes  // ih_dcrc
            header += [5]  // ih_os: Linux, mkimage's default
            header += [2]  // ih_arch: ARM; scripts run on any
            header += [6]  // ih_type: script
            header += [0]  // ih_comp: none
            return header + label  // ih_name
        }
        return header(checksum: CRC32.of(header(checksum: 0))) + data
    }
}
