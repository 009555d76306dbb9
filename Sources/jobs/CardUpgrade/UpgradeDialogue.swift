import Configuration
import DiskLayout
import FoundationEssentials

/// The upgrade of one target: what its half, recovery_image/upgrade-card.target, is told to do, and what its answers mean.
/// Nothing is written unless everything fits; and whatever the target says, it is another machine's word (law 7).
struct UpgradeDialogue {
    let card: RecoveryCard
    let isDryRun: Bool
    /// Whether it may take the card's keys away.
    let isNamed: Bool
    let readTable: @Sendable ([UInt8]) async throws -> PartitionTable?
    let report: (UpgradeProgress) -> Void

    /// What a connection that ends now means for the card.
    private(set) var standing = "nothing was written"
    private var isThere = false

    /// What runs there from the first line on: it takes the program from the connection, as root.
    static let shell =
        #"exec sh -c 'IFS= read -r p && p=$(printf %s "$p" | base64 -d) && if [ "$(id -u)" -eq 0 ]; "#
        + #"then exec sh -c "$p" rpiflash; else exec sudo -n sh -c "$p" rpiflash; fi'"#
    /// What the program says first.
    private static let greeting = "rpiflash-upgrade-card 1"

    init(
        card: RecoveryCard, isDryRun: Bool, isNamed: Bool,
        readTable: @escaping @Sendable ([UInt8]) async throws -> PartitionTable?,
        report: @escaping (UpgradeProgress) -> Void
    ) {
        (self.card, self.isDryRun, self.isNamed, self.readTable, self.report) = (
            card, isDryRun, isNamed, readTable, report
        )
    }

    /// The error that a broken connection is.
    ///
    /// - Parameter words: what the connection itself said at last.
    func error(_ broken: BrokenConnection, _ words: String) -> UpgradeError {
        let words = words.isEmpty ? "" : " (\(sanitized(words, limit: 200)))"
        return UpgradeError(isThere ? .lost : .unreachable, "\(broken)\(words); \(standing)")
    }

    mutating func run(_ program: [UInt8], over connection: any TargetConnection) async throws -> UpgradeResult {
        var talk = Talk(connection)
        try await talk.send([Data(program).base64EncodedString()])
        try await talk.skip(to: Self.greeting)
        isThere = true
        let device = try await checkDisk(&talk)
        try await talk.send(["look"])
        let mountPoint = try await talk.expect("mounted")
        let state = try await talk.expect("state").split(separator: " ")
        try await checkScript(&talk)
        let hasLeftover = state.first == "yes"
        if hasLeftover { try await repair(device, mountPoint, hasFsck: state.last == "yes", &talk) }
        var result = try await compare(device, &talk)
        report(.compared(result))
        // What an upgrade left that was cut off is cleared away by writing, if only nothing.
        guard !isDryRun, !result.changes.isEmpty || hasLeftover else {
            try await talk.leave()
            return result
        }
        try await write(result, &talk)
        result.hasWritten = true
        return result
    }

    /// Whether its disk is a card of rpiflash with the image's layout.
    ///
    /// - Returns: the device of partition 1.
    private func checkDisk(_ talk: inout Talk) async throws -> String {
        let words = try await talk.expect("first").split(separator: " ").map(String.init)
        guard words.count == 2, words[0].hasPrefix("/dev/"), words[0].utf8.count <= 60,
            words[0].dropFirst(5).utf8.allSatisfy({ $0.isLetter || $0.isDigit })
        else { throw BrokenConnection.unexpected(words.joined(separator: " "), instead: "a device and its start") }
        let sector = try await talk.decode("table")
        guard sector.count == 512, let table = try await readTable(sector) else {
            throw UpgradeError(.unfit, "the disk of \(words[0]) has no DOS partition table (MBR)")
        }
        let starts: CardStarts
        do throws(CardMismatch) {
            starts = try CardStarts(table, of: "the disk of \(words[0])")
        } catch {
            throw UpgradeError(.unfit, error.description)
        }
        guard decimal(words[1], digits: 10) == CardLayout.alignment.sectors else {
            throw UpgradeError(
                .unfit,
                "\(words[0]) starts at LBA \(quoted(words[1])) for its kernel, at 8192 in the disk's table; reboot it first"
            )
        }
        guard starts == card.starts else {
            throw UpgradeError(
                .unfit,
                "partitions 2 and 3 start at LBA \(starts), those of \(card.image) at \(card.starts), and its boot script "
                    + "would refuse to flash this card; make an image with this card's sizes (rpiflash-gen layout shows them)"
            )
        }
        return words[0]
    }

