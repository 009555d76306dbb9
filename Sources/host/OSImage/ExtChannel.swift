import CExt2FS
import Glibc
import Synchronization

/// How libext2fs reads a partition of an image, and changes it in the view: its io manager that is neither a file nor a
/// device. C: `struct struct_io_manager` in ext2_io.h.
@safe enum ExtChannel {
    /// Opens a filesystem. Nothing is read but what ``PartitionArea`` gives.
    ///
    /// - Parameter flags: `EXT2_FLAG_…`.
    static func open(_ area: PartitionArea, flags: Int32) throws(ExtError) -> ext2_filsys {
        let key = areas.withLock { areas in
            areas.next += 1
            areas.open[areas.next] = area
            return areas.next
        }
        defer { areas.withLock { areas in areas.open[key] = nil } }
        var raw: ext2_filsys?
        let code = unsafe ext2fs_open2("\(key)", nil, flags, 0, 0, manager, &raw)
        guard code == 0, let raw = unsafe raw else { throw ExtError("cannot be opened", code: code) }
        // A plain array of bits: a tree would take 40 bytes for each run of a hostile bitmap.
        unsafe raw.pointee.default_bitmap_type = __u16(EXT2FS_BMAP64_BITARRAY)
        return unsafe raw
    }

    /// What `open` finds by the name that libext2fs passes on.
    private struct Areas {
        var next: UInt64 = 0
        var open: [UInt64: PartitionArea] = [:]
    }
    private static let areas = Mutex(Areas())

    /// What a channel's `private_data` owns.
    private final class Owner {
        let area: PartitionArea
        init(_ area: PartitionArea) { self.area = area }
    }

    // Made once, never changed, and never freed: channels point to it.
    private nonisolated(unsafe) static let manager: io_manager = unsafe make()

    private static func make() -> io_manager {
        let manager = io_manager.allocate(capacity: 1)
        unsafe manager.initialize(to: struct_io_manager())
        unsafe manager.pointee.magic = errcode_t(EXT2_ET_MAGIC_IO_MANAGER)
        unsafe manager.pointee.name = UnsafePointer(strdup("rpiflash image"))
        unsafe manager.pointee.open = { name, _, result in
            guard let name = unsafe name, let result = unsafe result, let key = unsafe UInt64(String(cString: name)),
                let area = ExtChannel.areas.withLock({ $0.open[key] }),
                let channel = unsafe calloc(1, MemoryLayout<struct_io_channel>.size)?
                    .assumingMemoryBound(to: struct_io_channel.self)
            else { return errcode_t(ENOMEM) }
            unsafe channel.pointee.magic = errcode_t(EXT2_ET_MAGIC_IO_CHANNEL)
            unsafe channel.pointee.manager = ExtChannel.manager
            unsafe channel.pointee.name = strdup(name)
            unsafe channel.pointee.block_size = 1024
            unsafe channel.pointee.refcount = 1
            unsafe channel.pointee.private_data = Unmanaged.passRetained(Owner(area)).toOpaque()
            unsafe result.pointee = channel
            return 0
        }
        unsafe manager.pointee.close = { channel in
            guard let channel = unsafe channel else { return errcode_t(EINVAL) }
            unsafe channel.pointee.refcount -= 1
            guard unsafe channel.pointee.refcount <= 0 else { return 0 }
            unsafe Unmanaged<Owner>.fromOpaque(channel.pointee.private_data).release()
            unsafe free(channel.pointee.name)
            unsafe free(channel)
            return 0
        }
        unsafe manager.pointee.set_blksize = { channel, size in
            guard let channel = unsafe channel, size >= 1024 else { return errcode_t(EINVAL) }
            unsafe channel.pointee.block_size = size
            return 0
        }
        unsafe manager.pointee.read_blk = { unsafe ExtChannel.read($0, UInt64($1), $2, $3) }
        unsafe manager.pointee.read_blk64 = { unsafe ExtChannel.read($0, $1, $2, $3) }
        unsafe manager.pointee.write_blk = { unsafe ExtChannel.write($0, UInt64($1), $2, $3) }
        unsafe manager.pointee.write_blk64 = { unsafe ExtChannel.write($0, $1, $2, $3) }
        unsafe manager.pointee.write_byte = { channel, offset, count, data in
            unsafe ExtChannel.write(channel, at: UInt64(offset), count: count, data)
        }
        unsafe manager.pointee.flush = { _ in 0 }
        return unsafe manager
    }

    /// Bytes that a request means. A negative count is bytes, not blocks.
    private static func range(_ channel: io_channel, _ block: UInt64, _ count: Int32) -> Range<UInt64>? {
        guard count != .min else { return nil }
        let size = unsafe UInt64(channel.pointee.block_size)
        let (offset, overflows) = block.multipliedReportingOverflow(by: size)
        guard !overflows, offset < 1 << 62 else { return nil }
        return offset..<offset + (count < 0 ? UInt64(-count) : UInt64(count) * size)
    }

    private static func read(
        _ channel: io_channel?, _ block: UInt64, _ count: Int32, _ data: UnsafeMutableRawPointer?
    ) -> errcode_t {
        guard let channel = unsafe channel, let data = unsafe data, let range = unsafe range(channel, block, count)
        else { return errcode_t(EINVAL) }
        let area = unsafe Unmanaged<Owner>.fromOpaque(channel.pointee.private_data).takeUnretainedValue().area
        guard range.upperBound <= area.bytes else { return errcode_t(EXT2_ET_SHORT_READ) }
        do {
            try unsafe area.image.read(
                into: UnsafeMutableRawBufferPointer(start: data, count: range.count), at: area.start + range.lowerBound)
            return 0
        } catch {
            return errcode_t(EIO)
        }
    }

    private static func write(
        _ channel: io_channel?, _ block: UInt64, _ count: Int32, _ data: UnsafeRawPointer?
    ) -> errcode_t {
        guard let open = unsafe channel, let range = unsafe range(open, block, count) else { return errcode_t(EINVAL) }
        guard range.count <= Int(Int32.max) else { return errcode_t(EINVAL) }
        return unsafe write(channel, at: range.lowerBound, count: Int32(range.count), data)
    }

    private static func write(
        _ channel: io_channel?, at offset: UInt64, count: Int32, _ data: UnsafeRawPointer?
    ) -> errcode_t {
        guard let channel = unsafe channel, let data = unsafe data, count >= 0 else { return errcode_t(EINVAL) }
        let area = unsafe Unmanaged<Owner>.fromOpaque(channel.pointee.private_data).takeUnretainedValue().area
        guard offset <= area.bytes, UInt64(count) <= area.bytes - offset else { return errcode_t(EXT2_ET_SHORT_WRITE) }
        do {
            let bytes = unsafe UnsafeRawBufferPointer(start: data, count: Int(count))
            return try unsafe area.image.write(bytes, at: area.start + offset) ? 0 : errcode_t(ENOSPC)
        } catch {
            return errcode_t(EIO)
        }
    }
}
