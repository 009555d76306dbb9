import Foundation
import SystemPackage
import TestSupport
import Testing

extension SystemTests.ToProof {
    /// A card that knows the bench's key, a server that has it, and rogues. docs/security.md has the table.
    @Suite(.serialized) struct SignedPlans {
        /// The sandbox, as it is the fastest; make signed-test asks for QEMU's machines too.
        private static let machine =
            ProcessInfo.processInfo.environment["SIGNED_MACHINE"].flatMap(Machine.init) ?? Machine.sandbox

        /// A card with a key, which a signed flash has proven; what was on the wire then is in `heard`.
        private func bench(
            _ name: String, image: OSImageFixture
        ) async throws -> (target: VirtualTarget, keys: FilePath) {
            let keys = Bench.scratch.appending("\(name)-keys")
            let made = try await bash("$RPIFLASH keys init --keys $KEYS", ["KEYS": keys.string])
            try #require(made.status == 0, made.all)
            let target = try await VirtualTarget(
                name, card: image, machine: Self.machine, cardArguments: "--key \(keys.string)/current.key")
            return (target, keys)
        }

        /// Shell functions: `flash` records what is served, as who listens does; `rogue` NAME serves $D/rogue, resets the
        /// target, and leaves its console and report as NAME.console and NAME.report.
        private static let functions = """
            mkdir -p $TFTP $D/heard
            VT_FROM() { stat -c %s $D/console.log; }
            flash() {
                while sleep 0.02; do cp -n $TFTP/$MAC/* $D/heard/ 2>/dev/null || true; done & listener=$!
                status=0
                $FLASH --keys $KEYS --no-wait "$@" $IMAGE vt || status=$?
                kill $listener
                return $status
            }
            rogue() {
                mkdir -p $D/root; rm -rf $D/root/$MAC; cp -rL $D/rogue $D/root/$MAC
                $SERVER $D/root 192.168.77.1 $MAC >$D/server.log & server=$!
                # Who listens to no console answers it with ICMP, which U-Boot takes for the end of its TFTP server.
                socat -u UDP4-RECV:6666 OPEN:/dev/null & listener=$!
                until grep -q serving $D/server.log; do sleep 0.05; done
                from=$(VT_FROM)
                before=$(sha256sum <$D/card.img)
                $VT reset $D
                $VT wait $D 'rpiflash: (starting|cannot boot:) /kernel8.img' --timeout 900 >/dev/null
                $VT stop $D
                kill $server $listener
                wait $server $listener 2>/dev/null || true
                tail -c +$((from + 1)) $D/console.log | tr -d '\\r' >$D/$1.console
                tr '\\0' '\\n' <$D/root/$MAC/REPORT >$D/$1.report || true
                [ "$before" = "$(sha256sum <$D/card.img)" ] || { echo "$1: the card was written"; cat $D/$1.console; return 1; }
                ! grep -q 'ROGUE RAN' $D/$1.console || { echo "$1: it ran"; cat $D/$1.console; return 1; }
                echo "$1: $(sed -n 's/^rpi_code=//p' $D/$1.report)"
            }
            # sign TEXT KEYS OUT: as the owner of these keys could.
            sign() {
                name=$(basename "$(readlink -f $2/current.key)" .key)
                cp $1 $D/text
                echo '/dts-v1/; / { description = "x"; images { plan { data = /incbin/("text"); type = "script";
                    compression = "none"; hash-1 { algo = "sha256"; }; signature-1 { algo = "sha256,rsa2048";
                    key-name-hint = "'$name'"; }; }; }; configurations { default = "plan"; plan { script = "plan"; }; }; };' \\
                    >$D/text.its
                (cd $D && mkimage -f text.its -k $2 $3 >/dev/null)
            }
            """

        private func run(_ script: String, _ target: VirtualTarget, _ keys: FilePath) async throws -> CommandResult {
            try await target.exec(
                """
                KEYS=\(keys.string)
                SERVER=\(Bench.binaries.appending("rpiflash-test-server").string)
                \(Self.functions)
                \(script)
                """)
        }

