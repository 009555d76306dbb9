import Foundation
import SystemPackage
import TestSupport
import Testing

extension Bench {
    /// The image that `make debian-boot` has made. Without it the test of a real Debian is skipped: it takes minutes.
    static let debianImage = environment["RPIFLASH_DEBIAN_IMAGE"].map { FilePath($0) }
}

extension OSImageFixture {
    /// A real Debian's image; its card is larger than it needs, so that there is something to grow into.
    init(debian image: FilePath) throws {
        self.image = image
        cardFile = Bench.scratch.appending("debian.yaml")
        try "card_size: 1 GiB\ndisk_id: 0x52504946\nuboot_size: 64 MiB\nboot_size: 128 MiB\nrootfs_size: rest\n"
            .write(toFile: cardFile.string, atomically: true, encoding: .utf8)
    }
}

/// What a whole system makes of a card with a partition more than its image had.
@Suite(.serialized, .enabled(if: Bench.debianImage != nil, "run make debian-boot, which makes the image"))
struct DebianTests {
    @Test func `a Debian with PARTUUIDs in fstab comes up from partitions 2 and 3, and no mount fails`() async throws {
        let fixture = try OSImageFixture(debian: try #require(Bench.debianImage))
        let digest = try await bash("sha256sum <$IMAGE", ["IMAGE": fixture.image.string]).stdout
        let target = try await VirtualTarget("debian", card: fixture, cardSize: "1GiB")
        // Not waited for: the first start of all shall be the Pi's.
        let result = try await target.flash("--no-wait", seconds: 1000)
        try #require(result.status == 0 && result.stdout.contains("flashed and proven"), "\(target.console)")
        #expect(try await target.keepsPartition1())
        // Law 4.
        #expect(try await bash("sha256sum <$IMAGE", ["IMAGE": fixture.image.string]).stdout == digest)

        // The same card, with partition 1 as a Pi's card has it, in a Raspberry Pi 3.
        let pi = try await VirtualTarget("debian-pi", card: fixture, cardSize: "1GiB", board: "rpi_arm64")
        let booted = try await bash(
            """
            # Partitions 2 and 3 come from the flashed card, the rest stays.
            dd if=$FLASHED of=$D/card.img bs=1M skip=68 seek=68 conv=notrunc,sparse status=none
            # A failed mount ends in the emergency shell; that and U-Boot's own end are waited for as well.
            $VT pi-boot $D --until 'rpiflash-debian: end|Press Enter for maintenance|rpiflash: cannot boot' --timeout 1200
            """, ["D": pi.directory.string, "FLASHED": target.directory.appending("card.img").string], seconds: 1300)
        let console = text(of: pi.directory.appending("pi-console.log"))
        #expect(booted.status == 0 && booted.stdout.contains("rpiflash-debian: end"), "\(booted.all)\n\(console)")
        #expect(console.contains("rpiflash: boot script for rpi_arm64"))
        #expect(console.contains("Machine model: Raspberry Pi 3 Model B"))

        let report = console.matches(of: /rpiflash-debian: (.*)/).map { String($0.output.1) }
        // What was seen, for whoever runs this by hand.
        let block = Comment(rawValue: report.joined(separator: "\n"))
        print(block.rawValue)
        #expect(report.first == "state running", block)
        #expect(!report.contains { $0.hasPrefix("failed ") }, block)
        #expect(report.contains { $0.wholeMatch(of: /\/ is \/dev\/mmcblk\dp3 ext4/) != nil }, block)
        #expect(report.contains { $0.wholeMatch(of: /\/boot\/firmware is \/dev\/mmcblk\dp2 vfat/) != nil }, block)
        // The image's rootfs has 640 MiB, partition 3 of this card 828: it has grown.
        let size = report.compactMap { $0.wholeMatch(of: /\/ has (\d+) MiB/) }.first.flatMap { Int($0.output.1) }
        #expect(try #require(size, block) > 640, block)
    }
}
