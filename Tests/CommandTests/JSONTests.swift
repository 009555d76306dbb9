import Configuration
import FlashEvents
import FlashPlan
import Flashing
import Foundation
import SystemPackage
import TestSupport
import Testing

@testable import CommandOutput

/// What programs read: docs/json.md and what is printed have the same events and fields.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct JSONTests {
    /// A field of an event.
    private struct Name: Hashable, CustomStringConvertible {
        let event: String
        let field: String
        var description: String { "\(event).\(field)" }
    }

    /// The names in the tables of a section of docs/json.md: `| `event` | `field`, `field` | … |`.
    static func documented(_ section: String) throws -> [String: Set<String>] {
        let page = try String(
            contentsOfFile: Programs.repository.appending("docs/json.md").string, encoding: .utf8)
        let part = try #require(page.components(separatedBy: "\n## ").first { $0.hasPrefix(section) })
        var result: [String: Set<String>] = [:]
        for line in part.split(separator: "\n") where line.hasPrefix("| `") {
            let cells = line.split(separator: "|")
            let fields = cells[1].matches(of: /`([a-z0-9_]+)`/).map { String($0.1) }
            result[cells[0].trimmingCharacters(in: CharacterSet(charactersIn: " `"))] = Set(fields)
        }
        return result
    }

    /// Every line's event and fields; each line must be an object in ASCII that has an event and a time.
    private static func names(_ lines: some Sequence<some StringProtocol>) throws -> Set<Name> {
        var names: Set<Name> = []
        var last = 0.0
        for line in lines {
            #expect(line.utf8.allSatisfy { (0x20..<0x7f).contains($0) }, "\(line)")
            var object = try JSON.object(line)
            guard case .string(let event)? = object.removeValue(forKey: "event"),
                case .number(let time)? = object.removeValue(forKey: "time")
            else {
                Issue.record("\(line)")
                continue
            }
            #expect(time >= last, "\(line)")
            last = time
            names.formUnion(object.keys.map { Name(event: event, field: $0) } + [Name(event: event, field: "")])
        }
        return names
    }

    private static func lines(_ result: CommandResult) -> [Substring] {
        let lines = result.stdout.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.last == "", "the last line is whole")
        return Array(lines.dropLast())
    }

    @Test func `flash - every event and field that is printed is documented, and the other way round`() async throws {
        var emitted: Set<Name> = []
        var all: [Substring] = []
        func flash(_ behaviour: String, _ script: String, exits status: Int32) async throws -> [Substring] {
            let place = try await LoopbackFixture(behaviour)
            let result = try await place.run(script, exits: status)
            let lines = Self.lines(result)
            all += lines
            emitted.formUnion(try Self.names(lines))
            #expect(try JSON.object(lines.first ?? "")["version"] == .number(1), result.all)
            let end = try JSON.object(lines.last ?? "")
            #expect(
                end["event"] == .string(script.contains("--all") ? "summary" : "result")
                    && end["status"] == .number(Double(status)), result.all)
            // The log is as without --json.
            #expect(result.errorLines.allSatisfy { $0.hasPrefix("rpiflash: ") }, result.all)
            return lines
        }
        let listen = """
            socat TCP-LISTEN:$UP,bind=127.0.0.1,fork,reuseaddr /dev/null >/dev/null 2>&1 & socat=$!
            trap 'kill $socat' EXIT

            """
        let good = try await flash(
            "flash", "\(listen)xz -1 -k $IMG; $FLASH --json --wait-port $UP $IMG.xz cam", exits: 0)
        let result = try JSON.object(good.last ?? "")
        #expect(result["proven"] == .bool(true) && result["written"] == .number(Double(LoopbackFixture.written)))
        #expect(result["error"] == nil)
        let parts = try await flash(
            "fetch; put OK \(LoopbackFixture.written)", "$PARTS --json --no-wait $IMG cam", exits: 0)
        #expect(parts.contains { $0.contains(#""event":"part""#) && $0.contains(#""number":1"#) })
        // Proven, but not up.
        let down = try await flash(
            "flash", "$FLASH --json --wait-port $UP --wait-timeout 700ms $IMG cam", exits: 1)
        let end = try JSON.object(down.last ?? "")
        #expect(end["proven"] == .bool(true) && end["loaded"] == .number(Double(LoopbackFixture.written)))
        guard case .string(let sentence)? = end["error"] else {
            Issue.record("\(end)")
            return
        }
        #expect(sentence.hasPrefix("target cam was flashed and proven, but does not answer on TCP port "))
        // A warning, a second reset, a note.
        let never = try await flash(
            "timeout 0.3 atftp --get --remote-file $'a\\u202eb' --local-file got/x 127.0.0.1 $PORT || true",
            "$FLASH --json --request-timeout 1s $IMG cam", exits: 5)
        #expect(never.filter { $0.contains(#""event":"reset""#) }.count == 2)
        #expect(never.contains { $0.contains(#""event":"note""#) && $0.contains(#"a\u202eb"#) }, "\(never)")
        #expect(try JSON.object(never.last ?? "")["proven"] == .bool(false))

        // What the caller says of it, and why the target failed.
        let failed = try await flash(
            """
            plan
            printf '%s\\n' rpi_report=1 rpi_job=$job rpi_state=failed rpi_chunks=0 rpi_written=0 rpi_same=0 rpi_fetched=0 \
                rpi_retries=9 rpi_bad_count=1 rpi_bad_chunk=1 rpi_bad_lba=4001 rpi_card=52504946-01 \
                rpi_code=lost_write 'rpi_reason=the card does not hold it' >got/REPORT
            send REPORT
            put FAILED 0
            """, "$FLASH --json --no-wait --label ticket=4711 $IMG cam", exits: 2)
        #expect(try JSON.object(failed.last ?? "")["code"] == .string("lost_write"))

        // With several targets; the second is refused before it is known.
        _ = try await flash("flash", "$FLASH --json --no-wait --all $IMG", exits: 0)
        _ = try await flash("", "$FLASH --json --all --tftp-root $D/none $IMG", exits: 9)
        // What a dry run says of an image that is not prepared, of one that is, and of parts.
        _ = try await flash("", "$FLASH --json --dry-run $IMG cam", exits: 0)
        _ = try await flash(
            "", "sleep 2.1; $RPIFLASH plan -q $IMG --store $D/store >/dev/null; $FLASH --json --dry-run --all $IMG",
            exits: 0)
        _ = try await flash("", "$PARTS --json --dry-run $IMG cam", exits: 0)
        // Then every event about a target names it; the page says so in one sentence.
        emitted = emitted.filter { $0.field != "target" || $0.event == "start" }

        // What only comes after a second of transfer.
        let slow = [
            FlashProgress.chunk(number: 2, chunks: 10, bytes: 5, total: 50, elapsed: .seconds(5)),
            .transfer(part: 1, parts: 2, bytes: 5, total: 50, elapsed: .seconds(5)),
            // A target that tells everything, and one that tells nothing.
            .reported(Array(Self.report.utf8)), .reported([0]),
            .reported(Array((Self.report + "rpi_agent=1\n").utf8)),
        ]
        let slowLines = slow.map { jsonLine(FlashEvent($0, rate: 2)) }
        emitted.formUnion(try Self.names(slowLines))
        try await checkSchema("flash", (all.map(String.init) + slowLines).joined(separator: "\n"))

        var documented: Set<Name> = []
        for (event, fields) in try Self.documented("`rpiflash flash --json`") {
            documented.formUnion(fields.map { Name(event: event, field: $0) } + [Name(event: event, field: "")])
        }
        #expect(documented.subtracting(emitted) == [], "documented, but never printed")
        #expect(emitted.subtracting(documented) == [], "printed, but not documented")
        let ofUpgrades = try Self.documented("`rpiflash upgrade --json`").keys
        #expect(Set(documented.map(\.event)).union(ofUpgrades) == Set(FlashEvent.Kind.allCases.map(\.rawValue)))
    }

    private static let report = """
        rpi_report=1
        rpi_job=0000000000000001
        rpi_state=ok
        rpi_chunks=1
        rpi_written=1
        rpi_same=0
        rpi_fetched=1
        rpi_retries=0
        rpi_bad_count=0
        rpi_card=52504946-01
        rpi_script=2
        rpi_board=rpi_arm64
        ver=U-Boot 2023.01
        rpi_keys=bench-1 bench-2
        serial#=10000000abcdef

        """

    @Test func `flash - an error before a target is known ends the events too`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run("$FLASH --json $IMG dog", exits: 8)
        let lines = Self.lines(result)
        #expect(lines.count == 2, result.all)
        let end = try JSON.object(lines.last ?? "")
        #expect(end["status"] == .number(8) && end["proven"] == .bool(false))
        guard case .string(let sentence)? = end["error"] else {
            Issue.record(result.all)
            return
        }
        #expect(place.stable(sentence) == "no target 'dog' in D/targets.csv; it has cam")
        #expect(place.stable(result.stderr) == "rpiflash: no target 'dog' in D/targets.csv; it has cam\n")
    }

    @Test func `flash - a reader that goes away, or does not read, changes nothing of the flash`() async throws {
        let place = try await LoopbackFixture("flash")
        let gone = try await place.run("$FLASH --json --no-wait $IMG cam | head -n 1 >/dev/null", exits: 9)
        #expect(gone.stderr.contains("exactly what was to be on its card"), gone.all)
        #expect(gone.errorLines.last?.hasSuffix("its reader is gone") == true, gone.all)
        _ = try await place.run("$FLASH --json --no-wait $IMG cam > >(sleep 2; wc -l >$D/lines)", exits: 0)
    }

    @Test func `an interrupted flash ends its events with 130`() async throws {
        let place = try await LoopbackFixture("plan; touch asked")
        let result = try await place.run(
            """
            set -m
            $FLASH --json $IMG cam 2>/dev/null & job=$!
            until [ -e $D/asked ]; do sleep 0.02; done
            kill -TERM $job
            wait $job
            """, exits: 130)
        let end = try JSON.object(Self.lines(result).last ?? "")
        #expect(end["event"] == .string("result") && end["status"] == .number(130), result.all)
    }

    @Test func `plan and images have the fields that are documented`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run(
            """
            $RPIFLASH plan $IMG --card $D/card.yaml --store $D/store --json --chunks
            $RPIFLASH plan $IMG --card <(printf 'card_size: 64 MiB\\nuboot_size: 4 MiB\\nboot_size: 16 MiB\\nrootfs_size: rest\\n') --store $D/store --json
            $RPIFLASH images --store $D/store --json
            $RPIFLASH images size --store $D/store --json
            """, exits: 0)
        let lines = Self.lines(result)
        try #require(lines.count == 4, result.all)
        // A partition's note and a card's reason are only there where there is something to say.
        func fields(_ object: [String: JSON], _ place: String = "") -> [String: Set<String>] {
            var all = [place: Set(object.keys)]
            for (name, value) in object {
                let inner =
                    switch value {
                    case .object(let inner): inner
                    case .array(let list):
                        if case .object(let inner)? = list.first { inner } else { [:] as [String: JSON] }
                    default: [:] as [String: JSON]
                    }
                if !inner.isEmpty { all.merge(fields(inner, name)) { $0.union($1) } }
            }
            return all
        }
        for (line, section) in [
            (lines[0], "`rpiflash plan --json`"), (lines[2], "`rpiflash images list --json`"),
            (lines[3], "`rpiflash images size --json`"),
        ] {
            let printed = fields(try JSON.object(line))
            let documented = try Self.documented(section)
            #expect(Set(printed.keys) == Set(documented.keys.map { $0 == "object" ? "" : $0 }), "\(section)")
            for (place, names) in printed {
                let known = try #require(documented[place.isEmpty ? "object" : place])
                #expect(names.subtracting(known) == [], "\(section) \(place): printed, but not documented")
                #expect(
                    known.subtracting(names).isSubset(of: ["note", "reason"]),
                    "\(section) \(place): documented, but not printed")
            }
        }
        #expect(try JSON.object(lines[1])["chunks"] == nil)
        for (line, name) in zip(lines, ["plan", "plan", "images-list", "images-size"]) {
            try await checkSchema(name, String(line))
        }
    }
}