    /// Whether the image is for its board, and the card would ask the same server as before.
    private func checkScript(_ talk: inout Talk) async throws {
        guard let script = ScriptLabel(try await talk.decode("script")) else {
            throw UpgradeError(.unfit, "boot.scr on its partition 1 \(ScriptLabel.missing)")
        }
        guard script.board == card.script.board else {
            throw UpgradeError(
                .unfit,
                "its card is for board \(quoted(script.board)), \(card.image) for \(card.script.board); make an image with "
                    + "rpiflash-gen recovery-image --board \(sanitized(script.board, limit: 60))")
        }
        guard isNamed || !script.isSigned || card.script.isSigned else {
            throw UpgradeError(
                .unfit,
                "its card runs only what \(sanitized(script.keys.joined(separator: " or "), limit: 80)) has signed, and with "
                    + "\(card.image), which has no key, it would run every plan; if you mean that, name the target"
            )
        }
        // Between two renames the card has the new boot script and the old keys.
        guard !script.isSigned || !card.script.isSigned || script.keys.contains(where: card.script.keys.contains) else {
            let (old, new) = (script.keys.joined(separator: ", "), card.script.keys.joined(separator: ", "))
            throw UpgradeError(
                .unfit,
                "its card knows the key \(sanitized(old, limit: 80)), which has not signed the boot script of \(card.image) "
                    + "(\(new) has); make an image with both, rpiflash-gen recovery-image --key NEW --key OLD, and upgrade twice"
            )
        }
        let settings = String(decoding: try await talk.decode("settings").filter { $0 != 0x0d }, as: UTF8.self)
        let server = settings.matches(of: /(?m)^serverip=([0-9.]*)$/).last?.output.1 ?? ""
        guard !server.isEmpty || script.server == card.script.server else {
            let (old, new) = (script.server, card.script.server)
            throw UpgradeError(
                .unfit,
                "its rpiflash.env names no serverip and its boot script \(old.isEmpty ? "none" : sanitized(old, limit: 60)), "
                    + "that of \(card.image) \(new.isEmpty ? "none" : new): it would ask another server; make the image with "
                    + (old.isEmpty ? "no --server-ip" : "--server-ip \(sanitized(old, limit: 60))"))
        }
    }

    /// Clears away what an upgrade that was cut off has left.
    private func repair(_ device: String, _ mountPoint: String, hasFsck: Bool, _ talk: inout Talk) async throws {
        let cut = "an earlier upgrade was cut off"
        if isDryRun { return report(.note("\(cut); fsck.vfat would be run on \(device) first")) }
        guard hasFsck else {
            throw UpgradeError(
                .unfit,
                "\(cut), and only fsck.vfat can repair what it left, which is not there; install dosfstools on it")
        }
        guard mountPoint == "-" else {
            throw UpgradeError(
                .unfit,
                "\(cut), and fsck.vfat needs \(device) unmounted, which is mounted on \(sanitized(mountPoint, limit: 200)); "
                    + "unmount it")
        }
        report(.note("\(cut); running fsck.vfat on \(device)"))
        try await talk.send(["repair"])
        _ = try await talk.expect("repaired", within: .seconds(120))
    }

    /// What differs, and whether there is room for it.
    private func compare(_ device: String, _ talk: inout Talk) async throws -> UpgradeResult {
        try await talk.send(["list"] + card.files.map { "\($0.name) \($0.sha256)" } + ["."])
        let space = try await talk.expect("space")
        let words = space.split(separator: " ")
        guard words.count == 2, let free = decimal(words[0], digits: 15), let cluster = decimal(words[1], digits: 9),
            cluster > 0
        else { throw BrokenConnection.unexpected(space, instead: "its free space") }
        /// Bytes that a file takes on the card.
        func room(_ bytes: UInt64) -> UInt64 { (bytes + cluster - 1) / cluster * cluster }
        var changes: [UpgradeResult.Change] = []
        for file in card.files {
            let (word, rest) = try await talk.hear(within: .seconds(120))
            let words = rest.split(separator: " ")
            let size = words.count == 2 ? decimal(words[1], digits: 10) : nil
            let bytes = UInt64(file.content.count)
            switch (word, words.first == file.name[...], words.count) {
            case ("equal", true, 1): break
            case ("absent", true, 1): changes.append(.init(name: file.name, oldBytes: nil, bytes: bytes))
            case ("differs", true, 2) where size != nil:
                changes.append(.init(name: file.name, oldBytes: size, bytes: bytes))
            default: throw BrokenConnection.unexpected("\(word) \(rest)", instead: "the state of \(file.name)")
            }
        }
        // Folders and long names need some clusters too.
        let new = changes.reduce(65536 + 16 * cluster) { $0 + room($1.bytes) }
        let old = changes.reduce(0) { $0 + room($1.oldBytes ?? 0) }
        guard new <= free || changes.isEmpty else {
            throw UpgradeError(
                .unfit,
                "\(new) bytes are needed on \(device) beside the old files, \(free) are free; remove rpiflash.old and what "
                    + "else is not needed there")
        }
        if new + old > free, !changes.isEmpty {
            report(.note("no room for a copy of the old files: \(new + old) bytes are needed, \(free) are free"))
        }
        return UpgradeResult(
            device: device, board: card.script.board, total: card.files.count, changes: changes,
            keepsOld: new + old <= free && old > 0)
    }

