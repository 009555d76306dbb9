import Foundation
import SystemPackage
import TestSupport
import Testing

/// What a program says of itself: `--experimental-dump-help`.
private struct Dump: Decodable {
    struct Name: Decodable {
        let kind: String
        let name: String
        var spelled: String { (kind == "long" ? "--" : "-") + name }
    }
    struct Argument: Decodable {
        let names: [Name]?
        let valueName: String?
        let kind: String
        let shouldDisplay: Bool?
        let abstract: String?
    }
    struct Command: Decodable {
        let commandName: String
        let abstract: String?
        let discussion: String?
        let arguments: [Argument]?
        let subcommands: [Command]?
    }
    let command: Command
}

/// A command as its user types it.
private struct Described {
    /// `rpiflash images list`.
    let path: String
    let command: Dump.Command

    var shown: [Dump.Argument] { (command.arguments ?? []).filter { $0.shouldDisplay ?? true } }
    /// Every spelling of every option.
    var options: Set<String> { Set(shown.flatMap { ($0.names ?? []).map(\.spelled) }) }
}

private func described(_ variable: String) async throws -> [Described] {
    let result = try await runBash("$\(variable) --experimental-dump-help")
    #expect(result.status == 0, result.all)
    let dump = try JSONDecoder().decode(Dump.self, from: Data(result.stdout.utf8))
    func walk(_ command: Dump.Command, _ above: String) -> [Described] {
        let path = above.isEmpty ? command.commandName : "\(above) \(command.commandName)"
        // ArgumentParser's own.
        let children = (command.subcommands ?? []).filter { $0.commandName != "help" }
        return [Described(path: path, command: command)] + children.flatMap { walk($0, path) }
    }
    return walk(dump.command, "")
}

private func file(_ path: String) throws -> String {
    try String(contentsOfFile: Programs.repository.appending(path).string, encoding: .utf8)
}

