import Foundation
import SystemPackage
import TestSupport
import Testing

extension SystemTests.ToLinux {
    /// QEMU's Raspberry Pis with a model of their USB Ethernet: the U-Boot that goes on users' cards, with its own drivers
    /// of the network and of the card, and its own device tree. docs/fidelity.md says what that shows, and what not.
    @Suite(.serialized) struct RaspberryPis {
        /// What the Linux on the card says when it is up, with the address that U-Boot gave it.
        private func expectLinux(_ target: VirtualTarget, model: String) {
            let console = target.console
            #expect(console.contains("rpiflash: boot script for rpi_arm64"))
            #expect(console.contains("Machine model: \(model)"), "\(console)")
            #expect(console.contains(/rpiflash-demo: up, root is \/dev\/mmcblk[0-9]p3/), "\(console)")
            #expect(console.contains("rpiflash-demo: eth0 is 192.168.77.2/24, TCP port 22 is open"), "\(console)")
        }

        /// Times that the chip negotiated its link, as its driver says.
        private func negotiations(_ console: some StringProtocol) -> Int {
            String(console).matches(
                of: /Waiting for Ethernet connection\.\.\. done|Waiting for PHY auto negotiation to complete/
            ).count
        }

        /// One card for all of this, as each start of a Linux costs: a power cut in a flash that loses packets, a real
        /// negotiation's time, the chip's real FIFO.
        @Test func `a Pi 3 that lost its power and packets flashes to a Linux that is up, and the same image again`()
            async throws
        {
            let fixture = try await OSImageFixture(demo: ())
            let target = try await VirtualTarget(
                "pi3", card: fixture, cardSize: "256MiB", machine: .pi3, options: "--autoneg 2000 --real-fifo")
            let cut = try await target.exec(
                """
                mkdir -p $TFTP
                $VT loss $D 10
                $FLASH --no-wait $IMAGE vt & flash=$!
                trap 'kill $flash 2>/dev/null || true' EXIT
                # The image is prepared first; there is no QEMU before the reset.
                until [ -e $D/qemu.pid ]; do sleep 0.2; done
                $VT wait $D 'rpiflash: chunk [0-9]+ of [0-9]+: wrote' --timeout 900 >&2
                $VT stop $D
                kill -TERM $flash
                wait $flash || echo "cut, status $?"
                $VT reset $D
                $VT wait $D 'rpiflash: cannot boot: .*half written' --timeout 900
                """)
            #expect(cut.status == 0, cut.all)
            #expect(cut.stdout.contains("cut, status 130"), cut.all)
            #expect(target.console.firstMatch(of: /Starting kernel/) == nil, "\(target.console)")

            let before = target.console.count
            let result = try await target.flash("--wait-timeout 900s")
            #expect(result.stdout.contains(/flashed and proven, .* TCP port 22 answered/), result.all)
            let flash = target.console.dropFirst(before)
            // What was proven before the cut is not written once more.
            #expect(flash.contains(/chunk [0-9]+ of [0-9]+: there already/), "\(flash)")
            expectLinux(target, model: "Raspberry Pi 3 Model B")
            // Ethernet is kept up: it is started for the first question of all, and after one that found no file.
            #expect((1...3).contains(negotiations(flash)), "\(flash)")

            let again = try await target.flash("--no-wait")
            #expect(again.stdout.contains(/flashed and proven/), again.all)
            #expect(try await target.keepsPartition1())
            // The chip says at the end of each machine what it has counted.
            let chip = text(of: target.directory.appending("chip.log"))
            #expect(chip.contains(/\d+ frames to the target, \d+ from it, \d+ lost without room/), "\(chip)")
        }

