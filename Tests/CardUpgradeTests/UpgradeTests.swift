import DiskLayout
import FlashEvents
import Synchronization
import Testing

@testable import CardUpgrade

/// What an upgrade refuses, tells the target, and makes of the target's words.
struct UpgradeTests {
    /// What a test changes of the target, and the beginning of the sentence that follows.
    struct Case: Sendable {
        let text: String
        let code: UpgradeError.Code
        let change: @Sendable (FakeTarget) -> Void

        init(_ text: String, _ code: UpgradeError.Code = .unfit, _ change: @escaping @Sendable (FakeTarget) -> Void) {
            (self.text, self.code, self.change) = (text, code, change)
        }
    }

    private static let misfits = [
        Case("partitions 2 and 3 start at LBA 16384 and 28672, those of card.img at 16384 and 24576") {
            $0.table = mbr(8192, 16384, 28672)
        },
        Case("the disk of /dev/mmcblk0p1 has no partition 3; a card of rpiflash has three") {
            $0.table = mbr(8192, 16384)
        },
        Case("partition 1 of the disk of /dev/mmcblk0p1 has type 0x7 and") {
            $0.table = mbr(8192, 16384, 24576, type: 7)
        },
        Case("the disk of /dev/mmcblk0p1 has no DOS partition table (MBR)") { $0.instead["table"] = "table AAAA" },
        Case("/dev/mmcblk0p1 starts at LBA '2048' for its kernel, at 8192") {
            $0.instead["first"] = "first /dev/mmcblk0p1 2048"
        },
        Case("its card is for board 'rpi_4_32b', card.img for rpi_arm64; make an image") {
            $0.script = bootScript("rpi_4_32b")
        },
        Case("boot.scr on its partition 1 is not a boot script of rpiflash: it names") {
            $0.script = Array("echo reset".utf8)
        },
        Case(
            "its rpiflash.env names no serverip and its boot script 192.168.1.11, that of card.img 192.168.1.10: it would "
                + "ask another server; make the image with --server-ip 192.168.1.11"
        ) {
            $0.script = bootScript(server: "192.168.1.11")
            $0.settings = "serverip=\n"
        },
        Case(
            "its rpiflash.env names no serverip and its boot script none, that of card.img 192.168.1.10: it would ask "
                + "another server; make the image with no --server-ip"
        ) {
            $0.script = bootScript(server: "")
            $0.settings = ""
        },
        // The last setting counts.
        Case("its rpiflash.env names no serverip") {
            $0.script = bootScript(server: "192.168.1.11")
            $0.settings = "serverip=192.168.1.11\nserverip=\r\n"
        },
        Case("74240 bytes are needed on /dev/mmcblk0p1 beside the old files, 70000 are free") {
            $0.space = "70000 512"
        },
        // Numbers with zeros in front are decimal all the same.
        Case("74240 bytes are needed on /dev/mmcblk0p1 beside the old files, 70000 are free") {
            $0.space = "070000 0512"
        },
        Case("74240 bytes are needed on /dev/mmcblk0p1 beside the old files, 81 are free") { $0.space = "000081 512" },
        Case("an earlier upgrade was cut off, and only fsck.vfat can repair what it left, which") {
            $0.state = "yes no"
        },
        Case(
            #"an earlier upgrade was cut off, and fsck.vfat needs /dev/mmcblk0p1 unmounted, which is mounted on /mnt/\x1b[2J"#
        ) {
            $0.state = "yes yes"
            $0.mounted = "/mnt/\u{1b}[2J"
        },
        Case(#"no \x1b[2Jcard"#) { $0.instead["first"] = "refuse no \u{1b}[2Jcard" },
    ]

    @Test(arguments: misfits)
    func `a target that does not fit is told to write nothing`(of one: Case) async throws {
        let fake = FakeTarget()
        fake.states = ["bootcode.bin": "differs"]
        one.change(fake)
        let verdict = try await upgrade(fake, try card())
        #expect(verdict.code == .unfit && verdict.status == 7)
        #expect(verdict.sentence?.hasPrefix(one.text) == true, "\(verdict.sentence ?? "")")
        #expect(fake.lists.count < 2 && !fake.commands.contains { $0.hasPrefix("write") || $0 == "repair" })
    }

    @Test func `settings that name a server keep another script's from counting`() async throws {
        let fake = FakeTarget()
        (fake.script, fake.settings) = (bootScript(server: "192.168.1.11"), "ipaddr=\r\nserverip=192.168.1.9\r\n")
        #expect(try await upgrade(fake, try card()).status == 0)
    }

    @Test func `keys change by an image with both, and come and go at once`() async throws {
        func status(from old: String, to new: String) async throws -> (Int32?, String) {
            let fake = FakeTarget()
            fake.script = bootScript(keys: old)
            let verdict = try await upgrade(fake, try card(with: ["boot.scr": bootScript(keys: new)]))
            return (verdict.status, verdict.sentence ?? "")
        }
        for (old, new) in [
            ("", "bench-1"), ("bench-1", ""), ("bench-1", "bench-2 bench-1"), ("bench-2 bench-1", "bench-2"),
        ] {
            #expect(try await status(from: old, to: new).0 == 0, "\(old) to \(new)")
        }
        let refused = try await status(from: "bench-1", to: "bench-2")
        #expect(refused.0 == 7)
        #expect(
            refused.1.contains(
                "its card knows the key bench-1, which has not signed the boot script of card.img (bench-2"))
    }

