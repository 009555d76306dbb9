import DiskLayout
import FDisk
import FlashPlan
import HostTools
import LinuxHost
import RecoveryImage
import SystemPackage

extension RecoveryImageMaker {
    /// The use case with libfdisk and the host's programs plugged in.
    static func onThisHost(keys: SigningKeys? = nil) throws -> RecoveryImageMaker {
        let date = try SourceDate(environmentValue: environmentValue("SOURCE_DATE_EPOCH"))
        let runner = ToolRunner(path: environmentValue("PATH"), sourceDate: date)
        return RecoveryImageMaker(
            tables: LibFDisk(), tools: HostCardTools(runner: runner),
            keys: keys.map { CardKeys(folder: $0.folder, names: $0.names) })
    }
}

/// libfdisk as the use case's port.
struct LibFDisk: PartitionTableStore {
    func write(_ table: PartitionTable, to path: FilePath) throws {
        try writePartitionTable(table, to: path.string)
    }

    func read(from path: FilePath) throws -> PartitionTable { try readPartitionTable(of: path.string) }
}

/// The host's programs as the use case's port.
struct HostCardTools: CardTools {
    let runner: ToolRunner

    func makeFAT(
        in image: String, folder: FilePath, partition: Partition, format: FATFormat, volumeID: UInt32, label: String
    ) async throws {
        try await tellingFullDisk {
            try await runner.makeFAT(
                in: image, folder: folder, firstSector: partition.start.sector, sectors: partition.size.sectors,
                bits: format.bits, sectorsPerCluster: format.sectorsPerCluster, volumeID: volumeID, label: label)
        }
    }

    func copyIntoFAT(_ files: [FilePath], image: String, folder: FilePath, start: LBA) async throws {
        try await tellingFullDisk {
            try await runner.copyIntoFAT(files, image: image, folder: folder, byteOffset: start.byteOffset.bytes)
        }
    }

    func makeScriptImage(
        of script: String, to image: String, folder: FilePath, architecture: String, name: String
    ) async throws {
        try await tellingFullDisk {
            try await runner.makeScriptImage(
                of: script, to: image, folder: folder, architecture: architecture, name: name)
        }
    }

    func makeSignedScriptImage(
        of script: String, to image: String, folder: FilePath, name: String, keys: CardKeys
    ) async throws {
        try await tellingFullDisk {
            try await runner.makeSignedImage(
                SignedScript.source(of: script, name: name, keys: keys.names), image: image, folder: folder,
                keys: keys.folder)
        }
    }

    func addKeys(_ keys: CardKeys, to tree: String, folder: FilePath) async throws {
        try await tellingFullDisk {
            try await runner.addKeys(keys.names, in: keys.folder, to: tree, folder: folder) { file, key in
                SignedScript.source(of: file, name: "key", keys: [key])
            }
        }
    }

    func exportPublicKey(_ name: String, of keys: CardKeys, to file: String, folder: FilePath) async throws {
        try await tellingFullDisk {
            try await runner.exportPublicKey(name, in: keys.folder, to: file, folder: folder)
        }
    }

    func makeEmptyTree(_ tree: String, folder: FilePath) async throws {
        try await tellingFullDisk { try await runner.makeEmptyTree(tree, folder: folder) }
    }

    func compress(_ file: String, folder: FilePath) async throws {
        try await tellingFullDisk { try await runner.compress(file, folder: folder) }
    }

    func sha256(of path: FilePath, from offset: ByteCount, count: ByteCount) async throws -> String {
        try await runner.sha256(of: path, from: offset.bytes, count: count.bytes)
    }

    private func tellingFullDisk(_ work: () async throws -> Void) async throws {
        do {
            try await work()
        } catch let error as HostToolError where error.isDiskFull {
            throw Errno.noSpace
        }
    }
}
