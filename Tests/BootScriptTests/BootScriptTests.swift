import BootFiles
import DiskLayout
import Foundation
import Testing

@testable import BootScript

/// The tracked template and board profiles, read from the source tree.
struct BootScriptTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    static let boards = ["rpi_arm64", "rpi_3_32b", "rpi_4_32b", "qemu_arm64"]

    private func text(_ path: String) throws -> String {
        try String(contentsOf: Self.root.appending(path: path), encoding: .utf8)
    }

    private func profile(_ board: String) throws -> BoardProfile {
        try BoardProfile(yaml: text("uboot/boards/\(board).yaml"), file: "\(board).yaml")
    }

    private func script(_ board: String, server: String? = nil, keys: [String] = []) throws -> String {
        let card = try CardLayout(
            cardSize: ByteCount(8_000_000_000), ubootSize: .mebibytes(64), bootSize: .mebibytes(512),
            diskID: #require(DiskID(0x5250_4946)))
        let template = try Template(joining: BootScriptFiles.all) { try Template(text("templates/\($0)"), file: $0) }
        return try renderBootScript(
            template: template, board: profile(board), card: card, serverAddress: server, keys: keys)
    }

    @Test func `a boot script that changes gets a new number, by which a card with an older one is known`() throws {
        let template = try BootScriptFiles.all.map { try text("templates/\($0)") }.joined()
        let number = try #require(template.firstMatch(of: /(?m)^setenv l_script ([0-9a-f]+)$/)).output.1
        // FNV-1a of all but that line. Changed a template? Then change the number, and this pair.
        let hash = template.split(separator: "\n").filter { !$0.hasPrefix("setenv l_script ") && !$0.hasPrefix("#") }
            .joined(separator: "\n").utf8.reduce(UInt64(0xcbf2_9ce4_8422_2325)) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        #expect([String(number), String(hash, radix: 16)] == ["6", "33fe303426f21ce8"])
    }

    @Test(arguments: boards)
    func `every board has a profile that renders`(board: String) throws {
        #expect(try profile(board).name == board)
        let script = try script(board)
        #expect(script.contains("echo \"rpiflash: boot script for \(board), card layout 0x22000/0x122000\""))
        #expect(script.contains("setenv l_skip 0x2000\n"))
        #expect(!script.contains("{{") && !script.contains("}}"))
    }

    @Test(arguments: boards)
    func `the server knows a board's names as its profile has them`(name: String) throws {
        let profile = try profile(name)
        let board = try #require(BootBoard.all.first { $0.name == name })
        #expect(board.kernels == profile.kernels)
        #expect(board.initramfs == profile.initramfs)
        #expect((board.kernelForm == .arm64) == (profile.bootCommand == .booti))
        #expect(BootBoard.all.count == Self.boards.count)
    }

    /// What an image's files hold is never parsed by U-Boot's shell: of the variables that have such text none is written
    /// as a value, and the names of files have harmless characters only.
    @Test func `data is not script - no text of the image is written in a command`() throws {
        let script = try script("rpi_arm64")
        for name in ["bootargs", "l_config", "l_content", "l_root"] {
            #expect(script.contains("setexpr.s \(name) *${") && !script.contains("${\(name)}"), "\(name)")
        }
        // env import takes backslashes away; the two that are left read rpiflash.env and the parts' manifest.
        #expect(script.matches(of: /env import/).count == 2)
    }

    /// U-Boot 2025.01 returns 0 for sub and gsub without a match, 2023.01 returns 1.
    @Test func `nothing depends on what setexpr sub and gsub return`() throws {
        for line in try script("rpi_arm64").split(separator: "\n")
        where line.contains(#/setexpr \S+ g?sub /#) && !line.contains("setenv l_") {
            #expect(!line.contains("&&") && !line.contains("||") && !line.contains("if setexpr"), "\(line)")
        }
    }

    @Test(arguments: boards)
    func `law 1 - every write to the card starts at partition 2 or behind what was written before`(board: String) throws
    {
        let script = try script(board)
        // One command writes; where to is set in few places, all from partition 2's start.
        let writes = script.matches(of: /mmc (?:write|erase|swrite) (\S+) (\S+)/).map { "\($0.output.2)" }
        #expect(writes == ["${l_at}"])
        let step = try #require(script.firstMatch(of: /setenv l_step '\n(.*)'/)).output.1
        let places = step.matches(of: /(?:setenv|setexpr) l_at (.*?) &&/).map { "\($0.output.1)" }
        #expect(places == ["${l_block} + ${l_done}"])
        // l_p2 comes from the card's table, and only counts when it is what the script was made for.
        #expect(script.contains("itest 0x${l_p2} == ${l_boot_start}"))
        let blocks = script.matches(of: /(?:setenv|setexpr) l_block (.*?)(?: &&|$)/).map { "\($0.output.1)" }
        #expect(blocks == ["${l_p2}", "${l_p2} + 0x1", "${l_block} + ${l_blocks}", "${l_p2}"])
        #expect(!script.contains("saveenv") && !script.contains("fatwrite") && !script.contains("gzwrite"))
    }

    @Test func `law 3 - zeros go to the first block of partition 2 before anything else, the block itself last`() throws
    {
        let script = try script("rpi_arm64")
        // Part 0 keeps the block back, puts zeros there and only then writes the rest; the block comes after the loop.
        let first = try #require(script.firstMatch(of: /setenv l_write_first '\n(.*)'/)).output.1
        let steps = ["cp.b ${l_start} ${l_first} 0x200", "run l_invalidate", "run l_write"]
        #expect(steps.map { first.range(of: $0)?.lowerBound } == steps.map { first.ranges(of: $0).first?.lowerBound })
        let places = steps.compactMap { first.range(of: $0)?.lowerBound }
        #expect(places.count == 3 && places == places.sorted())
        let loopEnd = try #require(script.range(of: "\n                done\n")).upperBound
        #expect(script[loopEnd...].contains("run l_write_last"))
        #expect(!script[..<loopEnd].contains("run l_write_last"))
    }

    @Test(arguments: boards)
    func `keeps to what U-Boot's shell can read`(board: String) throws {
        for (index, line) in try script(board).split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let code = line.drop(while: \.isWhitespace)
            guard !code.hasPrefix("#") else { continue }
            // Seen with U-Boot 2023.01: an apostrophe in double quotes inside an if is a syntax error.
            let quoted = code.matches(of: /"([^"]*)"/).map { "\($0.output.1)" }
            if !code.hasPrefix("setenv l_") || !code.contains("'") {
                #expect(quoted.allSatisfy { !$0.contains("'") }, "line \(index + 1)")
            }
            // U-Boot skips the rest of a list at the first command that ends it, whichever of the two comes next.
            for list in code.split(separator: ";") {
                #expect(!list.contains("&&") || !list.contains("||"), "line \(index + 1): \(list)")
            }
            #expect(!code.hasSuffix("&&") && !code.hasSuffix("||"), "line \(index + 1)")
            #expect(line.utf8.count < 2048, "line \(index + 1): half of CONFIG_SYS_CBSIZE")
            // A bare mmc write or tftpboot that is not checked goes on after a failure.
            if code.hasPrefix("mmc write") || code.hasPrefix("tftpboot") {
                Issue.record("unchecked: line \(index + 1)")
            }
        }
    }

    @Test func `a server address is used where the card names none`() throws {
        #expect(try script("rpi_arm64", server: "10.0.0.1").contains("|| setenv serverip 10.0.0.1\n"))
        #expect(try script("rpi_arm64").contains("|| setenv serverip \n"))
        #expect(throws: TemplateError.self) { try script("rpi_arm64", server: "10.0.0.1; reset") }
    }

    @Test func `boards differ where their hardware does`() throws {
        #expect(try script("rpi_3_32b").contains("\n    bootz ${kernel_addr_r}"))
        #expect(try script("rpi_arm64").contains("\n    booti ${kernel_addr_r}"))
        #expect(try script("rpi_arm64").contains("if test yes = yes && test -z \"${ethact}\""))
        #expect(try script("rpi_4_32b").contains("if test no = yes && test -z \"${ethact}\""))
        #expect(try script("qemu_arm64").contains("' console=ttyAMA0'"))
        #expect(try script("rpi_arm64").contains("' console=ttyS0'"))
    }

    @Test(arguments: [
        ("colour: red\n", "b.yaml: 16:1: unknown key colour"),
        ("", ""),
    ])
    func `refuses a profile with an unknown key`(extra: String, message: String) throws {
        let yaml = try text("uboot/boards/qemu_arm64.yaml") + extra
        if message.isEmpty {
            _ = try BoardProfile(yaml: yaml, file: "b.yaml")
        } else {
            let error = #expect(throws: BoardProfileError.self) { try BoardProfile(yaml: yaml, file: "b.yaml") }
            #expect(error?.description == message)
        }
    }

    @Test func `a board that Linux flashes has that system's keys and none of U-Boot's`() throws {
        let yaml = try text("uboot/boards/rpi_5.yaml")
        let board = try BoardProfile(yaml: yaml, file: "b.yaml")
        #expect(board.system == .linux && board.linux?.start == .firmware)
        #expect(board.linux?.resetStatus == "0x107d200020" && board.linux?.modules.last == "macb")
        #expect(!board.keys.contains(.defconfig) && board.keys.contains(.linuxSuite))
        func refusal(_ yaml: String) -> String? {
            #expect(throws: BoardProfileError.self) { try BoardProfile(yaml: yaml, file: "b.yaml") }?.description
        }
        #expect(
            refusal(yaml + "defconfig: x\n") == "b.yaml: a board with system: linux has no key defconfig")
        #expect(
            refusal(yaml.replacing("linux_start: firmware\n", with: "")) == "b.yaml: key linux_start is missing")
        let other = try text("uboot/boards/qemu_arm64.yaml") + "linux_start: kexec\n"
        #expect(refusal(other) == "b.yaml: a board with system: uboot has no key linux_start")
        #expect(refusal(yaml.replacing("system: linux", with: "system: bsd")) != nil)
    }

    @Test func `refuses a profile with a missing key or a wrong value`() throws {
        let yaml = try text("uboot/boards/qemu_arm64.yaml")
        let missing = yaml.replacing("boot_command: booti\n", with: "")
        #expect(
            #expect(throws: BoardProfileError.self) { try BoardProfile(yaml: missing, file: "b.yaml") }?.description
                == "b.yaml: key boot_command is missing")
        let wrong = yaml.replacing("booti", with: "bootm")
        #expect(throws: BoardProfileError.self) { try BoardProfile(yaml: wrong, file: "b.yaml") }
    }
}