/// The reference, and that it and the programs agree.
@Suite struct ReferenceTests {
    /// The sections of the reference: what stands under `## …`, by heading.
    private static func sections() throws -> [String: String] {
        var sections: [String: String] = [:]
        var heading = ""
        for line in try file("docs/reference.md").split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("## ") {
                heading = String(line.dropFirst(3))
                #expect(sections[heading] == nil, "\(heading) stands there twice")
            } else {
                sections[heading, default: ""] += line + "\n"
            }
        }
        return sections
    }

    /// Every `--option` or `-o` in a text.
    private static func options(in text: some StringProtocol) -> Set<String> {
        Set(String(text).matches(of: /(?:^|[^-\w])(--[a-z][a-z0-9-]*|-[a-zA-Z](?![\w-]))/).map { String($0.1) })
    }

    /// What the reference says of all commands at once.
    private static let everywhere: Set<String> = ["--help", "-h", "--version"]

    @Test(arguments: ["RPIFLASH", "GEN"])
    func `every command and option is documented, and everything documented exists`(variable: String) async throws {
        let sections = try Self.sections()
        let intro = try #require(sections[""])
        #expect(Self.everywhere.isSubset(of: Self.options(in: intro)))
        for described in try await described(variable) {
            guard let section = sections["`\(described.path)`"] else {
                Issue.record("docs/reference.md has no section of \(described.path)")
                continue
            }
            let rows = section.split(separator: "\n").filter { $0.hasPrefix("| `") }
            // The first cell of a row has the spellings, the others may speak of other options.
            let documented = Self.options(in: rows.map { $0.dropFirst(2).prefix { $0 != "|" } }.joined(separator: "\n"))
            let (own, told) = (
                described.options.subtracting(Self.everywhere), documented.subtracting(Self.everywhere)
            )
            #expect(own == told, "\(described.path)")
            for argument in described.shown where argument.kind == "positional" {
                let name = try #require(argument.valueName)
                #expect(rows.contains { $0.hasPrefix("| `<\(name)>` ") }, "<\(name)> of \(described.path)")
            }
            for row in rows {
                let text = row.split(separator: "|").last ?? ""
                #expect(text.contains(/\w{3}/), "\(described.path): \(row) says nothing")
            }
        }
    }

    @Test func `every section of a command is a command's`() async throws {
        let paths = Set(try await described("RPIFLASH").map(\.path) + described("GEN").map(\.path))
        let documented = try Self.sections().keys.filter { $0.hasPrefix("`rpiflash") }
        #expect(Set(documented) == Set(paths.map { "`\($0)`" }))
    }

    /// A command in a document that does not work is worse than none: every one that starts a line, with or without a
    /// prompt, and every one in a code span.
    @Test func `every option of a command in any document exists`() async throws {
        let all = try await described("RPIFLASH") + described("GEN")
        var documents = ["README.md", "CONTRIBUTING.md", "recovery_image/README.md"]
        documents += try FileManager.default.contentsOfDirectory(
            atPath: Programs.repository.appending("docs").string
        ).filter { $0.hasSuffix(".md") }.map { "docs/\($0)" }
        var seen = 0
        for document in documents {
            let text = try file(document)
            let lines = text.matches(of: /(?m)^\s{4,}(?:\$ )?(?:sudo )?(rpiflash(?:-gen)? [^\n]*)/).map { $0.1 }
            let spans = text.matches(of: /`(rpiflash(?:-gen)? [^`\n]*)`/).map { $0.1 }
            for line in lines + spans {
                let words = line.prefix { $0 != "#" && $0 != "|" && $0 != ">" }.split(separator: " ")
                // The longest command that the line begins with.
                let named = all.filter { words.starts(with: $0.path.split(separator: " ")) }
                guard let command = named.max(by: { $0.path.count < $1.path.count }) else {
                    Issue.record("\(document): '\(line)' names no command")
                    continue
                }
                // Where a command has another one by default, that one's options go as well.
                let options = all.filter { $0.path == command.path || $0.path.hasPrefix(command.path + " ") }
                    .reduce(into: Self.everywhere) { $0.formUnion($1.options) }
                let used = Self.options(in: words.joined(separator: " "))
                #expect(used.isSubset(of: options), "\(document): '\(line)' has \(used.subtracting(options))")
                seen += 1
            }
        }
        #expect(seen > 30)
    }

    @Test(arguments: ["RPIFLASH", "GEN"])
    func `every command says what it does and shows examples of itself`(variable: String) async throws {
        for described in try await described(variable) {
            #expect(described.command.abstract?.hasSuffix(".") == true, "\(described.path)")
            let parts = (described.command.discussion ?? "").split(separator: "EXAMPLES\n")
            let examples = try #require(parts.last, "\(described.path)").split(separator: "\n").prefix {
                $0.hasPrefix("  ")
            }
            #expect(!examples.isEmpty, "\(described.path) has no EXAMPLES")
            #expect(examples.contains { $0.contains(described.path) }, "\(described.path) has no example of itself")
        }
    }

    @Test func `what is generated of the documents is up to date`() async throws {
        let result = try await runBash("$REPOSITORY/scripts/docs --check", ["RPIFLASH_BIN": Programs.folder.string])
        #expect(result.status == 0, result.all)
    }

    /// groff itself, as man calls it, but without man's caches.
    @Test(.enabled(if: Programs.isCI || FileManager.default.isExecutableFile(atPath: "/usr/bin/groff")))
    func `manual pages render without warnings`() async throws {
        let result = try await runBash(
            """
            D=$(mktemp -d); trap 'rm -r $D' EXIT
            $REPOSITORY/scripts/reference man $D 1.2.3 2026-01-02 $RPIFLASH $GEN
            for page in $D/*.1; do
                echo "page ${page##*/}"
                groff -ww -b -z -man -Tutf8 "$page" 2>&1
                groff -man -Tascii -P-cbou "$page" | tr -s ' ' | grep -E '^ +rpiflash[^ ]* - ' || echo "no name in $page"
            done
            """)
        #expect(result.status == 0 && result.stderr == "", result.all)
        let pages = try await described("RPIFLASH").map(\.path) + described("GEN").map(\.path)
        let lines = result.stdout.split(separator: "\n")
        #expect(lines.count == pages.count * 2, result.all)
        for page in pages.map({ $0.replacing(" ", with: "-") }) {
            #expect(lines.contains("page \(page).1"), result.all)
            #expect(lines.contains { $0.contains(" \(page) - ") }, result.all)
        }
    }
}