        @Test func `a signed flash is proven, and a rogue server gets nothing run and nothing written`() async throws {
            let fixture = try await OSImageFixture.small.value
            let (target, keys) = try await bench("signed", image: fixture)
            let flashed = try await run("flash", target, keys)
            #expect(flashed.status == 0, "\(flashed.all)\(target.console)")
            #expect(try await target.keepsPartition1())
            let heard = try FileManager.default.contentsOfDirectory(atPath: target.directory.appending("heard").string)
            try #require(heard.contains("flash.scr") && heard.contains("permission"), "\(heard)")

            let rogues = try await run(
                """
                set_up() { rm -rf $D/rogue; mkdir $D/rogue; }
                set_up; echo 'echo ROGUE RAN' >$D/rogue.txt
                mkimage -A arm -O linux -T script -C none -n plan -d $D/rogue.txt $D/rogue/flash.scr >/dev/null
                rogue unsigned
                # By a key of the same name, which the card does not know.
                name=$(basename "$(readlink -f $KEYS/current.key)" .key)
                $RPIFLASH keys init --keys $D/others >/dev/null
                other=$(basename "$(readlink -f $D/others/current.key)" .key)
                mkdir $D/forged; cp $D/others/$other.key $D/forged/$name.key; cp $D/others/$other.crt $D/forged/$name.crt
                ln -s $name.key $D/forged/current.key
                set_up; sign $D/rogue.txt $D/forged $D/rogue/flash.scr; rogue other_key
                set_up; : >$D/rogue/rpi_image_parts; echo 'rpi_parts=0x1' >$D/rogue/rpi_image_parts; rogue parts
                # For another target, and a boot script in the place of a plan: both signed by the bench's own key.
                dumpimage -T flat_dt -p 0 -o $D/plan.txt $D/heard/flash.scr >/dev/null
                sed 's/'$MAC'/52:54:00:12:34:99/g' $D/plan.txt >$D/other.txt
                set_up; cp $D/heard/* $D/rogue; sign $D/other.txt $KEYS $D/rogue/flash.scr; rogue other_target
                $RPIFLASH_GEN bootscr --board \(Self.machine.board) --card $CARD --text -o $D/boot.txt >/dev/null
                set_up; sign $D/boot.txt $KEYS $D/rogue/flash.scr; rogue boot_script
                grep -q 'this is a boot script' $D/boot_script.console
                # All that was sent in the flash, once more.
                set_up; cp $D/heard/* $D/rogue; rogue replayed
                """, target, keys)
            #expect(rogues.status == 0, "\(rogues.all)")
            #expect(
                rogues.stdout == """
                    unsigned: not_signed
                    other_key: not_signed
                    parts: unsigned_parts
                    other_target: other_target
                    boot_script: not_signed
                    replayed: not_permitted

                    """, "\(rogues.all)\(target.console.suffix(4000))")

            // Still a bench: the same server flashes it again, and writes nothing.
            let again = try await run("flash --json | tail -n 1", target, keys)
            #expect(again.status == 0 && again.stdout.contains("\"written\":0}"), again.all)
        }

        @Test func `a signed plan that was altered at any place of its file does nothing`() async throws {
            let fixture = try await OSImageFixture.small.value
            let (target, keys) = try await bench("altered", image: fixture)
            let altered = try await run(
                """
                flash >/dev/null
                size=$(stat -c %s $D/heard/flash.scr)
                # The header, the structure, the text at its start, middle and end, hash, signature, names.
                for place in 0 9 21 60 100 160 $((size / 4)) $((size / 2)) $((size * 3 / 4)) $((size - 900)) \\
                    $((size - 600)) $((size - 300)); do
                    rm -rf $D/rogue; mkdir $D/rogue; cp $D/heard/* $D/rogue; rm $D/rogue/permission
                    byte=$(od -An -t u1 -j $place -N 1 $D/heard/flash.scr)
                    printf "\\\\x$(printf %x $((byte ^ 0x41)))" |
                        dd of=$D/rogue/flash.scr bs=1 seek=$place conv=notrunc status=none
                    rogue $place
                done
                """, target, keys)
            #expect(altered.status == 0, "\(altered.all)")
            let codes = altered.stdout.split(separator: "\n").map {
                $0.split(separator: ": ").last.map(String.init) ?? ""
            }
            #expect(codes.count == 12, "\(altered.all)")
            // What is described and dated is not signed, and not run either: such a plan is the same plan, sent again.
            #expect(codes.allSatisfy { $0 == "not_signed" || $0 == "not_permitted" }, "\(altered.all)")
            #expect(codes.count { $0 == "not_signed" } >= 7, "\(altered.all)")
        }

