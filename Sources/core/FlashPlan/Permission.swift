package import Configuration

/// What a target with a key asks before it runs a plan: its own number, made up for this run, which the server signs
/// together with the job's and the target's while the flash runs. So a plan of the past is not run again.
///
/// Source: docs/plan-protocol.md. It comes from the target (law 7).
package struct Challenge: Hashable, Sendable {
    /// The uploaded file's name.
    package static let fileName = "CHALLENGE"
    /// The job that the target was given.
    package let job: ChunkPlan.PlanID
    /// 64 hexadecimal digits, lower case.
    package let number: String

    /// Reads an uploaded file: `rpi_job` and `rpi_challenge`, each once, in this or the other order.
    ///
    /// - Returns: nil where it is anything else.
    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count <= 256 else { return nil }
        var text = Array(bytes)
        // U-Boot may end the text with a 0.
        if text.last == 0 { text.removeLast() }
        var values: [String: String] = [:]
        for line in text.split(separator: UInt8(ascii: "\n")) {
            let parts = line.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
                .map { String(decoding: $0, as: UTF8.self) }
            guard parts.count == 2, values.updateValue(parts[1], forKey: parts[0]) == nil else { return nil }
        }
        func isHexadecimal(_ text: String, digits: Int) -> Bool {
            text.utf8.count == digits
                && text.utf8.allSatisfy {
                    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                        || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
                }
        }
        guard values.count == 2, let id = values["rpi_job"], let number = values["rpi_challenge"],
            isHexadecimal(id, digits: 16), isHexadecimal(number, digits: 64), let job = UInt64(id, radix: 16)
        else { return nil }
        (self.job, self.number) = (ChunkPlan.PlanID(job), number)
    }

    /// The file that the server answers with, once it is signed.
    package static let answerName = "permission"

    /// The script that permits the run.
    ///
    /// - Parameter target: who asked.
    package func permission(for target: MACAddress) -> String {
        "setenv p_granted \(job.hex)/\(number)/\(target)\n"
    }
}
