import Glibc

/// Why a partition table cannot be read or written.
package enum FDiskError: Error, Hashable, Sendable {
    /// The file or device cannot be opened; the errno of `fdisk_assign_device`.
    case cannotOpen(path: String, errno: Int32)
    /// The file has 0 bytes, so no table.
    case empty(path: String)
    /// The first sector holds no partition table that libfdisk knows.
    case noLabel(path: String)
    /// A GUID partition table, or the protective MBR of one.
    case gpt(path: String)
    /// Another table than a DOS one, with libfdisk's name for it: `sun`, `sgi`, `bsd`.
    case otherLabel(path: String, name: String)
    /// A device whose sectors have other than 512 bytes.
    case otherSectorSize(path: String, bytes: UInt64)
    /// An entry whose number is not 1 to 4, which a DOS table's own slots are.
    case badNumber(path: String, number: Int)
    /// A call of libfdisk failed.
    ///
    /// `code` is what it returned, as a rule a negative errno; `message` what libfdisk said meanwhile, if anything.
    case call(FDiskCall, code: Int32, path: String, message: String?)
}

/// The calls of libfdisk that can fail, by their C names.
package enum FDiskCall: String, Hashable, Sendable {
    case newContext = "fdisk_new_context"
    case setAsk = "fdisk_set_ask"
    case assignDevice = "fdisk_assign_device"
    case disableDialogs = "fdisk_disable_dialogs"
    case enableWipe = "fdisk_enable_wipe"
    case createDisklabel = "fdisk_create_disklabel"
    case setDisklabelID = "fdisk_set_disklabel_id_from_string"
    case getDisklabelID = "fdisk_get_disklabel_id"
    case newPartition = "fdisk_new_partition"
    case newPartitionType = "fdisk_new_parttype"
    case setCode = "fdisk_parttype_set_code"
    case setType = "fdisk_partition_set_type"
    case getType = "fdisk_partition_get_type"
    case setNumber = "fdisk_partition_set_partno"
    case setStart = "fdisk_partition_set_start"
    case setSize = "fdisk_partition_set_size"
    case sizeExplicit = "fdisk_partition_size_explicit"
    case addPartition = "fdisk_add_partition"
    case toggleFlag = "fdisk_toggle_partition_flag"
    case getPartition = "fdisk_get_partition"
    case verify = "fdisk_verify_disklabel"
    case write = "fdisk_write_disklabel"
    case deassignDevice = "fdisk_deassign_device"
}

extension FDiskError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .cannotOpen(let path, let errno):
            "\(path): \(Self.text(of: errno))"
        case .empty(let path):
            "\(path): file has 0 bytes; must start with a DOS partition table (MBR)"
        case .noLabel(let path):
            "\(path): no partition table; must start with a DOS partition table (MBR)"
        case .gpt(let path):
            "\(path): partition table is GPT; must be a DOS one (MBR), which the Pi's boot ROM reads"
        case .otherLabel(let path, let name):
            "\(path): partition table is \(name); must be a DOS one (MBR)"
        case .otherSectorSize(let path, let bytes):
            "\(path): sectors have \(bytes) bytes; must have 512 bytes"
        case .badNumber(let path, let number):
            "\(path): partition number is \(number); must be 1 to 4"
        case .call(let call, let code, let path, let message):
            "\(path): \(call.rawValue) failed: \(message ?? Self.text(of: -code)) (code \(code))"
        }
    }

    private static func text(of errno: Int32) -> String {
        // glibc keeps strerror's buffer per thread since 2.32.
        guard let text = unsafe strerror(errno) else { return "error \(errno)" }
        return unsafe String(cString: text).lowercasedFirst
    }
}

extension String {
    /// strerror's texts start with a capital, messages do not.
    fileprivate var lowercasedFirst: String { prefix(1).lowercased() + dropFirst() }
}
