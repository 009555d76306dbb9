import Foundation
import TestSupport
import Testing

/// Records of runs, and the console: the built program, with Debian's atftp and socat as the target.
@Suite(.enabled(if: Programs.canPlayTarget, "needs sfdisk, atftp, socat, curl, python3"))
struct RunsTests {
    /// Bash for a target: `say TEXT` sends it as U-Boot's netconsole does, from port 6666 of its address.
    private static let say = """
        say() { printf "$1" | socat -u - UDP4-SENDTO:127.0.0.1:6666,bind=$IP:6666,reuseaddr; }
        """
    /// A good target at 127.0.0.N, which tells its U-Boot, card and boot script.
    private static let good = """
        flash() {
            plan
            for file in $files; do get $file; done
            report $sectors 0 rpi_state=ok rpi_card=52504946-01 rpi_script=2 rpi_board=rpi_arm64 'ver=U-Boot 2023.01'
            put OK $((sectors * 512))
        }

        """

    /// A bench whose target `cam` has an address of its own: netconsole is told apart by it.
    private static func place(_ number: Int, _ behaviour: String) async throws -> LoopbackFixture {
        let place = try await LoopbackFixture("IP=127.0.0.\(number)\n\(say)\n\(good)\(behaviour)")
        try place.write(
            "targets.csv",
            "mac,ip,server,gpio,name,reset_command\n\(LoopbackFixture.mac),127.0.0.\(number),localhost,,cam,bash \(place.folder)/reset\n"
        )
        return place
    }

    /// What stands before each line of a kept console.
    private nonisolated(unsafe) static let stamp = #/^\[ *[0-9]+\.[0-9]{3}\] /#
    private static let runs = "$RPIFLASH runs --runs $D/runs"
    private static let show = "$RPIFLASH runs show --runs $D/runs"

    /// The only run's record.
    private static func record(_ place: LoopbackFixture) async throws -> [String: Any] {
        let result = try await place.bash("\(show) last --json")
        #expect(result.status == 0, result.all)
        let object = try JSONSerialization.jsonObject(with: Data(result.stdout.utf8)) as? [String: Any]
        return try #require(object?["record"] as? [String: Any])
    }

