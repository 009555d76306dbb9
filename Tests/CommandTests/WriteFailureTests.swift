import Foundation
import SystemPackage
import TestImages
import TestSupport
import Testing

/// What cannot be written is an error of every command: one sentence, and a status that is not 0.
@Suite(
    .serialized,
    .enabled(if: Programs.canPlayTarget && canUse(["mkimage"]), "run make deps, which installs what these tests need"))
struct WriteFailureTests {
    /// Every command of rpiflash that prints a result; gpio wants a chip for that.
    private static let server = [
        "--help", "--version", "help flash", "flash --help", "--generate-completion-script bash",
        "plan $IMG --as-is --store $D/store", "plan $IMG --as-is --store $D/store --json --chunks",
        "images --store $D/store", "images list --json --store $D/store", "images size --store $D/store",
        "targets --inventory $D/targets.csv", "doctor --json --inventory $D/targets.csv",
        "runs list --runs $D/runs", "runs list --runs $D/runs --json", "runs cards --runs $D/runs",
        "runs prune --runs $D/runs --keep 1", "reset --dry-run cam --inventory $D/targets.csv",
        "reset cam --inventory $D/targets.csv", "serve --dry-run --root $TFTP --listen 127.0.0.1:$PORT --socket $D/s",
    ]
    private static let generator = [
        "--help", "help layout", "layout", "layout --format json", "layout --format sfdisk", "layout --format svg",
        "bootscr --board qemu_arm64 --text -o -", "bootscr --board qemu_arm64 -o $D/boot.scr --dry-run",
        "recovery-image --board qemu_arm64 --help", "board rpi_arm64", "board rpi_arm64 --json", "board rpi_arm64 name",
    ]

    /// Where results go, and why they cannot.
    private static let ways = [
        (to: ">/dev/full", reason: "no space left on device"), (to: ">&-", reason: "it is closed"),
        // A pipe whose reader is gone.
        (to: "9>$D/pipe 8<&- >&9", reason: "its reader is gone"),
    ]

