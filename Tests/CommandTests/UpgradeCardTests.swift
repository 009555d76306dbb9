import Configuration
import Foundation
import TestImages
import TestSupport
import Testing

/// recovery_image/upgrade-card with a target that is a script: what it refuses, what it sends, and what a target can do to
/// it. Real targets, and power cuts, are in `make upgrade-test`.
@Suite(.enabled(if: canUse(["sfdisk", "mkfs.vfat", "mcopy", "tar"]))) struct UpgradeCardTests {
    /// Makes card.img, for board rpi_arm64, and ssh, which answers as a target with the same card does. What a test
    /// changes of it is in variables: MBR, SCRIPT, SETTINGS, FREE, LEFT and STATES, a state for each file.
    private static let bench = #"""
        cd "$D"
        export MTOOLS_SKIP_CHECK=1
        truncate -s 20M card.img
        printf 'label: dos\nstart=8192,size=8192,type=c\nstart=16384,size=8192,type=c\nstart=24576,size=2048,type=83\n' |
            sfdisk --quiet card.img 2>/dev/null
        mkfs.vfat --offset 8192 card.img 4096 >/dev/null 2>&1
        mkdir files
        script() {
            printf 'echo "rpiflash: boot script for %s, card layout %s"\ntest -n "${serverip}" || setenv serverip %s\n' "$@"
        }
        script rpi_arm64 0x4000/0x6000 192.168.1.10 >files/boot.scr
        for file in bootcode.bin config.txt fixup4.dat rpiflash.env start4.elf u-boot.bin; do echo "new $file" >files/$file; done
        mcopy -i card.img@@4194304 files/* ::
        cat >ssh <<'SSH'
        #!/bin/bash
        cd "$D"
        read -r program
        echo "$program" | base64 -d >program
        said() { echo "${1:-nothing}" >>commands; }
        echo "a banner of the host's"
        echo "rpiflash-upgrade-card 1"
        echo "first /dev/mmcblk0p1 8192"
        echo "table $(head -c 512 "${MBR:-card.img}" | base64 -w 0)"
        read -r command; said "$command"; [ "$command" = look ] || exit 0
        echo "mounted -"
        echo "state ${LEFT:-no no}"
        echo "script $(base64 -w 0 "${SCRIPT:-files/boot.scr}")"
        echo "settings $(printf '%s\n' "serverip=${SETTINGS-192.168.1.10}" | base64 -w 0)"
        read -r command; said "$command"; [ "$command" = list ] || exit 0
        echo "space ${FREE:-60000000} 512"
        names=()
        while read -r name sum && [ "$name" != . ]; do names+=("$name"); done
        printf '%s\n' "${names[@]}" >names
        states=($STATES)
        for ((i = 0; i < ${#names[@]}; i++)); do
            case "${states[i]:-equal}" in
                differs) echo "differs ${names[i]} 11" ;;
                *) echo "${states[i]:-equal} ${names[i]}" ;;
            esac
        done
        read -r command; said "$command"
        case "$command" in "write yes" | "write no") ;; *) exit 0 ;; esac
        while read -r name sum && [ "$name" != . ]; do echo "$name $sum" >>wanted; done
        mkdir got
        tar -xf - -C got
        echo copied
        while read -r name sum; do echo "renamed $name"; done <wanted
        echo "proven ${#names[@]}"
        echo over
        SSH
        chmod 755 ssh
        upgrade() { "$REPOSITORY/recovery_image/upgrade-card" --ssh ./ssh "$@" card.img pi@camera; }

        """#

    private static func run(_ script: String) async throws -> CommandResult {
        let folder = try TemporaryFolder()
        return try await runBash("export D\n" + bench + script, ["D": folder.url.path], seconds: 30)
    }

    @Test(arguments: ["", "card.img", "a b c", "--what card.img host", "--ssh"])
    func `wrong usage is status 2`(arguments: String) async throws {
        let result = try await runBash(#""$REPOSITORY/recovery_image/upgrade-card" "# + arguments)
        #expect(result.status == 2, result.all)
        #expect(result.stderr.contains("; see rpiflash-upgrade-card --help"), result.all)
    }

    @Test(arguments: [
        ("rm card.img", "no file card.img that can be read"),
        ("head -c 9000000 /dev/zero >card.img", "card.img has no partition table of DOS kind"),
        ("sfdisk -q --part-type card.img 1 83", "partition 1 of card.img has type 0x83 and starts at LBA 8192"),
        ("mdel -i card.img@@4194304 ::boot.scr", "partition 1 of card.img has no boot.scr: it is no recovery image"),
        ("mmd -i card.img@@4194304 ::overlays", "partition 1 of card.img has 'overlays'; only files with plain names"),
        (
            "script rpi_arm64 0x4000/0x8000 192.168.1.10 >boot.scr; mcopy -o -i card.img@@4194304 boot.scr ::",
            "boot.scr of card.img was made for partitions at LBA 16384 and 32768, its table has 16384 and 24576"
        ),
    ])
    func `an image that is no recovery image is status 3, and nobody is asked`(
        change: String, message: String
    ) async throws {
        let result = try await Self.run(change + "\nupgrade || { echo $?; ls program 2>/dev/null; }")
        #expect(result.stdout == "3\n", result.all)
        #expect(result.stderr.contains(message), result.all)
    }

    @Test(arguments: [
        (
            "cp card.img o.img; sfdisk -q --delete o.img 3; echo start=28672 | sfdisk -q -a o.img; MBR=o.img",
            "partitions 2 and 3 start at LBA 16384 and 28672, those of card.img at 16384 and 24576"
        ),
        (
            "script rpi_4_32b 0x4000/0x6000 192.168.1.10 >old.scr; SCRIPT=old.scr",
            "its card is for board rpi_4_32b, card.img for rpi_arm64"
        ),
        ("echo reset >old.scr; SCRIPT=old.scr", "boot.scr on partition 1 of pi@camera is no boot script of rpiflash's"),
        (
            "script rpi_arm64 0x4000/0x6000 192.168.1.11 >old.scr; SCRIPT=old.scr SETTINGS=",
            "names no serverip and its boot script 192.168.1.11, that of card.img 192.168.1.10: it"
        ),
        ("FREE=70000 STATES=differs", "74240 bytes are needed on /dev/mmcblk0p1 beside the old files, 70000 are"),
        // Numbers with zeros in front are decimal all the same.
        ("FREE=070000 STATES=differs", "74240 bytes are needed on /dev/mmcblk0p1 beside the old files, 70000 are"),
        ("FREE=000081 STATES=differs", "74240 bytes are needed on /dev/mmcblk0p1 beside the old files, 81 are"),
        ("LEFT='yes no'", "can only be cleared away by fsck.vfat, which is not there; install dosfstools"),
    ])
    func `a target that does not fit is status 4, and is told to write nothing`(
        change: String, message: String
    ) async throws {
        let result = try await Self.run(
            change + "\nexport MBR SCRIPT SETTINGS FREE LEFT STATES\n"
                + "upgrade || echo $?; ! grep -E 'write|mend' commands")
        #expect(result.stdout == "4\n", result.all)
        #expect(result.stderr.contains(message), result.all)
    }

    @Test func `only files that differ are sent, in the order of a start, never settings`() async throws {
        let result = try await Self.run(
            """
            export STATES='differs equal differs absent differs differs'
            upgrade >log
            cat names
            echo --
            cut -d ' ' -f 1 wanted
            ls got
            for file in got/*; do cmp $file files/${file#got/}; done
            cat commands
            tail -n 1 log
            """)
        #expect(
            result.stdout == """
                bootcode.bin
                start4.elf
                fixup4.dat
                u-boot.bin
                boot.scr
                config.txt
                --
                bootcode.bin
                fixup4.dat
                u-boot.bin
                boot.scr
                config.txt
                boot.scr
                bootcode.bin
                config.txt
                fixup4.dat
                u-boot.bin
                look
                list
                write yes
                pi@camera: done, all 6 files on /dev/mmcblk0p1 read back as those of card.img: 5 new, 1 as they were; \
                the old ones are in rpiflash.old

                """, result.all)
    }

    @Test(arguments: [
        ("", "", "nothing to do, all 6 files on /dev/mmcblk0p1 (board rpi_arm64) are those of card.img\n"),
        ("differs", "--dry-run", "dry run, nothing was written\n"),
    ])
    func `nothing is written where nothing differs, or by a dry run`(
        states: String, option: String, message: String
    ) async throws {
        let result = try await Self.run("export STATES=\(states)\nupgrade \(option); cat commands")
        #expect(result.status == 0, result.all)
        #expect(result.stdout.hasSuffix(message + "look\nlist\nstop\n"), result.all)
    }

    @Test(arguments: [
        ("exit 0", 1, "pi@camera: the connection ended; nothing was written"),
        ("echo rpiflash-upgrade-card 1; echo first '/dev/x;reboot' 8192; echo table", 1, "named no device"),
        ("echo rpiflash-upgrade-card 1; printf 'refuse no \\e[2Jcard\\a\\n'", 4, "pi@camera: no ?[2Jcard?\n"),
        (
            "echo rpiflash-upgrade-card 1; echo unlike boot.scr does not read back", 5,
            "pi@camera: boot.scr does not read back\n"
        ),
        (
            "echo rpiflash-upgrade-card 1; echo wrong boot.scr reads back otherwise; echo over", 6,
            "pi@camera: boot.scr reads back otherwise\n"
        ),
        ("yes noise", 1, "says other things than it should, the last is 'noise'"),
        ("echo rpiflash-upgrade-card 1; tr '\\0' x </dev/zero", 1, "instead of 'first'"),
        ("echo rpiflash-upgrade-card 1; echo first /dev/a 8192; echo table AA", 4, "has no partition table of DOS"),
    ])
    func `what a target says is judged, and its control characters are not printed`(
        behaviour: String, status: Int, message: String
    ) async throws {
        let result = try await Self.run(
            "printf '%s\\n' '#!/bin/bash' 'read -r program' \(quoted(behaviour)) >ssh\nupgrade || echo $?")
        #expect(result.stdout == "\(status)\n", result.all)
        #expect(result.stderr.contains(message), result.all)
        #expect(!result.stderr.contains("\u{1b}"), result.all)
    }

    private func quoted(_ text: String) -> String { "'" + text.replacing("'", with: #"'\''"#) + "'" }
}
