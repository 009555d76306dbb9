import Configuration
import DiskLayout
import Foundation
import Inventory
import SystemPackage
import Testing

import Doctor

private struct Trouble: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// What each fact of the machine means for a flash. The real facts are DoctorCommandTests'.
@Suite struct DoctorTests {
    private static let place = FilePath(FileManager.default.temporaryDirectory.path)
    private static let subject = Doctor.Subject(
        root: place, store: place, runs: place, templates: "/usr/share/templates", keys: "/etc/keys",
        address: "0.0.0.0", port: 69,
        hostNames: ["bench1", "192.0.2.9"])

    private static func inventory(_ rows: String...) throws -> Inventory {
        try Inventory(
            csv: ("mac,ip,server,gpio,name,reset_command,console\n" + rows.joined(separator: "\n") + "\n").utf8,
            file: "targets.csv")
    }

    /// A machine on which all is well, with one target, but for what `change` does to it.
    private static func examine(
        subject: Doctor.Subject = subject, _ change: (inout DoctorPorts) throws -> Void = { _ in }
    ) async throws -> [Finding] {
        let one = try inventory("b8:27:eb:00:00:01,192.0.2.1,bench1,17,cam,,")
        let card = try CardConfiguration(yaml: "{}\n", file: "card.yaml").layout()
        var ports = DoctorPorts(
            inventory: { one }, card: { card }, checkTemplates: {}, bootScript: { 7 },
            programs: { [.init(missing: nil, isNeeded: true)] }, server: { .free }, checkRoot: {},
            line: { _ in .init(place: "gpiochip0:17", busy: nil, isForgotten: false) }, groupFiles: { _ in [] },
            checkSpeed: { _ in nil }, listen: { "UDP port 6666" },
            records: { .init(count: 0, bytes: 0, cards: []) },
            keys: { .init(names: ["bench-1"], current: "bench-1") }, firewall: { .none })
        try change(&ports)
        return await Doctor(subject, ports: ports).examine().findings
    }

    /// The findings of a topic, each as its level and text.
    private static func about(_ topic: String, _ findings: [Finding]) -> [String] {
        findings.filter { $0.topic == topic }.map { "\($0.level.rawValue): \($0.text)" }
    }

