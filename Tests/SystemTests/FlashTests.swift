import Foundation
import SystemPackage
import TestSupport
import Testing

extension SystemTests.ToLinux {
    /// The whole flow with a real kernel: what the product is for.
    @Suite(.serialized) struct WholeFlow {
        @Test func `flashes the demo's image and sees its Linux come up from partition 3`() async throws {
            let fixture = try await OSImageFixture(demo: ())
            let digest = try await bash("sha256sum <$IMAGE", ["IMAGE": fixture.image.string]).stdout
            let target = try await VirtualTarget("whole", card: fixture, cardSize: "256MiB")
            let result = try await target.flash("--wait-timeout 900s")

            // Exit status 0 is proven: everything that is in use, and the target answers. What is zeros in the image is
            // so on an empty card, and is found there.
            let flash = try #require(
                result.stdout.firstMatch(
                    of: /flashed and proven, (\d+) bytes \((\d+) written, \d+ loaded\) in .* TCP port 22 answered/),
                "\(result.all)")
            let (bytes, written) = (Int(flash.output.1) ?? 0, Int(flash.output.2) ?? 0)
            #expect(bytes > 16 << 20 && bytes / 2 < written && written <= bytes, result.all)
            let up = try #require(
                target.console.firstMatch(of: /rpiflash-demo: up, root is (\S+)/), "\(target.console)")
            #expect(up.output.1 == "/dev/mmcblk0p3")
            // The command line keeps everything but root= (and the serial console's name).
            #expect(
                target.console.contains(
                    "Kernel command line:  console=ttyS1,115200 console=ttyAMA0,115200 console=tty1 "
                        + "root=PARTUUID=52504946-03 rootfstype=ext4 fsck.repair=yes rootwait"))

            // Its record has what the console said over the network, and what the card and U-Boot are.
            let record = try await bash(
                "$RPIFLASH runs show last --runs $D/runs; $RPIFLASH runs show vt --console --runs $D/runs",
                ["D": target.directory.string])
            #expect(record.stdout.contains(/outcome +proven\n/), record.all)
            #expect(
                record.stdout.contains(/card +aa QEMU! 256 MiB, PARTUUID 52504946-01, .* written and read back/),
                record.all)
            #expect(record.stdout.contains(/board +qemu_arm64, U-Boot 2025.01 .*, boot script 6\n/), record.all)
            #expect(record.stdout.contains(#/\] rpiflash: flash plan [0-9a-f]{16}, normal: /#), record.all)
            #expect(record.stdout.contains("] rpiflash: starting /kernel8.img: "), record.all)

            // Law 1, law 4, and nothing left behind.
            #expect(try await target.keepsPartition1())
            #expect(try await bash("sha256sum <$IMAGE", ["IMAGE": fixture.image.string]).stdout == digest)
            #expect(try await bash("ls -A $D/tftp", ["D": target.directory.string]).stdout == "")

            // The boot partition is not written by the Linux that came up, so it still has the image's files, but for root=.
            let boot = try await bash(
                """
                export MTOOLS_SKIP_CHECK=1
                mkdir $D/image $D/card
                mcopy -s -i $IMAGE@@8388608 "::*" $D/image
                mcopy -s -i $D/card.img@@71303168 "::*" $D/card
                sed -i 's#root=PARTUUID=52504631-02 #root=/dev/mmcblk0p3 #' $D/image/cmdline.txt
                grep -c root=/dev/mmcblk0p3 $D/image/cmdline.txt
                diff -r $D/image $D/card
                """, ["IMAGE": fixture.image.string, "D": target.directory.string])
            #expect(boot.status == 0 && boot.stdout == "1\n", boot.all)
        }
    }
}

