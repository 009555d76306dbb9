import Foundation
import SystemPackage
import TestSupport
import Testing

/// Two users of one bench, in the group that shares the TFTP root and what is prepared: whatever one of them makes, the
/// other can use, replace and remove. The users and the group are numbers without names.
@Suite(
    .serialized,
    .enabled(
        if: geteuid() == 0 && Programs.canPlayTarget && Programs.areEveryones,
        "needs root, who becomes other users, programs that all users can run, and what make deps installs"))
struct SharedTests {
    /// Two folders of the group's, and for each user a folder for what his target does. `as USER GROUPS COMMAND…` runs a
    /// command with a umask that takes everything from everybody else.
    private static let users = """
        install -d -m 2775 -g 30001 $D/var
        chgrp 30001 $TFTP; chmod 2775 $TFTP
        as() {
            local user=$1 groups=$2
            shift 2
            mkdir -p $D/$user; cp $D/behaviour $D/target $D/$user/; chown -R $user $D/$user
            (
                umask 077
                export D=$D/$user HOME=/nowhere TMPDIR=/tmp
                unset SUDO_USER SUDO_UID XDG_RUNTIME_DIR
                exec setpriv --reuid=$user --regid=$user $groups --inh-caps=-all "$@"
            )
        }
        alice() { as 20001 --groups=30001 "$@"; }
        bob() { as 20002 --groups=30001 "$@"; }
        stranger() { as 20003 --clear-groups "$@"; }
        STORE="--store $D/var/images"
        RUNS="--runs $D/var/runs"
        FLASH="$FLASH $STORE $RUNS --no-wait"

        """

    private static func place(_ behaviour: String = "flash") async throws -> LoopbackFixture {
        try await LoopbackFixture(behaviour)
    }

