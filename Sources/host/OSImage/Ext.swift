import CExt2FS
import DiskLayout
import Glibc

/// What a superblock says, read by ourselves first: libext2fs is only let at numbers that are bounded by the partition.
///
/// Source: Linux, Documentation/filesystems/ext4/super.rst.
struct ExtSuperblock: FilesystemRecords {
    let kind: Filesystem
    let blockSize: UInt64
    let blocks: UInt64

    /// Blocks at most: their bitmap takes 64 MiB.
    private static let mostBlocks: UInt64 = 1 << 29
    /// Bytes of group descriptors at most.
    private static let mostDescriptors: UInt64 = 32 << 20

    /// - Parameter start: the partition's first bytes, at least 2048 where it has them.
    static func probe(_ start: [UInt8], bytes partition: UInt64) -> Probe<ExtSuperblock> {
        guard start.count >= 2048 else { return .absent }
        let superblock = [UInt8](start[1024..<2048])
        guard superblock.u16(0x38) == 0xef53 else { return .absent }
        let (compatible, incompatible, readOnly) = (superblock.u32(0x5c), superblock.u32(0x60), superblock.u32(0x64))
        let isExt4 = incompatible & 0x2c0 != 0 || readOnly & 0x778 != 0
        let kind: Filesystem = isExt4 ? .ext4 : compatible & 0x4 != 0 ? .ext3 : .ext2
        func doubtful(_ reason: String) -> Probe<ExtSuperblock> { .doubtful(kind, "\(kind) filesystem \(reason)") }

        guard superblock.u32(0x18) <= 6 else { return doubtful("has a block size over 64 KiB; is damaged") }
        let blockSize = UInt64(1024) << superblock.u32(0x18)
        let blocks = superblock.u32(0x4) | (incompatible & 0x80 != 0 ? superblock.u32(0x150) << 32 : 0)
        let firstBlock = superblock.u32(0x14)
        let perGroup = superblock.u32(0x20)
        guard blocks > firstBlock, firstBlock <= 1, perGroup >= 8 else { return doubtful("is damaged (superblock)") }
        guard blocks <= partition / blockSize else {
            return doubtful("has \(blocks) blocks of \(blockSize) bytes, its partition \(partition) bytes; must fit it")
        }
        let groups = (blocks - firstBlock + perGroup - 1) / perGroup
        let descriptor = incompatible & 0x80 != 0 ? max(32, superblock.u16(0xfe)) : 32
        guard blocks <= mostBlocks, groups * descriptor <= mostDescriptors else {
            return doubtful("has \(blocks) blocks in \(groups) groups; must have at most \(mostBlocks) blocks")
        }
        let inodes = superblock.u32(0)
        guard inodes <= mostBlocks else {
            return doubtful("has \(inodes) inodes; must have at most \(mostBlocks)")
        }
        guard incompatible & 0x8 == 0 else { return doubtful("is the journal of another one") }
        // What the journal holds is newer than the bitmaps on disk.
        guard incompatible & 0x4 == 0 else { return doubtful("needs journal recovery") }
        let state = superblock.u16(0x3a)
        guard state & 0x2 == 0 else { return doubtful("is marked as having errors") }
        guard state & 0x1 != 0, state & 0x4 == 0, readOnly & 0x10000 == 0 else {
            return doubtful("was not unmounted cleanly")
        }
        return .found(ExtSuperblock(kind: kind, blockSize: blockSize, blocks: blocks))
    }

    /// Whether it is an ext filesystem that e2fsck should look at before anything is changed in it: its journal holds
    /// something newer, or it was not unmounted.
    static func needsRecovery(_ start: [UInt8]) -> Bool {
        guard start.count >= 2048, start.u16(1024 + 0x38) == 0xef53 else { return false }
        let (incompatible, readOnly, state) = (start.u32(1024 + 0x60), start.u32(1024 + 0x64), start.u16(1024 + 0x3a))
        return incompatible & 0x4 != 0 || state & 0x1 == 0 || state & 0x6 != 0 || readOnly & 0x10000 != 0
    }

