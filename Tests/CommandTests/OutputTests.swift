import Foundation
import SystemPackage
import TestSupport
import Testing

/// What goes where: results to standard output, the log to standard error, colours and lines that are taken back to a
/// terminal only.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct OutputTests {
    // MARK: --quiet and --verbose

    @Test func `--quiet logs nothing of what goes well, the result stays`() async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await place.run("$FLASH -q --no-wait $IMG cam", exits: 0)
        #expect(result.stderr == "", result.all)
        #expect(result.stdout.hasPrefix("cam (52:54:00:12:34:56, 127.0.0.1): flashed and proven, "), result.all)
        let plan = try await place.run("$RPIFLASH plan --quiet $IMG --store $D/other", exits: 0)
        #expect(plan.stderr == "" && plan.stdout.hasPrefix("image "), plan.all)
    }

    @Test func `--quiet leaves warnings and errors`() async throws {
        let place = try await LoopbackFixture()
        let result = try await place.run("$FLASH --quiet --no-wait --request-timeout 300ms $IMG cam", exits: 5)
        #expect(
            result.errorLines.map { $0.prefix(47) } == [
                "rpiflash: warning: target cam did not ask for i", "rpiflash: target cam did not ask for its image ",
            ], result.all)
        let refused = try await place.run("$FLASH --quiet $IMG dog", exits: 8)
        #expect(refused.errorLines.count == 1, refused.all)
    }

    @Test func `--verbose says what was found, what is sent, each file, and how long steps take`() async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await place.run(
            "$FLASH --verbose --no-wait $IMG cam; ls $D/store/images; $FLASH --no-wait $IMG cam 2>$D/usual", exits: 0)
        let id = result.stdout.split(separator: "\n").first { $0.count == 64 } ?? "?"
        let log = place.stable(result.stderr)
        for line in [
            "target cam: D/targets.csv:2, 52:54:00:12:34:56, 127.0.0.1, server localhost, reset_command 'bash D/reset'",
            "the image's chunks are in D/store/images/\(id)",
        ] {
            #expect(log.contains("rpiflash: \(line)\n"), "\(line)\n\(result.all)")
        }
        #expect(try log.contains(Regex("the image's content is \(id), prepared in \\d+\\.\\d s\n")), result.all)
        #expect(
            log.contains(/staged in \d+\.\d s\n/) && log.contains(/asked \d+\.\d s after the reset began\n/), result.all
        )
        #expect(log.contains(/the target has flash\.scr: \d+ packets, \d+ of them again, window \d+\n/), result.all)
        #expect(log.contains(/proven \d+\.\d s after the reset\n/), result.all)
        // Every file that the target took.
        let files = log.matches(of: #/the target has (\S+): /#).map { String($0.1) }
        #expect(files.filter { $0.hasPrefix("chunk-") }.count >= 2, result.all)
        // None of it without being asked for.
        #expect(!place.text("usual").contains("the target has ") && !place.text("usual").contains("targets.csv:"))
    }

    @Test func `of a service --quiet and --verbose are about its jobs`() async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await place.run(
            """
            for how in --quiet --verbose; do
                $RPIFLASH serve $how --root $TFTP --listen 127.0.0.1:$PORT --socket $D/serve.sock 2>$D/log$how & serve=$!
                until [ -S $D/serve.sock ]; do kill -0 $serve; sleep 0.02; done
                FLASH=${FLASH/--listen 127.0.0.1:$PORT/}
                ${FLASH/none.sock/serve.sock} -q --no-wait $IMG cam >/dev/null
                kill -TERM $serve; wait $serve
            done
            """, exits: 0)
        #expect(place.text("log--quiet") == "", result.all)
        let log = place.text("log--verbose")
        #expect(log.contains(#/rpiflash: 52:54:00:12:34:56: sent flash\.scr: \d+ packets, /#), "\(log)")
    }

    @Test func `--quiet and --verbose exclude each other`() async throws {
        let result = try await runBash("$RPIFLASH flash x y -q -v")
        #expect(result.status == 64, result.all)
        #expect(result.errorLines.first == "Error: --quiet and --verbose exclude each other", result.all)
    }

    // MARK: Pipes

    /// Every command, as a program would run it; those that go on are ended by it.
    private static let commands: [(command: String, script: String)] = [
        ("rpiflash flash", "$FLASH --no-wait $IMG cam"), ("rpiflash flash", "$FLASH --no-wait --all --verbose $IMG"),
        ("rpiflash flash", "$FLASH --no-wait --json $IMG cam"), ("rpiflash flash", "$FLASH --dry-run $IMG cam"),
        ("rpiflash plan", "$RPIFLASH plan $IMG --store $D/store --chunks"),
        ("rpiflash plan", "$RPIFLASH plan $IMG --store $D/store --json"),
        ("rpiflash images list", "$RPIFLASH images --store $D/store"),
        ("rpiflash images size", "$RPIFLASH images size --store $D/store"),
        (
            "rpiflash images remove",
            "$RPIFLASH images remove --store $D/store $(ls $D/store/images) 2>&1"
        ), ("rpiflash reset", "$RPIFLASH reset --inventory $D/targets.csv cam --verbose"),
        ("rpiflash targets", "$RPIFLASH targets --inventory $D/targets.csv"),
        ("rpiflash keys init", "$RPIFLASH keys init --keys $D/keys"),
        ("rpiflash keys show", "$RPIFLASH keys --keys $D/keys"),
        ("rpiflash keys rotate", "$RPIFLASH keys rotate --keys $D/keys"),
        ("rpiflash upgrade", "$RPIFLASH upgrade --inventory $D/targets.csv --ssh false $IMG cam || [ $? = 7 ]"),
        ("rpiflash gpio", "$RPIFLASH gpio --inventory $D/targets.csv --json || [ $? = 9 ]"),
        (
            "rpiflash serve",
            "timeout --preserve-status 0.5 $RPIFLASH serve --root $TFTP --listen 127.0.0.1:$PORT --socket $D/s"
        ),
        ("rpiflash console", "$RPIFLASH console cam --inventory $D/targets.csv --runs $D/runs --for 300ms"),
        ("rpiflash runs list", "$RPIFLASH runs --runs $D/runs"),
        ("rpiflash runs show", "$RPIFLASH runs show last --runs $D/runs"),
        ("rpiflash runs cards", "$RPIFLASH runs cards --runs $D/runs"),
        ("rpiflash runs report", "$RPIFLASH runs report --runs $D/runs --html $D/html"),
        (
            "rpiflash web",
            "timeout --preserve-status 0.5 $RPIFLASH web --runs $D/runs --inventory $D/targets.csv --listen 127.0.0.1:$PORT"
        ),
        ("rpiflash runs prune", "$RPIFLASH runs prune --keep 0 --runs $D/runs"),
        (
            "rpiflash doctor",
            "$RPIFLASH doctor --inventory $D/targets.csv --card $D/card.yaml --tftp-root $TFTP --listen 127.0.0.1:$PORT "
                + "--store $D/store --service $D/none.sock || [ $? = 9 ]"
        ), ("rpiflash-gen layout", "$GEN layout --card $D/card.yaml"),
        ("rpiflash-gen bootscr", "$GEN bootscr --board rpi_arm64 --boards $REPOSITORY/uboot/boards -o $D/boot.scr"),
        ("rpiflash-gen board", "$GEN board --boards $REPOSITORY/uboot/boards rpi_arm64"),
        ("rpiflash-gen check-image", "$GEN check-image $IMG || [ $? = 1 ]"),
        ("rpiflash-gen recovery-image", "$GEN recovery-image --board none || [ $? = 1 ]"),
    ]

    @Test func `in pipes there are no colours and no lines that are taken back, results and log are apart`()
        async throws
    {
        let place = try await LoopbackFixture("flash")
        // The output of each command in a file; a terminal that could show colours does not count.
        let script = Self.commands.enumerated().map { index, entry in
            "( \(entry.script) ) >$D/out-\(index) 2>$D/err-\(index) || echo 'failed: \(entry.command)' $?"
        }
        let result = try await place.bash(
            "export TERM=xterm-256color; unset NO_COLOR; cd $REPOSITORY\n" + script.joined(separator: "\n"))
        #expect(result.status == 0 && result.stdout == "", result.all)
        for (index, entry) in Self.commands.enumerated() {
            let (output, errors) = (place.text("out-\(index)"), place.text("err-\(index)"))
            let all = Comment(rawValue: "\(entry.script)\n\(output)\n---\n\(errors)")
            #expect(
                !(output + errors).unicodeScalars.contains { $0.properties.generalCategory == .control && $0 != "\n" },
                all)
            let program = entry.command.prefix { $0 != " " }
            #expect(errors.split(separator: "\n").allSatisfy { $0.hasPrefix("\(program): ") }, all)
            // No line of the log among the results; commands that only act have none.
            #expect(!output.split(separator: "\n").contains { $0.hasPrefix("\(program): ") }, all)
            if !["serve", "web", "bootscr", "console", "recovery-image", "gpio", "upgrade"].contains(
                where: entry.command.hasSuffix)
            {
                #expect(!output.isEmpty, all)
            }
        }
        // A new command is tried too.
        #expect(Set(Self.commands.map(\.command)) == Set(try await leafCommands()))
    }

    private func leafCommands() async throws -> [String] {
        struct Command: Decodable {
            let commandName: String
            let subcommands: [Command]?
        }
        struct Dump: Decodable { let command: Command }
        func leaves(_ command: Command, _ above: String) -> [String] {
            let path = (above.isEmpty ? "" : above + " ") + command.commandName
            let children = (command.subcommands ?? []).filter { $0.commandName != "help" }
            return children.isEmpty ? [path] : children.flatMap { leaves($0, path) }
        }
        var found: [String] = []
        for program in ["RPIFLASH", "GEN"] {
            let result = try await runBash("$\(program) --experimental-dump-help")
            found += leaves(try JSONDecoder().decode(Dump.self, from: Data(result.stdout.utf8)).command, "")
        }
        return found
    }

    // MARK: A terminal

    private static let (red, yellow, green, end) = ("\u{1b}[31m", "\u{1b}[33m", "\u{1b}[32m", "\u{1b}[0m")

    /// Runs a command on a terminal.
    private static func onTerminal(_ place: LoopbackFixture, _ command: String, _ environment: String = "TERM=xterm")
        async throws
        -> CommandResult
    {
        try await place.bash(
            "unset NO_COLOR; export \(environment); script -qec \"\(command)\" /dev/null </dev/null || true")
    }

    @Test func `on a terminal errors are red, warnings yellow, what is proven green`() async throws {
        let good = try await LoopbackFixture("flash")
        let flashed = try await Self.onTerminal(good, "$FLASH --no-wait $IMG cam")
        #expect(flashed.stdout.contains("rpiflash: \(Self.green)the target reported OK with "), flashed.all)
        #expect(flashed.stdout.contains("127.0.0.1): \(Self.green)flashed and proven\(Self.end), "), flashed.all)
        #expect(!flashed.stdout.contains(Self.red) && flashed.stdout.contains("\u{1b}[K"), flashed.all)

        let bad = try await LoopbackFixture()
        let failed = try await Self.onTerminal(bad, "$FLASH --no-wait --request-timeout 200ms $IMG cam")
        #expect(failed.stdout.contains("rpiflash: \(Self.yellow)warning: target cam did not ask "), failed.all)
        #expect(failed.stdout.contains("rpiflash: \(Self.red)target cam did not ask "), failed.all)

        let doctor = try await Self.onTerminal(
            bad,
            "$RPIFLASH doctor --inventory $D/targets.csv --card $D/none.yaml --tftp-root $TFTP --listen 127.0.0.1:$PORT "
                + "--store $D/store --service $D/none.sock")
        // How wide the first column is depends on whether there is a note.
        #expect(doctor.stdout.contains(#/\x1b\[32mok\x1b\[0m +inventory/#), doctor.all)
        #expect(doctor.stdout.contains(#/\x1b\[31mbad\x1b\[0m +card/#), doctor.all)
        #expect(doctor.stdout.contains("rpiflash: \(Self.red)1 check failed (above)"), doctor.all)

        let generator = try await Self.onTerminal(bad, "$GEN layout --card $D/none.yaml")
        #expect(generator.stdout.contains("rpiflash-gen: \(Self.red)"), generator.all)
    }

    @Test(arguments: ["TERM=xterm NO_COLOR=1", "TERM=xterm NO_COLOR=0", "TERM=dumb"])
    func `NO_COLOR and TERM=dumb turn colours off, a dumb terminal's lines stay`(environment: String) async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await Self.onTerminal(
            place, "$FLASH --no-wait $IMG cam; $FLASH --no-wait $IMG dog", environment)
        #expect(!result.stdout.contains(/\u{1b}\[\d+m/) && result.stdout.contains("flashed and proven"), result.all)
        if environment == "TERM=dumb" {
            #expect(!result.stdout.replacing("\r\n", with: "").contains { "\u{1b}\r".contains($0) }, result.all)
        } else {
            #expect(result.stdout.contains("\u{1b}[K"), result.all)
        }
    }

    /// https://no-color.org: only a value that is not empty counts.
    @Test func `an empty NO_COLOR says nothing, and --quiet leaves a terminal no progress`() async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await Self.onTerminal(place, "$FLASH -q --no-wait $IMG cam", "TERM=xterm NO_COLOR=")
        #expect(
            result.stdout.hasPrefix("cam (52:54:00:12:34:56, 127.0.0.1): \(Self.green)flashed and proven"), result.all)
        #expect(result.stdout.split(separator: "\r\n").count == 1 && !result.stdout.contains("\u{1b}[K"), result.all)
    }

    @Test func `law 7 - colours let nothing through that a target or a command sends`() async throws {
        let place = try await LoopbackFixture()
        try place.write("reset", #"printf '\033]0;owned\a\033[31mred\n\033[2J' >&2; exit 1"#)
        let result = try await Self.onTerminal(place, "$FLASH --no-wait $IMG cam")
        #expect(result.stdout.contains("rpiflash: \(Self.red)cannot reset target cam: "), result.all)
        let rest = result.stdout.replacing(/\u{1b}\[(?:31m|32m|33m|0m|K|J)/, with: "")
        #expect(
            !rest.unicodeScalars.contains {
                $0.properties.generalCategory == .control && !"\r\n".unicodeScalars.contains($0)
            }, result.all)
    }
}
