import Foundation
import SystemPackage
import TestSupport
import Testing

/// What --help says, and that it agrees with the documents.
@Suite struct HelpTests {
    private static func file(_ path: String) throws -> String {
        try String(contentsOfFile: Programs.repository.appending(path).string, encoding: .utf8)
    }

    @Test(
        arguments: [
            ("$RPIFLASH", "rpiflash "), ("$RPIFLASH flash", "rpiflash flash [<options>] <image> <target>"),
            ("$RPIFLASH reset", "rpiflash reset "), ("$RPIFLASH targets", "rpiflash targets"),
            ("$RPIFLASH plan", "rpiflash plan <image>"), ("$RPIFLASH gpio", "rpiflash gpio"),
            ("$RPIFLASH images", "rpiflash images "), ("$RPIFLASH images list", "rpiflash images list"),
            ("$RPIFLASH images remove", "rpiflash images remove <id> ..."), ("$RPIFLASH serve", "rpiflash serve"),
            ("$RPIFLASH images size", "rpiflash images size"),
            ("$RPIFLASH upgrade", "rpiflash upgrade [<options>] <image> <target>"),
            ("$GEN", "rpiflash-gen "), ("$GEN layout", "rpiflash-gen layout"),
            ("$GEN board", "rpiflash-gen board <board>"), ("$GEN bootscr", "rpiflash-gen bootscr"),
            ("$GEN recovery-image", "rpiflash-gen recovery-image"),
        ])
    func `every command has help on standard output, with examples`(command: String, usage: String) async throws {
        let result = try await runBash("\(command) --help")
        #expect(result.status == 0 && result.stderr == "", result.all)
        #expect(result.stdout.contains("USAGE: \(usage)"), result.all)
        #expect(result.stdout.hasPrefix("OVERVIEW: "))
        let example = usage.split(separator: " ").prefix { !$0.hasPrefix("[") && !$0.hasPrefix("<") }.joined(
            separator: " ")
        #expect(result.stdout.contains("EXAMPLES\n  \(example)"), result.all)
        // The program's name in it is its own, and no path of this machine is a default.
        #expect(!result.stdout.contains(Programs.repository.string))
    }

    /// The numbers of a help's or a document's table of exit statuses.
    private static func statuses(_ text: String) -> [Int] {
        text.split(separator: "\n").compactMap { line in
            line.firstMatch(of: /^\s*\|?\s*(\d+)(?:\s{2,}| \|)/).flatMap { Int($0.1) }
        }
    }

    private static let all = Array(0...9) + [64, 130]

    @Test(arguments: ["$RPIFLASH", "$RPIFLASH flash"])
    func `help lists every exit status once`(command: String) async throws {
        #expect(Self.statuses(try await runBash("\(command) --help").stdout) == Self.all)
    }

    @Test func `the README lists every exit status once`() throws {
        let readme = try Self.file("README.md")
        let table = try #require(readme.split(separator: "## Exit status of `rpiflash`").last)
        #expect(Self.statuses(String(table)) == Self.all)
    }

    @Test func `rpiflash shows its version`() async throws {
        let result = try await runBash("$RPIFLASH --version")
        #expect(result.stdout.wholeMatch(of: /\d+\.\d+\.\d+\n/) != nil, result.all)
    }

    @Test(
        arguments: [
            ("layout --from-image $DIR/none.img", 1, "none.img: image does not exist"),
            ("layout --card $DIR/none.yaml", 1, "none.yaml"), ("bootscr --board none -o $DIR/boot.scr", 1, "none"),
            ("layout --card-size 1", 1, "1"), ("layout --format xml", 64, "xml"), ("recovery-image", 64, "--board"),
            ("wrong", 64, "wrong"),
        ] as [(String, Int32, String)])
    func `rpiflash-gen fails with one message and writes nothing`(
        arguments: String, status: Int32, part: String
    ) async throws {
        let result = try await runBash(
            """
            DIR=$(mktemp -d); trap 'rm -r $DIR' EXIT
            cd $REPOSITORY
            status=0; $GEN \(arguments) || status=$?
            ls -A $DIR
            exit $status
            """)
        #expect(result.status == status, result.all)
        #expect(result.stdout == "", result.all)
        #expect(result.stderr.contains(part), result.all)
        if status == 1 {
            #expect(result.errorLines.count == 1 && result.stderr.hasPrefix("rpiflash-gen: "), result.all)
        }
    }

    /// A message that the documents explain must be one that the programs or the boot script print.
    @Test func `every message in troubleshooting exists`() throws {
        var sources = ""
        for folder in ["Sources", "templates"] {
            let path = Programs.repository.appending(folder).string
            for case let name as String in FileManager.default.enumerator(atPath: path) ?? .init() {
                guard name.hasSuffix(".swift") || name.hasSuffix(".cmd") else { continue }
                sources += try Self.file("\(folder)/\(name)")
            }
        }
        // A long sentence is cut over several lines in the source.
        sources = sources.replacing(/"\s*\n\s*\+ "/, with: "").replacing(/\\\n\s*/, with: "")
        let page = try Self.file("docs/troubleshooting.md")
        var messages: [Substring] = []
        for line in page.split(separator: "\n") {
            if line.hasPrefix("**") {
                for bold in line.matches(of: /\*\*`([^`]+)`\*\*/) { messages.append(bold.1) }
            } else if let cell = line.firstMatch(of: /^\| `([^`]+)` \|/) {
                messages.append(cell.1)
            }
        }
        #expect(messages.count > 40)
        for message in messages {
            for part in message.split(separator: " … ") {
                #expect(sources.contains(part), "no program prints '\(part)'")
            }
        }
    }
}