    @Test func `a flash is recorded: who, what, when, the report, the console, all events`() async throws {
        let place = try await Self.place(
            71,
            """
            say 'U-Boot 2023.01\\r\\n=> \\e[31mred\\e]0;owned\\a\\n'
            say 'Manufacturer ID: 3\\nName: SC16G \\nCapacity: 14.8 GiB\\nno end'
            flash
            """)
        let result = try await place.run("$FLASH --no-wait $IMG cam", exits: 0)
        let runs = try await place.bash(Self.runs)
        #expect(runs.stdout.split(separator: "\n").count == 2, runs.all)
        #expect(runs.stdout.contains(/cam +os\.img .* proven\n/), runs.all)
        #expect(!result.stderr.contains("warning"), result.all)

        let record = try await Self.record(place)
        let sub = { (name: String) in record[name] as? [String: Any] ?? [:] }
        #expect(record["status"] as? Int == 0)
        #expect(record["ended"] != nil)
        #expect((record["id"] as? String)?.hasSuffix("-525400123456") == true)
        #expect(sub("target")["mac"] as? String == LoopbackFixture.mac)
        #expect((sub("image")["id"] as? String)?.count == 64)
        #expect(sub("card")["partuuid"] as? String == "52504946-01")
        #expect(sub("card")["model"] as? String == "3 SC16G 14.8 GiB")
        #expect(sub("board")["uboot"] as? String == "U-Boot 2023.01")
        #expect(sub("board")["script"] as? Int == 2)
        #expect((sub("by")["command"] as? [String])?.contains("flash") == true)
        #expect((sub("by")["user"] as? String)?.isEmpty == false)
        #expect(sub("proven")["bytes"] as? Int == Int(sub("proven")["written"] as? Int ?? -1))

        let console = try await place.bash("\(Self.show) cam --console")
        let lines = console.stdout.split(separator: "\n").map { $0.replacing(Self.stamp, with: "") }
        #expect(
            lines == [
                "U-Boot 2023.01", "=> red\\x1b]0;owned\\x07", "Manufacturer ID: 3", "Name: SC16G ",
                "Capacity: 14.8 GiB",
                "no end",
            ], console.all)
        let events = try await place.bash(
            "\(Self.show) last --events | python3 -c 'import json, sys; print(*[json.loads(l)[\"event\"] for l in sys.stdin])'"
        )
        let kinds = events.stdout.split(whereSeparator: \.isWhitespace)
        #expect(kinds.first == "start" && kinds.last == "result", events.all)
        for kind in ["prepared", "serving", "reset", "asked", "report", "proven"] {
            #expect(kinds.contains { $0 == kind }, events.all)
        }
        let text = try await place.bash("\(Self.show) last; cat $D/runs/*/report.txt")
        #expect(text.stdout.contains("outcome  proven\n"), text.all)
        #expect(text.stdout.contains("rpi_card=52504946-01\n"), text.all)
    }

    /// The target asks for a window of 32, as U-Boot does.
    @Test func `the window that a target takes is kept from run to run, and forgotten where it is old or damaged`()
        async throws
    {
        let place = try await LoopbackFixture("flash")
        // The window of the first chunk's file in the last run, and what the record keeps then.
        let last = """
            last=$(ls $D/runs | sort | tail -n 1)
            grep -o '"event":"file".*"window":[0-9]*' $D/runs/$last/events.jsonl | grep -o '[0-9]*$' | sort -n | tail -n 1
            """
        // keep JSON: as if the last run had kept that.
        let keep = """
            keep() {
                python3 -c 'import json, sys
            record = json.load(open(sys.argv[1]))
            record["windows"] = json.loads(sys.argv[2])
            record["started"] = sys.argv[3] or record["started"]
            json.dump(record, open(sys.argv[1], "w"))' "$D/runs/$(ls $D/runs | sort | tail -n 1)/run.json" "$1" "${2:-}"
            }

            """
        let flash = "$FLASH --no-wait --as-is $IMG cam\n"
        let first = try await place.run(flash + last, exits: 0)
        #expect(first.stdout.hasSuffix("\n32\n"), first.all)
        let fresh = try #require(try await Self.record(place)["windows"] as? [String: Int])
        #expect(fresh == ["version": 1, "window": 64, "clean_files": 0, "pause": 16])
        let learned = #"{"version": 1, "window": 8, "too_large": 32, "clean_files": 3, "pause": 16}"#
        let second = try await place.run("\(keep)keep '\(learned)'\n\(flash)\(last)", exits: 0)
        #expect(second.stdout.hasSuffix("\n8\n"), second.all)
        // Its own clean files count: one chunk of more than 64 packets at least.
        let kept = try #require(try await Self.record(place)["windows"] as? [String: Int])
        #expect(kept["window"] == 8 && (kept["clean_files"] ?? 0) > 3, "\(kept)")
        let shown = try await place.bash("\(Self.show) last")
        #expect(shown.stdout.contains("network  the target takes 8 packets at a time; 32 were too many\n"), shown.all)
        // A dry run reads it and writes nothing.
        let before = try await place.bash("cd $D/runs && find . -type f -exec sha256sum {} + | sort")
        _ = try await place.run("$FLASH --dry-run --as-is $IMG cam", exits: 0)
        #expect(
            try await place.bash("cd $D/runs && find . -type f -exec sha256sum {} + | sort").stdout == before.stdout)
        // A run that was refused before the target was touched is none; the one before still counts.
        for (damage, started) in [
            (learned.replacing("\"window\": 8", with: "\"window\": 800"), ""), ("[1, 2]", ""),
            (learned, "2001-01-01T00:00:00Z"),
        ] {
            let next = try await place.run("\(keep)keep '\(damage)' '\(started)'\n\(flash)\(last)", exits: 0)
            #expect(next.stdout.hasSuffix("\n32\n"), next.all)
        }
    }

    @Test func `a flash that fails is recorded with its reason; what was refused leaves no record`() async throws {
        let place = try await Self.place(
            72,
            """
            plan
            printf '%s\\n' rpi_report=1 rpi_job=$job rpi_state=failed rpi_chunks=0 rpi_written=0 rpi_same=0 rpi_fetched=0 \
                rpi_retries=9 rpi_bad_count=1 rpi_bad_chunk=1 rpi_bad_lba=4001 rpi_card=52504946-01 \
                rpi_code=lost_write 'rpi_reason=another sentence of later' >got/REPORT
            send REPORT
            put FAILED 0
            """)
        _ = try await place.run("$FLASH --no-wait --tftp-root $D/none $IMG cam", exits: 9)
        #expect(try await place.bash("ls $D/runs").status != 0)
        let result = try await place.run("$FLASH --no-wait $IMG cam", exits: 2)
        #expect(
            result.errorLines.contains(
                "rpiflash: warning: the card of target cam did not hold what was written; replace it"), result.all)
        let record = try await Self.record(place)
        #expect(record["status"] as? Int == 2)
        let error = try #require(record["error"] as? String)
        #expect(error.hasSuffix(": chunk 1 of 3 at LBA 16385: another sentence of later"))
        #expect(record["code"] as? String == "lost_write")
        let events = try await place.bash("\(Self.show) last --events")
        #expect(events.stdout.split(separator: "\n").last?.contains(#""code":"lost_write""#) == true, events.all)
        #expect((record["card"] as? [String: Any])?["retries"] as? Int == 9)
        #expect(record["proven"] == nil)
        let cards = try await place.bash("$RPIFLASH runs cards --runs $D/runs")
        #expect(cards.stdout.contains("it did not hold what was written; replace it"), cards.all)
    }

    @Test func `labels are kept, told, looked for, and refused where they are of another form`() async throws {
        let place = try await Self.place(73, "flash")
        let result = try await place.run(
            "$FLASH --no-wait --json --label ci_job=4711 --label \"place=rack 2\\e\" $IMG cam", exits: 0)
        #expect(result.stdout.contains(#""labels":{"ci_job":"4711","place":"rack 2\\e"}"#), result.all)
        let record = try await Self.record(place)
        #expect(record["labels"] as? [String: String] == ["ci_job": "4711", "place": #"rack 2\e"#])
        let escape = try await place.run("$FLASH --no-wait --label x=$'a\\e[2Jb' $IMG cam", exits: 0)
        #expect((try await Self.record(place))["labels"] as? [String: String] == ["x": #"a\x1b[2Jb"#], escape.all)
        let list = "$RPIFLASH runs list --runs $D/runs --json"
        for (label, count) in [
            ("ci_job=4711", 1), ("ci_job=4712", 0), ("ci_job=4711 --label x=1", 0), ("other=4711", 0),
        ] {
            let found = try await place.bash("\(list) --label \(label) | grep -o '\"record\"' | wc -l")
            #expect(found.stdout == "\(count)\n", found.all)
        }
        let shown = try await place.bash("\(Self.show) last")
        #expect(shown.stdout.contains(#"labels   x=a\x1b[2Jb"#), shown.all)
        let (longKey, longValue) = (String(repeating: "x", count: 33), String(repeating: "y", count: 257))
        for wrong in ["x", "X=1", "1x=1", "=1", "x-y=1", "\(longKey)=1", "x=\(longValue)"] {
            let refused = try await place.run("$FLASH --label '\(wrong)' $IMG cam", exits: 64)
            #expect(refused.stderr.contains("--label: label"), refused.all)
        }
        let many = (1...9).map { "--label x\($0)=1" }.joined(separator: " ")
        let nine = try await place.run("$FLASH \(many) $IMG cam", exits: 64)
        #expect(nine.stderr.contains("9 labels; must be at most 8"), nine.all)
        let twice = try await place.run("$FLASH --label x=1 --label x=2 $IMG cam", exits: 64)
        #expect(twice.stderr.contains("x is there twice"), twice.all)
    }

    @Test func `law 2 - a FAILED that comes late takes the proof out of the record and the result too`() async throws {
        let place = try await Self.place(79, "flash; sleep 1.5; put FAILED 0")
        let result = try await place.run("$FLASH --json --wait-port $UP --wait-timeout 30s $IMG cam", exits: 2)
        let end = try #require(result.stdout.split(separator: "\n").last)
        #expect(result.stdout.contains(#""event":"proven""#), result.all)
        #expect(end.contains(#""proven":false"#) && !end.contains("flash_seconds"), result.all)
        let record = try await Self.record(place)
        #expect(record["status"] as? Int == 2)
        #expect(record["proven"] == nil)
    }

    @Test func `a run that was killed is not taken for one that goes on, and one that goes on is not pruned`()
        async throws
    {
        let place = try await Self.place(73, "get flash.scr; touch $D/asked; sleep 30")
        let result = try await place.bash(
            """
            $FLASH --no-wait $IMG cam 2>$D/log & flash=$!
            until [ -e $D/asked ]; do sleep 0.05; done
            \(Self.runs)
            $RPIFLASH runs prune --keep 0 --runs $D/runs
            kill -9 $flash; wait $flash || true
            \(Self.runs)
            $RPIFLASH runs prune --keep 0 --dry-run --runs $D/runs
            ls $D/runs | wc -l
            $RPIFLASH runs prune --keep 0 --runs $D/runs
            ls $D/runs | wc -l
            """)
        #expect(result.status == 0, result.all)
        let lines = result.stdout.split(separator: "\n")
        #expect(lines.count == 11, result.all)
        guard lines.count == 11 else { return }
        #expect(lines[1].hasSuffix(" running"))
        #expect(lines[2] == "0 runs, 0.0 MiB")
        #expect(lines[4].hasSuffix(" killed"))
        #expect(lines[5].hasPrefix("would remove ") && lines[6].hasPrefix("1 run, "))
        #expect(lines[7] == "1")
        #expect(lines[8].hasPrefix("removed ") && lines[10] == "0")
    }

    @Test func `where no record can be kept the flash goes on, and says so`() async throws {
        let place = try await Self.place(74, "flash")
        let result = try await place.run("touch $D/file; $FLASH --no-wait --runs $D/file/runs $IMG cam", exits: 0)
        #expect(
            place.stable(result.stderr).contains(
                "rpiflash: warning: no record of this run is kept: D/file/runs: Not a directory; "
                    + "give a folder that can be written with --runs\n"), result.all)
        // A disk that gets full meanwhile.
        if try await place.bash("unshare -rm true").status == 0 {
            let full = try await place.run(
                """
                mkdir $D/small
                unshare -rm bash -euc "mount -t tmpfs -o size=8k none $D/small; $FLASH --no-wait --runs $D/small $IMG cam"
                """, exits: 0)
            #expect(
                full.stderr.contains(
                    /warning: (no record of this run is kept|the record of this run is not complete): .*No space left on device/
                ), full.all)
        }
    }

    @Test func `a record, and rpiflash runs, take nothing from what else lies in the folder`() async throws {
        let place = try await Self.place(75, "flash")
        let result = try await place.bash(
            """
            $FLASH --no-wait $IMG cam >$D/out 2>&1
            run=$(ls $D/runs)
            echo '{' >$D/runs/$run/run.json
            mkdir $D/runs/other; ln -s /etc/passwd $D/runs/20200101-000000-525400123456
            \(Self.runs); status=0; \(Self.show) cam 2>$D/err || status=$?; echo $status
            \(Self.show) last >$D/out 2>&1 || echo $?; cat $D/out
            \(Self.show) nobody 2>&1 || echo $?
            $RPIFLASH runs prune 2>&1 || echo $?
            """)
        #expect(result.stdout.contains(" (damaged)\n"), result.all)
        #expect(result.stdout.contains("is damaged; remove the folder"), result.all)
        #expect(
            result.stdout.contains("has no run nobody, and none of a target of that name; see rpiflash runs\n9\n"),
            result.all)
        #expect(result.stdout.contains("give --keep or --older-than; without either everything would go"), result.all)
    }

    @Test
    func `console: what a target says is seen as it comes, harmless; a flash that begins has it, and it is seen on`()
        async throws
    {
        let place = try await Self.place(76, "say 'in the run\\n'; flash; sleep 0.3")
        let result = try await place.bash(
            """
            IP=127.0.0.76
            \(Self.say)
            $RPIFLASH console cam --inventory $D/targets.csv --runs $D/runs >$D/out 2>$D/err & console=$!
            until grep -q 'listening to netconsole of 127.0.0.76' $D/err; do sleep 0.02; done
            say 'before \\e[2J\\a\\n'
            until grep -q before $D/out; do sleep 0.02; done
            $FLASH --no-wait $IMG cam >/dev/null 2>$D/log
            until grep -q 'is over' $D/err; do sleep 0.02; done
            until [ $(grep -c 'listening to' $D/err) = 2 ]; do sleep 0.02; done
            say 'after\\n'
            until grep -q after $D/out; do sleep 0.02; done
            kill $console; status=0; wait $console || status=$?
            echo $status; cat $D/out; cat $D/err >&2
            """)
        #expect(result.status == 0, result.all)
        let lines = result.stdout.split(separator: "\n").map { $0.replacing(Self.stamp, with: "") }
        #expect(lines == ["0", "before \\x07", "in the run", "after"], result.all)
        #expect(result.stderr.contains(#/run [0-9-]+525400123456 is over: proven; rpiflash runs show /#), result.all)
    }

    @Test func `console: a row's serial port is read, and is given to a flash that begins`() async throws {
        let place = try await Self.place(77, "sleep 1; printf 'serial in the run\\r\\n' >$D/far; flash; sleep 0.3")
        try place.write(
            "targets.csv",
            """
            mac,ip,server,gpio,name,reset_command,console
            \(LoopbackFixture.mac),127.0.0.77,localhost,,cam,bash \(place.folder)/reset,\(place.folder)/near@9600

            """)
        let result = try await place.bash(
            """
            socat pty,raw,echo=0,link=$D/near pty,raw,echo=0,link=$D/far 2>/dev/null & socat=$!
            trap 'kill $socat' EXIT
            until [ -e $D/near ] && [ -e $D/far ]; do sleep 0.02; done
            $RPIFLASH console cam --inventory $D/targets.csv --runs $D/runs >$D/out 2>$D/err & console=$!
            until grep -q 'listening to .*near at 9600 baud' $D/err; do sleep 0.02; done
            printf 'before\\r\\n' >$D/far
            until grep -q before $D/out; do sleep 0.02; done
            $FLASH --no-wait $IMG cam >/dev/null 2>$D/log
            until grep -q 'is over' $D/err; do sleep 0.02; done
            kill $console; wait $console
            cat $D/out; cat $D/log $D/err >&2; cat $D/runs/*/console.log
            """)
        #expect(result.status == 0, result.all)
        #expect(!result.stderr.contains("not kept"), result.all)
        let lines = result.stdout.split(separator: "\n").map { $0.replacing(Self.stamp, with: "") }
        #expect(lines == ["before", "serial in the run", "serial in the run"], result.all)
    }

    @Test func `console: a program that keeps the port for itself is named, and hinders no flash`() async throws {
        let place = try await Self.place(78, "flash")
        // In a network of its own: the port is everybody's here.
        let result = try await place.bash(
            """
            ip link set lo up
            python3 -c 'import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("", 6666)); print("bound", flush=True); time.sleep(60)' >$D/bound & holder=$!
            trap 'kill $holder' EXIT
            until grep -q bound $D/bound; do sleep 0.02; done
            $RPIFLASH console cam --inventory $D/targets.csv --runs $D/runs --for 1s
            $FLASH --no-wait $IMG cam
            """, prefix: ["unshare", "-rn"])
        #expect(result.status == 0, result.all)
        let message =
            "cannot listen for netconsole on UDP port 6666 (Address already in use); end the program that has it: ss -ulpn 'sport = :6666' names it"
        #expect(result.errorLines.filter { $0 == "rpiflash: warning: \(message)" }.count == 1, result.all)
        #expect(
            result.errorLines.contains("rpiflash: warning: the target's console is not kept: \(message)"), result.all)
    }
}
