package import FlashPlan
import BootFiles
import Configuration
import DiskLayout
import Inventory
import TFTP
import TargetConsole

/// What reads bytes that a person, an image, a target or a network made, and what must be true of it whatever they are. A
/// crash, a trap and an endless loop end the process that asks.
package enum FuzzedReader: String, CaseIterable, Sendable {
    case packet, report, inventory, cmdline, fstab, config, console

    /// A reader did something that it must not do.
    package struct Wrong: Error, CustomStringConvertible {
        package let description: String
        init(_ description: String) { self.description = description }
    }

    /// Reads the bytes and judges what came of it.
    ///
    /// - Returns: whether the reader took them.
    /// - Throws: ``Wrong``.
    @discardableResult
    package func judge(_ bytes: [UInt8]) throws(Wrong) -> Bool {
        switch self {
        case .packet: try judgePacket(bytes)
        case .report: try judgeReport(bytes)
        case .inventory: try judgeInventory(bytes)
        case .cmdline: try judgeCommandLine(bytes)
        case .fstab: try judgeFstab(bytes)
        case .config: try judgeConfiguration(bytes)
        case .console: try judgeConsole(bytes)
        }
    }

    private func judgePacket(_ bytes: [UInt8]) throws(Wrong) -> Bool {
        let packet: Packet
        do throws(PacketError) {
            packet = try Packet(parsing: bytes.span)
        } catch {
            try Self.checkLine(error.description)
            return false
        }
        guard (try? Packet(parsing: packet.encoded.span)) == packet else {
            throw Wrong("\(packet) is read as another packet when it is encoded")
        }
        switch packet {
        case .readRequest(let request), .writeRequest(let request):
            try Self.checkLine(request.path)
            guard request.options.count <= Packet.optionLimit else { throw Wrong("\(request.options.count) options") }
            let limits = TransferOptions.Limits()
            for size in [nil, 0, 1 << 40] as [UInt64?] {
                let options = TransferOptions(answering: request.options, size: size, limits: limits)
                guard (8...65464).contains(options.blockSize), (1...64).contains(options.windowSize) else {
                    throw Wrong("\(options) for \(request)")
                }
            }
        case .error(_, let message): try Self.checkLine(message)
        default: break
        }
        return true
    }

    private func judgeReport(_ bytes: [UInt8]) throws(Wrong) -> Bool {
        let report: Report
        do throws(ReportError) {
            report = try Report(bytes: bytes)
        } catch {
            try Self.checkLine(error.description)
            return false
        }
        for text in [report.reason, report.board, report.ubootVersion, report.serial, report.card] {
            try Self.checkLine(text ?? "")
        }
        let plan = Self.plan
        let outcome = Outcome(kind: report.state, written: plan.totalSectors.byteCount)
        do throws(JudgementError) {
            let proof = try plan.judge(report: report, outcome: outcome)
            // Said once more, by other means: the text must have each of these.
            let lines = Set(String(decoding: bytes, as: UTF8.self).split(whereSeparator: { $0 == "\n" || $0 == "\0" }))
            guard lines.contains("rpi_report=1"), lines.contains("rpi_state=ok"),
                lines.contains(where: { $0.lowercased() == "rpi_job=\(plan.job.hex)" }),
                proof.bytes == plan.totalSectors.byteCount, proof.written <= proof.bytes,
                report.chunks == UInt64(plan.chunks.count), report.badCount == 0
            else { throw JudgementError.failed(reason: nil, chunk: nil, of: 0, at: nil) }
        } catch {
            if report.state == .ok, report.job == plan.job, case .failed = error {
                throw Wrong("law 2: proven by \(String(decoding: bytes, as: UTF8.self).debugDescription)")
            }
            try Self.checkLine(error.description)
        }
        return true
    }

    private func judgeInventory(_ bytes: [UInt8]) throws(Wrong) -> Bool {
        let inventory: Inventory
        do throws(InventoryErrors) {
            inventory = try Inventory(csv: bytes, file: "targets.csv")
        } catch {
            guard error.total > 0, error.errors.count == min(error.total, InventoryErrors.limit) else {
                throw Wrong("\(error.total) errors, of which it keeps \(error.errors.count)")
            }
            let lines = bytes.count { $0 == 10 || $0 == 13 } + 1
            for one in error.errors {
                try Self.checkLine(one.description)
                guard (1...lines).contains(one.line), (1...bytes.count + 1).contains(one.column) else {
                    throw Wrong("an error at \(one.line):\(one.column) of \(lines) lines")
                }
            }
            return false
        }
        let targets = inventory.targets
        guard Set(targets.map(\.mac)).count == targets.count, Set(targets.map(\.ip)).count == targets.count else {
            throw Wrong("two targets have one address")
        }
        for target in targets {
            try Self.checkLine(target.displayName)
            try Self.checkLine(target.server)
            for name in [target.mac.description, target.ip.description, target.displayName] {
                guard (try? inventory.target(name)) == target else { throw Wrong("\(name) is another target") }
            }
            guard target.gpio != nil || target.resetCommand != nil, (1...60000).contains(target.resetHoldMilliseconds)
            else { throw Wrong("\(target) cannot be reset") }
            for tag in target.tags where (try? inventory.targets(tagged: [tag]).contains(target)) != true {
                throw Wrong("\(target) is not found by its tag \(tag)")
            }
        }
        return true
    }

    private func judgeCommandLine(_ bytes: [UInt8]) throws(Wrong) -> Bool {
        let line = KernelCommandLine(bytes)
        guard line.bytes == bytes else { throw Wrong("a text is not kept as it is: \(line.bytes)") }
        let relocated = line.relocated()
        for note in relocated.notes + line.textNotes(name: "cmdline.txt") { try Self.checkLine(note) }
        if let obstacle = line.obstacle(name: "cmdline.txt") { try Self.checkLine(obstacle) }
        let again = KernelCommandLine(relocated.bytes).relocated()
        guard again.bytes == relocated.bytes, !again.wouldHaveGrown else {
            throw Wrong("relocated twice it is another text: \(again.text.debugDescription)")
        }
        let root = "PARTUUID=00000000-03"
        guard let text = line.bootArguments(root: root, serial: ("ttyAMA0", "ttyS0")) else { return false }
        guard !text.contains(10), !text.contains(0), text.count < 64 * (bytes.count + 64) else {
            throw Wrong("the kernel's command line is \(text)")
        }
        // Each root= at the start of a word is the card's, in quotes too.
        var rest = text[...]
        var count = 0
        while let blank = rest.firstIndex(where: { $0 == 0x20 || $0 == 0x09 }) {
            let word = rest[(blank + 1)...].prefix { $0 != 0x20 && $0 != 0x09 }
            if word.starts(with: "root=".utf8) {
                count += 1
                guard word.elementsEqual("root=\(root)".utf8) else {
                    throw Wrong("root= is \(String(decoding: word, as: UTF8.self).debugDescription)")
                }
            }
            rest = rest[(blank + 1)...]
        }
        guard count > 0 else { throw Wrong("no root= in \(String(decoding: text, as: UTF8.self).debugDescription)") }
        return true
    }

    private func judgeFstab(_ bytes: [UInt8]) throws(Wrong) -> Bool {
        let fstab = Fstab(bytes)
        let identity = ImageIdentity(
            diskID: 0x0bad_cafe, bootUUID: "1234-ABCD", rootfsUUID: "5a3f2b1c-0000-4000-8000-00805f9b34fb")
        var isChanged = false
        for grow in [false, true] {
            let relocated = fstab.relocated(identity, grow: grow)
            for note in relocated.notes { try Self.checkLine(note) }
            let again = Fstab(relocated.bytes).relocated(identity, grow: grow)
            guard again.bytes == relocated.bytes else {
                throw Wrong("relocated twice it is another text: \(again.text.debugDescription)")
            }
            func ends(_ bytes: [UInt8]) -> Int { bytes.count { $0 == 10 } }
            guard ends(relocated.bytes) == ends(bytes) else { throw Wrong("lines were lost or made") }
            isChanged = isChanged || relocated.bytes != bytes
        }
        _ = (fstab.bootMountPoint(identity), fstab.bootIsOptional(identity), fstab.bootIsReadOnly(identity))
        return isChanged
    }

    private func judgeConfiguration(_ bytes: [UInt8]) throws(Wrong) -> Bool {
        // Every file includes the same text.
        let configuration = FirmwareConfiguration(bytes) { _ in bytes.count < 256 ? bytes : nil }
        for text in configuration.lost { try Self.checkLine(text) }
        if let refusal = configuration.refusal { try Self.checkLine(refusal) }
        for tree in [nil, "bcm2710-rpi-3-b.dtb", "bcm2711-rpi-4-b.dtb", ""] as [String?] {
            _ = configuration.settings(deviceTree: tree)
        }
        return configuration.refusal == nil && configuration.kernel != nil
    }

    private func judgeConsole(_ bytes: [UInt8]) throws(Wrong) -> Bool {
        var whole = ConsoleText()
        let lines = whole.take(bytes) + (whole.flush().map { [$0] } ?? [])
        for line in lines {
            try Self.checkLine(line)
            // Each byte as `\x00` at most.
            guard line.utf8.count <= 8 * ConsoleText.longestLine else {
                throw Wrong("a line has \(line.utf8.count) bytes")
            }
        }
        var pieces = ConsoleText()
        let parted = bytes.flatMap { pieces.take([$0]) } + (pieces.flush().map { [$0] } ?? [])
        guard parted == lines else { throw Wrong("byte by byte it is \(parted), as a whole \(lines)") }
        return lines.count > 1
    }

    /// Law 7: a text for a log, a record or a terminal stays on its line and does nothing to a terminal.
    private static func checkLine(_ text: String) throws(Wrong) {
        guard text.unicodeScalars.allSatisfy(\.isPlain) else {
            throw Wrong("law 7: a control character in \(text.debugDescription)")
        }
    }

    /// Two chunks.
    package static let plan: ChunkPlan = {
        do {
            let table = PartitionTable(
                diskID: CardLayout.defaultDiskID,
                partitions: [
                    Partition(number: 1, type: .fat32LBA, start: LBA(8192), size: SectorCount(8192)),
                    Partition(number: 2, type: .linux, start: LBA(16384), size: SectorCount(2048)),
                ])
            guard let digest = SHA256Digest([UInt8](repeating: 7, count: 32)) else { fatalError("not a digest") }
            func chunk(_ offset: UInt64, _ size: UInt64) -> ChunkPlan.Chunk {
                ChunkPlan.Chunk(
                    place: ChunkPlace(partition: .boot, offset: SectorCount(offset), size: SectorCount(size)),
                    digest: digest,
                    file: ChunkPlan.ChunkFile(
                        name: "chunk-\(offset)", encoding: .raw, size: SectorCount(size).byteCount))
            }
            return try ChunkPlan(
                job: ChunkPlan.PlanID(0x0123_4567_89ab_cdef),
                image: try OSImageLayout(table: table, size: ByteCount(18432 * 512)),
                chunks: [chunk(1, 8), chunk(0, 1)])
        } catch {
            fatalError("\(error)")
        }
    }()
}