    /// Whether it is one with more blocks than its partition has room for.
    static func isTruncated(_ start: [UInt8], bytes partition: UInt64) -> Bool {
        guard start.count >= 2048, start.u16(1024 + 0x38) == 0xef53, start.u32(1024 + 0x18) <= 6 else { return false }
        let high = start.u32(1024 + 0x60) & 0x80 != 0 ? start.u32(1024 + 0x150) << 32 : 0
        return start.u32(1024 + 0x4) | high > partition / (1024 << start.u32(1024 + 0x18))
    }

    /// Adds the blocks that the block bitmaps have, checked against the groups' own counts and metadata.
    func collect(from area: PartitionArea, into collector: inout ExtentCollector) throws(UsageError) -> String? {
        do throws(ExtError) {
            let filesystem = try ExtReference(area)
            try filesystem.readBlockBitmap()
            try filesystem.checkGroups(blocks: blocks, blockSize: blockSize)
            let (sectors, first) = (blockSize / 512, filesystem.firstBlock)
            // With blocks of 1 KiB the boot block lies before the first block that a bitmap has.
            collector.add(0, max(1, first * sectors))
            try filesystem.runs(in: first...blocks - 1) { block, count in
                collector.add(block * sectors, count * sectors)
            }
        } catch {
            throw .doubtful("\(kind) filesystem \(error.reason)")
        }
        do {
            return try noteOnTail(blocks * blockSize, of: area)
        } catch {
            throw .image(error)
        }
    }
}

/// Why libext2fs does not help.
struct ExtError: Error {
    let reason: String
    /// It has no free block.
    let isFull: Bool

    init(_ reason: String) {
        self.reason = reason
        isFull = false
    }

    /// - Parameter code: libext2fs's, or an errno. C: `error_message`.
    init(_ what: String, code: errcode_t) {
        _ = Self.texts
        // What is said most often, and libext2fs's words for it tell nobody what to do.
        let full = [EXT2_ET_BLOCK_ALLOC_FAIL, EXT2_ET_INLINE_DATA_NO_BLOCK].map { errcode_t($0) }
        if full.contains(code) || code == errcode_t(ENOSPC) {
            (reason, isFull) = ("\(what): it has no free block", true)
            return
        }
        isFull = false
        let text = unsafe error_message(code).map { unsafe String(cString: $0) } ?? "error \(code)"
        reason = "\(what) (\(text.prefix(1).lowercased() + text.dropFirst()))"
    }

    private static let texts: Void = initialize_ext2_error_table()
}

/// Owns an open filesystem; it is only read. C: `ext2fs_open2`, `ext2fs_free`.
@safe struct ExtReference: ~Copyable {
    fileprivate let raw: ext2_filsys

    init(_ area: PartitionArea) throws(ExtError) {
        // No EXT2_FLAG_RW. Multiple mount protection would wait for seconds, and guards writers.
        try unsafe self.raw = ExtChannel.open(area, flags: Int32(EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP))
    }

    // Not ext2fs_close_free, which would write if anything were dirty.
    deinit { unsafe ext2fs_free(raw) }

    var firstBlock: UInt64 { unsafe UInt64(raw.pointee.super.pointee.s_first_data_block) }

    /// Reads it, groups that are not initialised computed. C: `ext2fs_check_desc`, `ext2fs_read_block_bitmap`.
    func readBlockBitmap() throws(ExtError) {
        let descriptors = unsafe ext2fs_check_desc(raw)
        guard descriptors == 0 else { throw ExtError("has damaged group descriptors", code: descriptors) }
        for group in 0..<(unsafe raw.pointee.group_desc_count) {
            guard unsafe ext2fs_group_desc_csum_verify(raw, group) != 0 else {
                throw ExtError("has a wrong checksum in the descriptor of group \(group)")
            }
        }
        let code = unsafe ext2fs_read_block_bitmap(raw)
        guard code == 0 else { throw ExtError("has damaged block bitmaps", code: code) }
    }

