import Foundation
import SystemPackage
import TestSupport
import Testing

/// What a half-written card says when it is asked to boot, and what a whole one says (the small image's kernel is zeros).
private let halfWritten = "rpiflash: cannot boot: no cmdline.txt on partition 2: the card is empty or half written"
private let whole = "rpiflash: cannot boot: /kernel8.img is no kernel that booti starts"

extension SystemTests.ToProof {
    /// Things that go wrong at the target: never a success, never a boot of a half-written card, the next flash repairs it.
    @Suite(.serialized) struct TargetTrouble {
        /// Flashes again, without trouble, and expects a whole card.
        private func repair(_ target: VirtualTarget) async throws {
            try await target.flash()
            #expect(try await target.holdsImage())
            #expect(try await target.keepsPartition1())
            let boot = try await target.exec("$VT reset $D; $VT wait $D '\(whole)' --timeout 900")
            #expect(boot.status == 0, boot.all)
        }

        /// Law 3, at three points: after the first block of a whole system was invalidated, which must not come through
        /// either; in the middle; and before the first block is written. PowerCuts has all other points.
        @Test(.enabled(if: Bench.olderUBoot == nil, "cuts by number are sandbox's"))
        func `law 3 - a card whose power was cut does not boot`() async throws {
            let target = try await VirtualTarget("cut", card: OSImageFixture.long.value, machine: .sandbox)
            try await target.flash()
            // 0x1a000 sectors, and the first of them twice.
            for count in [1, 0xd000, 0x1a000] {
                let cut = try await target.exec(
                    """
                    echo VT_FAULTS=cut-write=\(count) >>$D/env
                    $FLASH --protocol parts --no-wait --part-size 5MiB $IMAGE vt & job=$!
                    trap 'kill -KILL $job 2>/dev/null || true' EXIT
                    until [ "$(sed -n 's/^written *//p' $D/counters | tr -d ' ')" = \(count) ]; do
                        kill -0 $job
                        sleep 0.1
                    done
                    kill -TERM $job; status=0; wait $job || status=$?
                    echo "status $status; left: $(ls -A $TFTP)"
                    sed -i /VT_FAULTS/d $D/env
                    $VT reset $D
                    $VT wait $D '\(halfWritten)' --timeout 900
                    """)
                #expect(cut.status == 0, "\(count): \(cut.all)")
                #expect(cut.stdout.contains("status 130; left: \n"), "\(count): \(cut.all)")
            }
            try await repair(target)
        }

        @Test func `a server that is killed in the middle of a part`() async throws {
            let target = try await VirtualTarget("killed", card: OSImageFixture.long.value)
            let killed = try await target.exec(
                """
                mkdir -p $TFTP
                $FLASH --protocol parts --no-wait --part-size 20MiB $IMAGE vt & job=$!
                trap 'kill -KILL $job 2>/dev/null || true' EXIT
                until [ -s $D/qemu.pid ]; do sleep 0.1; done
                $VT wait $D "Filename '.*rpi_image_part_1'" --timeout 900
                kill -KILL $job; wait $job || true
                # U-Boot is in the network now, and must not take a connection: a port that answers means that Linux is up.
                for port in 22 80; do
                    if timeout 3 bash -c ": </dev/tcp/192.168.77.2/$port" 2>/dev/null; then echo "port $port is open"; fi
                done
                $VT wait $D 'rpiflash: FAILED' --timeout 900
                $VT wait $D '\(halfWritten)' --timeout 900
                """)
            #expect(killed.status == 0, killed.all)
            #expect(!killed.stdout.contains("is open"), killed.all)
            // What the killed run left is cleared by the next.
            try await repair(target)
        }