        /// Linux makes up a MAC here: QEMU says of a 3+ that it is a 3B, and the 3B's device tree does not have its chip.
        @Test func `a Pi 3+ whose card loses step flashes to a Linux that is up, and the same image again`()
            async throws
        {
            let fixture = try await OSImageFixture(demo: ())
            let target = try await VirtualTarget(
                "pi3plus", card: fixture, cardSize: "256MiB", machine: .pi3plus, options: "--real-fifo")
            let result = try await target.exec(
                """
                mkdir -p $TFTP
                $FLASH --verbose --wait-timeout 900s $IMAGE vt & flash=$!
                trap 'kill $flash 2>/dev/null || true' EXIT
                until [ -e $D/qemu.pid ]; do sleep 0.2; done
                $VT wait $D 'MMC write: .* count 8192' --timeout 600 >&2
                $VT glitch $D
                wait $flash
                """)
            #expect(result.status == 0, result.all)
            #expect(result.stdout.contains(/flashed and proven, .* TCP port 22 answered/), result.all)
            #expect(target.console.contains("rpiflash: a command to the card failed: it is set up anew, retry 0x1"))
            #expect(
                target.console.contains(/sectors written, the card had 0x[1-9a-f][0-9a-f]* retries/),
                "\(target.console)")
            expectLinux(target, model: "Raspberry Pi 3 Model B+")
            let first = transfers(result.stderr)
            #expect(first.first.map { $0.window == 32 && $0.repeated * 10 > $0.packets } == true, result.all)
            // How much less is sent again depends on the host: 1 to 7 of 100 packets, 11 on a very busy one.
            #expect(first.dropFirst().allSatisfy { $0.window < 32 }, result.all)
            #expect(share(of: first.dropFirst()) < share(of: first.prefix(1)) / 2, result.all)
            let again = try await target.flash("--no-wait")
            #expect(again.stdout.contains(/flashed and proven/), again.all)
            // What was learnt is not learnt once more.
            let full = try await target.flash("--full --verbose --no-wait")
            let later = transfers(full.stderr)
            #expect(!later.isEmpty && later.allSatisfy { $0.window < 32 }, full.all)
            #expect(try await target.keepsPartition1())
        }

        /// The transfers of which the window can learn, of those that a log tells of.
        private func transfers(_ log: String) -> [(packets: Int, repeated: Int, window: Int)] {
            log.matches(of: /the target has \S+: (\d+) packets, (\d+) of them again, window (\d+)/).compactMap {
                match in
                guard let packets = Int(match.output.1), let repeated = Int(match.output.2),
                    let window = Int(match.output.3), packets >= 64
                else { return nil }
                return (packets, repeated, window)
            }
        }

        /// The share of packets that were sent again.
        private func share(of transfers: ArraySlice<(packets: Int, repeated: Int, window: Int)>) -> Double {
            let all = transfers.reduce(0) { $0 + $1.packets }
            return all == 0 ? 1 : Double(transfers.reduce(0) { $0 + $1.repeated }) / Double(all)
        }

        /// Linux does not start on QEMU's Pi 4, so the flash ends with the target's report.
        @Test(.enabled(if: Self.hasPi4, "this QEMU has no raspi4b; version 9 and newer do"))
        func `a Pi 4 with USB Ethernet in place of its own flashes`() async throws {
            let fixture = try await OSImageFixture.small.value
            let target = try await VirtualTarget("pi4", card: fixture, machine: .pi4)
            let result = try await target.flash("--no-wait --as-is")
            #expect(result.stdout.contains(/flashed and proven/), result.all)
            // The device tree is a Pi 4's: emmc2 is in no other.
            #expect(target.console.contains("mmc@7e340000: 1"), "\(target.console)")
            #expect(target.console.contains("rpiflash: boot script for rpi_arm64"))
            #expect(try await target.keepsPartition1())
        }

        /// Not a failure in CI either, whose Debian's QEMU decides.
        static let hasPi4: Bool = {
            let process = Process()
            process.executableURL = URL(filePath: "/bin/sh")
            process.arguments = ["-c", "qemu-system-aarch64 -M help | grep -q '^raspi4b '"]
            process.standardError = FileHandle.nullDevice
            guard (try? process.run()) != nil else { return false }
            process.waitUntilExit()
            return process.terminationStatus == 0
        }()
    }
}
