import CFDisk

// libfdisk's handles all come in as the same OpaquePointer: each kind gets its own type at once, so that none is passed
// for another. An owner only acquires and releases; what can fail later happens outside of its init.

/// What libfdisk said by its ask callback: warnings that tell more than a return code.
final class Messages {
    private(set) var last: String?

    /// C: `fdisk_set_ask`'s callback; `data` is an unretained ``Messages``.
    static let callback: @convention(c) (OpaquePointer?, OpaquePointer?, UnsafeMutableRawPointer?) -> Int32 = {
        _, ask, data in
        guard let ask = unsafe ask, let data = unsafe data else { return 0 }
        switch unsafe fdisk_ask_get_type(ask) {
        case Int32(FDISK_ASKTYPE_WARN.rawValue), Int32(FDISK_ASKTYPE_WARNX.rawValue):
            guard let text = unsafe fdisk_ask_print_get_mesg(ask) else { return 0 }
            unsafe Unmanaged<Messages>.fromOpaque(data).takeUnretainedValue().last = unsafe String(cString: text)
            return 0
        case Int32(FDISK_ASKTYPE_INFO.rawValue):
            return 0
        default:
            return -22  // EINVAL: there is nobody to answer a question
        }
    }
}

/// Owns a context. C: `fdisk_new_context`, `fdisk_unref_context`.
@safe struct ContextReference: ~Copyable {
    let raw: OpaquePointer
    /// The callback's data: must live as long as the context.
    let messages: Messages

    // Swift 6.2 makes wrong code of a stored property that is set before the init throws.
    init(path: String) throws(FDiskError) {
        guard let raw = unsafe fdisk_new_context() else { throw .outOfMemory(.newContext, path) }
        unsafe self.raw = raw
        messages = Messages()
    }

    // Closes the device if it is still assigned; does not sync.
    deinit { unsafe fdisk_unref_context(raw) }
}

/// Owns a partition template or a copy of an entry. C: `fdisk_new_partition`, `fdisk_unref_partition`.
@safe struct PartitionReference: ~Copyable {
    let raw: OpaquePointer

    init(path: String) throws(FDiskError) {
        guard let raw = unsafe fdisk_new_partition() else { throw .outOfMemory(.newPartition, path) }
        unsafe self.raw = raw
    }

    /// Takes over a reference that libfdisk gave.
    init(owning raw: OpaquePointer) { unsafe self.raw = raw }

    deinit { unsafe fdisk_unref_partition(raw) }
}

/// Owns a partition type. C: `fdisk_new_parttype`, `fdisk_unref_parttype`.
@safe struct PartitionTypeReference: ~Copyable {
    let raw: OpaquePointer

    init(path: String) throws(FDiskError) {
        guard let raw = unsafe fdisk_new_parttype() else { throw .outOfMemory(.newPartitionType, path) }
        unsafe self.raw = raw
    }

    deinit { unsafe fdisk_unref_parttype(raw) }
}

extension FDiskError {
    static func outOfMemory(_ call: FDiskCall, _ path: String) -> FDiskError {
        .call(call, code: -12, path: path, message: nil)  // -ENOMEM
    }
}
