import DiskLayout
import FlashPlan
import Foundation
import SystemPackage
import TestSupport
import Testing

private let halfWritten = "rpiflash: cannot boot: no cmdline.txt on partition 2: the card is empty or half written"

/// LBA of the card's partition 2: 4 MiB and 64 MiB of U-Boot.
private let bootStart = 0x22000

extension SystemTests.ToProof {
    /// Flash plans on real U-Boot. Images are staged by the test; the server's side is tested with the whole program.
    @Suite(.serialized) struct Plans {
        /// Puts `image` on the target's card and expects a proof.
        @discardableResult
        private func flash(
            _ image: FilePath, _ target: VirtualTarget, mode: ChunkPlan.Mode = .normal, withPieces: Bool = false
        ) async throws -> (proof: FlashProof, run: PlanRun, staged: StagedPlan) {
            let staged = try await StagedPlan(image, for: target, mode: mode, withPieces: withPieces)
            let run = try await target.carryOut(staged)
            do throws(JudgementError) {
                return (try staged.plan.judge(report: run.report, outcome: run.outcome), run, staged)
            } catch {
                throw PlanFailure(reason: "\(error)\n\(run.console)")
            }
        }
        private struct PlanFailure: Error { let reason: String }

        /// What the target must say it could not do, as the judge puts it.
        private func failure(_ staged: StagedPlan, _ run: PlanRun) -> String {
            do throws(JudgementError) {
                _ = try staged.plan.judge(report: run.report, outcome: run.outcome)
                return "proven"
            } catch {
                return error.description
            }
        }

        @Test func `an empty card is written once, read back and proven; the same again writes nothing`() async throws {
            let fixture = try await OSImageFixture.small.value
            let target = try await VirtualTarget("plan-empty", card: fixture, machine: .fastest)
            let first = try await flash(fixture.image, target)
            #expect(try await target.holdsImage())
            #expect(try await target.keepsPartition1())
            #expect(first.proof.bytes.bytes == 20 << 20)
            // The rootfs is random data; of the boot partition the empty card has what is zero.
            #expect(first.proof.written.bytes > 12 << 20)
            #expect(first.run.report.retries == 0)
            // Law 3: the first block is made invalid before all else, and comes last; nothing is written twice but it.
            let writes = first.run.writes
            #expect(writes.first.map { [$0.block, $0.count] } == [bootStart, 1])
            #expect(writes.last.map { [$0.block, $0.count] } == [bootStart, 1])
            let onCard = writes.reduce(0) { $0 + $1.count } * 512
            #expect(onCard == Int(first.proof.written.bytes) + 512, "\(first.run.console)")
            #expect(writes.allSatisfy { $0.block >= bootStart })
            // A card that does not hold the image is not looked at chunk by chunk.
            let looked = first.run.console.matches(of: /sha256 for [0-9a-f]+ \.\.\. [0-9a-f]+ ==>/).count
            #expect(looked < first.staged.plan.chunks.count, "\(first.run.console)")
            // What the target is.
            #expect(first.run.report.card == "52504946-01")

            let before = try await target.cardDigest()
            let second = try await flash(fixture.image, target)
            #expect(second.proof.written.bytes == 0)
            #expect(second.proof.same == second.proof.bytes)
            #expect(second.run.writes.isEmpty)
            #expect(second.run.wire < 32 << 10, "\(second.run.sent)")
            #expect(second.run.report.fetched.sectors == 0)
            #expect(try await target.cardDigest() == before)
        }