    @Test func `where all is well every topic says so once`() async throws {
        let findings = try await Self.examine()
        #expect(findings.allSatisfy { $0.level == .ok }, "\(findings)")
        #expect(
            findings.map(\.topic) == [
                "inventory", "card", "templates", "programs", "server", "TFTP root", "store", "reset", "console",
                "records", "cards", "keys", "firewall", "clock",
            ])
    }

    @Test func `each line of a wrong inventory is a finding, and one without targets of this host is bad`() async throws
    {
        let wrong = try await Self.examine {
            $0.inventory = { throw Trouble("targets.csv:2: one\ntargets.csv:3: two") }
        }
        #expect(Self.about("inventory", wrong) == ["bad: targets.csv:2: one", "bad: targets.csv:3: two"])
        let other = try Self.inventory("b8:27:eb:00:00:01,192.0.2.1,elsewhere,17,cam,,")
        let empty = try await Self.examine { $0.inventory = { other } }
        #expect(
            Self.about("inventory", empty) == [
                "bad: targets.csv: 1 target, 0 of this host; add a row whose server is one of 192.0.2.9, bench1"
            ])
        // What is of no target is not asked for.
        #expect(Self.about("reset", empty) == [] && Self.about("console", empty) == [])
    }

    @Test func `a program that every flash needs is bad, another one a note`() async throws {
        let findings = try await Self.examine {
            $0.programs = {
                [.init(missing: "no e2fsck", isNeeded: true), .init(missing: "no fdtoverlay", isNeeded: false)]
            }
        }
        #expect(Self.about("programs", findings) == ["bad: no e2fsck", "note: no fdtoverlay"])
    }

    @Test(
        arguments: [
            (DoctorPorts.Server.service(root: "/srv/tftp", isOurs: true), "ok: the rpiflash service serves /srv/tftp"),
            (.service(root: "/srv/x", isOurs: false), "bad: the rpiflash service serves /srv/x, not "),
            (.brokenService("no answer"), "bad: no answer"), (.trouble("no address"), "bad: no address"),
            (.free, "ok: UDP 0.0.0.0:69 is free"),
            (.taken(answers: true), "note: another TFTP server has UDP 0.0.0.0:69"),
            (.taken(answers: false), "bad: another program has UDP 0.0.0.0:69 and does not answer TFTP"),
        ])
    func `who has the port decides who serves`(server: DoctorPorts.Server, text: String) async throws {
        let findings = Self.about("server", try await Self.examine { $0.server = { server } })
        #expect(findings.count == 1 && findings[0].hasPrefix(text), "\(findings)")
    }

    @Test func `a wrong TFTP root is one finding, not two`() async throws {
        let findings = try await Self.examine {
            $0.server = { .noRoot }
            $0.checkRoot = { throw Trouble("TFTP root /x: No such file or directory") }
        }
        #expect(Self.about("server", findings) == [])
        #expect(Self.about("TFTP root", findings) == ["bad: TFTP root /x: No such file or directory"])
    }

    @Test func `of each line it is told whether it is there, free, and driven by nobody`() async throws {
        let rows = try Self.inventory(
            "b8:27:eb:00:00:01,192.0.2.1,bench1,17,good,,", "b8:27:eb:00:00:02,192.0.2.2,bench1,18,busy,,",
            "b8:27:eb:00:00:03,192.0.2.3,bench1,19,lost,,", "b8:27:eb:00:00:04,192.0.2.4,bench1,20,gone,,",
            "b8:27:eb:00:00:05,192.0.2.5,bench1,,script,true,")
        let findings = try await Self.examine {
            $0.inventory = { rows }
            $0.line = { gpio in
                switch gpio {
                case .offset(20): throw Trouble("no line 20")
                case .offset(let offset):
                    .init(
                        place: "gpiochip0:\(offset)", busy: offset == 18 ? "line 18 is in use by x" : nil,
                        isForgotten: offset == 19)
                default: throw Trouble("another line")
                }
            }
        }
        #expect(
            Self.about("reset", findings) == [
                "bad: target busy: line 18 is in use by x",
                "note: target lost: gpiochip0:19 is driven, but nobody uses it, so it may be held in reset; "
                    + "rpiflash reset lost ends that",
                "bad: target gone: no line 20",
                "ok: 2 lines are there and free, 1 target has a command only; rpiflash reset TARGET tries it",
            ])
    }

    @Test func `serial ports and netconsole are only asked for where a target has them`() async throws {
        let rows = try Self.inventory(
            "b8:27:eb:00:00:01,192.0.2.1,bench1,17,a,,/dev/null", "b8:27:eb:00:00:02,192.0.2.2,bench1,18,b,,/dev/none")
        let serial = try await Self.examine {
            $0.inventory = { rows }
            $0.listen = { throw Trouble("not asked for") }
        }
        let found = Self.about("console", serial)
        #expect(found.count == 2 && found.last == "ok: 1 serial port is there", "\(found)")
        #expect(found[0].hasPrefix("note: target b: /dev/none: No such file or directory; its console is not kept"))
        let deaf = try await Self.examine { $0.listen = { throw Trouble("UDP port 6666 is in use") } }
        #expect(Self.about("console", deaf) == ["note: UDP port 6666 is in use"])
    }

    @Test func `an old boot script and a card that gets slow are notes of its target`() async throws {
        func card(_ script: UInt64?, _ uboot: String?, warning: String? = nil) -> DoctorPorts.Card {
            .init(mac: "b8:27:eb:00:00:01", uboot: uboot, script: script, isKnown: true, warning: warning)
        }
        func cards(_ cards: DoctorPorts.Card...) async throws -> [String] {
            let findings = try await Self.examine {
                $0.records = { .init(count: 1, bytes: 5 << 20, cards: cards) }
            }
            return Self.about("cards", findings)
        }
        #expect(
            try await cards(card(7, "U-Boot 2025.01 (x)"))
                == ["ok: seen in earlier runs: U-Boot 2025.01 with boot script 7 (1)"])
        #expect(try await cards(card(6, nil)).first?.hasPrefix("note: target cam has boot script 6, ") == true)
        #expect(try await cards(card(nil, nil)).first?.contains("has a boot script without a number, ") == true)
        // The card that it was seen with last counts.
        #expect(try await cards(card(1, nil), card(7, "U-Boot 2025.01")).count == 1)
        #expect(try await cards(card(7, nil, warning: "slow")).first == "note: slow")
        #expect(try await cards() == ["ok: none was seen by a flash so far; rpiflash-gen recovery-image makes one"])
    }

    @Test func `a card that takes no plan of this server, or will not for long, is named with its remedy`() async throws
    {
        func keys(
            _ names: [String], current: String? = nil, card: [String]?, isRequired: Bool = false
        ) async throws -> [String] {
            let inventory = try Inventory(
                csv: ("mac,ip,server,gpio,name,require_signed\nb8:27:eb:00:00:01,192.0.2.1,bench1,17,cam,"
                    + "\(isRequired ? "yes" : "no")\n").utf8, file: "targets.csv")
            let findings = try await Self.examine {
                $0.inventory = { inventory }
                $0.keys = { .init(names: names, current: current) }
                let known = DoctorPorts.Card(
                    mac: "b8:27:eb:00:00:01", uboot: nil, script: 7, keys: card, isKnown: true, warning: nil)
                $0.records = { .init(count: 1, bytes: 5 << 20, cards: [known]) }
            }
            return Self.about("keys", findings)
        }
        let none = try await keys([], card: nil)
        #expect(none == ["ok: none in /etc/keys, so nothing is signed; rpiflash keys init makes one"])
        // Of before there were keys: nothing is known.
        #expect(try await keys([], card: []).count == 1)
        let good = try await keys(["a", "b"], current: "b", card: ["a", "b"], isRequired: true)
        #expect(good == ["ok: a and b in /etc/keys; keep a copy elsewhere; cards of earlier runs: a and b (1)"])
        let old = try await keys(["a", "b"], current: "b", card: ["a"])
        #expect(old.first?.hasPrefix("note: target cam knows a, and not the current key b; rpiflash upgrade ") == true)
        let foreign = try await keys(["b"], current: "b", card: ["a"])
        #expect(foreign.first?.hasPrefix("bad: target cam takes only plans that are signed by a, which ") == true)
        let keyless = try await keys([], card: ["a"])
        #expect(keyless.first?.hasPrefix("bad: target cam takes only plans that are signed by a, which ") == true)
        let bare = try await keys(["b"], current: "b", card: [], isRequired: true)
        #expect(bare.first?.contains("its card had no key in its last run") == true)
        let insisting = try await keys([], card: nil, isRequired: true)
        #expect(insisting.first?.contains("this server has no key; make one with rpiflash keys init") == true)
        let broken = try await Self.examine { $0.keys = { throw Trouble("cannot read the key") } }
        #expect(Self.about("keys", broken) == ["bad: cannot read the key"])
    }

    @Test func `an input chain that drops by its policy is a note, one that forwards is none`() async throws {
        func firewall(_ chains: String) async throws -> String {
            Self.about("firewall", try await Self.examine { $0.firewall = { .chains(chains) } }).joined()
        }
        #expect(
            try await firewall("type filter hook input priority filter; policy drop;")
                .hasPrefix("note: an input chain drops what it does not name"))
        let forward =
            "hook forward priority 0; policy drop; } chain i { type filter hook input priority 0; policy accept;"
        #expect(try await firewall(forward) == "ok: no input chain drops by its policy")
        let hidden = try await Self.examine { $0.firewall = { .hidden("not root") } }
        #expect(
            Self.about("firewall", hidden) == ["note: it cannot be looked at (not root); run as root to see it"])
    }

    @Test func `a store that is not there yet is judged by the folder in which it would be made`() async throws {
        var subject = Self.subject
        subject.store = Self.place.appending("rpiflash-none/deeper")
        subject.runs = "/proc/none"
        let findings = try await Self.examine(subject: subject)
        #expect(Self.about("store", findings).first?.hasPrefix("ok: \(subject.store), ") == true)
        subject.store = "/proc/none/deeper"
        let bad = try await Self.examine(subject: subject)
        #expect(
            Self.about("store", bad) == ["bad: /proc cannot be written; run as root, or give a --store of your own"]
                || Self.about("store", bad).first?.hasPrefix("note: /proc/none/deeper, ") == true, "\(bad)")
    }
}