extension SystemTests.ToProof {
    /// One flash after another on the small image.
    @Suite(.serialized) struct Flashing {
        @Test func `law 2 - flashes in more than 10 parts, and the card equals the image`() async throws {
            let target = try await VirtualTarget("parts", card: OSImageFixture.long.value, machine: .fastest)
            let result = try await target.flash("--protocol parts --no-wait --part-size 5MiB")
            #expect(try await target.holdsImage())
            #expect(try await target.keepsPartition1())
            #expect(target.console.contains("rpi_image_part_11"))
            #expect(target.console.contains("rpiflash: flashing 0xc parts"), "\(target.console)")
            #expect(result.stdout.contains("\(52 << 20)"), result.all)
            // Both first block's writes, law 3: zeros before all else, the block itself last.
            let writes = target.console.matches(of: /MMC write: dev # 0, block # (\d+), count (\d+)/)
                .compactMap { match in Int(match.output.1).flatMap { block in Int(match.output.2).map { (block, $0) } }
                }
            // At most 4 MiB a command: 12 parts of up to 5 MiB, and the first block twice.
            #expect(writes.allSatisfy { $0.1 <= 8192 })
            #expect(writes.count == 24)
            #expect(writes.first?.0 == writes.last?.0 && writes.first?.1 == 1 && writes.last?.1 == 1)
            #expect(writes.map(\.0).min() == writes.first?.0)
        }

        @Test func `pads the last sector of an image that is not a multiple of 512 bytes`() async throws {
            let small = try await OSImageFixture.small.value
            let target = try await VirtualTarget("padded", card: small, machine: .fastest)
            // Its last 100 bytes are missing: sectors are padded with zeros, never cut.
            let odd = target.directory.appending("odd.img")
            let made = try await bash(
                "cp $IMAGE $ODD; truncate -s -100 $ODD; cp $ODD $ODD.padded; truncate -s +100 $ODD.padded",
                ["IMAGE": small.image.string, "ODD": odd.string])
            #expect(made.status == 0, made.all)
            let result = try await target.exec(
                "mkdir -p $TFTP; $FLASH --protocol parts --no-wait $IMAGE vt", image: odd)
            #expect(result.status == 0, result.all)
            #expect(result.stdout.contains("\(20 << 20)"), result.all)
            #expect(try await target.holdsImage(FilePath(odd.string + ".padded")))
        }

        @Test(arguments: [
            (
                "tftpd-hpa",
                "$BUILD/peers/tftpd-hpa/usr/sbin/in.tftpd --foreground --secure --create --user root "
                    + "--address 192.168.77.1:69 $TFTP"
            ),
            (
                "atftpd",
                "$BUILD/peers/atftpd/usr/sbin/atftpd --daemon --no-fork --user root.root "
                    + "--bind-address 192.168.77.1 $TFTP"
            ),
        ])
        func `uses a TFTP server that is there already, and says so`(name: String, command: String) async throws {
            let target = try await VirtualTarget("foreign-\(name)", card: OSImageFixture.small.value, machine: .fastest)
            let result = try await target.exec(
                """
                mkdir -p $TFTP
                \(command) & server=$!
                trap 'kill $server' EXIT
                for i in {1..1200}; do ss -Hlun sport = :69 | grep -q . && break; sleep 0.1; done
                $FLASH --protocol parts --no-wait $IMAGE vt
                ls -A $TFTP >&2
                $FLASH --protocol plan --full --no-wait $IMAGE vt
                ls -A $TFTP >&2
                """)
            #expect(result.status == 0, result.all)
            #expect(result.stdout.components(separatedBy: "flashed and proven").count == 3, result.all)
            #expect(target.console.contains("rpiflash: running the flash plan"))
            #expect(
                result.stderr.contains("using the TFTP server that is there, on 192.168.77.1:69"), result.all)
            #expect(try await target.holdsImage())
        }

        @Test func `takes its address by DHCP where rpiflash.env names none`() async throws {
            let target = try await VirtualTarget("dhcp", card: OSImageFixture.small.value, machine: .fastest)
            let edited = try await bash(
                """
                mcopy -n -i $D/card.img@@4194304 ::rpiflash.env $D/env.txt
                # Nobody has the console's address: no reason to wait for long.
                sed -i 's/^ipaddr=.*/ipaddr=/; s/^netconsole=.*/netconsole=192.168.77.99/' $D/env.txt
                mcopy -o -i $D/card.img@@4194304 $D/env.txt ::rpiflash.env
                """, ["D": target.directory.string, "MTOOLS_SKIP_CHECK": "1"])
            #expect(edited.status == 0, edited.all)
            try await target.flash()
            #expect(target.console.contains("DHCP client bound to address 192.168.77.2"))
            #expect(target.console.contains("ping failed; host 192.168.77.99 is not alive"))
            #expect(try await target.holdsImage())
        }