        @Test func `a small change is found, fetched and written in pieces`() async throws {
            let fixture = try await OSImageFixture.small.value
            let target = try await VirtualTarget("plan-change", card: fixture, machine: .fastest)
            try await flash(fixture.image, target)
            // A byte at a chunk's start, 100 KiB across pieces, the image's last byte: in three chunks of 2 MiB.
            let changed = target.directory.appending("changed.img")
            let made = try await bash(
                """
                cp $IMAGE $CHANGED
                printf x | dd of=$CHANGED bs=1 seek=$((12 << 20)) conv=notrunc status=none
                head -c 102400 /dev/urandom | dd of=$CHANGED bs=1000 seek=15500 conv=notrunc status=none
                printf x | dd of=$CHANGED bs=1 seek=$((24 * 1048576 - 1)) conv=notrunc status=none
                """, ["IMAGE": fixture.image.string, "CHANGED": changed.string])
            #expect(made.status == 0, made.all)
            let second = try await flash(changed, target, withPieces: true)
            #expect(try await target.holdsImage(changed))
            #expect(try await target.keepsPartition1())
            // Two pieces of one, 4 or 5 of the other, the partition's first sector.
            #expect(second.proof.written.bytes <= 7 * 32768 + 512)
            #expect(second.proof.written.bytes >= 3 * 32768 + 512)
            // A chunk's pieces come with one file, whether they lie together or not.
            #expect(second.run.sent.keys.filter { $0.hasPrefix("image@") }.count == 3, "\(second.run.sent)")
            #expect(second.run.wire < 300 << 10, "\(second.run.sent)")
            // Behind a chunk of which pieces were written the next one is compared without its hash: the second, which
            // differs too, and the third, which does not and is proven by its hash all the same.
            let looked = Set(second.run.chunks("looking for what differs"))
            #expect(looked.count == 4, "\(second.run.console)")
            #expect(looked.subtracting(second.run.chunks("wrote")).count == 1, "\(second.run.console)")
            #expect(looked.intersection(second.run.chunks("there already")).count == 1, "\(second.run.console)")
            #expect(second.run.writes.first?.block == bootStart)
            #expect(second.run.writes.last.map { [$0.block, $0.count] } == [bootStart, 1])
        }

        @Test
        func `a server that has no ranges costs the file of a chunk, not the flash, and not the writing of all of it`()
            async throws
        {
            let fixture = try await OSImageFixture.small.value
            let target = try await VirtualTarget("plan-foreign", card: fixture, machine: .fastest)
            try await flash(fixture.image, target)
            let changed = target.directory.appending("changed.img")
            let made = try await bash(
                "cp $IMAGE $CHANGED; printf x | dd of=$CHANGED bs=1 seek=$((13 << 20)) conv=notrunc status=none",
                ["IMAGE": fixture.image.string, "CHANGED": changed.string])
            #expect(made.status == 0, made.all)
            let staged = try await StagedPlan(changed, for: target, withPieces: true)
            let run = try await target.carryOut(
                staged,
                server: """
                    chmod 777 $TFTP/$MAC
                    $BUILD/peers/atftpd/usr/sbin/atftpd --daemon --no-fork --user root.root \
                      --bind-address 192.168.77.1 $TFTP & server=$!
                    trap 'kill $server' EXIT
                    for i in {1..1200}; do ss -Hlun sport = :69 | grep -q . && break; sleep 0.1; done
                    """)
            let proof = try staged.plan.judge(report: run.report, outcome: run.outcome)
            // The chunk's file is loaded, and what differs is written.
            #expect(proof.written.bytes == 32768 + 512)
            #expect(run.console.contains("rpiflash: image cannot be read in pieces: files of chunks are loaded"))
            #expect(try await target.holdsImage(changed))
        }

        /// Power cuts right behind a chunk that was written, in the middle of one, and before the last: by the sectors
        /// written, the first of partition 2 twice. PowerCuts has all other points.
        @Test(.enabled(if: Bench.olderUBoot == nil, "cuts by number are sandbox's"))
        func `law 3 - a card whose power was cut does not boot, and the next run goes on where it was`() async throws {
            let fixture = try await OSImageFixture.small.value
            // On a blank card nothing would have to be made invalid.
            let older = try await OSImageFixture(name: "plan-older", bootMiB: 8, rootfsMiB: 12)
            let target = try await VirtualTarget("plan-cut", card: fixture, image: older, machine: .sandbox)
            try await target.flash()
            let staged = try await StagedPlan(fixture.image, for: target, chunkSectors: 0xc00)
            try #require(staged.plan.chunks.count == 15)
            for count in [0xc00, 0x1234, 0x2000] {
                let cut = try await target.exec(
                    """
                    SERVER=\(Bench.binaries.appending("rpiflash-test-server").string)
                    \(target.server(staged))
                    echo VT_FAULTS=cut-write=\(count) >>$D/env
                    $VT reset $D
                    for i in {1..3000}; do
                        [ "$(sed -n 's/^written *//p' $D/counters | tr -d ' ')" != \(count) ] || break
                        sleep 0.1
                    done
                    $VT stop $D
                    kill $server; trap - EXIT
                    sed -i /VT_FAULTS/d $D/env
                    $VT reset $D
                    $VT wait $D '\(halfWritten)' --timeout 900
                    """)
                try #require(cut.status == 0, "\(cut.all)\(target.console)")
            }
            let written = consoleChunks(target.console, "wrote")
            let run = try await target.carryOut(staged)
            #expect(failure(staged, run) == "proven")
            #expect(try await target.holdsImage(fixture.image))
            #expect(try await target.keepsPartition1())
            // Nothing that was proven is written again, by no run.
            #expect(Set(written).count == written.count, "\(written)\n\(target.console)")
            #expect(Set(run.chunks("there already")).isSuperset(of: written), "\(written)\n\(run.console)")
            #expect(Set(run.chunks("wrote")).isDisjoint(with: written))
        }

