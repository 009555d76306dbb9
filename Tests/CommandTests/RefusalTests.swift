import Foundation
import SystemPackage
import TestSupport
import Testing

/// Law 6 with the built program: each bad input has its exit status and one sentence; nothing is staged, nothing reset.
@Suite(.serialized, .enabled(if: Programs.canMakeImages, "run make deps, which installs what these tests need"))
struct RefusalTests {
    private static let twoPartitions = "must have two partitions, 1 (boot) and 2 (rootfs)"

    @Test(
        arguments: [
            ("missing", "rm $IMG", "D/os.img: image does not exist"),
            ("empty", ": >$IMG", "D/os.img: image is empty (0 bytes); must have a partition table and two partitions"),
            (
                "truncated", "truncate -s 9436672 $IMG",
                "D/os.img: image is 9436672 bytes, but its partitions end at byte 9437184; the file is cut short"
            ),
            (
                "GPT", "echo 'label: gpt' | sfdisk --quiet --wipe never $IMG",
                "D/os.img: image's partition table is GPT; must be a DOS one (MBR), as Raspberry Pi images have"
            ),
            (
                "no table", "dd if=/dev/zero of=$IMG bs=512 count=1 conv=notrunc status=none",
                "D/os.img: image has no partition table; must have a DOS one (MBR) with two partitions"
            ),
            (
                "one partition", "sfdisk --quiet --delete $IMG 2",
                "D/os.img: image has one partition, 1; \(twoPartitions)"
            ),
            (
                "three partitions",
                "truncate -s 16M $IMG; echo 'start=18432,size=2048,type=83' | sfdisk --quiet --append $IMG 2>/dev/null",
                "D/os.img: image has 3 partitions, 1, 2, 3; \(twoPartitions)"
            ),
            (
                "boot on the table", #"printf '\0\0\0\0' | dd of=$IMG bs=1 seek=454 conv=notrunc status=none"#,
                "D/os.img: image's boot partition starts at LBA 0, where the partition table is; must start at LBA 1 or later"
            ),
            (
                "other span", "make_image 8192 16384",
                "D/os.img: image's rootfs starts 16384 sectors (8 MiB) behind its boot partition's start, the card's 8192 "
                    + "sectors (4 MiB); must be equal in parts: flash it by plan, or make a card with rpiflash-gen "
                    + "recovery-image --from-image"
            ),
            (
                "large rootfs", "make_image 8192 8192 114688",
                "D/os.img: image's rootfs has 114688 sectors (56 MiB), the card's partition 3 has 106496 sectors (52 MiB); "
                    + "must be at most that: use a larger card"
            ),
            ("folder", "rm $IMG; mkdir $IMG", "D/os.img: is a directory; must be an image file"),
            ("pipe", "rm $IMG; mkfifo $IMG", "D/os.img: is a pipe or socket; must be an image file"),
        ])
    func `law 6 - an unfit image is refused`(what: String, make: String, message: String) async throws {
        let place = try await LoopbackFixture()
        let made = try await place.bash(make)
        try #require(made.status == 0, made.all)
        try await place.refuses(status: 7, message, image: false)
        // By plan each partition must fit by itself.
        let byPlan =
            what == "other span"
            ? "D/os.img: image's boot partition has 16384 sectors (8 MiB), the card's partition 2 has 8192 sectors (4 MiB); "
                + "must be at most that: make a card with rpiflash-gen recovery-image --from-image" : message
        try await place.refuses("$FLASH --no-wait $IMG cam", status: 7, byPlan, image: false)
    }

