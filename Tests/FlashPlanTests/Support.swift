import BootScript
import DiskLayout
import FlashPlan
import Foundation
import Subprocess
import SystemPackage

private let templates = FilePath(#filePath).removingLastComponent().removingLastComponent().removingLastComponent()
    .appending("templates")

/// A file of the repository.
func repositoryText(_ path: String) throws -> String {
    try String(contentsOfFile: templates.removingLastComponent().appending(path).string, encoding: .utf8)
}

/// The repository's own templates.
func planTemplates() throws -> PlanTemplates {
    try PlanTemplates { name in
        try Template(String(contentsOfFile: templates.appending(name).string, encoding: .utf8), file: name)
    }
}

/// 32 times the same byte.
private func repeated(_ byte: UInt8) -> SHA256Digest {
    guard let digest = SHA256Digest([UInt8](repeating: byte, count: 32)) else { preconditionFailure("32 bytes") }
    return digest
}

extension ChunkPlan.Chunk {
    /// A raw chunk whose digest is its number in every byte.
    init(_ number: UInt8, _ partition: CardPartition, _ offset: UInt64, _ size: UInt64, name: String? = nil) {
        self.init(
            place: ChunkPlace(partition: partition, offset: SectorCount(offset), size: SectorCount(size)),
            digest: repeated(number),
            file: ChunkPlan.ChunkFile(
                name: name ?? "c\(number)", encoding: .raw, size: SectorCount(size).byteCount))
    }
}

/// The chunk that every plan ends with.
let lastChunk = ChunkPlan.Chunk(0xee, .boot, 0, 1, name: "last")

/// A plan of three chunks: 0x100 sectors of boot, 0x200 of rootfs, and the last.
func smallPlan(
    mode: ChunkPlan.Mode = .normal, pieces: ChunkPlan.Pieces? = nil
) throws -> ChunkPlan {
    try ChunkPlan(
        job: ChunkPlan.PlanID(0x0123_4567_89ab_cdef), mode: mode, image: try image(rootfsSectors: 0x1000),
        chunks: [ChunkPlan.Chunk(1, .boot, 1, 0x100), ChunkPlan.Chunk(2, .rootfs, 0x40, 0x200), lastChunk],
        pieces: pieces)
}

/// Runs a host tool; its standard output where it succeeds, else nil.
func tool(_ name: String, _ arguments: [String]) async throws -> String? {
    let result = try await run(
        .name(name), arguments: Arguments(arguments), environment: .inherit.updating(["TZ": "UTC"]),
        output: .string(limit: 1 << 20), error: .discarded)
    return result.terminationStatus.isSuccess ? result.standardOutput : nil
}
