import Foundation
import SystemPackage
import TestSupport
import Testing

/// The built program on loopback, against a target that is a script: each way that a flash can end.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct FlashCommandTests {
    fileprivate static let good = "fetch; put OK \(LoopbackFixture.written)"

    // MARK: Exit statuses

    @Test(arguments: ["", "--part-size 4195328"])
    func `0 - proven: the parts are the image, the count is right, the target is up`(options: String) async throws {
        let place = try await LoopbackFixture(Self.good)
        let result = try await place.run(
            """
            socat TCP-LISTEN:$UP,bind=127.0.0.1,fork,reuseaddr /dev/null >/dev/null 2>&1 & socat=$!
            trap 'kill $socat' EXIT
            $PARTS --wait-port $UP \(options) $IMG cam
            cat $(ls -v $D/got/rpi_image_part_*) | cmp - <(from_boot)
            """, exits: 0)
        #expect(
            result.stdout.wholeMatch(
                of:
                    /cam \(52:54:00:12:34:56, 127\.0\.0\.1\): flashed and proven, 5242880 bytes in \d+\.\d s, TCP port \d+ answered \d+\.\d s later\n/
            ) != nil, result.all)
        #expect(place.resets == 1)
        #expect(
            result.stderr.contains(
                "rpiflash: the target reported OK with 5242880 bytes, exactly what was to be on its card\n"))
        // Not a terminal: plain lines.
        #expect(!result.stderr.contains("\u{1b}") && !result.stderr.utf8.contains(UInt8(ascii: "\r")))
        #expect(!result.stderr.contains("0.0 MiB/s") && !result.stderr.contains(" 0 s left"))
    }

    @Test(arguments: [1, 511])
    func `an image whose size is not a multiple of 512 is padded, not cut`(cut: Int) async throws {
        let place = try await LoopbackFixture(Self.good)
        let made = try await place.bash("truncate -s -\(cut) $IMG")
        try #require(made.status == 0, made.all)
        _ = try await place.run(
            """
            $PARTS --no-wait $IMG cam
            { from_boot; head -c \(cut) /dev/zero; } | cmp - $D/got/rpi_image_part_0
            """, exits: 0)
    }

    @Test func `1 - flashed, but not up`() async throws {
        let place = try await LoopbackFixture(Self.good)
        let result = try await place.run("$PARTS --wait-port $UP --wait-timeout 700ms $IMG cam; echo $UP", exits: 1)
        let port = try await place.bash("printf $UP").stdout
        #expect(
            result.errorLines.last
                == "rpiflash: target cam was flashed and proven, but does not answer on TCP port \(port) within 700 ms",
            result.all)
        #expect(result.stdout == "")
    }

    @Test func `5 - a target that never asks is reset twice, and the sentence says so`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run("$PARTS --no-wait --request-timeout 400ms $IMG cam", exits: 5)
        #expect(place.resets == 2)
        let lines = result.errorLines.drop { !$0.contains("resetting") }
        #expect(
            Array(lines) == [
                "rpiflash: resetting target cam (reset_command)",
                "rpiflash: warning: target cam did not ask for its image within 400 ms; "
                    + "resetting it again (reset_command)",
                "rpiflash: target cam did not ask for its image within 400 ms after each of 2 resets "
                    + "(reset_command twice); check its card, network cable and RESET wire, "
                    + "and the serverip in its rpiflash.env",
            ], result.all)
    }

    @Test func `a target that asks only after its second reset is flashed`() async throws {
        let place = try await LoopbackFixture("[ $(wc -l <resets) -ge 2 ] || exit 0; \(Self.good)")
        _ = try await place.run("$PARTS --no-wait --request-timeout 1s $IMG cam", exits: 0)
        #expect(place.resets == 2)
    }

    @Test(
        arguments: [
            ("exit 3", "'bash D/reset' ended with exit status 3"),
            ("echo 'no such outlet' >&2; exit 1", "'bash D/reset' ended with exit status 1: no such outlet"),
            // What a command prints is no more trusted than what a target sends.
            (#"printf '\033[31mred\n'; exit 1"#, "'bash D/reset' ended with exit status 1: \\x1b[31mred"),
            ("kill -KILL $$", "'bash D/reset' ended with exit status 137: Killed"),
        ])
    func `9 - a reset_command that fails`(command: String, message: String) async throws {
        let place = try await LoopbackFixture()
        try place.write("reset", command)
        let result = try await place.run(exits: 9)
        #expect(
            place.stable(result.errorLines.last ?? "") == "rpiflash: cannot reset target cam: \(message)", result.all)
    }

    @Test func `9 - a second flash of the same target at the same time; the first goes on`() async throws {
        let place = try await LoopbackFixture("until [ -e go ]; do sleep 0.02; done; \(Self.good)")
        let result = try await place.run(
            """
            $PARTS --no-wait $IMG cam 2>$D/first.err & first=$!
            until [ -e $D/running ]; do sleep 0.02; done
            status=0; $PARTS --no-wait $IMG 127.0.0.1 || status=$?
            touch $D/go
            wait $first
            sed -i s/$first/PID/ $D/first.err
            echo "second $status, first process $first"
            """, exits: 0)
        let words = result.stdout.split(whereSeparator: \.isWhitespace)
        let user = try await place.bash("id -un").stdout.trimmingCharacters(in: .newlines)
        #expect(result.stdout.contains("second 9, "), result.all)
        #expect(
            result.stderr
                == "rpiflash: target cam is being flashed by process \(words.last ?? "?") of \(user); wait for it\n")
        #expect(place.resets == 1)
    }

    @Test func `what a job that was killed left is removed by the next`() async throws {
        let place = try await LoopbackFixture("[ -e go ] || exit 0; \(Self.good)")
        let result = try await place.run(
            """
            $PARTS --no-wait $IMG cam 2>/dev/null & first=$!
            until [ -e $D/running ]; do sleep 0.02; done
            kill -KILL $first; wait $first || true
            ls $TFTP/$MAC
            touch $D/go
            $PARTS --no-wait $IMG cam
            """, exits: 0)
        #expect(result.stdout.hasPrefix("rpi_image_part_0\nrpi_image_parts\n"), result.all)
        #expect(place.stable(result.stderr).contains("rpiflash: removed what an earlier job left in D/tftp/"))
    }

    // MARK: Law 7

    @Test func `law 7 - hostile requests are refused and harmless in the log`() async throws {
        let place = try await LoopbackFixture(
            #"""
            ask() { timeout 0.7 atftp --get --remote-file "$1" --local-file got/x 127.0.0.1 $PORT && echo "GOT $1" >>$D/leak || true; }
            ask $'\e[2J\e]0;owned\a'
            ask $'x\nrpiflash: the target reported OK'
            ask $'a\u202eb'
            ask ../../../../etc/passwd
            ask "$MAC/../../os.img"
            ask "$MAC/../$MAC/rpi_image_parts"
            ask /etc/passwd
            ask "$MAC/"
            ask "$(printf %0400d 0)"
            echo x >got/x
            for name in "$MAC/rpi_image_part_0" "$MAC/OK.sh" ../evil; do
                atftp --put --local-file got/x --remote-file "$name" 127.0.0.1 $PORT && echo "PUT $name" >>$D/leak || true
            done
            \#(Self.good)
            """#)
        let result = try await place.run(exits: 0)
        #expect(place.text("leak") == "")
        #expect(!result.stderr.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" }, result.all)
        let lines = result.errorLines
        #expect(lines.allSatisfy { $0.hasPrefix("rpiflash: ") }, result.all)
        // The server takes no request with control characters for one at all.
        #expect(!result.stderr.contains("owned"), result.all)
        #expect(lines.contains(#"rpiflash: refused 127.0.0.1 the file a\u202eb: no job serves it"#), result.all)
        #expect(lines.filter { $0.hasPrefix("rpiflash: the target reported OK") }.count == 1)
    }

    @Test func `law 4 - the image may be read-only and behind a link`() async throws {
        let place = try await LoopbackFixture(Self.good)
        _ = try await place.run(
            "chmod 400 $IMG; ln -s os.img $D/latest; $PARTS --no-wait $D/latest cam; rm $D/latest; chmod 644 $IMG",
            exits: 0, image: false)
    }

    // MARK: reset and targets

    @Test func `reset runs the row's command once and says so`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run("$RPIFLASH reset --inventory $D/targets.csv cam", exits: 0)
        #expect(result.stdout == "cam (52:54:00:12:34:56, 127.0.0.1): reset\n")
        #expect(result.stderr == "")
        #expect(place.resets == 1)
        let held = try await place.run("$RPIFLASH reset --inventory $D/targets.csv cam --hold 1s", exits: 9)
        #expect(
            held.stderr == "rpiflash: --hold: target cam is reset by a command, which has its own time\n")
        #expect(place.resets == 1)
    }

    @Test func `law 7 - targets shows a command without what turns the direction of writing`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run(
            #"printf 'mac,ip,server,gpio,reset_command\n\#(LoopbackFixture.mac),127.0.0.1,localhost,,a\u202eb\n' >$D/targets.csv; "#
                + "$RPIFLASH targets --inventory $D/targets.csv", exits: 0)
        #expect(result.stdout.hasSuffix(#"  -     here   a\u202eb"# + "\n"), result.all)
    }
}

/// No proof, no success.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct ProofCommandTests {
    @Test(
        arguments: [
            (
                "fetch; put FAILED 512", 2,
                "target cam reported FAILED after 512 of 5242880 bytes; its console says why"
            ),
            ("put FAILED 0 3", 2, "target cam reported FAILED; its console says why"),
            (
                "fetch; put OK \(LoopbackFixture.written); put FAILED 512", 2,
                "target cam reported FAILED after 512 of 5242880 bytes; its console says why"
            ),
            (
                "fetch", 3, "target cam asked for its image, but sent no outcome and no sign of life for 1 s"
            ),
            (
                "fetch; put FAIL 0", 3,
                "target cam asked for its image, but sent no outcome and no sign of life for 1 s"
            ),
            (
                "for i in 1 2 3 4 5 6 7; do get rpi_image_parts; get rpi_image_part_1; done", 3,
                "target cam started over 6 times without an outcome; its console says why"
            ),
            (
                "fetch; put OK \(LoopbackFixture.written + 1)", 4,
                "target cam reported OK with 5242881 bytes; must be 5242880 bytes"
            ),
            (
                "fetch; put OK \(LoopbackFixture.written - 512)", 4,
                "target cam reported OK with 5242368 bytes; must be 5242880 bytes"
            ),
            (
                "fetch; put OK \(LoopbackFixture.written) 7", 4,
                "target uploaded OK with 7 bytes; must be 8 bytes; target cam is not proven"
            ),
            ("put OK \(LoopbackFixture.written)", 4, "target cam reported OK before it asked for the image"),
            (
                "fetch 1; put OK \(LoopbackFixture.written)", 4,
                "target cam reported OK, but did not fetch rpi_image_part_1 in full since the reset"
            ),
            // The first OK counts.
            (
                "fetch; put OK 1; put OK \(LoopbackFixture.written)", 4,
                "target cam reported OK with 1 bytes; must be 5242880 bytes"
            ),
        ] as [(String, Int32, String)])
    func `law 2 - 2, 3, 4 - no proof, no success`(behaviour: String, status: Int32, message: String) async throws {
        let place = try await LoopbackFixture(behaviour)
        let result = try await place.run(
            "$PARTS --no-wait --part-size 8MiB --request-timeout 300s --outcome-timeout 1s $IMG cam", exits: status)
        #expect(result.errorLines.last == "rpiflash: \(message)", result.all)
        #expect(result.stdout == "")
        #expect(place.resets == 1)
    }
}

/// Signals.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct InterruptionTests {
    /// Until when a flash runs before it is interrupted: bash that waits for that moment, what the target does, and
    /// what the reset_command does after it has started the target.
    private static let stages: [(name: String, moment: String, behaviour: String, reset: String)] = [
        // Stopped while it copies, so that the signal comes before the manifest.
        (
            "staging",
            "until [ -e $TFTP/$MAC/rpi_image_part_0 ]; do :; done; kill -STOP $job; [ ! -e $TFTP/$MAC/rpi_image_parts ]",
            "", ""
        ),
        ("resetting", "until [ -s $D/resets ]; do sleep 0.02; done", "", "sleep 60.$PORT"),
        ("waiting for the request", "until [ -e $D/running ]; do sleep 0.02; done", "", ""),
        (
            "waiting for the outcome",
            "until [ -e $D/fetched ] && grep -q 'asks for its image' $D/err; do sleep 0.02; done",
            "fetch; touch fetched", ""
        ),
        (
            "waiting until up", "until grep -q 'the target reported OK' $D/err; do sleep 0.02; done",
            FlashCommandTests.good, ""
        ),
    ]

    /// Four ways of going away, while the target has the image: nothing goes on, nothing is left.
    @Test(arguments: [
        // Ctrl-C and SIGTERM reach the flash itself.
        ("kill -INT $flash", "SIGINT"), ("kill -TERM $flash", "SIGTERM"),
        // SIGKILL of the caller, and a connection that is cut, end its standard input.
        ("kill -KILL $caller", "end of standard input"), ("touch $D/cut", "end of standard input"),
    ])
    func `law 5 - 130 - a flash whose caller is gone ends with --end-with-stdin`(way: String, name: String) async throws
    {
        let place = try await LoopbackFixture("plan; touch $D/asked; sleep 30")
        let result = try await place.run(
            """
            cat >$D/caller.py <<'END'
            import os, socket, struct, subprocess, sys, time
            listener = socket.create_server(("127.0.0.1", 0))
            near = socket.create_connection(listener.getsockname())
            far, _ = listener.accept()
            # Signals have their usual meaning again, which bash's background jobs lack.
            import signal
            usual = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
            flash = subprocess.Popen(sys.argv[2:], stdin=far, preexec_fn=usual)
            far.close()
            with open(sys.argv[1] + "/flash", "w") as file: file.write(str(flash.pid))
            while flash.poll() is None:
                if os.path.exists(sys.argv[1] + "/cut"):
                    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    near.close()
                    break
                time.sleep(0.02)
            with open(sys.argv[1] + "/status", "w") as file: file.write(str(flash.wait()))
            END
            python3 $D/caller.py $D ${FLASH} --no-wait --end-with-stdin $IMG cam & caller=$!
            until [ -e $D/asked ]; do kill -0 $caller; sleep 0.02; done
            flash=$(cat $D/flash)
            \(way)
            while kill -0 $flash 2>/dev/null; do sleep 0.02; done
            wait $caller 2>/dev/null || true
            # The lock is free: another flash gets as far as this one did.
            [ -z "$(ls $TFTP)" ]
            rm $D/asked
            timeout -s TERM 20 ${FLASH} --no-wait --request-timeout 5s $IMG cam & again=$!
            until [ -e $D/asked ]; do kill -0 $again; sleep 0.02; done
            kill -TERM $again
            wait $again || true
            """, exits: 0)
        #expect(result.stderr.contains("rpiflash: \(name): cleaning up\n"), result.all)
        if !way.contains("KILL") { #expect(place.text("status") == "130", result.all) }
    }

    @Test func `64 - --end-with-stdin on a terminal is refused, and what has ended already ends it at once`()
        async throws
    {
        let place = try await LoopbackFixture("plan; sleep 30")
        let terminal = try await place.bash(
            "python3 -c 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))' "
                + "$RPIFLASH reset cam --end-with-stdin --inventory $D/targets.csv </dev/null")
        #expect(terminal.status == 64 && terminal.text.contains("standard input is a terminal"), terminal.all)
        let ended = try await place.run("$FLASH --no-wait --end-with-stdin $IMG cam </dev/null", exits: 130)
        #expect(ended.stderr.contains("rpiflash: end of standard input: cleaning up\n"), ended.all)
        #expect(try await place.bash("ls $TFTP").stdout == "")
    }

    @Test(arguments: 0..<5, ["INT", "TERM", "HUP"])
    func `law 5 - 130 - interrupted at any stage, nothing is left`(stage: Int, signal: String) async throws {
        let (name, moment, behaviour, reset) = Self.stages[stage]
        let place = try await LoopbackFixture(behaviour)
        try place.write("reset", place.text("reset") + "\n" + reset)
        let result = try await place.run(
            """
            # Without job control bash lets background jobs ignore SIGINT.
            set -m
            # Enough to copy that the signal comes in between.
            if [ '\(name)' = staging ]; then make_image 8192 8192 98304; fi
            $PARTS --wait-port $UP $IMG cam 2>$D/err & job=$!
            trap 'kill -KILL $job 2>/dev/null || true' EXIT
            \(moment)
            kill -\(signal) $job; kill -CONT $job
            # 147: bash has not seen yet that a job which was stopped goes on.
            status=147; while [ $status = 147 ]; do status=0; wait $job || status=$?; done
            if pgrep -f "^sleep 60[.]$PORT" >/dev/null; then echo "the reset_command still runs"; fi
            cat $D/err >&2
            exit $status
            """, exits: 130, image: name != "staging")
        #expect(result.stdout == "")
        let warning =
            "rpiflash: warning: target cam may have begun to write; a card that is half written does not boot, "
            + "flash it again"
        // A line of progress may still come between the two.
        #expect(
            result.errorLines.last == "rpiflash: interrupted; everything staged is removed, RESET is released",
            result.all)
        #expect(result.errorLines.contains(warning) == (name == "waiting for the outcome"), result.all)
        #expect(result.stderr.contains("rpiflash: SIG\(signal): cleaning up\n"))
        #expect(place.resets == (name == "staging" ? 0 : 1))
    }
}