        /// Without a listener each packet of its console is answered with ICMP, which U-Boot takes for its server's end.
        @Test func `a row with another address than the target's disturbs nothing, and the console is kept`()
            async throws
        {
            let target = try await VirtualTarget("address", card: OSImageFixture.small.value, machine: .fastest)
            let result = try await target.exec(
                """
                sed -i 's/192\\.168\\.77\\.2\\b/192.168.77.88/' $D/targets.csv
                mkdir -p $TFTP
                $FLASH --no-wait --full $IMAGE vt
                $RPIFLASH runs show --runs $D/runs --console last
                """)
            #expect(result.status == 0, "\(result.all)\(target.console)")
            #expect(
                result.stderr.contains("warning: target vt asked from 192.168.77.2, but its row has 192.168.77.88"),
                result.all)
            #expect(!target.console.contains("TFTP server died"), "\(target.console)")
            #expect(result.stdout.contains("rpiflash: OK, 0x"), result.all)
        }

        /// The original counted in 32 bits. A plan that claims to have written 156 GB shows what the target would say.
        @Test func `reports a count over 4 GiB exactly, and runs a plan where the server has one`() async throws {
            let target = try await VirtualTarget("count", card: OSImageFixture.small.value, machine: .fastest)
            let result = try await target.exec(
                """
                mkdir -p $TFTP/$MAC; chmod 777 $TFTP/$MAC
                printf 'setenv l_written %s\nsetenv l_outcome %s\nrun l_report\n' '' FAILED 12345678 OK >$D/plan.cmd
                mkimage -A arm -T script -C none -n plan -d $D/plan.cmd $TFTP/$MAC/flash.scr >/dev/null
                $BUILD/peers/atftpd/usr/sbin/atftpd --daemon --no-fork --user root.root --bind-address 192.168.77.1 $TFTP &
                server=$!
                trap 'kill $server' EXIT
                $VT reset $D
                $VT wait $D 'rpiflash: cannot boot' --timeout 900 >/dev/null
                od -An -tx8 --endian=little $TFTP/$MAC/OK
                [ ! -e $TFTP/$MAC/FAILED ]
                """)
            #expect(result.status == 0, "\(result.all)\(target.console)")
            // 0x12345678 sectors of 0x200 bytes.
            #expect(result.stdout.trimmingCharacters(in: .whitespacesAndNewlines) == "0000002468acf000", result.all)
            #expect(target.console.contains("rpiflash: running the flash plan"))
            // A count that is missing is not written to RAM, and nothing is uploaded for it.
            #expect(target.console.contains("rpiflash: cannot upload FAILED"))
        }

        @Test func `without a server the target boots what it has, after a bounded wait`() async throws {
            let target = try await VirtualTarget("alone", card: OSImageFixture.small.value, machine: .fastest)
            try await target.flash()
            let alone = try await target.exec(
                """
                printf 'serverip=192.168.77.1\nipaddr=192.168.77.2\nnetmask=255.255.255.0\nnetconsole=192.168.77.1\n' >$D/env.txt
                mcopy -o -i $D/card.img@@4194304 $D/env.txt ::rpiflash.env
                "$RPIFLASH" console vt --inventory $D/targets.csv --runs $D/runs >$D/heard & console=$!
                $VT reset $D; $VT wait $D 'rpiflash: cannot boot: /kernel8.img is no kernel that booti starts' --timeout 900
                until grep 'rpiflash: cannot boot: /kernel8.img is no kernel that booti starts' $D/heard; do sleep 0.1; done
                kill $console; wait $console
                """)
            // U-Boot's console comes over the network from the boot script on.
            #expect(alone.status == 0, "\(alone.all)\(target.console)\(text(of: target.directory.appending("heard")))")
            #expect(try await target.holdsImage())
        }
    }
}