        @Test(arguments: [("missing", "rm"), ("short", "truncate -s -512")])
        func `a part that is missing or short is a failure, not the end of the parts`(
            name: String, command: String
        ) async throws {
            let target = try await VirtualTarget(name, card: OSImageFixture.long.value, machine: .fastest)
            let result = try await target.exec(
                """
                mkdir -p $TFTP
                cp $D/targets.csv $D/good.csv
                PART=$TFTP/$MAC/rpi_image_part_7
                sed -i "s#reset_command#&#; s#\\"\\(.*reset .*\\)\\"#\\"\(command) $PART; \\1\\"#" $D/targets.csv
                $FLASH --protocol parts --no-wait --part-size 5MiB $IMAGE vt
                """)
            #expect(result.status == 2, result.all)
            #expect(target.console.contains("rpiflash: part 0x7 did not load in full"), "\(target.console)")
            let row = try await bash("cp $D/good.csv $D/targets.csv", ["D": target.directory.string])
            #expect(row.status == 0)
            try await repair(target)
        }

        @Test(arguments: ["parts", "plan"])
        func `a card smaller than its table is refused before anything is written`(way: String) async throws {
            let large = try await OSImageFixture(name: "large", bootMiB: 8, rootfsMiB: 100, cardSize: "8 GB")
            let target = try await VirtualTarget(
                "small-card-\(way)", card: large, cardSize: "128MiB", machine: .fastest)
            let before = try await bash("sha256sum <$D/card.img", ["D": target.directory.string]).stdout
            let result = try await target.exec("mkdir -p $TFTP; $FLASH --protocol \(way) --no-wait $IMAGE vt")
            #expect(result.status == 2, result.all)
            #expect(target.console.contains("rpiflash: the card ends before sector 0x"), "\(target.console)")
            #expect(target.console.contains("rpiflash: FAILED, 0x0 sectors written"))
            #expect(try await bash("sha256sum <$D/card.img", ["D": target.directory.string]).stdout == before)
        }

        /// The server knows the layout that it was given; only the target knows its card.
        @Test func `an image that the card's partition 3 has no room for is refused before anything is written`()
            async throws
        {
            let small = try await OSImageFixture.small.value
            let large = try await OSImageFixture(name: "roomy", bootMiB: 8, rootfsMiB: 100, cardSize: "256 MiB")
            let target = try await VirtualTarget(
                "no-room", card: small, image: large, cardSize: "256MiB", machine: .fastest)
            let before = try await bash("sha256sum <$D/card.img", ["D": target.directory.string]).stdout
            let result = try await target.exec(
                "mkdir -p $TFTP; $FLASH --protocol parts --no-wait --card \(large.cardFile.string) $IMAGE vt")
            #expect(result.status == 2, result.all)
            #expect(target.console.contains("rpiflash: the image does not fit the card: 0x"), "\(target.console)")
            #expect(target.console.contains("rpiflash: FAILED, 0x0 sectors written"))
            #expect(try await bash("sha256sum <$D/card.img", ["D": target.directory.string]).stdout == before)
        }

        @Test func `a card that says it wrote, and did not, is a failure`() async throws {
            let target = try await VirtualTarget("liar", card: OSImageFixture.small.value, machine: .fastest)
            try await target.lose(sector: 160000)
            let result = try await target.exec("mkdir -p $TFTP; $FLASH --protocol parts --no-wait $IMAGE vt")
            #expect(result.status == 2, result.all)
            #expect(target.console.contains("rpiflash: the card does not hold what was written"), "\(target.console)")
            try await target.loseNothing()
            try await repair(target)
        }

        /// 'Timeout for status update', and then no answer to anything: seen on real controllers as on QEMU's.
        @Test(arguments: [("parts", "--protocol parts --part-size 10MiB"), ("plan", "--full")])
        func `a card that loses step once costs a retry, not the flash or the boot`(name: String, options: String)
            async throws
        {
            let target = try await VirtualTarget("step-\(name)", card: OSImageFixture.small.value)
            // By number: one write is swallowed, and one sector is read back wrong, each once and in another command.
            let once = try await target.exec(
                """
                mkdir -p $TFTP
                for rule in 'write 160000' 'read 170000'; do
                    read -r way sector <<<"$rule"
                    printf '[inject-error]\\nevent = "%s_aio"\\niotype = "%s"\\nsector = "%s"\\nerrno = "5"\\nonce = "on"\\n' \
                      "$way" "$way" "$sector"
                done >$D/rules
                cp $D/env $D/env.good
                echo "VT_DRIVE_FILE=blkdebug:$D/rules:{card}" >>$D/env
                $FLASH \(options) --no-wait $IMAGE vt
                mv $D/env.good $D/env
                """)
            #expect(once.status == 0, "\(once.all)\(target.console)")
            // More on a busy machine, where QEMU's controller times out too.
            #expect(
                target.console.contains(/OK, 0x(a000|6048) sectors written, the card had 0x([2-9a-f]|1.) retries/),
                "\(target.console)")
            #expect(name == "parts" || once.stdout.contains(/, \d+ retries\)/), once.all)

