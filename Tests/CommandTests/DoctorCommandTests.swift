import Foundation
import SystemPackage
import TestSupport
import Testing

/// `rpiflash doctor`: what passes, what fails and how to fix it; nothing is changed.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct DoctorCommandTests {
    private static let doctor =
        "$RPIFLASH doctor --inventory $D/targets.csv --card $D/card.yaml --tftp-root $TFTP --listen 127.0.0.1:$PORT"
        + " --store $D/store --runs $D/runs --service $D/none.sock"

    /// - Returns: the lines, each as level, topic and text.
    private static func lines(_ result: CommandResult) -> [[String]] {
        result.stdout.split(separator: "\n").compactMap { line in
            line.firstMatch(of: /^(ok|note|bad) +(.+?)  +(.+)$/).map { [$0.1, $0.2, $0.3].map(String.init) }
        }
    }

    @Test func `a server that can flash is said to be good, and nothing is made`() async throws {
        let place = try await LoopbackFixture()
        let before = try await place.bash("cd $D; find . | sort; cat targets.csv card.yaml")
        let result = try await place.run(Self.doctor, exits: 0)
        let lines = Self.lines(result)
        #expect(lines.allSatisfy { $0[0] != "bad" }, result.all)
        #expect(
            lines.map { $0[1] } == [
                "inventory", "card", "templates", "programs", "server", "TFTP root", "store", "reset", "console",
                "records",
                "cards", "keys", "firewall", "clock",
            ], result.all)
        #expect(place.stable(result.stdout).contains("D/targets.csv: 1 target, 1 of this host"), result.all)
        #expect(result.stdout.contains("1 target has a command only"), result.all)
        let after = try await place.bash("cd $D; find . | sort; cat targets.csv card.yaml")
        #expect(after.stdout == before.stdout)
        #expect(place.resets == 0)
    }

    @Test func `what runs on the cards is told as far as runs tell, and an old boot script is named`() async throws {
        let place = try await LoopbackFixture(
            """
            flash() {
                plan
                for file in $files; do get $file; done
                report $sectors 0 rpi_state=ok rpi_card=52504946-01 rpi_script=1 'ver=U-Boot 2023.01 (Jun 22 2026)'
                put OK $((sectors * 512))
            }
            flash
            """)
        try await place.run("$FLASH --no-wait $IMG cam", exits: 0)
        let result = try await place.run(Self.doctor, exits: 0)
        let lines = Self.lines(result)
        let template = try String(
            contentsOfFile: Programs.repository.appending("templates/boot/settings.cmd").string, encoding: .utf8)
        let number = try #require(template.firstMatch(of: /(?m)^setenv l_script ([0-9]+)$/)).output.1
        #expect(
            lines.contains([
                "note", "cards",
                "target cam has boot script 1, this version's is \(number); its card can be brought up to date from its running Linux: rpiflash upgrade",
            ]), result.all)
        #expect(
            lines.contains(["ok", "cards", "seen in earlier runs: U-Boot 2023.01 with boot script 1 (1)"]), result.all)
        #expect(
            lines.contains {
                $0[1] == "records" && $0[2].contains("D/runs, 1 run, ") || $0[2].contains("/runs, 1 run, ")
            }, result.all)
        let serial = try await place.bash(
            """
            sed -i '1s/$/,console/; 2s#$#,/dev/no-such-port#' $D/targets.csv
            \(Self.doctor)
            """)
        #expect(
            Self.lines(serial).contains([
                "note", "console",
                "target cam: /dev/no-such-port: No such file or directory; its console is not kept: plug it in, or run as root or in the group dialout",
            ]), serial.all)
    }

    @Test(
        arguments: [
            ("rm $D/targets.csv", "inventory", "cannot read D/targets.csv: No such file or directory"),
            ("echo mac,ip,server >$D/targets.csv", "inventory", "D/targets.csv:1:1: column gpio is missing"),
            (
                "sed -i s/localhost/elsewhere.example/ $D/targets.csv", "inventory",
                "D/targets.csv: 1 target, 0 of this host; add a row"
            ),
            ("echo x: 1 >$D/card.yaml", "card", "D/card.yaml:1:1: unknown key"),
            ("DOCTOR=\"$DOCTOR --templates $D/none\"", "templates", "cannot read the template D/none/plan/start.cmd"),
            ("rmdir $TFTP", "TFTP root", "TFTP root D/tftp: No such file or directory; make it"),
            (
                "sed -i 's/,cam,.*/,cam,/' $D/targets.csv; sed -i 's/localhost,,/localhost,nochip:3,/' $D/targets.csv",
                "reset", "target cam: "
            ),
            (
                "DOCTOR=\"$DOCTOR --listen 192.0.2.1:6969\"", "server",
                "cannot bind UDP 192.0.2.1:6969; this host does not have the address"
            ),
        ])
    func `what makes a flash fail is bad, with status 9`(harm: String, topic: String, text: String) async throws {
        let place = try await LoopbackFixture()
        let result = try await place.bash("DOCTOR=\"\(Self.doctor)\"; \(harm); $DOCTOR")
        #expect(result.status == 9, result.all)
        let bad = Self.lines(result).filter { $0[0] == "bad" }
        #expect(bad.contains { $0[1] == topic && place.stable($0[2]).hasPrefix(text) }, result.all)
        #expect(bad.count == 1, result.all)
        #expect(result.errorLines == ["rpiflash: 1 check failed (above); a flash would fail"], result.all)
    }

    @Test func `a program that has the port and is no TFTP server is bad, another TFTP server is noted`() async throws {
        let place = try await LoopbackFixture()
        let mute = try await place.bash(
            """
            socat -u UDP-RECV:$PORT,bind=127.0.0.1 STDOUT >/dev/null 2>&1 & socat=$!
            trap 'kill $socat' EXIT
            until grep -qi ":$(printf %04x $PORT) " /proc/net/udp; do sleep 0.02; done
            \(Self.doctor)
            """)
        #expect(mute.status == 9, mute.all)
        #expect(
            Self.lines(mute).contains { $0[0] == "bad" && $0[2].contains("does not answer TFTP; end it: ss -ulpn") },
            mute.all)
        let other = try await place.bash(
            """
            $RPIFLASH serve --root $TFTP --listen 127.0.0.1:$PORT --socket $D/other.sock >/dev/null 2>&1 & serve=$!
            trap 'kill $serve' EXIT
            until [ -S $D/other.sock ]; do sleep 0.02; done
            \(Self.doctor)
            """)
        #expect(other.status == 0, other.all)
        #expect(
            Self.lines(other).contains {
                $0[0] == "note" && $0[1] == "server" && $0[2].hasPrefix("another TFTP server has")
            },
            other.all)
    }

    @Test func `the service is found, and that it serves another folder`() async throws {
        let place = try await LoopbackFixture()
        let command = Self.doctor.replacing("--listen 127.0.0.1:$PORT", with: "").replacing(
            "$D/none.sock", with: "$D/serve.sock")
        let result = try await place.bash(
            """
            $RPIFLASH serve --root $TFTP --listen 127.0.0.1:$PORT --socket $D/serve.sock >/dev/null 2>&1 & serve=$!
            trap 'kill $serve' EXIT
            until [ -S $D/serve.sock ]; do sleep 0.02; done
            \(command)
            mkdir $D/else
            \(command.replacing("$TFTP", with: "$D/else"))
            """)
        #expect(result.status == 9, result.all)
        let server = Self.lines(result).filter { $0[1] == "server" }
        #expect(
            server.first.map { $0[0] == "ok" && place.stable($0[2]) == "the rpiflash service serves D/tftp" } == true,
            result.all)
        #expect(
            server.last.map { $0[0] == "bad" && place.stable($0[2]).contains("not D/else; give --tftp-root D/tftp") }
                == true, result.all)
    }

    @Test func `as JSON it says the same`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run(Self.doctor + " --json", exits: 0)
        let object = try #require(
            try JSONSerialization.jsonObject(with: Data(result.stdout.utf8)) as? [String: Any], result.all)
        #expect(object["version"] as? Int == 1)
        let findings = try #require(object["findings"] as? [[String: String]])
        #expect(findings.allSatisfy { Set($0.keys) == ["level", "topic", "text"] })
        #expect(findings.first?["topic"] == "inventory")
    }
}
