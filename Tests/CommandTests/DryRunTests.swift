import Foundation
import SystemPackage
import TestSupport
import Testing

/// `--dry-run`: what cannot work is refused as it would be for real, and nothing is touched, not even for a moment.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct DryRunTests {
    /// All that shows whether something was made, changed or made and removed again.
    private static let look = "find $D -printf '%p %y %m %s %i %T@ %C@\\n' | sort"

    /// What a dry run and then the real thing said.
    private struct Pair {
        let dry: (status: String, output: String, errors: String)
        let real: (status: String, errors: String)
        let isUntouched: Bool
        let all: Comment
    }

    /// Runs `command` with --dry-run and then without.
    ///
    /// - Parameter harm: bash, run before both.
    private static func pair(_ place: LoopbackFixture, _ harm: String, _ command: String) async throws -> Pair {
        let result = try await place.bash(
            """
            W=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; wait || true; rm -r $W' EXIT
            export TMPDIR=$W/tmp; mkdir $TMPDIR
            \(harm)
            \(look) >$W/before
            status=0; \(command) --dry-run >$W/output 2>$W/errors || status=$?
            \(look) >$W/after
            real=0; \(command) >/dev/null 2>$W/real || real=$?
            ls -A $TMPDIR >>$W/after
            echo "$status $real $(cmp -s $W/before $W/after && echo untouched || diff $W/before $W/after)"
            for file in output errors real; do echo "--8<--"; cat $W/$file; done
            """)
        #expect(result.status == 0, result.all)
        let parts = place.stable(result.stdout).components(separatedBy: "--8<--\n")
        try #require(parts.count == 4, result.all)
        let words = parts[0].split(whereSeparator: \.isWhitespace).map(String.init)
        return Pair(
            dry: (words[0], parts[1], parts[2]), real: (words[1], parts[3]), isUntouched: words[2] == "untouched",
            all: result.all)
    }

    /// The real one logs what it does until it fails; a dry run does nothing that it could log.
    private static func refusals(_ errors: String) -> [Substring] {
        errors.split(separator: "\n").filter {
            $0.wholeMatch(
                of: /rpiflash: (?:serving |using the TFTP|preparing |unpacking |staging:|nothing had to be changed).*/)
                == nil
        }
    }

    private static let mute = """
        socat -u UDP-RECV:$PORT,bind=127.0.0.1 STDOUT >/dev/null 2>&1 &
        until grep -qi ":$(printf %04x $PORT) " /proc/net/udp; do sleep 0.02; done
        """
    private static let other = """
        $RPIFLASH serve --root $TFTP --listen 127.0.0.1:$PORT --socket $W/other.sock >/dev/null 2>&1 &
        until [ -S $W/other.sock ]; do sleep 0.02; done
        """

    @Test(
        arguments: [
            ("rm $IMG", "$IMG cam", "7"), (": >$IMG", "$IMG cam", "7"), ("truncate -s 9436672 $IMG", "$IMG cam", "7"),
            ("echo 'label: gpt' | sfdisk --quiet --wipe never $IMG", "$IMG cam", "7"),
            ("dd if=/dev/zero of=$IMG bs=512 count=1 conv=notrunc status=none", "$IMG cam", "7"),
            ("sfdisk --quiet --delete $IMG 2", "$IMG cam", "7"),
            // The first partition's start is 0.
            (#"printf '\0\0\0\0' | dd of=$IMG bs=1 seek=454 conv=notrunc status=none"#, "$IMG cam", "7"),
            ("make_image 8192 16384", "$IMG cam", "7"), ("make_image 8192 8192 114688", "$IMG cam", "7"),
            ("rm $IMG; mkdir $IMG", "$IMG cam", "7"), ("rm $IMG; mkfifo $IMG", "$IMG cam", "7"),
            ("rm $D/targets.csv", "$IMG cam", "6"), ("printf 'mac,ip\\nx\\ny\\n' >$D/targets.csv", "$IMG cam", "6"),
            ("", "$IMG dog", "8"), ("sed -i s/localhost/elsewhere.example/ $D/targets.csv", "$IMG cam", "8"),
            ("rm $D/card.yaml", "$IMG cam", "9"), ("rmdir $TFTP", "$IMG cam", "9"),
            ("", "--tftp-root $IMG $IMG cam", "9"), (mute, "$IMG cam", "9"),
            ("", "--listen 192.0.2.1:69 $IMG cam", "9"), ("touch $TFTP/$MAC", "$IMG cam", "9"),
            ("mkdir $TFTP/$MAC; touch $TFTP/$MAC/flash.scr; \(other)", "$IMG cam", "9"),
            ("sed -i 's/localhost,,/localhost,nochip:3,/' $D/targets.csv", "$IMG cam", "9"),
            (
                "$RPIFLASH serve --root $D --listen 127.0.0.1:$PORT --socket $W/s >/dev/null 2>&1 & "
                    + "until [ -S $W/s ]; do sleep 0.02; done; FLASH=${FLASH/--listen 127.0.0.1:$PORT/}; FLASH=\"$FLASH --service $W/s\"",
                "$IMG cam", "9"
            ),
        ])
    func `law 6 - a dry run refuses with the sentence and status of a flash`(
        harm: String, arguments: String, status: String
    ) async throws {
        try await Self.refuses(harm, "$FLASH --no-wait \(arguments)", status)
    }

    private static func refuses(_ harm: String, _ command: String, _ status: String) async throws {
        let place = try await LoopbackFixture()
        let pair = try await pair(place, harm, command)
        #expect(pair.dry.status == status && pair.real.status == status, pair.all)
        #expect(pair.dry.errors.split(separator: "\n") == refusals(pair.real.errors), pair.all)
        #expect(!pair.dry.errors.isEmpty && pair.dry.output == "" && pair.isUntouched, pair.all)
        #expect(place.resets == 0)
    }

    @Test(
        arguments: [
            ("rm $IMG", "$IMG cam", "7"), ("make_image 8192 16384", "$IMG cam", "7"),
            ("printf x | xz >$IMG", "$IMG cam", "7"), (mute, "$IMG cam", "9"), ("touch $TFTP/$MAC", "$IMG cam", "9"),
            ("mkdir $TFTP/$MAC; touch $TFTP/$MAC/flash.scr; \(other)", "$IMG cam", "9"),
        ])
    func `law 6 - in parts too`(harm: String, arguments: String, status: String) async throws {
        try await Self.refuses(harm, "$PARTS --no-wait \(arguments)", status)
    }

    /// What only a flash by plan looks at, an image that is prepared or compressed.
    @Test(
        arguments: [
            ("", "--templates $D/none $IMG cam", "9"),
            ("mkdir $TFTP/$MAC; touch $TFTP/$MAC/flash.scr", "$IMG cam", "9"),
            ("", "--customize $D/none.yaml $IMG cam", "7"),
            (
                "printf 'hostname: x\\n' >$D/c.yaml; sleep 2.1; $RPIFLASH plan $IMG --store $D/store >/dev/null 2>&1",
                "--customize $D/c.yaml $IMG cam", "7"
            ),
            ("printf x | xz >$IMG.xz", "$IMG.xz cam", "7"), ("echo | gzip | head -c 12 >$IMG", "$IMG cam", "7"),
            ("sfdisk --quiet --delete $IMG 2; gzip $IMG", "$IMG.gz cam", "7"),
            ("make_image 8192 16384; zstd -q $IMG", "$IMG.zst cam", "7"),
            ("cd $D; zip -q x.zip card.yaml", "$D/x.zip cam", "7"),
            ("cd $D; cp os.img other.img; zip -q x.zip os.img other.img", "$D/x.zip cam", "7"),
            ("ln -s none.img $D/link", "$D/link cam", "7"),
        ])
    func `law 6 - by plan also what only that needs`(harm: String, arguments: String, status: String) async throws {
        try await Self.refuses(harm, "$FLASH --no-wait \(arguments)", status)
    }

    @Test(
        arguments: [
            ("", "$IMG cam", "D/os.img, 9437184 bytes: would be prepared in D/store first;"),
            (
                "xz -k -1 $IMG", "$IMG.xz cam",
                "D/os.img.xz, compressed: would be unpacked and prepared in D/store first;"
            ),
            (
                "sleep 2.1; $RPIFLASH plan $IMG --store $D/store >/dev/null 2>&1", "$IMG cam",
                "D/os.img, prepared in D/store: 3 chunks, at most 5242880 bytes to write and 52"
            ),
            (
                "", "--protocol parts --part-size 8MiB $IMG cam",
                "D/os.img, 2 parts, 5242880 bytes to write and 9437184 to send"
            ),
        ])
    func `a dry run says what a flash does, and the flash does it`(
        make: String, arguments: String, image: String
    ) async throws {
        let place = try await LoopbackFixture(
            "if [[ '\(arguments)' = *parts* ]]; then fetch; put OK \(LoopbackFixture.written); else flash; fi")
        let pair = try await Self.pair(place, make, "$FLASH --no-wait \(arguments)")
        #expect(pair.dry.status == "0" && pair.real.status == "0", pair.all)
        #expect(pair.dry.errors == "" && pair.isUntouched, pair.all)
        let lines = pair.dry.output.split(separator: "\n")
        #expect(lines.first?.hasPrefix("image   \(image)") == true, pair.all)
        #expect(lines.contains("server  D/tftp would be served on 127.0.0.1:PORT"), pair.all)
        #expect(lines.contains("cam   52:54:00:12:34:56  127.0.0.1  reset_command, then reset_command"), pair.all)
        #expect(lines.last == "cam would be flashed; nothing was touched", pair.all)
        // By the flash.
        #expect(place.resets == 1)
    }

    @Test func `of several targets all are checked, and one that is being flashed refuses all`() async throws {
        let place = try await SeveralTests.place("until [ -e $D/go ]; do sleep 0.02; done; flash")
        let result = try await place.run(
            """
            before=$(\(Self.look)); $FLASH --dry-run --all $IMG; [ "$before" = "$(\(Self.look))" ]
            $FLASH --no-wait $IMG dog 2>/dev/null & first=$!
            until [ -e $D/running ]; do sleep 0.02; done
            for targets in --all dog 'cam dog'; do
                status=0; $FLASH --dry-run $IMG $targets || status=$?; echo "status $status"
            done
            touch $D/go; wait $first
            """, exits: 0)
        let lines = result.stdout.split(separator: "\n")
        #expect(lines.contains("4 targets would be flashed, at most 8 at a time; nothing was touched"), result.all)
        #expect(lines.filter { $0 == "status 9" }.count == 3, result.all)
        #expect(
            result.errorLines.filter { $0.contains("target dog is being flashed by process ") }.count == 3, result.all)
        // The flash goes on.
        #expect(lines.last?.hasPrefix("dog (") == true && place.resets == 1, result.all)
    }

    @Test func `another TFTP server is named, and what is not known of it is said`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run(
            "W=$(mktemp -d); trap 'kill $(jobs -p); wait || true; rm -r $W' EXIT; \(Self.other)\n$FLASH --dry-run $IMG cam",
            exits: 0)
        #expect(
            place.stable(result.stdout).contains(
                "the TFTP server that is there would be used, on 127.0.0.1:PORT; whether it serves D/tftp and takes uploads"
            ), result.all)
    }

    @Test func `--json has an event for each target, and status 0 without a proof`() async throws {
        let place = try await SeveralTests.place("")
        let result = try await place.run(
            "$FLASH --dry-run --json $IMG cam dog; $FLASH --dry-run --json $IMG cam", exits: 0)
        let events = try result.stdout.split(separator: "\n").map { try JSON.object($0) }
        let kinds = events.compactMap { if case .string(let kind)? = $0["event"] { kind } else { nil } }
        #expect(
            kinds == [
                "start", "target", "target", "dry_run", "dry_run", "summary", "start", "target", "dry_run", "result",
            ], result.all)
        #expect(events.filter { $0["dry_run"] == .bool(true) }.count == 2, result.all)
        #expect(events.last?["status"] == .number(0) && events.last?["proven"] == .bool(false), result.all)
        #expect(
            events[5]["status"] == .number(0) && events[5]["count"] == .number(2)
                && events[5]["not_started_count"] == .number(2), result.all)
        let refused = try await place.run("$FLASH --dry-run --json $IMG goat", exits: 8)
        let end = try JSON.object(refused.stdout.split(separator: "\n").last ?? "")
        #expect(end["event"] == .string("result") && end["status"] == .number(8), refused.all)
    }

    // MARK: Other commands

    @Test(
        arguments: [
            ("", "$RPIFLASH reset --inventory $D/targets.csv dog", "8"),
            ("", "$RPIFLASH reset --inventory $D/targets.csv cam --hold 1s", "9"),
            (
                "sed -i 's/localhost,,/localhost,nochip:3,/' $D/targets.csv",
                "$RPIFLASH reset --inventory $D/targets.csv cam", "9"
            ),
            ("", "$RPIFLASH images remove zz --store $D/store", "9"),
            ("", "$RPIFLASH serve --root $D/none --listen 127.0.0.1:$PORT --socket $D/s", "9"),
            (mute, "$RPIFLASH serve --root $TFTP --listen 127.0.0.1:$PORT --socket $D/s", "9"),
            ("", "$RPIFLASH serve --root $TFTP --listen 127.0.0.1:$PORT --socket $D/none/s", "9"),
            (
                "$RPIFLASH serve --root $TFTP --listen 127.0.0.1:$UP --socket $W/s >/dev/null 2>&1 & "
                    + "until [ -S $W/s ]; do sleep 0.02; done",
                "$RPIFLASH serve --root $TFTP --listen 127.0.0.1:$PORT --socket $W/s", "9"
            ),
            ("", "$GEN bootscr --board none -o $D/x", "1"), ("", "$GEN bootscr --board rpi_arm64 -o $D", "1"),
            ("", "$GEN bootscr --board rpi_arm64 -o $IMG/x", "1"),
            ("", "$GEN recovery-image --board rpi_arm64 --uboot $D/none --firmware $D/none -o $D/x.img", "1"),
            ("", "$GEN bootscr --board rpi_arm64 --text -o -y", "64"),
        ])
    func `what cannot work is refused by every command as it would be for real`(
        harm: String, command: String, status: String
    ) async throws {
        let place = try await LoopbackFixture()
        let pair = try await Self.pair(place, harm + "\ncd $REPOSITORY", command)
        #expect(pair.dry.status == status && pair.real.status == status, pair.all)
        #expect(!pair.dry.errors.isEmpty && pair.dry.errors == pair.real.errors, pair.all)
        #expect(pair.dry.output == "" && pair.isUntouched && place.resets == 0, pair.all)
    }

    @Test func `reset, images remove, serve and the generator say what they would do, and do nothing`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run(
            """
            $RPIFLASH plan $IMG --store $D/store >/dev/null 2>&1
            mkdir $D/firmware $D/uboot $D/uboot/dtb; touch $D/uboot/u-boot.bin
            export TMPDIR=$D/tmp; mkdir $TMPDIR; cd $REPOSITORY
            before=$(\(Self.look) | grep -v "^$TMPDIR ")
            $RPIFLASH reset --inventory $D/targets.csv cam --dry-run
            $RPIFLASH images remove $($RPIFLASH images --store $D/store | tail -n 1 | cut -c 1-12) --store $D/store --dry-run
            $RPIFLASH serve --root $TFTP --listen 127.0.0.1:$PORT --socket $D/s --dry-run
            $GEN bootscr --board qemu_arm64 -o $D/none/boot.scr --dry-run
            $GEN recovery-image --board qemu_arm64 --uboot $D/uboot -o $D/none/x.img --dry-run
            [ "$before" = "$(\(Self.look) | grep -v "^$TMPDIR ")" ]
            $GEN bootscr --board qemu_arm64 -o $D/boot.scr; stat -c %s $D/boot.scr
            """, exits: 0)
        let lines = place.stable(result.stdout).split(separator: "\n").map(String.init)
        try #require(lines.count == 9, result.all)
        #expect(lines[0] == "cam (52:54:00:12:34:56, 127.0.0.1): would be reset by its command: bash D/reset")
        #expect(lines[1].wholeMatch(of: /would remove [0-9a-f]{64} \(os\.img\)/) != nil)
        #expect(lines[2] == "D/tftp would be served on UDP 127.0.0.1:PORT; jobs would come through D/s")
        // As long as the one that is then made.
        #expect(lines[3] == "would write D/none/boot.scr: \(lines[8]) bytes", result.all)
        #expect(lines[4].hasPrefix("would write D/none/x.img: "), result.all)
        #expect(lines[5...6] == ["would write D/none/x.bmap", "would write D/none/x.img.xz"], result.all)
        #expect(lines[7] == "partition 1 would have u-boot.bin, boot.scr, rpiflash.env", result.all)
    }
}
