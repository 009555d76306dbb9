import BootScript
import DiskLayout
import Foundation
import SystemPackage
import TestSupport
import Testing

extension SystemTests.ToProof {
    /// The boot script's reader of config.txt and cmdline.txt, on real U-Boot, against the table that the server's reader is
    /// tested with too (BootSettingsTests).
    @Suite(.serialized) struct BootCases {
        /// The last part of the boot script up to where it would start the kernel, as the card of a Pi has it, on the files of a
        /// folder for each case; what it found is printed.
        private func section() throws -> String {
            let template = try Template(joining: BootScriptFiles.all) { name in
                try Template(text(of: "templates/\(name)"), file: name)
            }
            let board = try BoardProfile(yaml: text(of: "uboot/boards/rpi_arm64.yaml"), file: "rpi_arm64.yaml")
            let card = try CardLayout(
                cardSize: ByteCount(8_000_000_000), ubootSize: .mebibytes(64), bootSize: .mebibytes(512),
                diskID: #require(DiskID(0x5250_4946)))
            let script = try renderBootScript(
                template: template, board: board, card: card, serverAddress: nil)
            func place(_ text: String) throws -> String.Index { try #require(script.range(of: text)?.lowerBound) }
            var section = script[
                try place(
                    "\n# Boot what is on")..<place("if test \"${l_state}\" = ok; then\n    echo \"rpiflash: initramfs")]
            let top = "setenv l_top /\n"
            #expect(section.ranges(of: top).count == 1)
            section.replace(top, with: "setenv l_top /${c_case}/\n")
            // RAM, from the script's head.
            return script[try place("# RAM. Small")..<place("# Settings from partition 1")] + section + """

                echo "case ${c_case}"
                env print l_state l_kernel l_initramfs_name l_fdt_name bootargs
                echo "end ${c_case}"

                """
        }

        private func text(of path: String) throws -> String {
            try String(contentsOfFile: Bench.repository.appending(path).string, encoding: .utf8)
        }

        /// A target with a debug console that somebody uses and leaves: two minutes, beside the other suites. Its QEMU has
        /// the lowest priority once it is at the prompt, as that polls.
        static let leftAlone = Task {
            let target = try await VirtualTarget(
                "debug", card: OSImageFixture.small.value, cardArguments: "--debug-console")
            return try await target.exec(
                """
                $VT reset $D
                $VT wait $D 'debug console: press a key' --timeout 900
                python3 - $D/console.sock <<'PY'
                import socket, sys, time
                s = socket.socket(socket.AF_UNIX)
                s.connect(sys.argv[1])
                s.send(b'x')
                time.sleep(0.5)
                PY
                $VT wait $D '=> ' --timeout 900
                touch $D/prompt
                renice -n 19 -p $(ls /proc/$(cat $D/qemu.pid)/task) >/dev/null
                seen=$(stat -c %s $D/console.log)
                $VT wait $D 'Timeout waiting for command' --from $seen --timeout 900
                # Back again, which root alone may.
                renice -n 0 -p $(ls /proc/$(cat $D/qemu.pid)/task) >/dev/null 2>&1 || true
                $VT wait $D 'rpiflash: boot script' --from $seen --timeout 900
                $VT wait $D 'rpiflash: cannot boot' --from $seen --timeout 900
                """)
        }

        @Test(.enabled(if: Bench.olderUBoot == nil, "exit in a nested if does not end a script of 2023.01"))
        func `a card with a debug console has a prompt for who presses a key`() async throws {
            let atPrompt = Bench.scratch.appending("debug/prompt").string
            let leftAlone = Self.leftAlone
            let end = ContinuousClock.now + .seconds(90)
            while !FileManager.default.fileExists(atPath: atPrompt), ContinuousClock.now < end {
                try await Task.sleep(for: .milliseconds(100))
            }
            if !FileManager.default.fileExists(atPath: atPrompt) {
                let run = try await leftAlone.value
                Issue.record("\(run.all)")
            }
        }

        /// All cases in one start of U-Boot.
        @Test func `config.txt and cmdline.txt are read by U-Boot as the table says`() async throws {
            let cases = try BootCase.all()
            let target = try await VirtualTarget(
                "cases", card: OSImageFixture.small.value, cardSize: "512MiB", machine: .fastest)
            let tree = target.directory.appending("tree")
            for (number, testCase) in cases.enumerated() {
                for (path, content) in testCase.files {
                    let file = URL(filePath: tree.appending("\(number)/\(path)").string)
                    try FileManager.default.createDirectory(
                        at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
                    try Data(content.bytes).write(to: file)
                }
            }
            var main = "test -n \"${l_mmc}\" || setenv l_mmc 0\n"
            main += "setexpr c_at ${scriptaddr} + 0x40000\nload mmc ${l_mmc}:1 ${c_at} section.scr\n"
            for (number, testCase) in cases.enumerated() {
                main += "setenv fdtfile \(testCase.board)\nsetenv c_case \(number)\nsource ${c_at}\n"
            }
            main += "echo \"cases done\"\n"
            try Data(try section().utf8).write(to: URL(filePath: target.directory.appending("section.cmd").string))
            try Data(main.utf8).write(to: URL(filePath: target.directory.appending("boot.cmd").string))
            // A card of its own: U-Boot's partition as it was, a large one with the cases, and a third.
            let run = try await target.exec(
                """
                cd $D
                for name in section boot; do mkimage -A arm64 -T script -C none -d $name.cmd $name.scr >/dev/null; done
                truncate -s 160M cases.fat; mkfs.vfat -F 32 -s 1 cases.fat >/dev/null
                export MTOOLS_SKIP_CHECK=1
                mcopy -s -i cases.fat tree/* ::/
                mcopy -o -i card.img@@4194304 boot.scr section.scr ::/
                sfdisk --dump card.img | sed -n 's/^label: .*/&/p; s/^label-id: .*/&/p; /img1 :/p' >table
                printf 'start=147456,size=327680,type=c\\nstart=475136,size=65536,type=83\\n' >>table
                sfdisk -q --no-reread card.img <table
                dd if=cases.fat of=card.img bs=512 seek=147456 conv=notrunc,sparse status=none
                $VT reset $D
                $VT wait $D 'cases done' --timeout 900
                """)
            #expect(run.status == 0, run.all)
            let console = try Data(contentsOf: URL(filePath: target.directory.appending("console.log").string))
            // "\r\n" is one character in Swift, and "\n" is not found in it.
            var bytes: [UInt8] = []
            for byte in console {
                if byte == 0x0a, bytes.last == 0x0d { bytes.removeLast() }
                bytes.append(byte)
            }
            let log = String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) }))
            for (number, testCase) in cases.enumerated() {
                let result = log.components(separatedBy: "\ncase \(number)\n").dropFirst().last?
                    .components(separatedBy: "end \(number)\n").first
                guard let result else {
                    Issue.record("\(testCase.name): U-Boot printed no result")
                    continue
                }
                func value(_ name: String) -> String? {
                    result.components(separatedBy: "\(name)=").dropFirst().first?.components(separatedBy: "\n").first
                }
                let state = testCase.expected.state ?? "ok"
                #expect(value("l_state")?.replacing("/\(number)/", with: "/") == state, "\(testCase.name)")
                guard testCase.expected.state == nil else { continue }
                func path(_ name: String) -> String? {
                    value(name)?.replacing("/\(number)/", with: "/", maxReplacements: 1)
                }
                #expect(path("l_kernel") == testCase.expected.kernel, "\(testCase.name)")
                #expect(path("l_initramfs_name") == testCase.expected.initramfs, "\(testCase.name)")
                if let deviceTree = testCase.expected.deviceTree {
                    #expect(path("l_fdt_name") == deviceTree, "\(testCase.name)")
                }
                let arguments = result.components(separatedBy: "bootargs=").dropFirst().joined(separator: "bootargs=")
                #expect(
                    arguments.dropLast().replacing("PARTUUID=52504946-03", with: "{root}")
                        == testCase.expected.bootargs?.text ?? "", "\(testCase.name)")
            }
        }

        /// 0x03 is Ctrl-C, which ends loops where it is heeded.
        @Test func `no noise on the serial line stops a start`() async throws {
            let target = try await VirtualTarget("noise", card: OSImageFixture.small.value)
            try await target.flash()
            let run = try await target.exec(
                """
                seen=$(stat -c %s $D/console.log)
                $VT reset $D
                python3 - $D/console.sock <<'PY' & noise=$!
                import socket, sys, time
                s = socket.socket(socket.AF_UNIX)
                for _ in range(100):
                    try:
                        s.connect(sys.argv[1])
                        break
                    except OSError: time.sleep(0.05)
                end = time.time() + 20
                try:
                    while time.time() < end:
                        s.send(b' \\r\\x03')
                        time.sleep(0.2)
                except OSError: pass
                PY
                $VT wait $D 'rpiflash: cannot boot: /kernel8.img' --from $seen --timeout 900
                kill $noise 2>/dev/null || true
                """)
            #expect(run.status == 0, run.all)
            #expect(target.console.contains("rpiflash: boot script for qemu_arm64"))
            #expect(!target.console.contains("=> "))
        }
    }
}