        @Test func `a server without the key and one that insists are told apart by their reports`() async throws {
            let fixture = try await OSImageFixture.small.value
            let (target, keys) = try await bench("keyless", image: fixture)
            let without = try await run(
                "KEYS=$D/none; $FLASH --keys $KEYS --no-wait $IMAGE vt", target, keys)
            #expect(without.status == 2, "\(without.all)")
            #expect(without.stderr.contains("the plan is not signed by a key of this card"), without.all)
            let parts = try await run("$FLASH --keys $KEYS --no-wait --protocol parts $IMAGE vt", target, keys)
            #expect(parts.status == 2, "\(parts.all)")
            #expect(parts.stderr.contains("an image in parts has no signature"), parts.all)
            #expect(try await target.keepsPartition1())

            // A card without a key, where the inventory asks for one.
            let plain = try await VirtualTarget("insisting", card: fixture, machine: Self.machine)
            let insisting = try await run(
                """
                sed -i '1s/$/,require_signed/; 2s/$/,yes/' $D/targets.csv
                before=$(sha256sum <$D/card.img)
                $FLASH --keys $KEYS --no-wait $IMAGE vt || status=$?
                [ "$before" = "$(sha256sum <$D/card.img)" ]
                exit $status
                """, plain, keys)
            #expect(insisting.status == 2, "\(insisting.all)")
            #expect(insisting.stderr.contains("the inventory requires a card with a key"), insisting.all)
            // And without that a signed plan is run by any card.
            let signed = try await run("sed -i 's/,yes$/,no/' $D/targets.csv; flash", plain, keys)
            #expect(signed.status == 0, "\(signed.all)\(plain.console.suffix(4000))")
        }

        @Test func `a card of two keys takes plans of either`() async throws {
            let fixture = try await OSImageFixture.small.value
            let (old, keys) = try await bench("rotated", image: fixture)
            let rotated = try await bash(
                """
                name=$(basename "$(readlink -f $KEYS/current.key)")
                mkdir $KEYS-old; cp $KEYS/* $KEYS-old
                $RPIFLASH keys rotate --keys $KEYS >&2
                echo $name
                """, ["KEYS": keys.string])
            try #require(rotated.status == 0, rotated.all)
            let oldKey = rotated.stdout.trimmingCharacters(in: .whitespacesAndNewlines)
            // The server has both: the card of the old one is flashed.
            let both = try await run("flash", old, keys)
            #expect(both.status == 0, both.all)
            let card = try await VirtualTarget(
                "two-keys", card: fixture, machine: Self.machine,
                cardArguments: "--key \(keys.string)/current.key --key \(keys.string)/\(oldKey)")
            let byOld = try await run("KEYS=$KEYS-old; flash", card, keys)
            #expect(byOld.status == 0, "\(byOld.all)\(card.console.suffix(4000))")
            let byNew = try await run("rm $KEYS/\(oldKey); flash", card, keys)
            #expect(byNew.status == 0, "\(byNew.all)\(card.console.suffix(4000))")
            // The new key alone is not enough for the card of the old one.
            let newForOld = try await run("flash", old, keys)
            #expect(newForOld.status == 2, newForOld.all)
        }
    }
}
