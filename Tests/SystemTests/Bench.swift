import Foundation
import SystemPackage
import TestSupport
import Testing

/// Where the built parts are. `make test` builds them; in CI a missing one is a failure, locally the tests are skipped.
enum Bench {
    /// make boot-older: U-Boot as cards in the field have it, for the boot script and the plans of today.
    static let olderUBoot = environment["RPIFLASH_OLDER_UBOOT"]
    static let repository = Parts.repository
    static let environment = Parts.environment
    static let build = Parts.build
    static let binaries = Parts.programs
    static let virtualTarget = repository.appending("virtual_target/virtual-target")

    /// What the virtual target is made of, in the order in which a reader would build it.
    static let needed = [
        binaries.appending("rpiflash"), binaries.appending("rpiflash-gen"),
        build.appending("uboot/qemu_arm64/u-boot.bin"), build.appending("uboot/rpi_arm64/u-boot.bin"),
        build.appending("uboot/sandbox/u-boot.bin"), build.appending("sandbox/preload.so"),
        build.appending("firmware/start4.elf"), build.appending("demo/demo.img"),
        build.appending("usb-ethernet/usb-ethernet"), build.appending("linux/linux_arm64/initramfs.img"),
        build.appending("peers/atftpd/usr/sbin/atftpd"), build.appending("peers/tftpd-hpa/usr/sbin/in.tftpd"),
    ]

    /// Everything is there, or this is CI, where its absence has to be seen.
    static let isReady = Parts.has(needed)

    /// The folder of this run's cards, images and logs; short, since it holds Unix sockets. Kept for a look at a failure.
    static let scratch = Parts.scratch("rpiflash-system-tests")
}

extension CommandResult {
    var all: Comment { Comment(rawValue: text) }
}

/// Runs a bash script with `set -euo pipefail`, ended where it hangs.
///
/// The environment has RPIFLASH, RPIFLASH_GEN, VT (virtual-target), BUILD and what `environment` adds.
func bash(
    _ script: String, _ environment: [String: String] = [:], seconds: Int = Parts.hangs,
    prefix: [String] = []
) async throws -> CommandResult {
    let variables = [
        "RPIFLASH": Bench.binaries.appending("rpiflash").string,
        "RPIFLASH_GEN": Bench.binaries.appending("rpiflash-gen").string,
        "VT": Bench.virtualTarget.string, "BUILD": Bench.build.string, "REPOSITORY": Bench.repository.string,
    ]
    return try await runScript(
        script, variables.merging(environment) { $1 }, seconds: seconds, prefix: prefix)
}

/// A console's log; what is no UTF-8 in it, and carriage returns, do not matter. Empty where there is none.
func text(of file: FilePath) -> String {
    let bytes = (try? Data(contentsOf: URL(filePath: file.string))) ?? Data()
    // Bytes, as "\r\n" is one Character.
    return String(decoding: bytes.filter { $0 != UInt8(ascii: "\r") }, as: UTF8.self)
}

/// What `virtual-target create --machine` knows.
enum Machine: String, Sendable {
    case virt, sandbox, pi3, pi3plus, pi4, pi2, linux, pi3linux

    /// For what needs no arm and no Linux. U-Boot as older cards have it is QEMU's.
    static let fastest = Bench.olderUBoot == nil ? sandbox : virt

    var board: String {
        switch self {
        case .virt: "qemu_arm64"
        case .sandbox: "sandbox"
        case .pi2: "rpi_3_32b"
        case .pi3, .pi3plus, .pi4: "rpi_arm64"
        case .linux, .pi3linux: "linux_arm64"
        }
    }

    /// QEMU's Pis have one MAC, whatever is asked for.
    var mac: String {
        switch self {
        case .virt, .sandbox, .linux: "52:54:00:12:34:56"
        case .pi3, .pi3plus, .pi4, .pi2, .pi3linux: "52:54:00:12:34:57"
        }
    }

    /// The folder of what starts on its card.
    var system: String { board == "linux_arm64" ? "linux" : "uboot" }
}

/// A virtual target with a fresh recovery card.
struct VirtualTarget: Sendable {
    let directory: FilePath
    let machine: Machine
    let image: FilePath
    let cardFile: FilePath

    /// The console since the first power-on, without carriage returns.
    ///
    /// Without a warning, too, that U-Boot puts in the middle of a line when the host kept QEMU waiting while it polled
    /// for the card (common/cyclic.c).
    var console: String {
        text(of: directory.appending("console.log"))
            .replacing(/cyclic function \S+ took too long: \d+us vs \d+us max\n/, with: "")
    }