    @Test func `two users flash, prepare, read records and remove by turns`() async throws {
        let place = try await Self.place()
        let result = try await place.run(
            Self.users + """
                alice $FLASH $IMG cam >>$D/log 2>&1
                bob $FLASH $IMG cam >>$D/log 2>&1
                # Another image, by the other one: the locks and folders are the first one's.
                dd if=/dev/urandom of=$IMG bs=1M seek=8 count=1 conv=notrunc status=none
                bob $FLASH $IMG cam >>$D/log 2>&1
                alice $FLASH $IMG cam >>$D/log 2>&1
                echo "proven: $(grep -c 'flashed and proven' $D/log), images: $(ls $D/var/images/images | wc -l)"
                # What is in the store and the records is the group's, whoever made it and with whatever umask.
                find $D/var -mindepth 1 ! -group 30001
                find $D/var -mindepth 1 ! -type l ! -perm -g=rw
                find $D/var -mindepth 1 -type d ! -perm -g=rwxs
                # Chunks that the images share have one file.
                find $D/var/images -name '*.gz' -links +1 -o -name '*.raw' -links +1 | grep -q .
                echo "runs: $(bob $RPIFLASH runs list --json $RUNS | grep -o '"user"' | wc -l)"
                bob $RPIFLASH runs show last $RUNS | grep -q proven
                # Each removes what the other has made.
                made_by() { find $D/var/images/images -mindepth 1 -maxdepth 1 -user $1 -printf %f; }
                alice $RPIFLASH images remove $(made_by 20002) $STORE >/dev/null
                bob $RPIFLASH images remove $(made_by 20001) $STORE >/dev/null
                find $D/var/images/images $D/var/images/work -mindepth 1
                alice $RPIFLASH runs prune --keep 2 $RUNS >/dev/null
                bob $RPIFLASH runs prune --keep 0 $RUNS >/dev/null
                find $D/var/runs -mindepth 1
                """, exits: 0, image: false)
        #expect(
            result.stdout
                == "proven: 4, images: 2\nruns: 4\n",
            result.all)
    }

    @Test func `a target that another user flashes is refused, and says whose process it is`() async throws {
        let place = try await Self.place("plan; echo $$ >$D/waits; exec sleep 60")
        let result = try await place.run(
            Self.users + """
                alice $FLASH $IMG cam 2>$D/log & job=$!
                for ((i = 0; i < 600; i++)); do [ ! -s $D/20001/waits ] || break; sleep 0.1; done
                status=0; bob $FLASH $IMG cam || status=$?
                status2=0; bob $FLASH --dry-run $IMG cam || status2=$?
                pid=$(head -n 1 $TFTP/.rpiflash-$MAC.lock | cut -d ' ' -f 1)
                kill -TERM $pid
                wait $job || true
                kill $(cat $D/20001/waits)
                echo $status $status2 $pid
                """, exits: 0)
        let words = result.stdout.split(separator: " ").map { $0.filter { $0 != "\n" } }
        try #require(words.count == 3, result.all)
        #expect(words[0] == "9" && words[1] == "9", result.all)
        let sentence = "target cam is being flashed by process \(words[2]) of user 20001; wait for it"
        #expect(result.errorLines.filter { $0 == "rpiflash: \(sentence)" }.count == 2, result.all)
    }

    @Test func `what a killed flash of one user left in the TFTP root is removed by another's`() async throws {
        let place = try await Self.place(
            "if [ -e $D/hangs ]; then plan; echo $$ >$D/waits; exec sleep 60; else flash; fi")
        let result = try await place.run(
            Self.users + """
                alice touch $D/20001/hangs
                alice $FLASH $IMG cam 2>$D/log & job=$!
                for ((i = 0; i < 600; i++)); do [ ! -s $D/20001/waits ] || break; sleep 0.1; done
                kill -KILL $(head -n 1 $TFTP/.rpiflash-$MAC.lock | cut -d ' ' -f 1)
                wait $job || true
                kill $(cat $D/20001/waits)
                ls -A $TFTP/$MAC | grep -c chunk- >$D/left
                bob $FLASH $IMG cam
                """, exits: 0)
        #expect(Int(place.text("left").filter(\.isNumber)) ?? 0 > 0, result.all)
        #expect(
            place.stable(result.stderr).contains(
                "rpiflash: removed what an earlier job left in D/tftp/\(LoopbackFixture.mac)\n"),
            result.all)
    }

    @Test func `who is not in the group is told which one, by a flash and by doctor`() async throws {
        let place = try await Self.place()
        let result = try await place.bash(
            Self.users + """
                status=0; stranger $FLASH $IMG cam || status=$?
                echo $status
                stranger $RPIFLASH doctor --inventory $D/targets.csv --card $D/card.yaml --tftp-root $TFTP \
                    --listen 127.0.0.1:$PORT --service $D/none.sock $STORE $RUNS || true
                alice $RPIFLASH doctor --inventory $D/targets.csv --card $D/card.yaml --tftp-root $TFTP \
                    --listen 127.0.0.1:$PORT --service $D/none.sock $STORE $RUNS | sed 's/^/alice: /'
                """)
        #expect(result.status == 0, result.all)
        let lines = place.stable(result.stdout).split(separator: "\n").map(String.init)
        #expect(lines.first == "9", result.all)
        let remedy = "user 20003 is not in group 30001"
        #expect(
            place.stable(result.stderr).contains(
                "rpiflash: TFTP root D/tftp cannot be written to: Permission denied; \(remedy)"), result.all)
        #expect(
            lines.contains {
                $0.hasPrefix("note  groups ") && $0.contains("\(remedy)")
                    && $0.hasSuffix("; it may write to D/tftp, D/var/images, D/var/runs")
            }, result.all)
        #expect(!lines.contains { $0.hasPrefix("alice: note  groups") || $0.hasPrefix("alice: bad") }, result.all)
    }

    // MARK: Settings

    /// Who can read what a target is sent, seen while it is.
    private static let spies = """
        plan
        for who in 'setpriv --reuid=20003 --regid=20003 --clear-groups' 'setpriv --reuid=20002 --regid=20002 --groups=30001'; do
            for file in $TFTP/$MAC/*; do
                if $who cat $file >/dev/null 2>&1; then echo open; else echo closed; fi
            done | sort | uniq -c | tr -s ' \\n' ' ' >>$OUT
            echo >>$OUT
        done
        for file in $files; do get $file; done
        report $sectors 0
        put OK $((sectors * 512))
        """

    @Test func `settings are read by the group, by no one else, also where they are staged`() async throws {
        let place = try await CustomizeTests.giveImage(to: try await LoopbackFixture(Self.spies))
        try place.write("s.yaml", "hostname: secret-name\n")
        let result = try await place.run(
            Self.users + """
                export OUT=$D/seen
                # The target is root here, and so may be anybody.
                \(Self.asRoot) $FLASH --customize $D/s.yaml $IMG cam >/dev/null
                for folder in $D/var/images/images/*; do stat -c '%a %g' $folder; done | sort
                plain=$(find $D/var/images/images -mindepth 1 -maxdepth 1 -perm 2775 -printf %f)
                private=$(find $D/var/images/images -mindepth 1 -maxdepth 1 -perm 2770 -printf %f)
                stranger ls $D/var/images/images/$plain >/dev/null
                if stranger ls $D/var/images/images/$private 2>/dev/null; then exit 1; fi
                alice cat $D/var/images/images/$private/* >/dev/null
                # What is its alone is closed by itself too; what it shares stays as it was.
                find $D/var/images/images/$private -type f -links 1 -perm /o=rwx
                find $D/var/images/images/$plain -type f ! -perm -o=r
                # The same settings again are the same image, and a member removes it.
                bob $RPIFLASH images remove $private $STORE >/dev/null
                """, exits: 0)
        #expect(result.stdout == "2770 30001\n2775 30001\n", result.all)
        let seen = place.text("seen").split(separator: "\n")
        try #require(seen.count == 2, result.all)
        #expect(seen[0].contains(/\d+ closed \d+ open/), "a stranger reads what everybody has: \(seen)")
        #expect(!seen[1].contains("closed"), "the group reads everything: \(seen)")
    }

    private static let asRoot = "env HOME=/nowhere"

    @Test func `a store of one's own keeps settings to oneself, and another server makes them everybody's`()
        async throws
    {
        let place = try await CustomizeTests.giveImage(to: try await LoopbackFixture("flash"))
        try place.write("s.yaml", "hostname: secret-name\n")
        let result = try await place.run(
            """
            umask 077
            $FLASH --no-wait --customize $D/s.yaml $IMG cam 2>&1 | grep -c 'can read the settings' || true
            for folder in $D/store/images/*; do stat -c %a $folder; done | sort
            # Everybody else's servers read the rest, whatever the umask.
            find $D/store/images/ -mindepth 1 -maxdepth 1 -perm 755 -exec find {} -type f ! -perm 644 ';'
            find $D/store/images/ -perm 600 -type f | grep -c . | sed 's/[1-9].*/private files/'
            # The service is another user, and in no group that the root belongs to.
            chmod 755 $D
            export HOME=/nowhere
            setpriv --reuid=20009 --regid=20009 --clear-groups bash -c "umask 077; exec $RPIFLASH serve --root $TFTP \\
                --listen 127.0.0.1:$PORT --socket /tmp/rpiflash-$PORT.sock" >$D/served 2>&1 & serve=$!
            trap 'kill $serve; rm -f /tmp/rpiflash-$PORT.sock' EXIT
            for ((i = 0; i < 600; i++)); do [ ! -S /tmp/rpiflash-$PORT.sock ] || break; sleep 0.1; done
            ${FLASH/--listen 127.0.0.1:$PORT/} --service /tmp/rpiflash-$PORT.sock --no-wait --customize $D/s.yaml $IMG cam 2>&1 |
                grep -c 'can read the settings'
            """, exits: 0)
        #expect(result.stdout.hasPrefix("0\n700\n755\nprivate files\n"), result.all)
        #expect(result.stdout.hasSuffix("\n1\n"), result.all)
    }

    @Test func `the service reads settings as a member of the group`() async throws {
        let place = try await CustomizeTests.giveImage(to: try await LoopbackFixture("flash"))
        try place.write("s.yaml", "hostname: secret-name\n")
        let result = try await place.run(
            Self.users + """
                export HOME=/nowhere
                setpriv --reuid=20009 --regid=20009 --groups=30001 $RPIFLASH serve --root $TFTP \
                    --listen 127.0.0.1:$PORT --socket $D/var/serve.sock >$D/served 2>&1 & serve=$!
                trap 'kill $serve' EXIT
                for ((i = 0; i < 600; i++)); do [ ! -S $D/var/serve.sock ] || break; sleep 0.1; done
                ${FLASH/--listen 127.0.0.1:$PORT/} --service $D/var/serve.sock --customize $D/s.yaml $IMG cam
                """, exits: 0)
        #expect(!result.stderr.contains("can read the settings"), result.all)
    }
}