    /// Copy, read back, rename: there.
    private mutating func write(_ result: UpgradeResult, _ talk: inout Talk) async throws {
        let names = Set(result.changes.map(\.name))
        let files = card.files.filter { names.contains($0.name) }
        try await talk.send(
            ["write \(result.keepsOld ? "yes" : "no")"] + files.map { "\($0.name) \($0.sha256)" } + ["."])
        standing = "the old files are in use until each is renamed, and a renamed one is whole: run it again"
        for file in files { try await talk.send(UStar.member(file.name, file.content)) }
        try await talk.send(UStar.end)
        await talk.connection.finish()
        _ = try await talk.expect("copied", within: .seconds(600))
        report(.copied)
        for file in files {
            let name = try await talk.expect("renamed", within: .seconds(120))
            guard name == file.name else {
                throw BrokenConnection.unexpected("renamed \(name)", instead: "renamed \(file.name)")
            }
            report(.renamed(name))
        }
        let count = try await talk.expect("proven", within: .seconds(300))
        guard decimal(count, digits: 10) == UInt64(result.total) else {
            throw UpgradeError(
                .wrong, "it read back \(quoted(count)) of \(result.total) files; do not reboot it, run this again")
        }
        _ = try await talk.expect("over", within: .seconds(120))
    }
}

/// Commands and answers.
private struct Talk {
    let connection: any TargetConnection
    private var lines: LineReader

    init(_ connection: any TargetConnection) {
        self.connection = connection
        lines = LineReader(connection)
    }

    func send(_ lines: [String]) async throws { try await send(Array(lines.map { $0 + "\n" }.joined().utf8)) }
    func send(_ bytes: [UInt8]) async throws { try await connection.send(bytes, within: .seconds(600)) }

    /// What a login prints comes before the first line of the program.
    mutating func skip(to greeting: String) async throws {
        let deadline = ContinuousClock.now + .seconds(120)
        var last = ""
        for _ in 0..<200 {
            last = try await lines.next(within: max(.zero, deadline - .now))
            if last == greeting { return }
        }
        throw BrokenConnection.unexpected(last, instead: "starting the upgrade")
    }

    /// The next line, as its first word and the rest.
    ///
    /// - Throws: ``UpgradeError`` where it tells of one.
    mutating func hear(within limit: Duration) async throws -> (word: String, rest: String) {
        let line = try await lines.next(within: limit)
        let parts = line.split(separator: " ", maxSplits: 1).map(String.init)
        let (word, rest) = (parts.first ?? "", parts.count > 1 ? parts[1] : "")
        let codes: [String: UpgradeError.Code] = [
            "refuse": .unfit, "trouble": .trouble, "unlike": .unlike, "wrong": .wrong,
        ]
        if let code = codes[word] { throw UpgradeError(code, sanitized(rest, limit: 500)) }
        return (word, rest)
    }

    /// The rest of the next line, which must begin with this word.
    mutating func expect(_ wanted: String, within limit: Duration = .seconds(60)) async throws -> String {
        let (word, rest) = try await hear(within: limit)
        guard word == wanted else { throw BrokenConnection.unexpected("\(word) \(rest)", instead: "'\(wanted)'") }
        return rest
    }

    /// The bytes that the next line has in base64.
    mutating func decode(_ wanted: String) async throws -> [UInt8] {
        let text = try await expect(wanted)
        guard let data = Data(base64Encoded: text) else {
            throw BrokenConnection.unexpected("\(wanted) \(text)", instead: "'\(wanted)' and base64")
        }
        return Array(data)
    }

    /// Lets the target clean up, and sees it go.
    func leave() async throws {
        try await send(["stop"])
        await connection.finish()
        let deadline = ContinuousClock.now + .seconds(60)
        while deadline > .now, try await connection.receive(within: deadline - .now) != nil {}
    }
}

/// A number in decimal digits, zeros in front or not, of limited length.
private func decimal(_ text: some StringProtocol, digits: Int) -> UInt64? {
    (1...digits).contains(text.utf8.count) && text.utf8.allSatisfy(\.isDigit) ? UInt64(text) : nil
}
