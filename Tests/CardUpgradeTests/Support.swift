import DiskLayout
import Foundation
import Inventory
import Synchronization

@testable import CardUpgrade

let names = ["bootcode.bin", "start4.elf", "fixup4.dat", "u-boot.bin", "boot.scr", "config.txt"]

/// A boot script, as far as it says what it is for.
func bootScript(
    _ board: String = "rpi_arm64", _ layout: String = "0x4000/0x6000", server: String = "192.168.1.10",
    keys: String = ""
) -> [UInt8] {
    Array(
        """
        \u{0}\u{1}\u{ff}echo "rpiflash: boot script for \(board), card layout \(layout)"
        setenv l_keys "\(keys)"
        test -n "${serverip}" || setenv serverip \(server)

        """.utf8)
}

func mbr(_ starts: UInt64..., type: UInt8 = 0x0c) -> PartitionTable {
    PartitionTable(
        diskID: nil,
        partitions: starts.enumerated().map { index, start in
            Partition(
                number: index + 1, type: PartitionType(code: index == 0 ? type : 0x83), start: LBA(start),
                size: SectorCount(8192))
        })
}

/// An image's files; what a test changes of them is `with`, nil removes one.
func card(
    _ partitions: PartitionTable = mbr(8192, 16384, 24576), with changes: [String: [UInt8]?] = [:]
) throws -> RecoveryCard {
    var files: [String: [UInt8]] = ["boot.scr": bootScript(), "rpiflash.env": Array("serverip=\n".utf8)]
    for name in names where name != "boot.scr" { files[name] = Array("new \(name)".utf8) }
    for (name, content) in changes { files[name] = content }
    return try RecoveryCard(image: "card.img", table: partitions) { files }
}

func targets(_ count: Int = 1) throws -> [Target] {
    let rows = (1...count).map { "b8:27:eb:00:00:0\($0),192.0.2.\($0),bench1,17,cam\($0)\n" }
    return try Inventory(csv: ("mac,ip,server,gpio,name\n" + rows.joined()).utf8, file: "targets.csv").targets
}

/// The target's half, with a card that holds the image's own files. What a test changes of it is in its variables.
final class FakeTarget: TargetConnection {
    var table = mbr(8192, 16384, 24576)
    var script = bootScript()
    var settings = "serverip=192.168.1.10\n"
    var state = "no no"
    var mounted = "-"
    var space = "60000000 512"
    /// What it says of files; the others are equal.
    var states: [String: String] = [:]
    /// What it says in place of its own lines that begin so; "" is nothing.
    var instead: [String: String] = [:]
    /// How many bytes come at a time.
    var portion = Int.max
    /// Silent where it has nothing to say, in place of gone.
    var isSilent = false

    private(set) var hasTimedOut = false
    /// What it was told, without lists.
    private(set) var commands: [String] = []
    /// The names that it was to list, and those that it was to write.
    private(set) var lists: [[String]] = []
    private(set) var archive: [UInt8] = []
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var list: [String]?
    private var isFirst = true
    private var isArchive = false

    private func say(_ line: String) {
        let word = String(line.prefix { $0 != " " })
        let said = instead[line] ?? instead[word] ?? line
        if !said.isEmpty { output += Array((said + "\n").utf8) }
    }

    func send(_ bytes: [UInt8], within limit: Duration) async throws {
        if isArchive { return archive += bytes }
        input += bytes
        while let end = input.firstIndex(of: 0x0a) {
            let line = String(decoding: input[..<end], as: UTF8.self)
            input.removeSubrange(...end)
            take(line)
        }
    }

    private func take(_ line: String) {
        if isFirst {
            isFirst = false
            say("a banner of the host's")
            say("rpiflash-upgrade-card 1")
            say("first /dev/mmcblk0p1 8192")
            say("table \(Data(count: 512).base64EncodedString())")
        } else if var names = list {
            if line == "." {
                list = nil
                end(names)
            } else {
                names.append(String(line.prefix { $0 != " " }))
                list = names
            }
        } else {
            commands.append(line)
            switch line {
            case "look":
                say("mounted \(mounted)")
                say("state \(state)")
                say("script \(Data(script).base64EncodedString())")
                say("settings \(Data(settings.utf8).base64EncodedString())")
            case "repair": say("repaired")
            case "list", "write yes", "write no": list = []
            default: break
            }
        }
    }

    private func end(_ names: [String]) {
        lists.append(names)
        guard lists.count == 1 else { return isArchive = true }
        say("space \(space)")
        for name in names {
            switch states[name] {
            case "differs"?: say("differs \(name) 11")
            case let state?: say("\(state) \(name)")
            case nil: say("equal \(name)")
            }
        }
    }

    func finish() async {
        guard isArchive else { return }
        say("copied")
        for name in lists[1] { say("renamed \(name)") }
        say("proven \(lists[0].count)")
        say("over")
    }

    func receive(within limit: Duration) async throws -> [UInt8]? {
        try Task.checkCancellation()
        guard !output.isEmpty else {
            hasTimedOut = isSilent
            return nil
        }
        let part = Array(output.prefix(portion))
        output.removeFirst(part.count)
        return part
    }
}

/// What upgrades told.
final class Told: Sendable {
    private let all = Mutex<[String]>([])
    var lines: [String] { all.withLock { $0 } }
    func add(_ line: String) { all.withLock { $0.append(line) } }
}

/// Upgrades one target, which is played by `fake`.
func upgrade(
    _ fake: FakeTarget, _ card: RecoveryCard, isDryRun: Bool = false, areNamed: Bool = true, told: Told = Told()
) async throws -> UpgradeVerdict {
    // One task uses it.
    nonisolated(unsafe) let fake = fake
    let ports = CardUpgrade.Ports { _, talk in
        try await talk(fake)
        return ""
    } readTable: { _ in
        fake.table
    }
    let run = CardUpgrade(
        card: card, program: Array("true".utf8), isDryRun: isDryRun, areNamed: areNamed, jobs: 1, ports: ports
    ) {
        switch $1 {
        case .note(let text): told.add(text)
        case .renamed(let name): told.add("renamed \(name)")
        case .compared, .copied, .ended: break
        }
    }
    return await run.run(try targets())[0]
}

extension UpgradeVerdict {
    var code: UpgradeError.Code? { if case .failed(let error) = ending { error.code } else { nil } }
    var result: UpgradeResult? { if case .done(let result) = ending { result } else { nil } }
}