    /// Makes `name`'s folder: a card laid out by `card`, and `image` ready to flash.
    ///
    /// `board`'s card is made, by default that of `machine`; `options` are more of `virtual-target create`.
    init(
        _ name: String, card: OSImageFixture, image: OSImageFixture? = nil, cardSize: String = "128MiB",
        machine: Machine = .virt, board: String? = nil, cardArguments: String = "", options: String = ""
    ) async throws {
        let board = board ?? machine.board
        let older = machine == .virt ? Bench.olderUBoot.map { "--uboot '\($0)'" } ?? "" : ""
        directory = Bench.scratch.appending(name)
        self.machine = machine
        cardFile = card.cardFile
        self.image = (image ?? card).image
        let made = try await bash(
            """
            mkdir -p $D && cd $REPOSITORY
            $RPIFLASH_GEN recovery-image --board \(board) --card $CARD \(cardArguments) --no-xz \
              --server-ip 192.168.77.1 --ip-address 192.168.77.2 --netmask 255.255.255.0 \
              --uboot $BUILD/\(machine.system)/\(board) --firmware $BUILD/firmware -o $D/recovery.img
            $VT create $D --machine \(machine.rawValue) --recovery $D/recovery.img --card-size \(cardSize) \(older) \(options)
            """, ["D": directory.string, "CARD": card.cardFile.string])
        try #require(made.status == 0, made.all)
    }

    /// Runs a bash script in the target's network. Beside ``bash(_:_:seconds:prefix:)``'s variables: D (the folder),
    /// IMAGE, FLASH (rpiflash flash with this target's inventory, card and TFTP root), TFTP (that root), MAC.
    func exec(_ script: String, image: FilePath? = nil, seconds: Int = Parts.hangs) async throws -> CommandResult {
        try await bash(
            script,
            [
                "D": directory.string, "IMAGE": (image ?? self.image).string, "MAC": machine.mac,
                "TFTP": directory.appending("tftp").string, "CARD": cardFile.string,
                "FLASH": """
                \(Bench.binaries.appending("rpiflash").string) flash --inventory \(directory.string)/targets.csv \
                --card \(cardFile.string) --tftp-root \(directory.string)/tftp --store \(Bench.scratch.string)/store \
                --runs \(directory.string)/runs \
                --service \(directory.string)/no-service --keys \(directory.string)/no-keys
                """,
            ],
            seconds: seconds, prefix: [Bench.virtualTarget.string, "exec", directory.string, "--"])
    }

    /// Flashes the image and expects exit status 0. The small images' kernel is none, so nothing comes up.
    @discardableResult
    func flash(_ options: String = "--protocol parts --no-wait", seconds: Int = Parts.hangs) async throws
        -> CommandResult
    {
        let result = try await exec("mkdir -p $TFTP; $FLASH \(options) $IMAGE vt", seconds: seconds)
        #expect(result.status == 0, result.all)
        return result
    }

    /// Whether the card holds the image, from its boot partition on, from partition 2 on, byte for byte.
    func holdsImage(_ image: FilePath? = nil) async throws -> Bool {
        try await compare(
            """
            START=$(($(sfdisk --dump $IMAGE | sed -n 's/.*1 : start= *\\([0-9]*\\).*/\\1/p') * 512))
            cmp -n $(($(stat -Lc %s $IMAGE) - START)) -i $START:$((P2 * 512)) $IMAGE $D/card.img
            """, image: image)
    }

    /// Whether the card's first 4 MiB and partition 1 are the recovery image's (law 1).
    func keepsPartition1() async throws -> Bool {
        try await compare("cmp -n $((P2 * 512)) $D/recovery.img $D/card.img")
    }

    /// From the next power-on on the card acknowledges and forgets what is written to that sector: always, or once.
    func lose(sector: Int, once: Bool = false) async throws {
        let settings =
            switch machine {
            case .sandbox: "echo 'VT_FAULTS=lost=\(sector)\(once ? "*1" : "")' >>$D/env"
            // QEMU's SD card swallows the host's write errors.
            default:
                """
                printf '[inject-error]\\nevent = "write_aio"\\niotype = "write"\\nsector = "\(sector)"\\nerrno = "5"\\n' >$D/rules
                printf 'once = "\(once ? "on" : "off")"\\n' >>$D/rules
                echo "VT_DRIVE_FILE=blkdebug:$D/rules:{card}" >>$D/env
                """
            }
        let made = try await bash(settings, ["D": directory.string])
        try #require(made.status == 0, made.all)
    }

    /// The card is a good one again.
    func loseNothing() async throws {
        let made = try await bash("sed -i '/VT_DRIVE_FILE/d; /VT_FAULTS/d' $D/env", ["D": directory.string])
        try #require(made.status == 0, made.all)
    }

