import CFDisk
import DiskLayout
import Glibc

/// A context with a file or device assigned: everything that is read from or written to it.
///
/// `fdisk_create_disklabel` and `fdisk_deassign_device` abort the process without a device, so there is no other way to
/// reach them than through this type.
@safe struct Device: ~Copyable {
    private let context: ContextReference
    /// What errors call it.
    private let path: String

    /// Opens `file`. C: `fdisk_assign_device`.
    init(path file: String, named path: String, readOnly: Bool) throws(FDiskError) {
        let context = try ContextReference(path: path)
        let data = unsafe Unmanaged.passUnretained(context.messages).toOpaque()
        try Self.check(.setAsk, unsafe fdisk_set_ask(context.raw, Messages.callback, data), path, context.messages)
        let code = unsafe fdisk_assign_device(context.raw, file, readOnly ? 1 : 0)
        switch -code {
        case ENOENT, EACCES, EPERM, EISDIR, ENOTDIR, EROFS, ENXIO, ENODEV, ELOOP, ENAMETOOLONG, EBUSY, ETXTBSY:
            throw .cannotOpen(path: path, errno: -code)
        default:
            try Self.check(.assignDevice, code, path, context.messages)
        }
        try Self.check(.disableDialogs, unsafe fdisk_disable_dialogs(context.raw, 1), path, context.messages)
        self.context = context
        self.path = path
    }

    /// The one place where a return code becomes an error.
    ///
    /// Not only negative codes: `fdisk_toggle_partition_flag` returns 1 on a bad flag.
    private static func check(
        _ call: FDiskCall, _ code: Int32, _ path: String, _ messages: Messages
    ) throws(FDiskError) {
        guard code == 0 else { throw .call(call, code: code, path: path, message: messages.last) }
    }

    private func check(_ call: FDiskCall, _ code: Int32) throws(FDiskError) {
        try Self.check(call, code, path, context.messages)
    }

    // MARK: Reading

    /// Refuses what is no DOS label. C: `fdisk_has_label`, `fdisk_is_labeltype`.
    func requireDOSLabel() throws(FDiskError) {
        let sectorSize = UInt64(unsafe fdisk_get_sector_size(context.raw))
        guard sectorSize == SectorCount.bytesPerSector else {
            throw .otherSectorSize(path: path, bytes: sectorSize)
        }
        guard unsafe fdisk_has_label(context.raw) != 0 else { throw .noLabel(path: path) }
        guard unsafe fdisk_is_labeltype(context.raw, FDISK_DISKLABEL_GPT) == 0 else { throw .gpt(path: path) }
        guard unsafe fdisk_is_labeltype(context.raw, FDISK_DISKLABEL_DOS) != 0 else {
            let name = unsafe fdisk_get_label(context.raw, nil).flatMap { unsafe fdisk_label_get_name($0) }
            throw .otherLabel(path: path, name: unsafe name.map { unsafe String(cString: $0) } ?? "unknown")
        }
    }

    /// The label's signature, nil where it is 0. C: `fdisk_get_disklabel_id`.
    func diskID() throws(FDiskError) -> DiskID? {
        var text: UnsafeMutablePointer<CChar>?
        try check(.getDisklabelID, unsafe fdisk_get_disklabel_id(context.raw, &text))
        defer { unsafe free(text) }
        guard let text = unsafe text, let value = UInt32(unsafe String(cString: text).dropFirst(2), radix: 16) else {
            throw .call(.getDisklabelID, code: -EINVAL, path: path, message: nil)
        }
        return DiskID(value)
    }

    /// The entries in use, extended and logical ones too. C: `fdisk_is_partition_used`, `fdisk_get_partition`.
    func partitions() throws(FDiskError) -> [Partition] {
        var partitions: [Partition] = []
        for slot in 0..<(unsafe fdisk_get_npartitions(context.raw)) {
            guard unsafe fdisk_is_partition_used(context.raw, slot) == 1 else { continue }
            var raw: OpaquePointer?
            try check(.getPartition, unsafe fdisk_get_partition(context.raw, slot, &raw))
            guard let raw = unsafe raw else {
                throw .call(.getPartition, code: -EINVAL, path: path, message: nil)
            }
            let entry = unsafe PartitionReference(owning: raw)
            guard let type = unsafe fdisk_partition_get_type(entry.raw) else {
                throw .call(.getType, code: -EINVAL, path: path, message: nil)
            }
            partitions.append(
                Partition(
                    number: Int(slot) + 1,
                    type: PartitionType(code: UInt8(truncatingIfNeeded: unsafe fdisk_parttype_get_code(type))),
                    isActive: unsafe fdisk_partition_is_bootable(entry.raw) == 1,
                    start: LBA(unsafe fdisk_partition_get_start(entry.raw)),
                    size: SectorCount(unsafe fdisk_partition_get_size(entry.raw))))
        }
        return partitions
    }

    // MARK: Writing

    /// Starts a new DOS label in memory; old signatures go when it is written.
    ///
    /// C: `fdisk_enable_wipe`, `fdisk_create_disklabel`, `fdisk_set_disklabel_id_from_string`.
    func createDOSLabel(diskID: DiskID?) throws(FDiskError) {
        try check(.enableWipe, unsafe fdisk_enable_wipe(context.raw, 1))
        try check(.createDisklabel, unsafe fdisk_create_disklabel(context.raw, "dos"))
        try check(
            .setDisklabelID,
            unsafe fdisk_set_disklabel_id_from_string(context.raw, diskID?.description ?? "0x00000000"))
    }

    /// Adds an entry exactly as given. C: `fdisk_add_partition`.
    func add(_ partition: Partition) throws(FDiskError) {
        guard (1...4).contains(partition.number) else { throw .badNumber(path: path, number: partition.number) }
        let type = try PartitionTypeReference(path: path)
        try check(.setCode, unsafe fdisk_parttype_set_code(type.raw, Int32(partition.type.code)))
        let entry = try PartitionReference(path: path)
        try check(.setType, unsafe fdisk_partition_set_type(entry.raw, type.raw))
        try check(.setNumber, unsafe fdisk_partition_set_partno(entry.raw, partition.number - 1))
        try check(.setStart, unsafe fdisk_partition_set_start(entry.raw, partition.start.sector))
        try check(.setSize, unsafe fdisk_partition_set_size(entry.raw, partition.size.sectors))
        // Without this libfdisk silently rounds the size down to its grain: 5000 sectors became 4096.
        try check(.sizeExplicit, unsafe fdisk_partition_size_explicit(entry.raw, 1))
        var slot = 0
        try check(.addPartition, unsafe fdisk_add_partition(context.raw, entry.raw, &slot))
        if partition.isActive {
            try check(.toggleFlag, unsafe fdisk_toggle_partition_flag(context.raw, slot, UInt(DOS_FLAG_ACTIVE)))
        }
    }

    /// Checks the label, writes it and closes the device, which syncs this file only.
    ///
    /// C: `fdisk_verify_disklabel`, `fdisk_write_disklabel`, `fdisk_deassign_device`.
    consuming func commit() throws(FDiskError) {
        try check(.verify, unsafe fdisk_verify_disklabel(context.raw))
        try check(.write, unsafe fdisk_write_disklabel(context.raw))
        // nosync: with 0 libfdisk calls sync(2) for the whole machine.
        try check(.deassignDevice, unsafe fdisk_deassign_device(context.raw, 1))
    }
}