    private static func fails(_ program: String, _ command: String, status: Int32, in place: LoopbackFixture)
        async throws
    {
        for (to, reason) in ways {
            let script = """
                cd $REPOSITORY; rm -f $D/pipe; mkfifo $D/pipe
                (exec 8<>$D/pipe; exec \(to); exec \(program) \(command))
                """
            let result = try await place.bash(script)
            let name = program == "$GEN" ? "rpiflash-gen" : "rpiflash"
            #expect(result.status == status, "\(command) \(to): \(result.text)")
            #expect(
                result.errorLines.last == "\(name): the result could not be written to standard output: \(reason)",
                "\(command) \(to): \(result.text)")
            #expect(result.stdout == "", "\(command) \(to): \(result.text)")
        }
    }

    @Test(arguments: server)
    func `a result of rpiflash that cannot be written is status 9`(command: String) async throws {
        try await Self.fails("$RPIFLASH", command, status: 9, in: LoopbackFixture())
    }

    @Test(arguments: generator)
    func `a result of rpiflash-gen that cannot be written is status 1`(command: String) async throws {
        try await Self.fails("$GEN", command, status: 1, in: LoopbackFixture())
    }

    @Test func `a command's own failure counts, and both are told`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.bash("$RPIFLASH plan $IMG --store $D/store --card $D/small.yaml >/dev/full")
        #expect(result.status == 6 || result.status == 7 || result.status == 9, result.all)
        try place.write("small.yaml", "card_size: 64 MiB\nuboot_size: 4 MiB\nboot_size: 4 MiB\nrootfs_size: 512 KiB\n")
        let misfit = try await place.bash(
            "$RPIFLASH plan $IMG --as-is --store $D/store --card $D/small.yaml >/dev/full")
        #expect(misfit.status == 7, misfit.all)
        #expect(misfit.errorLines.contains { $0.contains("the result could not be written") }, misfit.all)
        #expect(misfit.errorLines.contains { $0.contains("must be at most") }, misfit.all)
    }

    @Test(arguments: ["", "--json"], [">/dev/full", ">&-"])
    func `a flash whose result nobody takes is finished, cleaned up and recorded, then it says so`(
        json: String, to: String
    ) async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await place.run("$FLASH --as-is --no-wait \(json) $IMG cam \(to)", exits: 9)
        #expect(result.errorLines.last?.hasPrefix("rpiflash: the result could not be written") == true, result.all)
        #expect(result.stderr.contains("exactly what was to be on its card"), result.all)
        #expect(place.resets == 1)
        let runs = try await place.bash("$RPIFLASH runs list --json --runs $D/runs")
        #expect(runs.stdout.contains(#""status":0"#), runs.all)
    }

    @Test func `what follows a console ends with its reader`() async throws {
        let place = try await LoopbackFixture()
        // Nothing else ends it. A run that goes on has its events locked, and a console that says something.
        let script = """
            run=$D/runs/20260101-000000-${MAC//:/}; mkdir -p $run; echo '[    0.000] U-Boot' >$run/console.log; : >$run/events.jsonl
            exec 7<$run/events.jsonl; flock 7
            $RPIFLASH console cam --inventory $D/targets.csv --runs $D/runs >/dev/full
            """
        let result = try await place.bash(script, seconds: 20)
        #expect(result.status == 9, result.all)
        #expect(result.errorLines.last?.hasPrefix("rpiflash: the result could not be written") == true, result.all)
    }

    @Test func `with standard output closed no file that is opened gets the result`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.bash(
            """
            $RPIFLASH plan $IMG --as-is --store $D/store >&- 2>&- <&- && exit 1
            $RPIFLASH plan $IMG --as-is --store $D/other >/dev/null
            cd $D; diff -r <(cd store/images && find . -type f | sort | xargs sha256sum) \\
                <(cd other/images && find . -type f | sort | xargs sha256sum)
            """)
        #expect(result.status == 0, result.all)
    }

    // MARK: RLIMIT_FSIZE

    @Test(arguments: [
        (
            "$RPIFLASH targets --inventory $D/targets.csv >$D/out", 9,
            "the result could not be written to standard output: "
        ),
        ("$GEN layout --card $REPOSITORY/recovery_image/card.yaml", 1, "TMP/"),
        ("$RPIFLASH plan $IMG --as-is --store $D/store", 9, "D/store/"),
        ("$GEN bootscr --board qemu_arm64 --text -o $D/boot.cmd", 1, "D/"),
    ])
    func `a file that may not grow is a sentence, and no signal`(
        command: String, status: Int32, start: String
    ) async throws {
        let place = try await LoopbackFixture()
        let result = try await place.bash(
            "cd $REPOSITORY; mkdir $D/tmp; export TMPDIR=$D/tmp; ulimit -f 0; \(command)")
        #expect(result.status == status, result.all)
        let line = place.stable(result.errorLines.last ?? "").replacing("D/tmp/", with: "TMP/")
        #expect(line.contains(": \(start)") && line.contains("file too large"), result.all)
        let left = try await place.bash("find $D/tmp $D/store/work $D/store/images -mindepth 1 2>/dev/null || true")
        #expect(left.stdout == "", left.all)
    }

    @Test func `a flash whose files may not grow ends before its target is touched`() async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await place.run(
            "sleep 2.1; $RPIFLASH plan -q $IMG --as-is --store $D/store >/dev/null; ulimit -f 0; $FLASH --as-is --no-wait $IMG cam",
            exits: 9)
        #expect(result.errorLines.last?.lowercased().hasSuffix("/flash.scr: file too large") == true, result.all)
        #expect(place.resets == 0)
    }

    // MARK: Names and folders

    @Test func `arguments that are not UTF-8 are refused in one sentence`() async throws {
        let place = try await LoopbackFixture()
        for (command, name, number) in [
            (#"$RPIFLASH plan $D/$'gr\xf6\xdfe.img' --store $D/store"#, "rpiflash", 2),
            (#"$RPIFLASH images --store $D/$'st\xf6re'"#, "rpiflash", 3),
            (#"$GEN check-image $D/$'gr\xf6\xdfe.img'"#, "rpiflash-gen", 2),
            (#"$GEN bootscr --board qemu_arm64 --text -o $D/$'\xff'"#, "rpiflash-gen", 6),
        ] {
            let result = try await place.bash("touch $D/$'gr\\xf6\\xdfe.img'; \(command)")
            #expect(result.status == 64 && result.errorLines.count == 1, result.all)
            #expect(result.stderr.hasPrefix("\(name): argument \(number) ('"), result.all)
            #expect(
                result.stderr.hasSuffix("is not UTF-8; give the file a name that is, or a symbolic link with one\n"),
                result.all)
        }
        // What is around a file may have any name.
        let inside = try await place.bash(
            #"mkdir $D/$'f\xf6lder'; cd $D/$'f\xf6lder'; ln ../os.img a.img; $RPIFLASH plan a.img --as-is --store ../store"#
        )
        #expect(inside.status == 0, inside.all)
    }

    @Test(arguments: ["/nonexistent", "$IMG"])
    func `a TMPDIR that cannot be used is named`(folder: String) async throws {
        let place = try await LoopbackFixture()
        for command in [
            "$GEN check-image $IMG", "$GEN layout", "$GEN bootscr --board qemu_arm64 -o $D/boot.scr --dry-run",
            "gzip -1 -k $IMG; $FLASH --dry-run --as-is $IMG.gz cam; s=$?; rm $IMG.gz; (exit $s)",
        ] {
            let result = try await place.bash("cd $REPOSITORY; export TMPDIR=\(folder); \(command)")
            #expect(result.status == (command.contains("$FLASH") ? 9 : 1), result.all)
            let path = folder == "$IMG" ? "D/os.img" : folder
            #expect(
                place.stable(result.stderr).contains(": \(path): no folder for temporary files: "), result.all)
        }
        #expect(!FileManager.default.fileExists(atPath: "/nonexistent"))
    }

    @Test func `messages name the image as it was given`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.bash(
            """
            cd $D; ln -s os.img link.img; printf '7z\\xbc\\xaf\\x27\\x1c' >a.7z; ln -s a.7z b.7z
            $RPIFLASH plan link.img --as-is --store store | head -n 1
            $RPIFLASH plan b.7z --store store
            """)
        #expect(result.status == 7 && result.stdout.hasPrefix("image "), result.all)
        #expect(result.stdout.contains("link.img, 9437184 bytes"), result.all)
        #expect(result.stderr.hasPrefix("rpiflash: b.7z: is a 7z archive"), result.all)
    }
}