        @Test func `a chunk that is not what was planned is not written, and the report says which`() async throws {
            let fixture = try await OSImageFixture.small.value
            let target = try await VirtualTarget("plan-corrupt", card: fixture, machine: .fastest)
            // The first chunk of the rootfs, of random data, so raw.
            func stage(_ command: String) async throws -> (StagedPlan, PlanRun) {
                let staged = try await StagedPlan(fixture.image, for: target)
                let changed = try await bash(command, ["FILE": staged.file(4).string])
                try #require(changed.status == 0, changed.all)
                return (staged, try await target.carryOut(staged))
            }
            // The place is told by numbers of their own.
            let chunk = "c4"
            let (corrupt, first) = try await stage("printf x | dd of=$FILE bs=1 seek=77777 conv=notrunc status=none")
            #expect(
                failure(corrupt, first)
                    == "target failed: \(chunk) is not what was planned: another SHA-256; first bad chunk 5 of 11 at LBA 155648"
            )
            #expect(first.report.code == .wrongFile)
            #expect(first.report.retries >= 3)
            #expect(first.writes.allSatisfy { $0.block < 0x26000 })
            #expect(first.outcome.written.bytes == 4 * (2 << 20) - 512)
            #expect(first.console.contains(halfWritten))

            let (short, second) = try await stage("truncate -s -1 $FILE")
            #expect(
                failure(short, second)
                    == "target failed: \(chunk) has 0x1fffff bytes instead of 0x200000; first bad chunk 5 of 11 at LBA 155648"
            )
            #expect(second.report.code == .wrongFile)
            let (missing, third) = try await stage("rm $FILE")
            #expect(
                failure(missing, third)
                    == "target failed: \(chunk) did not load; first bad chunk 5 of 11 at LBA 155648")
            #expect(third.report.code == .notLoaded)
            try await flash(fixture.image, target)
            #expect(try await target.holdsImage())
        }

        @Test func `a card that says it wrote, and did not, is a failure`() async throws {
            let fixture = try await OSImageFixture.small.value
            let target = try await VirtualTarget("plan-liar", card: fixture, machine: .fastest)
            try await target.lose(sector: 160000)
            let staged = try await StagedPlan(fixture.image, for: target)
            let run = try await target.carryOut(staged)
            // Sector 160000 lies in the rootfs's second chunk of 0x1000 sectors, which starts at 0x27000.
            #expect(
                failure(staged, run)
                    == "target failed: the card does not hold what was written; first bad chunk 6 of 11 at LBA 159744")
            #expect(run.report.code == .lostWrite)
            #expect(run.report.badLBA == LBA(0x27000))
            #expect(run.console.contains(halfWritten))
            try await target.loseNothing()
            try await flash(fixture.image, target)
            #expect(try await target.holdsImage())
        }

        /// Boot scripts before number 4 do not try a write again; the plan does.
        @Test func `a card that loses a write once costs a retry, with an older boot script too`() async throws {
            let fixture = try await OSImageFixture.small.value
            let target = try await VirtualTarget("plan-older", card: fixture, machine: .fastest)
            try await target.lose(sector: 160000, once: true)
            let older = #"""
                setenv l_recover
                setenv l_retries
                setenv l_sector 0x80
                setenv l_write 'setenv l_done 0; setenv l_same yes; while test ${l_same} = yes && itest ${l_done} -lt ${l_blocks}; do run l_step; if mmc write ${l_ram} ${l_at} ${l_some}; then setexpr l_done ${l_done} + ${l_some}; else setenv l_same no; fi; done; test ${l_same} = yes && run l_verify'
                setenv l_verify 'setenv l_done 0; setenv l_same yes; while test ${l_same} = yes && itest ${l_done} -lt ${l_blocks}; do run l_step; if mmc read ${l_back} ${l_at} ${l_some} && cmp.l ${l_back} ${l_ram} ${l_words}; then setexpr l_done ${l_done} + ${l_some}; else setenv l_same no; fi; done; test ${l_same} = yes'

                """#
            let staged = try await StagedPlan(fixture.image, for: target) { older + $0 }
            let run = try await target.carryOut(staged)
            #expect(failure(staged, run) == "proven", "\(run.console)")
            // On a busy machine QEMU's controller times out too.
            #expect(run.report.retries >= 1)
            #expect(consoleChunks(run.console, "the card does not hold what was written").contains(6))
            #expect(try await target.holdsImage())
        }

        @Test func `verify writes nothing and finds what differs; full writes everything`() async throws {
            let fixture = try await OSImageFixture.small.value
            let target = try await VirtualTarget("plan-modes", card: fixture, machine: .fastest)
            try await flash(fixture.image, target)
            let proven = try await flash(fixture.image, target, mode: .verify)
            #expect(proven.run.writes.isEmpty)

            // Two sectors of the card change: in the rootfs's second chunk and in its last.
            let changed = try await bash(
                """
                for sector in $((0x27001)) $((0x2bfff)); do
                    printf x | dd of=$D/card.img bs=1 seek=$((sector * 512)) conv=notrunc status=none
                done
                """, ["D": target.directory.string])
            #expect(changed.status == 0)
            let before = try await target.cardDigest()
            let staged = try await StagedPlan(fixture.image, for: target, mode: .verify)
            let run = try await target.carryOut(staged)
            #expect(
                failure(staged, run)
                    == "target failed: 0x2 chunks differ, the first is 6 at sector 0x27000; "
                    + "first bad chunk 6 of 11 at LBA 159744")
            #expect(run.report.badCount == 2)
            #expect(run.report.code == .differs)
            #expect(run.writes.isEmpty)
            #expect(run.wire < 32 << 10)
            #expect(try await target.cardDigest() == before)

            let full = try await flash(fixture.image, target, mode: .full)
            #expect(full.proof.same.bytes == 0)
            #expect(full.proof.written == full.proof.bytes)
            #expect(try await target.holdsImage())
        }

        @Test func `what does not fit the card or its boot script is refused before anything is written`() async throws
        {
            let small = try await OSImageFixture.small.value
            let target = try await VirtualTarget("plan-fit", card: small, machine: .fastest)
            let before = try await target.cardDigest()
            let large = try await OSImageFixture(name: "plan-large", bootMiB: 9, rootfsMiB: 4, cardSize: "128 MiB")
            let staged = try await StagedPlan(large.image, for: target)
            let run = try await target.carryOut(staged)
            #expect(
                failure(staged, run)
                    == "target failed: the image does not fit the card: it needs 0x4800 and 0x2000 sectors, "
                    + "partitions 2 and 3 have 0x4000 and 0x1a000")
            #expect(run.report.code == .noFit)
            #expect(run.outcome.written.bytes == 0)

            let other = try await StagedPlan(small.image, for: target) {
                $0.replacingOccurrences(of: "test \"${l_api}\" = 1", with: "test \"${l_api}\" = 2")
            }
            let refused = try await target.carryOut(other)
            #expect(failure(other, refused).hasPrefix("target failed: this plan is for boot scripts with l_api 1"))
            #expect(refused.report.code == .oldBootScript)
            #expect(try await target.cardDigest() == before)
        }

        @Test(arguments: [2, 3])
        func `law 1 - a plan with a chunk outside of its partition writes nothing`(partition: Int) async throws {
            let small = try await OSImageFixture.small.value
            let target = try await VirtualTarget("plan-outside-\(partition)", card: small, machine: .fastest)
            let before = try await target.cardDigest()
            // The first chunk of all that a server would have made so; its file is a good one.
            let staged = try await StagedPlan(small.image, for: target) { script in
                script.replacing(
                    #/p_number=1 p_partition=\d p_offset=0x[0-9a-f]+ /#,
                    with: "p_number=1 p_partition=\(partition) p_offset=\(partition == 2 ? "0x3fff" : "0x19fff") ")
            }
            let run = try await target.carryOut(staged)
            #expect(failure(staged, run) == "target failed: chunk 1 lies outside of partition \(partition)")
            #expect(run.report.code == .outside)
            #expect(run.outcome.written.bytes == 0)
            #expect(try await target.cardDigest() == before)
        }
    }
}