            let before = target.console.count
            let lost = try await target.exec(
                """
                seen=$(stat -c %s $D/console.log)
                $FLASH \(options) --no-wait $IMAGE vt & job=$!
                trap 'kill -KILL $job 2>/dev/null || true' EXIT
                until [ -s $D/qemu.pid ]; do sleep 0.1; done
                $VT wait $D 'MMC write: .* count 8192' --from $seen --timeout 900
                $VT glitch $D
                wait $job
                """)
            let console = target.console.dropFirst(before)
            #expect(lost.status == 0, "\(lost.all)\(console)")
            #expect(
                console.contains("rpiflash: a command to the card failed: it is set up anew, retry 0x1"), "\(console)")
            #expect(console.contains(/sectors written, the card had 0x[1-9a-f][0-9a-f]* retries/), "\(console)")
            if name == "parts" { #expect(try await target.holdsImage()) }
            #expect(try await target.keepsPartition1())
            guard name == "plan" else { return }

            let beforeBoot = target.console.count
            // While the target waits for a server; then it reads the card to boot.
            let booted = try await target.exec(
                """
                $VT reset $D
                $VT wait $D 'rpiflash: boot script' --timeout 900
                $VT glitch $D
                $VT wait $D 'rpiflash: cannot boot' --timeout 900
                """)
            #expect(booted.stdout.contains(whole), "\(booted.all)\(target.console)")
            let boot = target.console.dropFirst(beforeBoot)
            #expect(boot.contains("rpiflash: a command to the card failed: it is set up anew, retry 0x1"), "\(boot)")
            #expect(boot.contains("rpiflash: starting /kernel8.img: bootargs= console=ttyAMA0,115200 root="), "\(boot)")
        }

        @Test(arguments: [("parts", "this script was made for"), ("plan", "its boot script was made for")])
        func `a card whose table is not the one of its script is left alone`(way: String, refusal: String) async throws
        {
            let target = try await VirtualTarget("table-\(way)", card: OSImageFixture.small.value, machine: .fastest)
            let changed = try await bash(
                """
                # Partition 2 one 4 MiB step later, by hand: start and size in the DOS table's second entry.
                sfdisk --dump $D/card.img | sed 's/\\(img2 : start= *\\)\\([0-9]*\\), size= *\\([0-9]*\\)/\\1147456, size= 8192/' \
                  | sfdisk -q --no-reread $D/card.img
                sha256sum <$D/card.img
                """, ["D": target.directory.string])
            #expect(changed.status == 0, changed.all)
            let result = try await target.exec("mkdir -p $TFTP; $FLASH --protocol \(way) --no-wait $IMAGE vt")
            #expect(result.status == 2, result.all)
            #expect(target.console.contains(refusal), "\(target.console)")
            #expect(
                try await bash("sha256sum <$D/card.img", ["D": target.directory.string]).stdout
                    == changed.stdout.split(separator: "\n").last.map { "\($0)\n" })
        }
    }

    /// What began in BootCases, in the first of the suites: its two minutes cost no time of their own.
    @Suite struct DebugConsole {
        @Test(.enabled(if: Bench.olderUBoot == nil, "it has no debug console"))
        func `the prompt of a debug console resets when it has had no command for two minutes`() async throws {
            let run = try await BootCases.leftAlone.value
            #expect(run.status == 0, run.all)
        }
    }
}
