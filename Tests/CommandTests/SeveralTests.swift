import Foundation
import SystemPackage
import TestSupport
import Testing

/// Flashes of several targets at once: cam at 127.0.0.1, dog, elk and fox at 127.0.0.2 to 4, and hen, which is another
/// server's. WORK is the target's name, `.` for cam.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct SeveralTests {
    static let macs = (6...9).map { "52:54:00:12:34:5\($0)" }

    /// A bench with these targets; `behaviour` is every one's.
    static func place(_ behaviour: String) async throws -> LoopbackFixture {
        let place = try await LoopbackFixture(behaviour)
        var rows = "mac,ip,server,gpio,name,reset_command,tags\n"
        rows += "\(macs[0]),127.0.0.1,localhost,,cam,bash \(place.folder)/reset,camera\n"
        for (index, name) in ["dog", "elk", "fox"].enumerated() {
            let (mac, ip) = (macs[index + 1], "127.0.0.\(index + 2)")
            let tags = ["camera;rack-2", "rack-2", "spare"][index]
            rows +=
                "\(mac),\(ip),localhost,,\(name),env MAC=\(mac) IP=\(ip) WORK=\(name) bash \(place.folder)/reset,\(tags)\n"
        }
        rows += "52:54:00:12:34:60,127.0.0.5,elsewhere.example,,hen,false,camera far\n"
        try place.write("targets.csv", rows)
        return place
    }

    /// The rows of the summary: name, bytes written, outcome; and the last line.
    private static func summary(_ result: CommandResult) -> (rows: [[String]], last: String) {
        let lines = result.stdout.split(separator: "\n").map(String.init)
        let rows = lines.dropFirst().dropLast().map { line -> [String] in
            let fields = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true).map(String.init)
            return fields.count == 6
                ? [fields[0], fields[3], fields[5].trimmingCharacters(in: .whitespaces)] : fields
        }
        #expect(lines.first?.hasPrefix("NAME  MAC") == true, result.all)
        return (rows, lines.last ?? "")
    }

    private static let good = "\(LoopbackFixture.written)"
    private static let failure =
        "plan; report 0 9 rpi_state=failed rpi_bad_count=1 rpi_bad_chunk=1 rpi_bad_lba=0x4001 "
        + "rpi_code=not_loaded 'rpi_reason=chunk-1 did not load'; put FAILED 4608"
    private static let failed =
        "target elk reported FAILED, 4608 of 5242880 bytes are on its card: "
        + "chunk 1 of 3 at LBA 16385: chunk-1 did not load"

    @Test(arguments: [false, true])
    func `0 - all proven, prepared once, served together`(byService: Bool) async throws {
        // Each goes on only when the others have their plans too.
        let place = try await Self.place(
            "plan; touch $D/has-$MAC; until [ $(ls $D/has-* | wc -l) = 3 ]; do sleep 0.02; done; flash")
        let flash =
            byService
            ? """
            $RPIFLASH serve --root $TFTP --listen 127.0.0.1:$PORT --socket $D/serve.sock 2>$D/serve.err & serve=$!
            trap 'kill $serve' EXIT
            until [ -S $D/serve.sock ]; do kill -0 $serve; sleep 0.02; done
            $RPIFLASH flash --inventory $D/targets.csv --card $D/card.yaml --tftp-root $TFTP --store $D/store \\
              --runs $D/runs --service $D/serve.sock
            """ : "$FLASH"
        let result = try await place.run("\(flash) --verbose --no-wait $IMG cam 127.0.0.3 dog CAM", exits: 0)
        let (rows, last) = Self.summary(result)
        #expect(rows == [["cam", Self.good, "proven"], ["elk", Self.good, "proven"], ["dog", Self.good, "proven"]])
        #expect(last == "3 of 3 proven", result.all)
        #expect(place.resets == 3)
        #expect(result.errorLines.filter { $0.contains("preparing the image: 0.0 MiB") }.count == 1, result.all)
        #expect(result.errorLines.filter { $0.contains("serving ") }.count == 1, result.all)
        for name in ["cam", "dog", "elk"] {
            #expect(result.errorLines.contains("rpiflash: \(name): the target asks for its image"), result.all)
        }
        #expect(!result.stderr.contains("refused"), result.all)
    }

    @Test func `2 - one that fails in the middle leaves the others alone, in parts too`() async throws {
        let place = try await Self.place(
            "[ $WORK = elk ] && { fetch 1; put FAILED 512; exit; }; fetch; put OK \(LoopbackFixture.written)")
        let result = try await place.run("$PARTS --no-wait --part-size 8MiB --all $IMG", exits: 2)
        let (rows, last) = Self.summary(result)
        let sentence = "target elk reported FAILED after 512 of 5242880 bytes; its console says why"
        #expect(
            rows == [
                ["cam", Self.good, "proven"], ["dog", Self.good, "proven"], ["elk", "-", sentence],
                ["fox", Self.good, "proven"],
            ], result.all)
        #expect(last == "3 of 4 proven", result.all)
        #expect(result.errorLines.contains("rpiflash: 1 target of other servers left out"), result.all)
        #expect(result.errorLines.contains("rpiflash: elk: \(sentence)"), result.all)
        #expect(place.resets == 4)
    }

    @Test func `the worst exit status is the highest`() async throws {
        let place = try await Self.place(
            "case $WORK in dog) plan; put OK $((sectors * 512)) ;; elk) \(Self.failure) ;; *) flash ;; esac")
        let result = try await place.run("$FLASH --no-wait --tag rack-2 --tag spare $IMG", exits: 4)
        let (rows, last) = Self.summary(result)
        #expect(
            rows == [
                ["dog", "-", "target dog reported OK, but proves nothing: it uploaded no REPORT"],
                ["elk", "-", Self.failed], ["fox", Self.good, "proven"],
            ], result.all)
        #expect(last == "1 of 3 proven", result.all)
    }

    @Test func `1 - a target that is not up is proven, and is a canary that failed`() async throws {
        let place = try await Self.place("flash")
        let result = try await place.run(
            "$FLASH --wait-port $UP --wait-timeout 700ms --canary --tag camera $IMG", exits: 1)
        let (rows, last) = Self.summary(result)
        #expect(rows.count == 2 && rows[0][1] == Self.good, result.all)
        #expect(rows[0][2].hasPrefix("target cam was flashed and proven, but does not answer on TCP port "), result.all)
        #expect(rows[1] == ["dog", "-", "not started: canary cam failed"], result.all)
        #expect(last == "1 of 2 proven, 1 of them not up, 1 not started", result.all)
        #expect(place.resets == 1)
    }

    @Test func `130 - interrupted, every target is cleaned up`() async throws {
        let place = try await Self.place("plan")
        let result = try await place.run(
            """
            set -m
            $FLASH --jobs 2 --all $IMG 2>$D/err & job=$!
            # Both are known to have asked: what may be half written is warned of.
            until [ $(grep -c 'asks for its image' $D/err) = 2 ]; do sleep 0.02; done
            kill -TERM $job
            status=0; wait $job || status=$?
            cat $D/err >&2
            exit $status
            """, exits: 130)
        let (rows, last) = Self.summary(result)
        #expect(rows.prefix(2).allSatisfy { $0.last == "interrupted" }, result.all)
        #expect(rows.suffix(2).allSatisfy { $0.last == "not started: interrupted" }, result.all)
        #expect(last == "0 of 4 proven, 2 not started", result.all)
        #expect(
            result.errorLines.last == "rpiflash: interrupted; everything staged is removed, RESET is released",
            result.all)
        for name in ["cam", "dog"] {
            #expect(
                result.stderr.contains("rpiflash: \(name): warning: target \(name) may have begun to write"), result.all
            )
        }
        #expect(place.resets == 2)
    }

    // MARK: A terminal

    /// What a terminal with room enough shows in the end, and whether it was ever told to go up.
    private static func screen(_ output: String) -> (lines: [String], wentUp: Bool) {
        var lines: [[Character]] = [[]]
        var (row, column, wentUp) = (0, 0, false)
        // A CR and a LF together would be one character.
        var rest = Substring(output.replacing("\r\n", with: "\u{b}"))
        while let next = rest.first {
            if let match = rest.prefixMatch(of: /\x1b\[(\d*)([A-Za-z])/) {
                switch match.2 {
                case "A": (row, wentUp) = (row - (Int(match.1) ?? 1), true)
                case "K": lines[row].removeSubrange(min(column, lines[row].count)...)
                case "J":
                    lines[row].removeSubrange(min(column, lines[row].count)...)
                    lines.removeSubrange((row + 1)...)
                // Colours.
                case "m": break
                default: Issue.record("\(match.0.debugDescription)")
                }
                rest = rest[match.range.upperBound...]
                continue
            }
            rest = rest.dropFirst()
            switch next {
            case "\r": column = 0
            case "\n", "\u{b}":
                (row, column) = (row + 1, 0)
                if row == lines.count { lines.append([]) }
            default:
                while lines[row].count <= column { lines[row].append(" ") }
                lines[row][column] = next
                column += 1
            }
        }
        return (lines.map { String($0) }, wentUp)
    }

    @Test func `on a terminal each target has a line that is redrawn below the log, and is gone in the end`()
        async throws
    {
        let place = try await Self.place("flash")
        let result = try await place.run(
            "script -qec \"$FLASH --no-wait --tag rack-2 --tag camera $IMG\" /dev/null </dev/null", exits: 0)
        #expect(result.stdout.contains("dog: chunk ") && result.stdout.contains("elk: chunk "), result.all)
        let (lines, wentUp) = Self.screen(result.stdout)
        #expect(wentUp, result.all)
        let log = lines.prefix { !$0.hasPrefix("NAME ") }
        #expect(log.allSatisfy { $0.hasPrefix("rpiflash: ") }, "\(lines)")
        #expect(log.contains("rpiflash: dog: the target asks for its image"), "\(lines)")
        #expect(lines.dropFirst(log.count).count == 6 && lines.suffix(2) == ["3 of 3 proven", ""], "\(lines)")
    }

    // MARK: Law 6

    @Test(
        arguments: [
            ("cam goat", 8, "no target 'goat' in D/targets.csv; it has cam, dog, elk, fox, hen"),
            ("cam hen", 8, "target hen belongs to the server 'elsewhere.example'; run rpiflash there"),
            (
                "--tag camera --tag rack-3", 8,
                "no target in D/targets.csv has the tag 'rack-3'; it has camera, far, rack-2, spare"
            ),
            ("--tag far", 8, "the target belongs to other servers, hen to 'elsewhere.example'; run rpiflash there"),
            ("--all --card $D/none.yaml", 9, "cannot read D/none.yaml: No such file or directory"),
        ] as [(String, Int32, String)])
    func `law 6 - what is wrong with one target refuses all`(
        arguments: String, status: Int32, message: String
    ) async throws {
        let place = try await Self.place("")
        let result = try await place.run("$FLASH --no-wait $IMG \(arguments)", exits: status)
        #expect(place.stable(result.errorLines.last ?? "") == "rpiflash: \(message)", result.all)
        #expect(result.stdout == "" && place.resets == 0, result.all)
    }

    @Test func `law 6 - a plan of someone else in one target's folder refuses all, and stays`() async throws {
        let place = try await Self.place("")
        let result = try await place.run(
            """
            mkdir $TFTP/\(Self.macs[2]); touch $TFTP/\(Self.macs[2])/flash.scr
            status=0; $FLASH --no-wait --all $IMG || status=$?
            rm $TFTP/\(Self.macs[2])/flash.scr; rmdir $TFTP/*
            exit $status
            """, exits: 9)
        #expect(
            place.stable(result.errorLines.last ?? "")
                == "rpiflash: D/tftp/\(Self.macs[2])/flash.scr is there, and not rpiflash's: remove it", result.all)
        #expect(place.resets == 0)
    }

    @Test func `targets lists tags where there are any`() async throws {
        let place = try await Self.place("")
        let result = try await place.run("$RPIFLASH targets --inventory $D/targets.csv", exits: 0)
        let lines = result.stdout.split(separator: "\n")
        #expect(lines.first?.contains("  RESET  TAGS           COMMAND") == true, result.all)
        #expect(lines.contains { $0.contains("  here   camera rack-2  env MAC=") }, result.all)
    }

    @Test func `law 6 - a target that another flash has refuses all, and that one goes on`() async throws {
        let place = try await Self.place("until [ -e $D/go ]; do sleep 0.02; done; flash")
        let result = try await place.run(
            """
            $FLASH --no-wait $IMG dog 2>/dev/null & first=$!
            until [ -e $D/running ]; do sleep 0.02; done
            status=0; $FLASH --no-wait --json --all $IMG >$D/events || status=$?
            echo "second $status"
            touch $D/go
            wait $first
            """, exits: 0)
        #expect(result.stdout.contains("second 9\ndog ("), result.all)
        #expect(result.stderr.contains("rpiflash: target dog is being flashed by process "), result.all)
        #expect(place.resets == 1)
        let end = try JSON.object(place.text("events").split(separator: "\n").last ?? "")
        #expect(end["event"] == .string("summary") && end["status"] == .number(9), "\(end)")
        #expect(end["count"] == .number(4) && end["not_started_count"] == .number(4), "\(end)")
    }

    @Test(
        arguments: [
            ("cam --all", "named targets, --all and --tag exclude each other"),
            ("--tag camera --all", "named targets, --all and --tag exclude each other"),
            ("cam dog --tag camera", "named targets, --all and --tag exclude each other"),
            ("--all --jobs 0", "--jobs is 0; must be 1 to 64"), ("--all --jobs 65", "--jobs is 65; must be 1 to 64"),
        ])
    func `64 - wrong usage`(arguments: String, message: String) async throws {
        let place = try await Self.place("")
        let result = try await place.run("$FLASH $IMG \(arguments)", exits: 64)
        #expect(result.errorLines.first == "Error: \(message)", result.all)
        #expect(place.resets == 0)
    }

    // MARK: JSON

    @Test func `--json tells of each target, the canary first`() async throws {
        let place = try await Self.place("case $WORK in elk) \(Self.failure) ;; *) flash ;; esac")
        let result = try await place.run("$FLASH --no-wait --json --canary --all $IMG", exits: 2)
        let events = try result.stdout.split(separator: "\n").map { try JSON.object($0) }
        #expect(
            events.first?["targets"] == .array(["cam", "dog", "elk", "fox"].map { .string($0) })
                && events.first?["event"] == .string("start"), result.all)
        let summary = try #require(events.last)
        #expect(
            summary.filter { $0.key != "time" } == [
                "event": .string("summary"), "status": .number(2), "count": .number(4), "proven_count": .number(3),
                "failed_count": .number(1), "not_started_count": .number(0),
            ])
        // All of a target's events have its name.
        let general = Set(events.compactMap { $0["target"] == nil ? $0["event"] : nil }.map { "\($0)" })
        #expect(
            general.isSubset(
                of: Set(["start", "summary", "preparing", "prepared", "note", "serving"].map { "\(JSON.string($0))" })),
            result.all)
        for (name, status) in [("cam", 0), ("dog", 0), ("elk", 2), ("fox", 0)] {
            let own = events.filter { $0["target"] == .string(name) }
            let results = own.filter { $0["event"] == .string("result") }
            #expect(results.count == 1 && results.first?["status"] == .number(Double(status)), result.all)
            #expect(results.first?["proven"] == .bool(status == 0), result.all)
            #expect(own.last?["event"] == .string("result"), result.all)
            #expect(own.first?["event"] == .string("target") && own.first?["name"] == .string(name), result.all)
        }
        let canary = try #require(events.firstIndex { $0["event"] == .string("result") })
        let next = try #require(
            events.firstIndex { $0["event"] == .string("reset") && $0["target"] != .string("cam") })
        #expect(canary < next)
    }
}