    @Test(
        arguments: [
            ("xz", #"\xfd7zXZ\x00"#, "unxz -c <"), ("gz", #"\x1f\x8b\x08\x00"#, "gunzip -c <"),
            ("zip", #"PK\x03\x04"#, "unzip"), ("zst", #"\x28\xb5\x2f\xfd"#, "unzstd -c <"),
            ("bz2", "BZh91AY", "bunzip2 -c <"),
        ])
    func `law 6 - in parts a compressed image is refused with the command that unpacks it`(
        ending: String, magic: String, command: String
    ) async throws {
        let place = try await LoopbackFixture()
        // The name does not matter, the content does.
        for name in ["os.img.\(ending)", "os"] {
            _ = try await place.bash("printf '\(magic)' >$D/\(name); head -c 5000 /dev/urandom >>$D/\(name)")
            let kind = ["gz": "gzip", "zst": "zstd", "bz2": "bzip2"][ending] ?? ending
            let raw = name == "os" ? "os.unpacked" : "os.img"
            let how = ending == "zip" ? "unzip D/\(name)" : "\(command)D/\(name) >D/\(raw)"
            try await place.refuses(
                "$PARTS --no-wait $D/\(name) cam", status: 7,
                "D/\(name): image is compressed (\(kind)); decompress it first: \(how)")
        }
    }

    // MARK: The inventory

    @Test(
        arguments: [
            (
                "bad MAC", #"mac,ip,server,gpio\n52:54:00:12:34,127.0.0.1,localhost,17\n"#,
                "D/targets.csv:2:1: '52:54:00:12:34' is not a MAC address; must be six pairs of hexadecimal digits, "
                    + "as in b8:27:eb:3d:60:b9"
            ),
            (
                "bad IP", #"mac,ip,server,gpio\n52:54:00:12:34:56,127.0.0.256,localhost,17\n"#,
                "D/targets.csv:2:19: '127.0.0.256' is not an IPv4 address; must be four numbers from 0 to 255 "
                    + "without leading zeros"
            ),
            (
                "duplicates",
                #"mac,ip,server,gpio\n52:54:00:12:34:56,127.0.0.1,localhost,17\n52-54-00-12-34-56,127.0.0.1,localhost,18\n"#,
                "D/targets.csv:3:1: mac 52:54:00:12:34:56 is already on line 2\n"
                    + "D/targets.csv:3:19: ip 127.0.0.1 is already on line 2"
            ),
            (
                "too few fields", #"mac,ip,server,gpio\n52:54:00:12:34:56,127.0.0.1,localhost\n"#,
                "D/targets.csv:2:29: the line has 3 fields; must have 4, as the header has"
            ),
            (
                "too many fields", #"mac,ip,server,gpio\n52:54:00:12:34:56,127.0.0.1,localhost,17,cam\n"#,
                "D/targets.csv:2:42: the line has 5 fields; must have 4, as the header has"
            ),
            (
                "no header", #"52:54:00:12:34:56,127.0.0.1,localhost,17\n"#,
                "D/targets.csv:1:1: a target where the header must be; the first line must be mac,ip,server,gpio"
            ),
            ("empty", "", "D/targets.csv:1:1: the file has no header; the first line must be mac,ip,server,gpio"),
            (
                "no column", #"mac,ip,server\n"#,
                "D/targets.csv:1:1: column gpio is missing; the header must have mac,ip,server,gpio"
            ),
            (
                "UTF-16", #"\xff\xfem\x00a\x00c\x00"#, "D/targets.csv:1:1: the file is UTF-16; save it as UTF-8"
            ),
            (
                "escape", #"mac,ip,server,gpio\n\x1b[2J,127.0.0.1,localhost,17\n"#,
                "D/targets.csv:2:1: a control character (code 27); must be plain text"
            ),
        ])
    func `law 6 - an invalid inventory is refused, one line a mistake`(
        what: String, csv: String, message: String
    ) async throws {
        let place = try await LoopbackFixture()
        _ = try await place.bash("printf '\(csv)' >$D/targets.csv")
        try await place.refuses(status: 6, message)
        try await place.refuses("$RPIFLASH targets --inventory $D/targets.csv", status: 6, message)
        try await place.refuses("$RPIFLASH reset --inventory $D/targets.csv cam", status: 6, message)
    }

    @Test func `law 6 - an inventory that is not there is refused, named or not`() async throws {
        let place = try await LoopbackFixture()
        try await place.refuses(
            "$RPIFLASH targets --inventory $D/none.csv", status: 6, "cannot read D/none.csv: No such file or directory")
        if access("/etc/rpiflash/targets.csv", F_OK) != 0 {
            try await place.refuses(
                "mkdir $D/empty; cd $D/empty; $RPIFLASH flash $IMG cam", status: 6,
                "no inventory: /etc/rpiflash/targets.csv is not there; "
                    + "make one (mac,ip,server,gpio) or give --inventory")
        }
        try await place.refuses(
            "head -c 17000000 /dev/zero >$D/targets.csv; $PARTS $IMG cam", status: 6,
            "D/targets.csv is larger than 16777216 bytes; that is not an inventory")
    }

    @Test func `a byte order mark and CR LF are taken`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.bash(
            #"printf '\xef\xbb\xbfmac,ip,server,gpio\r\n52:54:00:12:34:56,127.0.0.1,localhost,17\r\n' >$D/targets.csv; "#
                + "$RPIFLASH targets --inventory $D/targets.csv")
        #expect(result.status == 0, result.all)
        #expect(
            result.stdout == """
                NAME  IP         MAC                SERVER     GPIO  RESET  COMMAND
                -     127.0.0.1  52:54:00:12:34:56  localhost  17    here   -

                """)
    }