    @Test func `a card's keys are taken away by name only`() async throws {
        func upgraded(from old: String, to new: String) async throws -> UpgradeVerdict {
            let fake = FakeTarget()
            fake.script = bootScript(keys: old)
            return try await upgrade(fake, try card(with: ["boot.scr": bootScript(keys: new)]), areNamed: false)
        }
        let refused = try await upgraded(from: "bench-1", to: "")
        #expect(refused.status == 7)
        #expect(
            refused.sentence?.contains(
                "its card runs only what bench-1 has signed, and with card.img, which has no key, it would run every plan"
            )
                == true)
        for (old, new) in [("", "bench-1"), ("bench-1", "bench-1"), ("", "")] {
            #expect(try await upgraded(from: old, to: new).status == 0, "\(old) to \(new)")
        }
    }

    @Test func `only files that differ are sent, in the order of a start`() async throws {
        let fake = FakeTarget()
        for name in names where name != "start4.elf" { fake.states[name] = "differs" }
        fake.states["u-boot.bin"] = "absent"
        let told = Told()
        let verdict = try await upgrade(fake, try card(), told: told)
        let sent = names.filter { $0 != "start4.elf" }
        let result = try #require(verdict.result)
        #expect(verdict.status == 0 && result.hasWritten && result.keepsOld && result.total == 6)
        #expect(result.changes.map(\.name) == sent && fake.lists == [names, sent])
        #expect(result.changes.map(\.oldBytes) == [11, 11, nil, 11, 11])
        #expect(fake.commands == ["look", "list", "write yes"])
        #expect(told.lines == sent.map { "renamed \($0)" })
        let files = try card().files.filter { sent.contains($0.name) }
        #expect(fake.archive == files.flatMap { UStar.member($0.name, $0.content) } + UStar.end)
    }

    @Test func `nothing is written where nothing differs, nor by a dry run, and the target is let go`() async throws {
        let equal = FakeTarget()
        let nothing = try await upgrade(equal, try card())
        #expect(nothing.status == 0 && nothing.result?.hasWritten == false && nothing.result?.changes == [])
        #expect(equal.commands == ["look", "list", "stop"])
        let other = FakeTarget()
        other.states = ["boot.scr": "differs"]
        let dry = try await upgrade(other, try card(), isDryRun: true)
        #expect(dry.status == 0 && dry.result?.hasWritten == false && dry.result?.changes.count == 1)
        #expect(other.commands == ["look", "list", "stop"])
    }

    @Test func `what a cut has left is repaired first, and cleared away even where nothing differs`() async throws {
        let (fake, told) = (FakeTarget(), Told())
        fake.state = "yes yes"
        #expect(try await upgrade(fake, try card(), told: told).status == 0)
        #expect(fake.commands == ["look", "repair", "list", "write no"])
        #expect(told.lines == ["an earlier upgrade was cut off; running fsck.vfat on /dev/mmcblk0p1"])
        let (dry, said) = (FakeTarget(), Told())
        dry.state = "yes no"
        #expect(try await upgrade(dry, try card(), isDryRun: true, told: said).status == 0)
        #expect(dry.commands == ["look", "list", "stop"])
        #expect(said.lines == ["an earlier upgrade was cut off; fsck.vfat would be run on /dev/mmcblk0p1 first"])
    }

    @Test func `where old files have no room beside the new ones, they are not kept, and that is said`() async throws {
        let (fake, told) = (FakeTarget(), Told())
        (fake.states, fake.space) = (["boot.scr": "differs"], "74500 512")
        let verdict = try await upgrade(fake, try card(), told: told)
        #expect(verdict.result?.keepsOld == false && fake.commands.last == "write no")
        #expect(told.lines.first == "no room for a copy of the old files: 74752 bytes are needed, 74500 are free")
    }

    private static let words = [
        Case("the connection ended; nothing was written", .unreachable) { $0.instead["rpiflash-upgrade-card"] = "" },
        Case("nothing came for 1", .unreachable) {
            $0.isSilent = true
            $0.instead["rpiflash-upgrade-card"] = ""
        },
        Case("it said 'noise' instead of starting the upgrade; nothing was written", .unreachable) {
            $0.instead["rpiflash-upgrade-card"] = String(repeating: "noise\n", count: 300)
        },
        Case("it said '/dev/x;reboot 8192' instead of a device and its start; nothing was written", .lost) {
            $0.instead["first"] = "first /dev/x;reboot 8192"
        },
        Case("it said '../sda 8192' instead of a device", .lost) { $0.instead["first"] = "first ../sda 8192" },
        Case("it said 'table *' instead of 'table' and base64", .lost) { $0.instead["table"] = "table *" },
        Case(#"it said '\x1b]0;x\x07 ' instead of 'mounted'"#, .lost) { $0.instead["mounted"] = "\u{1b}]0;x\u{7}" },
        Case("it said 'script ", .lost) { $0.instead["state"] = "" },
        Case("it said '99999999999999999999 512' instead of its free space", .lost) {
            $0.space = "99999999999999999999 512"
        },
        Case("it said '60000000 0' instead of its free space", .lost) { $0.space = "60000000 0" },
        Case("it said '-1 512' instead of its free space", .lost) { $0.space = "-1 512" },
        Case("it said 'differs boot.scr' instead of the state of boot.scr", .lost) {
            $0.instead["differs boot.scr 11"] = "differs boot.scr"
        },
        Case("it said 'differs boot.scr 99999999999' instead of the state of boot.scr", .lost) {
            $0.instead["differs boot.scr 11"] = "differs boot.scr 99999999999"
        },
        Case("it said 'equal config.txt' instead of the state of bootcode.bin", .lost) {
            $0.instead["equal bootcode.bin"] = "equal config.txt"
        },
        Case("boot.scr does not read back", .unlike) { $0.instead["copied"] = "unlike boot.scr does not read back" },
        Case("boot.scr did not come in full", .trouble) {
            $0.instead["copied"] = "trouble boot.scr did not come in full"
        },
        Case("it said 'renamed u-boot.bin' instead of renamed boot.scr; the old files are in use until each is", .lost)
        {
            $0.instead["renamed"] = "renamed u-boot.bin"
        },
        Case("the connection ended; the old files are in use until each is renamed, and a renamed one is", .lost) {
            $0.instead["proven"] = ""
            $0.instead["over"] = ""
        },
        Case("boot.scr reads back otherwise", .wrong) { $0.instead["proven"] = "wrong boot.scr reads back otherwise" },
        Case("it read back '5' of 6 files; do not reboot it, run this again", .wrong) {
            $0.instead["proven"] = "proven 5"
        },
        Case("the connection ended; the old files are in use until each is renamed", .lost) { $0.instead["over"] = "" },
    ]

    @Test(arguments: words)
    func `whatever a target says is judged, and printed without control characters`(of one: Case) async throws {
        let statuses: [UpgradeError.Code: Int32] = [.trouble: 2, .lost: 3, .unlike: 4, .wrong: 4, .unreachable: 5]
        let fake = FakeTarget()
        fake.states = ["boot.scr": "differs"]
        one.change(fake)
        let verdict = try await upgrade(fake, try card())
        #expect(verdict.code == one.code && verdict.status == statuses[one.code], "\(verdict.ending)")
        #expect(verdict.sentence?.hasPrefix(one.text) == true, "\(verdict.sentence ?? "")")
    }

    @Test func `lines come in any portions, with carriage returns or without`() async throws {
        let fake = FakeTarget()
        (fake.portion, fake.states) = (1, ["boot.scr": "differs"])
        fake.instead["copied"] = "copied\r"
        #expect(try await upgrade(fake, try card()).status == 0)
    }

    @Test func `a line without an end is given up, in little time`() async throws {
        let fake = FakeTarget()
        (fake.portion, fake.instead["first"]) = (7, String(repeating: "x", count: 1_000_000))
        let verdict = try await upgrade(fake, try card())
        #expect(verdict.code == .lost)
        #expect(verdict.sentence?.hasSuffix("x…' and more, a line of over 100000 bytes; nothing was written") == true)
    }

    /// Three targets; what becomes of each.
    private func run(_ endings: [any Error], jobs: Int = 1, isDryRun: Bool = false) async throws -> [UpgradeVerdict] {
        let rows = try targets(endings.count)
        let ports = CardUpgrade.Ports { target, talk in
            let error = endings[rows.firstIndex(of: target) ?? 0]
            guard error is Good else { throw error }
            try await talk(FakeTarget())
            return ""
        } readTable: { _ in
            mbr(8192, 16384, 24576)
        }
        return await CardUpgrade(
            card: try card(), program: [], isDryRun: isDryRun, areNamed: true, jobs: jobs, ports: ports
        ) { _, _ in
        }
        .run(rows)
    }

    private struct Good: Error {}
    private static let bad = UpgradeError(.trouble, "it is full")

    @Test func `once a target has failed no other is started, except by a dry run`() async throws {
        let one = try await run([Good(), Self.bad, Good(), Good()])
        #expect(one.map(\.status) == [0, 2, nil, nil])
        #expect(one[2].sentence == "not started: cam2 failed")
        let dry = try await run([Good(), Self.bad, Good()], isDryRun: true)
        #expect(dry.map(\.status) == [0, 2, 0])
        let together = try await run([Self.bad, Good(), Good()], jobs: 3)
        #expect(together.map(\.status) == [2, 0, 0])
    }

    @Test func `an interruption says what is on the card, and starts no other`() async throws {
        let task = Task { try await run([CancellationError(), Good()]) }
        task.cancel()
        #expect(try await task.value.map(\.status) == [nil, nil])
        let verdicts = try await run([CancellationError()])
        #expect(verdicts[0].status == 130 && verdicts[0].sentence == "interrupted; nothing was written")
    }

    @Test func `what the connection said at last is told, sanitized`() async throws {
        let ports = CardUpgrade.Ports { _, talk in
            let gone = FakeTarget()
            gone.instead["rpiflash-upgrade-card"] = ""
            try await talk(gone)
            return "ssh: connect to host\u{1b}[2J: refused"
        } readTable: { _ in
            nil
        }
        let verdict = await CardUpgrade(
            card: try card(), program: [], isDryRun: false, areNamed: true, jobs: 1, ports: ports
        ) { _, _ in
        }
        .run(try targets())[0]
        #expect(
            verdict.sentence == #"the connection ended (ssh: connect to host\x1b[2J: refused); nothing was written"#)
    }
}
