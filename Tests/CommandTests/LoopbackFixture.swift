import Foundation
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// The programs, and what all tests share.
enum Programs {
    static let repository = Parts.repository
    static let folder = Parts.programs
    static let isCI = Parts.isCI

    static func has(_ tool: String) -> Bool { find(tool) != nil }
    /// Locally a missing tool skips a test visibly, in CI it fails it.
    static let canMakeImages = isCI || has("sfdisk")
    static let canPlayTarget =
        isCI || ["sfdisk", "atftp", "socat", "curl", "xz", "zip", "zstd", "bzip2", "python3"].allSatisfy(has)
}

extension Programs {
    /// Whether every user can run them: tests that become other users need it.
    static var areEveryones: Bool {
        var folder = folder
        repeat {
            var status = stat()
            guard stat(folder.string, &status) == 0, status.st_mode & 0o001 != 0 else { return false }
            folder = folder.removingLastComponent()
        } while !folder.isEmpty && folder != "/"
        return true
    }
}

extension CommandResult {
    var all: Comment { Comment(rawValue: text) }
}

/// Runs a bash script with `set -euo pipefail`, ended where it hangs. RPIFLASH and GEN are the programs.
func runBash(
    _ script: String, _ environment: [String: String] = [:], seconds: Int = Parts.hangs, prefix: [String] = []
) async throws -> CommandResult {
    let variables = [
        "RPIFLASH": Programs.folder.appending("rpiflash").string, "LC_ALL": "C.UTF-8",
        "GEN": Programs.folder.appending("rpiflash-gen").string, "REPOSITORY": Programs.repository.string,
        "PATH": (Parts.environment["PATH"] ?? "") + ":/usr/sbin:/sbin",
    ]
    return try await runScript(
        script, variables.merging(environment) { $1 }, seconds: seconds, prefix: prefix)
}

/// A bench on this machine: an image, a card that it fits, an inventory with one target, and a TFTP root. The target is
/// a script: its reset_command starts it, and it talks to the real server with Debian's atftp.
final class LoopbackFixture: Sendable {
    static let mac = "52:54:00:12:34:56"
    /// Bytes that the target has to write: the image, from its boot partition on.
    static let written = 5 << 20
    /// No service, store or record of this host is ever used.
    static let flash =
        "$RPIFLASH flash --inventory $D/targets.csv --card $D/card.yaml --tftp-root $TFTP --listen 127.0.0.1:$PORT"
        + " --store $D/store --runs $D/runs --service $D/none.sock --keys $D/no-keys"

    let folder: FilePath
    private let variables: [String: String]