    @Test func `10,000 rows are read, and a target among them is found`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.bash(
            """
            { echo mac,ip,server,gpio,name
              for ((i = 0; i < 10000; i++)); do
                printf '52:54:01:00:%02x:%02x,10.1.%d.%d,localhost,17,cam-%d\\n' $((i >> 8)) $((i & 255)) $((i >> 8)) $((i & 255)) $i
              done; } >$D/many.csv
            $RPIFLASH targets --inventory $D/many.csv | wc -l
            $RPIFLASH flash --inventory $D/many.csv --card $D/card.yaml --tftp-root $D/none $IMG cam-9999
            """)
        #expect(result.stdout == "10001\n")
        #expect(place.stable(result.stderr).hasPrefix("rpiflash: TFTP root D/none: "), result.all)
        #expect(result.status == 9)
        try await place.refuses(
            "sed -i '9000s/,10.*/,10.1.1.1,localhost,17,x/' $D/many.csv; $RPIFLASH targets --inventory $D/many.csv",
            status: 6, "D/many.csv:9000:19: ip 10.1.1.1 is already on line 259")
    }

    // MARK: The target

    @Test func `law 6 - a target that is unknown, or another server's, is refused`() async throws {
        let place = try await LoopbackFixture(server: "bench2.example")
        let message = "target cam belongs to the server 'bench2.example'; run rpiflash there"
        for target in ["cam", "127.0.0.1", "52-54-00-12-34-56"] {
            try await place.refuses("$PARTS $IMG \(target)", status: 8, message)
            try await place.refuses("$RPIFLASH reset --inventory $D/targets.csv \(target)", status: 8, message)
        }
        try await place.refuses("$PARTS $IMG dog", status: 8, "no target 'dog' in D/targets.csv; it has cam")
    }

    @Test(.enabled(if: (try? FilePath("/dev").hasChips()) == false, "this host has GPIO chips"))
    func `law 6 - a line that is not there is refused`() async throws {
        let place = try await LoopbackFixture(gpio: "gpiochip0:17")
        let result = try await place.run(exits: 9)
        #expect(result.stderr.hasPrefix("rpiflash: cannot reset target cam: "), result.all)
        #expect(result.errorLines.count == 1 && place.resets == 0)
    }

    // MARK: The server

    @Test func `law 6 - a port that something else has, which is no TFTP server, is refused`() async throws {
        let place = try await LoopbackFixture()
        try await place.refuses(
            """
            socat -u UDP-RECV:$PORT,bind=127.0.0.1 STDOUT >/dev/null 2>&1 & socat=$!
            trap 'kill $socat' EXIT
            until grep -qi ":$(printf %04x $PORT) " /proc/net/udp; do sleep 0.02; done
            $PARTS $IMG cam
            """, status: 9,
            "using the TFTP server that is there, on 127.0.0.1:PORT\n"
                + "another program has UDP 127.0.0.1:PORT and does not answer TFTP; end it or use --listen")
    }

    @Test func `law 6 - an address that this host does not have is refused`() async throws {
        let place = try await LoopbackFixture()
        try await place.refuses(
            "$PARTS --listen 192.0.2.1:$PORT $IMG cam | sed s/$PORT/PORT/", status: 9,
            "cannot bind UDP 192.0.2.1:PORT; this host does not have the address".replacing(
                "PORT", with: try await place.bash("printf $PORT").stdout))
    }

    @Test func `law 6 - a TFTP root that is missing or no folder is refused`() async throws {
        let place = try await LoopbackFixture()
        try await place.refuses(
            "$PARTS --tftp-root $D/none $IMG cam", status: 9,
            "TFTP root D/none: No such file or directory; make it or give another --tftp-root")
        try await place.refuses(
            "$PARTS --tftp-root $IMG $IMG cam", status: 9, "TFTP root D/os.img is not a folder")
    }

    @Test func `law 6 - a TFTP root that is read-only is refused, for root too`() async throws {
        let place = try await LoopbackFixture()
        try await place.refuses(
            "mount --bind $TFTP $TFTP; mount -o remount,bind,ro $TFTP; $PARTS $IMG cam", status: 9,
            "TFTP root D/tftp cannot be written to: Read-only file system", prefix: ["unshare", "-rm"])
    }

    /// Of the image 5 MiB are sent in two parts, all of it data.
    @Test(
        arguments: [
            (
                "size=4m",
                "TFTP root D/tftp has 4190208 bytes free, the image takes 5242880 bytes; "
                    + "free some space or use another --tftp-root"
            ),
            // Room for the lock file and the parts, but not for the manifest: it gets full while the image is staged.
            (
                "size=5124k",
                "the disk with D/tftp/52:54:00:12:34:56/rpi_image_parts is full; "
                    + "free some space or use another --tftp-root"
            ),
            // Room for bytes, but not for another file.
            (
                "nr_inodes=4",
                "cannot make D/tftp/52:54:00:12:34:56/rpi_image_part_1: No space left on device"
            ),
        ])
    func `law 6 - a TFTP root that is full is refused, also when it gets full`(
        options: String, message: String
    ) async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run(
            """
            mount -t tmpfs -o \(options) none $TFTP
            status=0; $PARTS --part-size 8MiB $IMG cam || status=$?
            ls -A $TFTP
            exit $status
            """, exits: 9, prefix: ["unshare", "-rm"])
        #expect(result.stdout == "", "nothing is left on the full disk")
        #expect(place.resets == 0)
        let lines = place.stable(result.stderr).split(separator: "\n").filter {
            !$0.hasPrefix("rpiflash: staging: ") && !$0.hasPrefix("rpiflash: serving ")
        }
        #expect(lines == ["rpiflash: \(message)"], result.all)
    }

    @Test func `law 6 - a file size limit is an error, not the end of the process`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run("ulimit -f 4096; $PARTS $IMG cam", exits: 9)
        #expect(place.resets == 0)
        #expect(
            place.stable(result.errorLines.last ?? "")
                == "rpiflash: cannot write D/tftp/52:54:00:12:34:56/rpi_image_part_0: File too large", result.all)
    }

    // MARK: Usage

    @Test(
        arguments: [
            ("flash", "Missing expected argument '<image>'"), ("flash $IMG", "Missing expected argument '<target>'"),
            ("flash $IMG cam --wrong", "Unknown option '--wrong'"),
            ("flash $IMG cam --part-size 4MiB", "part size is 4194304 bytes; must be at least 4195328 bytes"),
            ("flash $IMG cam --part-size 5000001", "part size is 5000001 bytes; must be a multiple of 512 bytes"),
            ("flash $IMG cam --part-size 4GiB", "part size is 4294967296 bytes; must be at most 3221225472 bytes"),
            ("flash $IMG cam --wait-port 0", "--wait-port is 0; must be 1 to 65535"),
            ("flash $IMG cam --wait-port 65536", "The value '65536' is invalid"),
            ("flash $IMG cam --request-timeout 0", "--request-timeout is 0; must be more than 0"),
            ("flash $IMG cam --outcome-timeout 0s", "--outcome-timeout is 0; must be more than 0"),
            ("flash $IMG cam --wait-timeout soon", "The value 'soon' is invalid"),
            ("flash $IMG cam --listen 1.2.3", "The value '1.2.3' is invalid"),
            ("flash $IMG cam --listen 0.0.0.0:0", "The value '0.0.0.0:0' is invalid"),
            ("flash $IMG cam --protocol ftp", "The value 'ftp' is invalid"),
            ("flash $IMG cam --full --verify-only", "--full and --verify-only exclude each other"),
            (
                "flash $IMG cam --protocol parts --full",
                "--full and --verify-only go with --protocol plan only; parts are always written whole"
            ),
            ("plan", "Missing expected argument '<image>'"), ("plan $IMG --rate 0", "The value '0' is invalid"),
            ("plan $IMG --rate fast", "The value 'fast' is invalid"),
            ("images remove", "Missing expected argument '<id> ...'"),
            ("images remove ''", "an id is empty; must be at least one digit of one"),
            ("images 3f", "Unexpected argument '3f'"),
            ("reset cam --hold 61s", "--hold is 61s; must be 1ms to 60s"), ("reset", "Missing expected argument"),
            ("erase", "Unexpected argument 'erase'"), ("targets cam", "Unexpected argument 'cam'"),
        ])
    func `wrong usage is status 64, with the mistake in the first line`(
        arguments: String, message: String
    ) async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run("$RPIFLASH \(arguments)", exits: 64)
        #expect(result.stdout == "")
        #expect(result.errorLines.first?.hasPrefix("Error: \(message)") == true, result.all)
        #expect(place.resets == 0)
    }
}

extension FilePath {
    fileprivate func hasChips() throws -> Bool {
        try FileManager.default.contentsOfDirectory(atPath: string).contains { $0.hasPrefix("gpiochip") }
    }
}
