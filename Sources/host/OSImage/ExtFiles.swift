import CExt2FS
import Glibc

/// Files of an ext filesystem in an image, read from it and changed in its view. The file system must be clean: libext2fs
/// writes into one whose journal holds something newer as if it did not. C: libext2fs.
@safe struct ExtFiles: ~Copyable {
    private let raw: ext2_filsys

    /// Opens it.
    ///
    /// - Parameter isWritable: the area's image takes changes.
    init(_ area: PartitionArea, isWritable: Bool) throws(ExtError) {
        let flags = EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP | (isWritable ? EXT2_FLAG_RW : 0)
        try unsafe self.raw = ExtChannel.open(area, flags: Int32(flags))
        guard isWritable else { return }
        // Same image, same bytes: the time of the change is that of the last one before it.
        let superblock = unsafe raw.pointee.super.pointee
        unsafe raw.pointee.now = time_t(superblock.s_wtime) | time_t(superblock.s_wtime_hi) << 32
    }

    // Not ext2fs_close_free, which would write what `finish` was not called for.
    deinit { unsafe ext2fs_free(raw) }

    /// Its UUID as /etc/fstab has it; nil where it has none.
    var uuid: String? {
        let bytes = unsafe withUnsafeBytes(of: raw.pointee.super.pointee.s_uuid) { unsafe Array($0) }
        guard bytes.contains(where: { $0 != 0 }) else { return nil }
        let digits = Array(bytes.hexadecimal)
        return [0..<8, 8..<12, 12..<16, 16..<20, 20..<32].map { String(digits[$0]) }.joined(separator: "-")
    }

    /// Whether there is something at a path, links followed.
    func exists(_ path: String) -> Bool { (try? inode(of: path)) ?? nil != nil }

    /// A file's content; nil where there is no such file.
    ///
    /// - Parameter limit: bytes at most.
    func read(_ path: String, limit: Int = 1 << 20) throws(ExtError) -> [UInt8]? {
        guard let inode = try inode(of: path) else { return nil }
        try checkIsFile(inode, path)
        let file = try unsafe open(inode, path, flags: 0)
        defer { unsafe ext2fs_file_close(file) }
        var length: UInt64 = 0
        try Self.check(unsafe ext2fs_file_get_lsize(file, &length), "file \(path) cannot be read")
        guard length <= UInt64(limit) else {
            throw ExtError("file \(path) has \(length) bytes; must be at most \(limit) bytes")
        }
        var content = [UInt8](repeating: 0, count: Int(length))
        var done = 0
        while done < content.count {
            var count: UInt32 = 0
            let code = unsafe content.withUnsafeMutableBytes { buffer in
                unsafe ext2fs_file_read(
                    file, buffer.baseAddress?.advanced(by: done), UInt32(buffer.count - done), &count)
            }
            try Self.check(code, "file \(path) cannot be read")
            guard count > 0 else { throw ExtError("file \(path) ends before its length") }
            done += Int(count)
        }
        return content
    }

    /// Gives a file that is there another content; owner, modes and times stay.
    mutating func replace(_ path: String, with content: [UInt8]) throws(ExtError) {
        guard let inode = try inode(of: path) else { throw ExtError("has no file \(path)") }
        try checkIsFile(inode, path)
        try readBitmaps()
        if try replaceInline(inode, path, content) { return }
        let file = try unsafe open(inode, path, flags: EXT2_FILE_WRITE)
        var code = errcode_t(0)
        var done = 0
        while code == 0, done < content.count {
            var count: UInt32 = 0
            // A smallest block at a time: libext2fs 1.47 copies a longer write to a file whose data is in its inode past
            // the end of a buffer of three blocks (fileio.c, ext2fs_file_write_inline_data).
            let length = UInt32(min(1024, content.count - done))
            code = unsafe content.withUnsafeBytes { buffer in
                unsafe ext2fs_file_write(file, buffer.baseAddress?.advanced(by: done), length, &count)
            }
            if code == 0, count == 0 { code = errcode_t(EIO) }
            done += Int(count)
        }
        var length: UInt64 = 0
        if code == 0 { code = unsafe ext2fs_file_get_lsize(file, &length) }
        // A file whose data is in its inode has no block that this could cut (1.47, fileio.c, file_zero_past_offset).
        if code == 0, length != UInt64(content.count) {
            code = unsafe ext2fs_file_set_size2(file, ext2_off64_t(content.count))
        }
        let closed = unsafe ext2fs_file_close(file)
        try Self.check(code == 0 ? closed : code, "file \(path) cannot be written")
    }

    /// Gives a file whose data is in its inode another content, where that fits there too.
    ///
    /// - Returns: false where the file has blocks, or needs some now.
    private func replaceInline(_ number: ext2_ino_t, _ path: String, _ content: [UInt8]) throws(ExtError) -> Bool {
        var inode = ext2_inode()
        try Self.check(unsafe ext2fs_read_inode(raw, number, &inode), "\(path) cannot be read")
        guard inode.i_flags & UInt32(EXT4_INLINE_DATA_FL) != 0 else { return false }
        var bytes = content
        let code = unsafe bytes.withUnsafeMutableBytes { buffer in
            unsafe ext2fs_inline_data_set(raw, number, nil, buffer.baseAddress, buffer.count)
        }
        if code == errcode_t(EXT2_ET_INLINE_DATA_NO_SPACE) { return false }
        try Self.check(code, "file \(path) cannot be written")
        try Self.check(unsafe ext2fs_read_inode(raw, number, &inode), "\(path) cannot be read")
        inode.i_size = UInt32(content.count)
        try Self.check(unsafe ext2fs_write_inode(raw, number, &inode), "file \(path) cannot be written")
        return true
    }