    /// - Parameters:
    ///   - behaviour: bash, run by the target after each reset; see `target` below for what it can call.
    ///   - gpio: the row's gpio column.
    init(_ behaviour: String = "", gpio: String = "", server: String = "localhost") async throws {
        folder = FilePath(FileManager.default.temporaryDirectory.path).appending(
            "rpiflash-command-\(UUID().uuidString)")
        variables = [
            "D": folder.string, "TFTP": folder.appending("tftp").string, "IMG": folder.appending("os.img").string,
            "MAC": Self.mac, "PORT": "\(try freePort(SOCK_DGRAM.rawValue))",
            "UP": "\(try freePort(SOCK_STREAM.rawValue))",
        ]
        try FileManager.default.createDirectory(atPath: folder.string, withIntermediateDirectories: true)
        try write("behaviour", behaviour)
        try write("target", Self.target)
        try write(
            "reset",
            """
            #!/bin/bash
            echo reset >>$D/resets
            RESET=$$ setsid bash $D/target >$D/target.log 2>&1 </dev/null &
            """)
        try write(
            "targets.csv",
            "mac,ip,server,gpio,name,reset_command\n\(Self.mac),127.0.0.1,\(server),\(gpio),cam,bash \(folder)/reset\n")
        try write("card.yaml", "card_size: 64 MiB\nuboot_size: 4 MiB\nboot_size: 4 MiB\nrootfs_size: rest\n")
        let made = try await runBash(Self.makeImage + "mkdir $TFTP; make_image", variables)
        try #require(made.status == 0, made.all)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder.string) }

    func write(_ name: String, _ text: String) throws {
        try text.write(toFile: folder.appending(name).string, atomically: true, encoding: .utf8)
    }

    func text(_ name: String) -> String {
        (try? String(contentsOfFile: folder.appending(name).string, encoding: .utf8)) ?? ""
    }

    /// How often the target was reset.
    var resets: Int { text("resets").split(separator: "\n").count }

    /// `make_image [BOOT-START [SPAN [ROOTFS-SECTORS [BYTES]]]]` makes $IMG: by default 9 MiB of random bytes.
    private static let makeImage = """
        make_image() {
            local start=${1:-8192} span=${2:-8192} rootfs=${3:-2048}
            local bytes=${4:-$(((start + span + rootfs) * 512))}
            dd if=/dev/urandom of=$IMG bs=1M count=$(((bytes + 1048575) / 1048576)) status=none
            truncate -s $bytes $IMG
            dd if=/dev/zero of=$IMG bs=512 count=1 conv=notrunc status=none
            printf 'label: dos\\nstart=%d,size=%d,type=c\\nstart=%d,size=%d,type=83\\n' \
              $start $span $((start + span)) $rootfs | sfdisk --quiet --wipe never $IMG 2>/dev/null
        }
        # from_boot [BOOT-START]: the parts of $IMG: 4 MiB of zeros, then all from its boot partition on.
        from_boot() { head -c 4194304 /dev/zero; tail -c +$((${1:-8192} * 512 + 1)) $IMG; }

        """

    private static let target = """
        set -euo pipefail
        mkdir -p $D/${WORK:=.}/got && cd $D/$WORK
        # From here on the reset is over.
        while kill -0 $RESET 2>/dev/null; do sleep 0.01; done
        touch $D/running
        # Targets that are not at 127.0.0.1 need a client that takes its own address.
        get() {
            if [ "${IP:=127.0.0.1}" = 127.0.0.1 ]; then
                atftp --option "blksize 1468" --option "windowsize 32" --get --remote-file "$MAC/$1" --local-file "got/$1" 127.0.0.1 $PORT
            else
                curl -s --interface $IP --tftp-blksize 8192 -o "got/$1" "tftp://127.0.0.1:$PORT/$MAC/$1"
            fi
        }
        # put NAME COUNT [LENGTH]
        put() {
            local i
            for i in 0 8 16 24 32 40 48 56; do printf "\\\\x$(printf %02x $(($2 >> i & 255)))"; done >got/$1
            truncate -s ${3:-8} got/$1
            send $1
        }
        # fetch [PARTS]: the manifest and the first PARTS parts, by default all.
        fetch() {
            local i
            get rpi_image_parts
            source got/rpi_image_parts
            for ((i = 0; i < ${1:-rpi_parts}; i++)); do get rpi_image_part_$i; done
        }
        # plan: fetches the flash plan, and takes its job, its number of sectors and its chunks' files from it.
        plan() {
            get flash.scr
            job=$(grep -a -o -m 1 '^setenv p_job .*' got/flash.scr | cut -d ' ' -f 3)
            sectors=$(($(grep -a -o -m 1 '^setenv p_total_sectors .*' got/flash.scr | cut -d ' ' -f 3)))
            chunks=$(grep -a -c '^p_number=' got/flash.scr)
            files=$(grep -a '^p_number=' got/flash.scr | grep -o 'p_file=[^ ]*' | cut -d = -f 2 | sort -u)
        }
        # report WRITTEN SAME [LINE…]: sectors of the plan, and more lines; without any, that all went well.
        report() {
            {
                printf 'rpi_report=1\\nrpi_job=%s\\nrpi_chunks=%x\\nrpi_written=%x\\nrpi_same=%x\\nrpi_fetched=%x\\n' \
                    $job $chunks $1 $2 $1
                shift 2
                printf '%s\\n' rpi_retries=0 "${@:-rpi_state=ok}"
                [[ "$*" = *rpi_bad_count=* ]] || echo rpi_bad_count=0
            } >got/REPORT
            send REPORT
        }
        # send NAME: uploads got/NAME.
        send() {
            if [ "${IP:=127.0.0.1}" = 127.0.0.1 ]; then
                atftp --put --local-file got/$1 --remote-file "$MAC/$1" 127.0.0.1 $PORT
            else
                curl -s --interface $IP -T got/$1 "tftp://127.0.0.1:$PORT/$MAC/$1"
            fi
        }
        # flash: what a good target does, with every chunk's file fetched.
        flash() {
            local file
            plan
            for file in $files; do get $file; done
            report $sectors 0
            put OK $((sectors * 512))
        }
        source $D/behaviour
        """

    /// Runs a script in the bench: D (the folder), IMG, TFTP (the root), MAC, PORT, UP (a free TCP port), FLASH (by
    /// plan, unless options say otherwise), PARTS (in parts).
    func bash(_ script: String, seconds: Int = Parts.hangs, prefix: [String] = []) async throws -> CommandResult {
        try await runBash(
            Self.makeImage + "FLASH=\"\(Self.flash)\"\nPARTS=\"$FLASH --protocol parts\"\n" + script, variables,
            seconds: seconds, prefix: prefix)
    }

    /// What must not change by any flash: the image's bytes, inode, mode and times.
    private static let look = "stat -Lc '%i %a %h %s %y %z' $IMG; sha256sum <$IMG"

    /// Runs `script` (by default a flash in parts) and checks what holds on every way out: the exit status, nothing in the TFTP
    /// root, the image as it was (law 4).
    @discardableResult
    func run(
        _ script: String = "$PARTS --no-wait $IMG cam", exits status: Int32, image: Bool = true,
        seconds: Int = Parts.hangs,
        prefix: [String] = [], sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> CommandResult {
        let before = image ? try await bash(Self.look).stdout : ""
        let result = try await bash(script, seconds: seconds, prefix: prefix)
        // What the target itself said is why it ended early.
        #expect(
            result.status == status, "\(result.all)\n--- target\n\(text("target.log"))",
            sourceLocation: sourceLocation)
        let left = try await bash("ls -A $TFTP")
        #expect(left.stdout == "", sourceLocation: sourceLocation)
        if image { #expect(try await bash(Self.look).stdout == before, sourceLocation: sourceLocation) }
        return result
    }

    /// Runs `script` and expects a refusal: this exit status, this one line (D and PORT stand for the folder and the
    /// port), nothing staged, no reset (law 6).
    func refuses(
        _ script: String = "$PARTS --no-wait $IMG cam", status: Int32, _ message: String, image: Bool = true,
        prefix: [String] = [], sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let result = try await run(
            script, exits: status, image: image, prefix: prefix, sourceLocation: sourceLocation)
        #expect(resets == 0, sourceLocation: sourceLocation)
        #expect(result.stdout == "", sourceLocation: sourceLocation)
        let expected = message.split(separator: "\n").map { "rpiflash: \($0)\n" }.joined()
        // How far a preparation is comes with how fast it is.
        let told = stable(result.stderr).replacing(/rpiflash: (?:preparing|unpacking) the image: .*\n/, with: "")
        #expect(told == expected, sourceLocation: sourceLocation)
    }

    /// A message with D in place of the folder and PORT in place of the port.
    func stable(_ text: String) -> String {
        text.replacing(folder.string, with: "D").replacing(
            "127.0.0.1:\(variables["PORT"] ?? "")", with: "127.0.0.1:PORT")
    }
}

/// Ports of this process that were given away. Below those that Linux gives to whoever asks for any (32768 to 60999): one of
/// those could be taken before the test uses it, by another test's transfer.
private let givenPorts = Mutex(UInt16.random(in: 10000..<30000))

/// A port of 127.0.0.1 that nobody has, and that no other test of this process gets.
private func freePort(_ kind: UInt32) throws -> UInt16 {
    for _ in 0..<1000 {
        let port = givenPorts.withLock { last in
            last = last < 30000 ? last + 1 : 10000
            return last
        }
        let descriptor = socket(AF_INET, Int32(kind), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let isBound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        if isBound { return port }
    }
    throw Unfit.noPort
}

private enum Unfit: Error { case noPort }
