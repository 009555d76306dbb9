package import DiskLayout
package import SystemPackage

/// What the use case needs of partition tables: libfdisk, plugged in by the executable.
package protocol PartitionTableStore: Sendable {
    /// Writes a DOS partition table, exactly as given, into the file at `path`, which is long enough for it.
    func write(_ table: PartitionTable, to path: FilePath) throws
    /// The table in the file at `path`, read from the file anew.
    func read(from path: FilePath) throws -> PartitionTable
}

/// What the use case needs of the host's programs. Where one fails because the disk is full, it throws `Errno.noSpace`. Names of files are names in `folder`, so that no path of this machine
/// gets into what is made.
package protocol CardTools: Sendable {
    /// Makes an empty FAT filesystem over the whole of `partition` in `image`.
    func makeFAT(
        in image: String, folder: FilePath, partition: Partition, format: FATFormat, volumeID: UInt32, label: String
    ) async throws
    /// Copies `files` (absolute paths; each keeps its name) in this order into the filesystem that starts at `start`.
    func copyIntoFAT(_ files: [FilePath], image: String, folder: FilePath, start: LBA) async throws
    /// Makes a U-Boot script image of a script's text; `architecture` as in mkimage's `-A`.
    func makeScriptImage(
        of script: String, to image: String, folder: FilePath, architecture: String, name: String
    ) async throws
    /// Makes an image of a script's text that the keys have signed, as `source ADDRESS:NAME` takes it.
    func makeSignedScriptImage(
        of script: String, to image: String, folder: FilePath, name: String, keys: CardKeys
    ) async throws
    /// Puts the public halves of the keys into a device tree, so that U-Boot requires one of them.
    func addKeys(_ keys: CardKeys, to tree: String, folder: FilePath) async throws
    /// Writes the public half of the key of this name, PEM.
    func exportPublicKey(_ name: String, of keys: CardKeys, to file: String, folder: FilePath) async throws
    /// Makes a device tree that has nothing.
    func makeEmptyTree(_ tree: String, folder: FilePath) async throws
    /// Makes `file`.xz and keeps `file`.
    func compress(_ file: String, folder: FilePath) async throws
    /// SHA-256 of a range of the file at `path`, 64 hexadecimal digits.
    func sha256(of path: FilePath, from offset: ByteCount, count: ByteCount) async throws -> String
}
