import Foundation
import SystemPackage
import TestSupport
import Testing

/// LBA of the card's partition 2: 4 MiB and 64 MiB of U-Boot's, here Linux's.
private let bootStart = 0x22000

extension SystemTests.ToLinux {
    /// A target that is flashed by the Linux on partition 1, as a Pi 5 is: recovery_image/linux. docs/linux-target.md.
    @Suite(.serialized) struct LinuxTargets {
        /// The one that starts in seconds; make linux-test asks for QEMU's Pi 3 too.
        private static let machine =
            ProcessInfo.processInfo.environment["LINUX_MACHINE"].flatMap(Machine.init) ?? Machine.linux

        /// By other programs than ours: the rootfs byte for byte, the boot partition file by file.
        private func expectImage(_ image: FilePath? = nil, on target: VirtualTarget) async throws {
            let result = try await bash(
                """
                export MTOOLS_SKIP_CHECK=1
                starts() { sfdisk --dump "$1" | sed -n 's/.*start= *\\([0-9]*\\),.*/\\1/p'; }
                sectors() { sfdisk --dump "$1" | sed -n 's/.*size= *\\([0-9]*\\),.*/\\1/p'; }
                image=($(starts $IMAGE)); size=($(sectors $IMAGE)); card=($(starts $D/recovery.img))
                cmp -n $((size[1] * 512)) -i $((image[1] * 512)):$((card[2] * 512)) $IMAGE $D/card.img
                files() { rm -rf $D/files.$1; mkdir $D/files.$1; mcopy -s -i "$2@@$(($3 * 512))" "::*" $D/files.$1; }
                files image $IMAGE ${image[0]}
                files card $D/card.img ${card[1]}
                diff -r $D/files.image $D/files.card
                ls $D/files.card | wc -l
                """, ["D": target.directory.string, "IMAGE": (image ?? target.image).string])
            #expect(result.status == 0, result.all)
            #expect(result.stdout.wholeMatch(of: /[1-9][0-9]*\n/) != nil, result.all)
        }

        /// One card for all of this, as each start of a Linux costs.
        @Test
        func `lost packets, the same again, a change, a cut, a card that forgets: each time all is proven`()
            async throws
        {
            let fixture = try await OSImageFixture.small.value
            let target = try await VirtualTarget("linux", card: fixture, machine: Self.machine)
            let first = try await target.exec(
                """
                mkdir -p $TFTP
                $VT loss $D 20
                $FLASH --no-wait --as-is $IMAGE vt
                """)
            #expect(first.status == 0, first.all)
            #expect(first.stdout.contains("flashed and proven, "), first.all)
            try await expectImage(on: target)
            #expect(try await target.keepsPartition1())
            // It is known which kind of target it was.
            let record = try await target.exec("$RPIFLASH runs show last --runs $D/runs")
            #expect(record.stdout.contains(#/\nboard +linux_arm64, Linux [0-9.]+\S*-arm64, agent 1\n/#), record.all)

            let second = try await target.flash("--no-wait --as-is")
            #expect(second.stdout.contains("(0 written, 0 loaded)"), second.all)

            // A byte of the rootfs: its chunk of 12 MiB and the first sector of partition 2, with packets lost.
            let changed = target.directory.appending("changed.img")
            let third = try await target.exec(
                """
                cp $IMAGE \(changed)
                printf x | dd of=\(changed) bs=1 seek=$((15 << 20)) conv=notrunc status=none
                $VT loss $D 50
                $FLASH --no-wait --as-is \(changed) vt
                """)
            #expect(third.status == 0, third.all)
            #expect(third.stdout.contains("(\((12 << 20) + 512) written, "), third.all)
            #expect(third.stderr.contains("had to be repeated; the network loses packets"), third.all)
            try await expectImage(changed, on: target)

            // Everything is written again; the power goes at the third chunk.
            let cut = try await target.exec(
                """
                $FLASH --no-wait --as-is --full $IMAGE vt & job=$!
                trap 'kill -KILL $job 2>/dev/null || true' EXIT
                until [ -s $D/qemu.pid ]; do sleep 0.1; done
                $VT wait $D 'rpiflash: chunk 2 of [0-9]+: wrote' --timeout 900
                $VT stop $D
                kill $job
                status=0; wait $job || status=$?
                # Nobody serves now.
                from=$(stat -c %s $D/console.log)
                $VT reset $D
                $VT wait $D 'rpiflash: partition 2 has no file system' --timeout 900
                tail -c +$from $D/console.log | grep -c 'rpiflash: starting /' || true
                echo "status $status"
                """)
            #expect(cut.status == 0, cut.all)
            #expect(cut.stdout.hasSuffix("\n0\nstatus 130\n"), cut.all)
            #expect(try await target.keepsPartition1())

            // A card that acknowledges and forgets: in the rootfs, once. It is written again.
            try await target.lose(sector: bootStart + 0x8000 + 0x100, once: true)
            let repaired = try await target.flash("--no-wait --as-is")
            #expect(repaired.stdout.contains("flashed and proven, "), repaired.all)
            try await target.loseNothing()
            try await expectImage(on: target)
        }

        @Test func `a card with a key runs nothing that it has not signed`() async throws {
            let fixture = try await OSImageFixture.small.value
            let keys = Bench.scratch.appending("linux-keys")
            let made = try await bash(
                "$RPIFLASH keys init --keys $KEYS; $RPIFLASH keys init --keys $KEYS.rogue", ["KEYS": keys.string])
            try #require(made.status == 0, made.all)
            let target = try await VirtualTarget(
                "linux-signed", card: fixture, machine: Self.machine, cardArguments: "--key \(keys.string)/current.key")
            let result = try await target.exec(
                """
                mkdir -p $TFTP
                $FLASH --keys \(keys.string) --no-wait $IMAGE vt
                before=$(sha256sum <$D/card.img)
                status=0; $FLASH --keys \(keys.string).rogue --no-wait --full $IMAGE vt || status=$?
                echo "status $status"
                status=0; $FLASH --no-wait --full $IMAGE vt || status=$?
                echo "status $status"
                [ "$before" = "$(sha256sum <$D/card.img)" ] || echo written
                """)
            #expect(result.status == 0, result.all)
            #expect(result.stdout.contains("flashed and proven"), result.all)
            #expect(result.stdout.hasSuffix("\nstatus 2\nstatus 2\n"), result.all)
            #expect(result.stderr.matches(of: /the plan is not signed by a key of this card/).count == 2, result.all)
        }
    }
}