    /// The names in a folder; nil where there is none.
    func names(in path: String) throws(ExtError) -> [String]? {
        guard let inode = try inode(of: path), unsafe ext2fs_check_directory(raw, inode) == 0 else { return nil }
        final class Names { var list: [String] = [] }
        let names = Names()
        let code = unsafe ext2fs_dir_iterate2(
            raw, inode, 0, nil,
            { _, _, entry, _, _, _, data in
                guard let entry = unsafe entry, let data = unsafe data else { return 0 }
                let length = unsafe Int(ext2fs_dirent_name_len(entry))
                // The name lies behind the entry's 8 bytes of numbers.
                let name = unsafe UnsafeRawBufferPointer(start: UnsafeRawPointer(entry).advanced(by: 8), count: length)
                let names = unsafe Unmanaged<Names>.fromOpaque(data).takeUnretainedValue()
                unsafe names.list.append(String(decoding: name, as: UTF8.self))
                return names.list.count > ExtFiles.mostNames ? DIRENT_ABORT : 0
            }, Unmanaged.passUnretained(names).toOpaque())
        try Self.check(code, "folder \(path) cannot be read")
        guard names.list.count <= Self.mostNames else {
            throw ExtError("folder \(path) has more than \(Self.mostNames) names")
        }
        return names.list.filter { $0 != "." && $0 != ".." }.sorted()
    }

    /// Removes an entry of a folder that is not a folder itself; what it was the last name of goes with it.
    mutating func remove(_ name: String, in folder: String) throws(ExtError) {
        let path = "\(folder)/\(name)"
        guard let directory = try inode(of: folder) else { throw ExtError("has no folder \(folder)") }
        var number: ext2_ino_t = 0
        let found = unsafe ext2fs_lookup(raw, directory, name, Int32(name.utf8.count), nil, &number)
        try Self.check(found, "\(path) cannot be found")
        guard unsafe ext2fs_check_directory(raw, number) != 0 else { throw ExtError("\(path) is a folder") }
        var inode = ext2_inode()
        try Self.check(unsafe ext2fs_read_inode(raw, number, &inode), "\(path) cannot be read")
        try readBitmaps()
        try Self.check(unsafe ext2fs_unlink(raw, directory, name, number, 0), "\(path) cannot be removed")
        if inode.i_links_count > 1 {
            inode.i_links_count -= 1
            return try Self.check(unsafe ext2fs_write_inode(raw, number, &inode), "\(path) cannot be removed")
        }
        inode.i_links_count = 0
        inode.i_dtime = unsafe UInt32(truncatingIfNeeded: raw.pointee.now)
        if unsafe ext2fs_inode_has_valid_blocks2(raw, &inode) != 0 {
            try Self.check(unsafe ext2fs_punch(raw, number, &inode, nil, 0, .max), "\(path) cannot be removed")
        }
        try Self.check(unsafe ext2fs_free_ext_attr(raw, number, nil), "\(path) cannot be removed")
        try Self.check(unsafe ext2fs_write_inode(raw, number, &inode), "\(path) cannot be removed")
        unsafe ext2fs_inode_alloc_stats2(raw, number, -1, 0)
    }

    /// Brings all changes into the view. C: `ext2fs_flush2`.
    mutating func finish() throws(ExtError) {
        try Self.check(unsafe ext2fs_flush2(raw, 0), "cannot be written")
    }

    /// Names in a folder at most.
    private static let mostNames = 10_000

    // MARK: C

    private static func check(_ code: errcode_t, _ what: String) throws(ExtError) {
        guard code == 0 else { throw ExtError(what, code: code) }
    }

    private mutating func readBitmaps() throws(ExtError) {
        guard unsafe raw.pointee.block_map == nil || raw.pointee.inode_map == nil else { return }
        try Self.check(unsafe ext2fs_read_bitmaps(raw), "has damaged bitmaps")
    }

    /// - Returns: nil where there is nothing. C: `ext2fs_namei_follow`.
    private func inode(of path: String) throws(ExtError) -> ext2_ino_t? {
        var inode: ext2_ino_t = 0
        let code = unsafe ext2fs_namei_follow(raw, ext2_ino_t(EXT2_ROOT_INO), ext2_ino_t(EXT2_ROOT_INO), path, &inode)
        if code == errcode_t(EXT2_ET_FILE_NOT_FOUND) || code == errcode_t(EXT2_ET_NO_DIRECTORY) { return nil }
        try Self.check(code, "\(path) cannot be found")
        return inode
    }

    private func checkIsFile(_ number: ext2_ino_t, _ path: String) throws(ExtError) {
        var inode = ext2_inode()
        try Self.check(unsafe ext2fs_read_inode(raw, number, &inode), "\(path) cannot be read")
        guard UInt32(inode.i_mode) & S_IFMT == S_IFREG else { throw ExtError("\(path) is not a regular file") }
    }

    private func open(_ inode: ext2_ino_t, _ path: String, flags: Int32) throws(ExtError) -> ext2_file_t {
        var file: ext2_file_t?
        let code = unsafe ext2fs_file_open(raw, inode, flags, &file)
        guard code == 0, let file = unsafe file else { throw ExtError("file \(path) cannot be opened", code: code) }
        return unsafe file
    }
}

extension [UInt8] {
    /// Lower-case, two digits a byte.
    fileprivate var hexadecimal: String {
        map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