    /// Checks that each group has as many free blocks as it says, and its own metadata in use: without metadata checksums
    /// there is nothing else that shows a damaged bitmap.
    func checkGroups(blocks: UInt64, blockSize: UInt64) throws(ExtError) {
        guard unsafe UInt64(raw.pointee.blocksize) == blockSize, unsafe ext2fs_blocks_count(raw.pointee.super) == blocks
        else { throw ExtError("changed while it was read") }
        let ratio = UInt64(1) << UInt64(unsafe max(0, raw.pointee.cluster_ratio_bits))
        let tableBlocks = UInt64(unsafe raw.pointee.inode_blocks_per_group)
        for group in 0..<(unsafe raw.pointee.group_desc_count) {
            let (first, last) = unsafe (ext2fs_group_first_block2(raw, group), ext2fs_group_last_block2(raw, group))
            guard first <= last, last < blocks else { throw ExtError("has a damaged group \(group)") }
            var used: UInt64 = 0
            try runs(in: first...last) { used += ($1 + ratio - 1) / ratio }
            let clusters = (last - first + ratio) / ratio
            let free = UInt64(unsafe ext2fs_bg_free_blocks_count(raw, group))
            guard used <= clusters, clusters - used == free else {
                throw ExtError(
                    "has \(clusters - min(used, clusters)) free clusters in the bitmap of group \(group), \(free) in its descriptor; is damaged"
                )
            }
            let table = unsafe ext2fs_inode_table_loc(raw, group)
            for (block, count) in unsafe [
                (ext2fs_block_bitmap_loc(raw, group), 1), (ext2fs_inode_bitmap_loc(raw, group), 1),
                (table, tableBlocks),
            ] {
                guard count > 0, block >= firstBlock, block < blocks, count <= blocks - block,
                    try next(in: block...block + count - 1, used: false) == nil
                else { throw ExtError("has metadata of group \(group) in blocks that are marked unused; is damaged") }
            }
        }
    }

    /// Calls with each run of used blocks in a range.
    func runs(in range: ClosedRange<UInt64>, _ body: (_ block: UInt64, _ count: UInt64) -> Void) throws(ExtError) {
        var from = range.lowerBound
        while from <= range.upperBound, let start = try next(in: from...range.upperBound, used: true) {
            let end = try next(in: start...range.upperBound, used: false) ?? range.upperBound + 1
            body(start, end - start)
            from = end
        }
    }

    /// The first used, or unused, block of a range. C: `ext2fs_find_first_set_block_bitmap2`, `…_zero_…`.
    private func next(in range: ClosedRange<UInt64>, used: Bool) throws(ExtError) -> UInt64? {
        var found: blk64_t = 0
        let map = unsafe raw.pointee.block_map
        let code =
            unsafe used
            ? ext2fs_find_first_set_block_bitmap2(map, range.lowerBound, range.upperBound, &found)
            : ext2fs_find_first_zero_block_bitmap2(map, range.lowerBound, range.upperBound, &found)
        if code == errcode_t(ENOENT) { return nil }
        guard code == 0 else { throw ExtError("has damaged block bitmaps", code: code) }
        // With clusters the answer is a cluster's first block, which may lie before the range.
        return max(found, range.lowerBound)
    }
}