    private func compare(_ command: String, image: FilePath? = nil) async throws -> Bool {
        let result = try await bash(
            """
            P2=$(sfdisk --dump $D/recovery.img | sed -n 's/.*img2 : start= *\\([0-9]*\\).*/\\1/p')
            \(command)
            """, ["D": directory.string, "IMAGE": (image ?? self.image).string])
        if result.status > 1 { Issue.record(result.all) }
        return result.status == 0
    }
}

/// An OS image and the card.yaml that fits it.
struct OSImageFixture: Sendable {
    let image: FilePath
    let cardFile: FilePath

    /// A FAT boot partition with a command line and zeros for a kernel, and random data for a rootfs: flashes in seconds.
    static let small = Task { try await OSImageFixture(name: "small", bootMiB: 8, rootfsMiB: 12) }
    /// Enough for 12 parts of 5 MiB; it starts where fdisk had the first partition of old.
    static let long = Task { try await OSImageFixture(name: "long", bootStart: 63, bootMiB: 8, rootfsMiB: 44) }

    init(name: String, bootStart: Int = 8192, bootMiB: Int, rootfsMiB: Int, cardSize: String? = nil) async throws {
        image = Bench.scratch.appending("\(name).img")
        cardFile = Bench.scratch.appending("\(name).yaml")
        let made = try await bash(
            """
            ROOTFS=$((START + BOOT * 2048))
            truncate -s $(((ROOTFS + ROOT * 2048) * 512)) $IMAGE
            printf 'label: dos\\nlabel-id: 0x0badcafe\\nstart=%d,size=%d,type=c\\nstart=%d,size=%d,type=83\\n' \
              $START $((BOOT * 2048)) $ROOTFS $((ROOT * 2048)) | sfdisk -q $IMAGE
            mkfs.vfat -h $START --offset $START $IMAGE $((BOOT * 1024)) >/dev/null
            # As on a card already, so that nothing of it is changed.
            printf 'console=serial0,115200 root=/dev/mmcblk0p3 rootfstype=ext4 rootwait quiet\\n' >$IMAGE.cmdline
            head -c 4096 /dev/zero >$IMAGE.kernel
            MTOOLS_SKIP_CHECK=1 mcopy -i $IMAGE@@$((START * 512)) $IMAGE.cmdline ::cmdline.txt
            MTOOLS_SKIP_CHECK=1 mcopy -i $IMAGE@@$((START * 512)) $IMAGE.kernel ::kernel8.img
            dd if=/dev/urandom of=$IMAGE bs=1M oflag=seek_bytes seek=$((ROOTFS * 512)) count=$ROOT conv=notrunc status=none
            printf 'card_size: %s\\ndisk_id: 0x52504946\\nuboot_size: 64 MiB\\nboot_size: %d MiB\\nrootfs_size: %s\\n' \
              "\(cardSize ?? "128 MiB")" $BOOT rest >$CARD
            """,
            [
                "IMAGE": image.string, "CARD": cardFile.string, "START": "\(bootStart)", "BOOT": "\(bootMiB)",
                "ROOT": "\(rootfsMiB)",
            ])
        try #require(made.status == 0, made.all)
    }

    /// An image that is there, whose boot partition has `bootMiB`, and a card of 256 MiB for it.
    init(layout image: FilePath, bootMiB: Int) throws {
        self.image = image
        cardFile = Bench.scratch.appending("layout.yaml")
        try """
        card_size: 256 MiB
        disk_id: 0x52504946
        uboot_size: 64 MiB
        boot_size: \(bootMiB) MiB
        rootfs_size: rest

        """.write(toFile: cardFile.string, atomically: true, encoding: .utf8)
    }

    /// The demo's image, with a real kernel and a real rootfs; its card is derived from it.
    init(demo: Void) async throws {
        image = Bench.build.appending("demo/demo.img")
        cardFile = Bench.scratch.appending("demo.yaml")
        try "card_size: 256 MiB\ndisk_id: 0x52504946\nuboot_size: 64 MiB\nboot_size: 64 MiB\nrootfs_size: rest\n"
            .write(toFile: cardFile.string, atomically: true, encoding: .utf8)
    }
}

/// Everything that needs the virtual target, in two lanes at once, in each of them one test at a time: a QEMU has a core for
/// itself, and so has what tries to disturb U-Boot as a process.
@Suite(.enabled(if: Bench.isReady, "run make test, which builds what these tests need"))
enum SystemTests {
    /// To a Linux that is up, in QEMU: minutes each.
    @Suite(.serialized) enum ToLinux {}
    /// To the proof, most of it on the virtual target's machine sandbox.
    @Suite(.serialized) enum ToProof {}
}
