package import DiskLayout
import Glibc

/// Reads the DOS partition table of a disk image or device; never writes to it.
///
/// - Parameters:
///   - path: a file or block device.
///   - name: what errors call it; nil: its path.
/// - Returns: the signature (nil where it is 0) and the entries in use, an extended partition and the logical ones in it
///   among them (numbers from 5), sorted by number.
/// - Throws: ``FDiskError``: ``FDiskError/cannotOpen(path:errno:)``, ``FDiskError/empty(path:)``,
///   ``FDiskError/noLabel(path:)``, ``FDiskError/gpt(path:)`` and the others that tell what is there instead.
package func readPartitionTable(of path: String, named name: String? = nil) throws(FDiskError) -> PartitionTable {
    let name = name ?? path
    try requireSector(in: path, named: name)
    let device = try Device(path: path, named: name, readOnly: true)
    try device.requireDOSLabel()
    let partitions = try device.partitions()
    // A protective MBR whose GPT is damaged: libfdisk then takes it for a DOS label.
    guard !partitions.contains(where: { $0.type.code == 0xee }) else { throw .gpt(path: name) }
    return PartitionTable(diskID: try device.diskID(), partitions: partitions)
}

/// Writes a new DOS partition table, exactly as given, into an existing file or device, and syncs it.
///
/// Old signatures that libblkid finds there are wiped; nothing else than the table's sector is written otherwise.
///
/// - Parameters:
///   - table: entries with numbers 1 to 4 from LBA 2048 on, within the file's length, not overlapping.
///   - path: a file or block device, at least as long as the table describes.
/// - Throws: ``FDiskError``.
package func writePartitionTable(_ table: PartitionTable, to path: String) throws(FDiskError) {
    try requireSector(in: path, named: path)
    let device = try Device(path: path, named: path, readOnly: false)
    try device.createDOSLabel(diskID: table.diskID)
    for partition in table.partitions {
        try device.add(partition)
    }
    try device.commit()
}

/// Refuses what libfdisk answers with a plain EINVAL or waits for: nothing in it, less than a sector, no disk at all.
private func requireSector(in path: String, named name: String) throws(FDiskError) {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { throw .cannotOpen(path: name, errno: errno) }
    switch status.st_mode & S_IFMT {
    case S_IFBLK:
        return
    case S_IFREG:
        guard status.st_size > 0 else { throw .empty(path: name) }
        guard UInt64(status.st_size) >= SectorCount.bytesPerSector else { throw .noLabel(path: name) }
    case S_IFDIR:
        throw .cannotOpen(path: name, errno: EISDIR)
    default:
        throw .cannotOpen(path: name, errno: ENOTBLK)
    }
}