extension ExtReference {
    /// Copies what e2fsck looks at into a new file: all but the contents of files, as holes. An image of 9 GiB has less than
    /// 100 MiB of it.
    ///
    /// - Throws: ``ExtError`` where the records lead nowhere, or into one another.
    func copyRecords(of area: PartitionArea, to file: SparseFile) throws {
        let blockSize = UInt64(unsafe raw.pointee.blocksize)
        let blocks = unsafe ext2fs_blocks_count(raw.pointee.super)
        func copy(_ block: UInt64, _ count: UInt64 = 1) throws {
            guard block < blocks, count <= blocks - block else {
                throw ExtError("has records in blocks that there are not")
            }
            try area.copy(block * blockSize, count * blockSize, to: file)
        }
        let superblock = unsafe raw.pointee.super.pointee
        try area.copy(0, max(4096, blockSize), to: file)
        for number in 0..<(unsafe raw.pointee.desc_blocks) {
            try copy(
                unsafe ext2fs_descriptor_block_loc2(raw, UInt64(superblock.s_first_data_block), dgrp_t(number)))
        }
        if superblock.s_mmp_block != 0 { try copy(superblock.s_mmp_block) }
        let hasUnused = unsafe ext2fs_has_group_desc_csum(raw) != 0
        let inodeSize = UInt64(max(128, superblock.s_inode_size))
        for group in 0..<(unsafe raw.pointee.group_desc_count) {
            try copy(unsafe ext2fs_block_bitmap_loc(raw, group))
            try copy(unsafe ext2fs_inode_bitmap_loc(raw, group))
            let all = UInt64(superblock.s_inodes_per_group)
            let unused = hasUnused ? min(all, UInt64(unsafe ext2fs_bg_itable_unused(raw, group))) : 0
            let used = ((all - unused) * inodeSize + blockSize - 1) / blockSize
            if used > 0 { try copy(unsafe ext2fs_inode_table_loc(raw, group), used) }
        }
        // The number of the file of orphans, which older libraries have no name for. Source: super.rst, s_orphan_file_inum.
        let orphans = try area.bytes(at: 1024 + 0x280, count: 4).u32(0)

        var scan: ext2_inode_scan?
        let opened = unsafe ext2fs_open_inode_scan(raw, 0, &scan)
        guard opened == 0, let scan = unsafe scan else {
            throw ExtError("has inodes that cannot be read", code: opened)
        }
        defer { unsafe ext2fs_close_inode_scan(scan) }
        let visit = Visit(copy: copy, budget: blocks * 2 + 1024)
        while true {
            var number: ext2_ino_t = 0
            var inode = ext2_inode()
            let code = unsafe ext2fs_get_next_inode(scan, &number, &inode)
            // Such inodes are e2fsck's matter.
            if code == errcode_t(EXT2_ET_INODE_CSUM_INVALID) || code == errcode_t(EXT2_ET_BAD_BLOCK_IN_INODE_TABLE) {
                continue
            }
            guard code == 0 else { throw ExtError("has inodes that cannot be read", code: code) }
            guard number != 0 else { break }
            guard inode.i_links_count > 0 || number < 11 || UInt64(number) == orphans else { continue }
            let attributes = unsafe ext2fs_file_acl_block(raw, &inode)
            if attributes != 0 { try copy(attributes) }
            guard unsafe ext2fs_inode_has_valid_blocks2(raw, &inode) != 0 else { continue }
            let kind = UInt32(inode.i_mode) & S_IFMT
            // Folders, links, and files of the filesystem's own; of the journal (8) the first block.
            visit.wantsData =
                kind == S_IFDIR || kind == S_IFLNK || (number < 11 && number != 8) || UInt64(number) == orphans
                || inode.i_flags & 0x20_0000 != 0
            visit.wantsFirst = number == 8
            let walked = unsafe ext2fs_block_iterate3(
                raw, number, Int32(BLOCK_FLAG_READ_ONLY), nil,
                { _, block, index, _, _, data in
                    guard let block = unsafe block, let data = unsafe data else { return BLOCK_ABORT }
                    let visit = unsafe Unmanaged<Visit>.fromOpaque(data).takeUnretainedValue()
                    return unsafe visit.take(block.pointee, index) ? 0 : BLOCK_ABORT
                }, Unmanaged.passUnretained(visit).toOpaque())
            if let error = visit.error { throw error }
            // A damaged file's too.
            guard walked == 0 || walked == errcode_t(EXT2_ET_BLOCK_ALLOC_FAIL) || visit.budget > 0 else {
                throw ExtError("has files that cannot be read", code: walked)
            }
        }
        file.extend(to: area.bytes)
        try file.finish()
    }

    /// Blocks of files on their way into the copy.
    private final class Visit {
        private let copy: (UInt64, UInt64) throws -> Void
        private(set) var budget: UInt64
        var wantsData = false
        var wantsFirst = false
        var error: (any Error)?

        init(copy: @escaping (UInt64, UInt64) throws -> Void, budget: UInt64) {
            (self.copy, self.budget) = (copy, budget)
        }

        func take(_ block: UInt64, _ index: Int64) -> Bool {
            do {
                // Sound files share no blocks; those of a hostile image could be walked for years.
                guard budget > 0 else { throw ExtError("has files in one another's blocks; is damaged") }
                budget -= 1
                if index < 0 || wantsData || (wantsFirst && index == 0) { try copy(block, 1) }
                return true
            } catch {
                self.error = error
                return false
            }
        }
    }
}
