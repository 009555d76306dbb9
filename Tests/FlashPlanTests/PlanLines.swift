/// A third reader of plans, beside U-Boot's shell and the Linux agent: by the grammar of docs/plan-protocol.md, and nothing
/// else. What is not in the grammar is an error.
struct PlanLines: Equatable {
    /// The values of the `setenv p_…` lines.
    var values: [String: String] = [:]
    /// The words of each chunk's line, by name.
    var chunks: [[String: String]] = []

    /// The names of the values, in their order.
    static let names = [
        "p_plan", "p_job", "p_mode", "p_target", "p_needs_keys", "p_console", "p_chunk_count", "p_total_sectors",
        "p_boot_sectors", "p_rootfs_sectors", "p_has_pieces", "p_pieces_file", "p_pieces_size", "p_image_file",
    ]
    /// The names in a chunk's line, in their order.
    static let chunkNames = [
        "p_number", "p_partition", "p_offset", "p_sectors", "p_sha256", "p_encoding", "p_size", "p_file", "p_entries",
        "p_lba",
    ]

    struct Failure: Error, Equatable {
        let line: Int
    }

    /// - Throws: ``Failure`` with the number of the line.
    init(script: String) throws {
        var next = Self.names.startIndex
        for (index, line) in script.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            if next < Self.names.endIndex, line.hasPrefix("setenv \(Self.names[next]) ") || next > 0 {
                let words = line.split(separator: " ", omittingEmptySubsequences: false)
                guard words.count == 3, words[0] == "setenv", words[1] == Self.names[next] else {
                    throw Failure(line: index + 1)
                }
                values[String(words[1])] = String(words[2])
                next += 1
            } else if line.hasPrefix("p_number=") {
                let words = line.split(separator: " ", omittingEmptySubsequences: false)
                    .map { $0.split(separator: "=", maxSplits: 1).map(String.init) }
                guard next == Self.names.endIndex, words.allSatisfy({ $0.count == 2 }),
                    words.map({ $0[0] }) == Self.chunkNames
                else { throw Failure(line: index + 1) }
                chunks.append(Dictionary(uniqueKeysWithValues: words.map { ($0[0], $0[1]) }))
            }
        }
        guard next == Self.names.endIndex, values["p_plan"] == "1", values["p_chunk_count"] == "\(chunks.count)" else {
            throw Failure(line: 0)
        }
    }
}
