import Foundation
import TestSupport
import Testing

/// `rpiflash upgrade` with a script in place of ssh: that the program reads an image, talks, and says how it ended. What is
/// refused, and what a target can do to it, is in CardUpgradeTests; real targets, and power cuts, are in `make upgrade-test`.
@Suite(.enabled(if: Programs.isCI || ["sfdisk", "mkfs.vfat", "mcopy", "tar", "python3"].allSatisfy(Programs.has)))
struct UpgradeTests {
    /// Makes card.img, for board rpi_arm64, and ssh, which answers as a target with the same card does: the real program's
    /// words, and a real tar. STATES has a state for each file.
    private static let bench = #"""
        D=$(mktemp -d) && export D && trap 'rm -r "$D"' EXIT && cd "$D"
        export MTOOLS_SKIP_CHECK=1
        truncate -s 20M card.img
        printf 'label: dos\nstart=8192,size=8192,type=c\nstart=16384,size=8192,type=c\nstart=24576,size=2048,type=83\n' |
            sfdisk --quiet card.img 2>/dev/null
        mkfs.vfat --offset 8192 card.img 4096 >/dev/null 2>&1
        mkdir files
        printf 'echo "rpiflash: boot script for %s, card layout %s"\ntest -n "${serverip}" || setenv serverip %s\n' \
            rpi_arm64 0x4000/0x6000 192.168.1.10 >files/boot.scr
        for file in bootcode.bin config.txt fixup4.dat rpiflash.env start4.elf u-boot.bin; do echo "new $file" >files/$file; done
        head -c 2000000 /dev/urandom >files/start4.elf
        mcopy -i card.img@@4194304 files/* ::
        printf '%s\n' mac,ip,server,gpio,name b8:27:eb:00:00:01,192.0.2.1,localhost,17,cam \
            b8:27:eb:00:00:02,192.0.2.2,localhost,18,dog >targets.csv
        cat >ssh <<'SSH'
        #!/bin/bash
        cd "$D"
        printf '%s\n' "$@" >arguments
        read -r program
        base64 -d <<<"$program" >program
        echo "a banner of the host's"
        printf 'a remark\e[2J\n' >&2
        case "$*" in *192.0.2.2*) echo "rpiflash-upgrade-card 1"; echo "refuse it has no tar"; exit 0 ;; esac
        echo "rpiflash-upgrade-card 1"
        echo "first /dev/mmcblk0p1 8192"
        echo "table $(head -c 512 card.img | base64 -w 0)"
        read -r command; echo "$command" >>commands
        echo "mounted -"
        echo "state no no"
        echo "script $(base64 -w 0 files/boot.scr)"
        echo "settings $(printf 'serverip=\n' | base64 -w 0)"
        read -r command; echo "$command" >>commands
        echo "space 60000000 512"
        names=()
        while read -r name sum && [ "$name" != . ]; do
            [ "$sum" = "$(sha256sum <files/$name | cut -d ' ' -f 1)" ] || echo "another sum of $name" >>commands
            names+=("$name")
        done
        states=($STATES)
        for ((i = 0; i < ${#names[@]}; i++)); do
            case "${states[i]:-equal}" in
                differs) echo "differs ${names[i]} 11" ;;
                *) echo "${states[i]:-equal} ${names[i]}" ;;
            esac
        done
        read -r command; echo "$command" >>commands
        case "$command" in "write yes" | "write no") ;; *) exit 0 ;; esac
        while read -r name sum && [ "$name" != . ]; do echo "$name" >>wanted; done
        mkdir got
        tar -xf - -C got
        echo copied
        while read -r name; do echo "renamed $name"; done <wanted
        echo "proven ${#names[@]}"
        echo over
        SSH
        chmod 755 ssh
        upgrade() { "$RPIFLASH" upgrade --inventory targets.csv --ssh ./ssh card.img "$@"; }

        """#

    private func run(_ script: String) async throws -> CommandResult { try await runBash(Self.bench + script) }

    @Test(arguments: [
        ("", "Missing expected argument '<image>'"), ("card.img", "Missing expected argument '<target>'"),
        ("card.img cam --ssh ' '", "--ssh is empty; must be a command"),
        ("card.img cam --jobs 0", "--jobs is 0; must be 1 to"),
        ("card.img cam --user=-oProxyCommand=x", "--user '-oProxyCommand=x' is not a user's name; must be letters"),
    ])
    func `wrong usage is status 64`(arguments: String, text: String) async throws {
        let result = try await runBash("$RPIFLASH upgrade \(arguments)")
        #expect(result.status == 64 && result.stderr.contains(text), result.all)
    }

    @Test func `only files that differ are sent, whole, and never settings`() async throws {
        let result = try await run(
            """
            export STATES='differs differs equal absent differs differs'
            upgrade cam --user pi 2>log
            cat wanted; ls got
            for file in got/*; do cmp $file files/${file#got/}; done
            cat commands; tail -n 2 arguments
            cmp program "$REPOSITORY/recovery_image/upgrade-card.target"
            """)
        #expect(
            result.stdout == """
                cam (b8:27:eb:00:00:01, 192.0.2.1): upgraded, all 6 files on /dev/mmcblk0p1 read back: 5 new, 1 as they \
                were; the old ones are in rpiflash.old
                bootcode.bin
                start4.elf
                u-boot.bin
                boot.scr
                config.txt
                boot.scr
                bootcode.bin
                config.txt
                start4.elf
                u-boot.bin
                look
                list
                write yes
                pi@192.0.2.1
                \(Self.shell)

                """, result.all)
    }

    /// Whatever runs it there gets one line.
    private static let shell =
        #"exec sh -c 'IFS= read -r p && p=$(printf %s "$p" | base64 -d) && if [ "$(id -u)" -eq 0 ]; "#
        + #"then exec sh -c "$p" rpiflash; else exec sudo -n sh -c "$p" rpiflash; fi'"#

    @Test func `a dry run says what differs, and writes nothing`() async throws {
        let result = try await run(
            "export STATES='differs equal absent'; upgrade cam --dry-run 2>/dev/null; cat commands")
        #expect(
            result.stdout == """
                cam (b8:27:eb:00:00:01, 192.0.2.1): /dev/mmcblk0p1, board rpi_arm64: 2 of 6 files differ
                  bootcode.bin: differs, has 11 bytes, gets 17
                  fixup4.dat: not there yet, 15 bytes
                look
                list
                stop

                """, result.all)
    }

    @Test(arguments: [
        ("rm card.img; upgrade cam", 7, "card.img: image does not exist"),
        (
            "xz card.img; mv card.img.xz card.img; upgrade cam", 7,
            "card.img: image is compressed (xz); decompress it first"
        ),
        ("head -c 9000000 /dev/zero >card.img; upgrade cam", 7, "card.img: image has no partition table"),
        (
            "sfdisk -q --part-type card.img 1 83; upgrade cam", 7,
            "partition 1 of card.img has type 0x83 and starts at LBA"
        ),
        ("mdel -i card.img@@4194304 ::boot.scr; upgrade cam", 7, "partition 1 of card.img has no boot.scr; must be"),
        (
            "dd if=/dev/zero of=card.img bs=1M seek=4 count=1 conv=notrunc status=none; upgrade cam", 7,
            "partition 1 of card.img"
        ),
        ("upgrade cat", 8, "no target 'cat' in targets.csv; it has cam, dog"),
        ("upgrade cam --ssh ./none", 9, "--ssh: './none' is not a program that can be run"),
        ("upgrade cam --ssh false", 5, "cam: the connection ended; nothing was written"),
        ("upgrade dog", 7, "dog: it has no tar"),
        (
            "printf '#!/bin/sh\\ntr \"\\\\0\" x </dev/zero' >ssh; upgrade cam", 5,
            "a line of over 100000 bytes; nothing was"
        ),
        (
            "printf '#!/bin/sh\\necho \"no\\033[2Jhost\" >&2' >ssh; upgrade cam", 5,
            #"connection ended (no\x1b[2Jhost); nothing"#
        ),
        (
            "printf '#!/bin/sh\\nkill -TERM $PPID; sleep 60' >ssh; upgrade cam", 130,
            "cam: interrupted; nothing was written"
        ),
    ])
    func `what cannot be upgraded ends with its status and one sentence`(
        script: String, status: Int, text: String
    ) async throws {
        let result = try await run("(\(script)) || { echo $?; ls commands 2>/dev/null; }")
        #expect(result.stdout == "\(status)\n", result.all)
        #expect(result.stderr.contains(text) && !result.stderr.contains("\u{1b}"), result.all)
        #expect(result.errorLines.allSatisfy { $0.hasPrefix("rpiflash: ") }, result.all)
    }

    @Test func `events hold to their schema, and every one that is documented is printed`() async throws {
        let result = try await run(
            """
            export STATES='differs absent'
            upgrade cam --dry-run --json 2>/dev/null
            rm commands
            upgrade cam --json 2>/dev/null
            rm -r got wanted
            upgrade --all --json 2>/dev/null || echo "$?" >&2
            upgrade cat --json 2>/dev/null || echo "$?" >&2
            upgrade dog cat --json 2>/dev/null || echo "$?" >&2
            """)
        #expect(result.stderr == "7\n8\n8\n", result.all)
        let lines = result.stdout.split(separator: "\n")
        let leftover =
            #"{"event":"note","text":"an earlier upgrade was cut off; running fsck.vfat on /dev/sda1","time":1}"#
        try await checkSchema("upgrade", lines.joined(separator: "\n") + "\n" + leftover)
        var emitted: [String: Set<String>] = ["note": ["text"]]
        for line in lines {
            let fields = Set(try JSON.object(line).keys)
            guard case .string(let event)? = try JSON.object(line)["event"] else { continue }
            emitted[event, default: []].formUnion(
                fields.subtracting(event == "start" ? ["event", "time"] : ["event", "time", "target"]))
        }
        #expect(emitted == (try JSONTests.documented("`rpiflash upgrade --json`")))
        let end = try JSON.object(#require(lines.first { $0.contains("summary") }))
        #expect(end["proven_count"] == .number(1) && end["failed_count"] == .number(1) && end["status"] == .number(7))
    }
}
