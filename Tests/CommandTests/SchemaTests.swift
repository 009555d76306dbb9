import Foundation
import SystemPackage
import TestSupport
import Testing

/// Checks what a command printed against its schema, strictly: nothing that the schema does not name.
func checkSchema(_ name: String, _ text: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let file = FileManager.default.temporaryDirectory.appending(path: "rpiflash-json-\(UUID().uuidString)")
    try text.write(to: file, atomically: true, encoding: .utf8)
    defer { try? FileManager.default.removeItem(at: file) }
    let result = try await runBash("\"$REPOSITORY\"/scripts/check-json \(name) <\"$F\"", ["F": file.path])
    #expect(result.status == 0, Comment(rawValue: "\(result.all)\n\(text)"), sourceLocation: sourceLocation)
}

/// docs/schema, docs/json.md and what the programs print. What a flash and the image store print is checked in
/// ``JSONTests``, an upgrade in ``UpgradeTests``, GPIO lines in GPIOTests.
@Suite(.serialized, .enabled(if: Programs.canPlayTarget, "run make deps, which installs what these tests need"))
struct SchemaTests {
    /// A schema, as far as field names go.
    private struct Schema: Decodable {
        struct Part: Decodable { let properties: [String: Anything]? }
        struct Anything: Decodable { init(from decoder: any Decoder) {} }
        let properties: [String: Anything]?
        let definitions: [String: Part]?

        enum CodingKeys: String, CodingKey {
            case properties
            case definitions = "$defs"
        }
    }

    private static let folder = Programs.repository.appending("docs/schema").string

    private static func schema(_ name: String) throws -> Schema {
        let data = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name).schema.json"))
        return try JSONDecoder().decode(Schema.self, from: data)
    }

    /// The outputs and their schemas, as the table of docs/json.md has them.
    private static func outputs() throws -> [(command: String, schema: String)] {
        let page = try String(contentsOfFile: Programs.repository.appending("docs/json.md").string, encoding: .utf8)
        return page.split(separator: "\n").compactMap { line in
            line.firstMatch(of: #/^\| `([^`]+)`.*\(schema/([a-z-]+)\.schema\.json\)/#).map {
                (String($0.1), String($0.2))
            }
        }
    }

    @Test func `every --json has a schema, and every schema a command`() async throws {
        let outputs = try Self.outputs()
        let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder)
        #expect(Set(files) == Set(outputs.map { "\($0.schema).schema.json" }))
        let reference = try String(
            contentsOfFile: Programs.repository.appending("docs/reference.md").string, encoding: .utf8)
        var commands: Set<String> = []
        for section in reference.components(separatedBy: "\n## ") where section.contains("\n| `--json`") {
            commands.insert(String(section.prefix { $0 != "\n" }).replacing("`", with: "") + " --json")
        }
        #expect(commands.count > 6)
        #expect(commands.union(["rpiflash-gen layout --format json"]) == Set(outputs.map(\.command)))
    }

    @Test func `every field of a schema is documented, and the other way round`() throws {
        for (command, name) in try Self.outputs() {
            let schema = try Self.schema(name)
            // A shown run is one of the list's.
            guard name != "runs-show" else { continue }
            let documented = try JSONTests.documented("`\(command)`")
            var named: [String: Set<String>] = [:]
            for (place, part) in schema.definitions ?? [:] {
                named[place] = Set((part.properties ?? [:]).keys)
                // In every event; in which ones the target is, the page says in one sentence.
                if ["flash", "upgrade"].contains(name) {
                    named[place]?.subtract(place == "start" ? ["event", "time"] : ["event", "time", "target"])
                }
            }
            if !["flash", "upgrade"].contains(name) { named["object"] = Set((schema.properties ?? [:]).keys) }
            if name == "runs-list" {
                try Self.checkRecord(named)
                named = named.filter { ["object", "runs"].contains($0.key) }
            }
            #expect(Set(named.keys) == Set(documented.keys), "\(name)")
            for (place, fields) in named { #expect(fields == documented[place], "\(name): \(place)") }
        }
        let (list, one) = (try Self.schema("runs-list"), try Self.schema("runs-show"))
        #expect(Set((one.properties ?? [:]).keys) == Set((list.definitions?["runs"]?.properties ?? [:]).keys))
        for (place, part) in one.definitions ?? [:] {
            #expect(
                Set((part.properties ?? [:]).keys) == Set((list.definitions?[place]?.properties ?? [:]).keys),
                "\(place)")
        }
    }

    /// A run's record is a page of its own.
    private static func checkRecord(_ named: [String: Set<String>]) throws {
        let page = try String(contentsOfFile: Programs.repository.appending("docs/runs.md").string, encoding: .utf8)
        let part = try #require(page.components(separatedBy: "`run.json` has at most:").last)
        var rows: [String: Set<String>] = [:]
        for line in part.prefix(while: { $0 != "#" }).split(separator: "\n") where line.hasPrefix("| `") {
            let cells = line.split(separator: "|")
            let inner = Set(cells[1].matches(of: /`([a-z_]+)`/).map { String($0.1) })
            for field in cells[0].matches(of: /`([a-z_]+)`/) { rows[String(field.1)] = inner }
        }
        #expect(Set(rows.keys) == named["record"])
        for (place, fields) in named where !["record", "runs", "object"].contains(place) {
            #expect(fields.isSubset(of: rows[place] ?? []), "\(place)")
        }
    }

    @Test func `the schemas refuse what is wrong`() async throws {
        for (name, text) in [
            ("flash", #"{"event":"news","time":1}"#), ("flash", #"{"event":"asked","time":1,"more":1}"#),
            ("flash", #"{"event":"result","time":1,"proven":true,"status":0}"#), ("flash", ""),
            ("doctor", #"{"version":2,"findings":[]}"#), ("images-size", #"{"version":1,"store":"x","bytes":-1}"#),
        ] {
            let result = try await runBash("printf %s '\(text)' | \"$REPOSITORY\"/scripts/check-json \(name)")
            #expect(result.status == 1 && !result.stderr.isEmpty, "\(text)\n\(result.all)")
        }
    }

    @Test func `layout, doctor and the records of runs hold to their schemas`() async throws {
        let place = try await LoopbackFixture("flash")
        let result = try await place.run(
            """
            $GEN layout --card $D/card.yaml --format json >$D/layout
            $GEN board rpi_arm64 --json >$D/board; $GEN board rpi_5 --json >$D/board-linux
            $RPIFLASH doctor --inventory $D/targets.csv --card $D/card.yaml --tftp-root $TFTP --listen 127.0.0.1:$PORT \
                --store $D/store --service $D/none.sock --runs $D/runs --json >$D/doctor
            $FLASH -q --no-wait --label ci_job=4711 --label place= $IMG cam >/dev/null
            for name in a b c; do $FLASH -q --verify-only --no-wait --request-timeout 100ms $IMG cam 2>/dev/null || true; done
            $RPIFLASH runs --runs $D/runs --json >$D/runs-list
            $RPIFLASH runs show last --runs $D/runs --json >$D/runs-show
            $RPIFLASH runs cards --runs $D/runs --json >$D/runs-cards
            $RPIFLASH targets --inventory $D/targets.csv --json >$D/targets
            $RPIFLASH runs show last --runs $D/runs --events >$D/flash
            """, exits: 0)
        #expect(result.stdout == "", result.all)
        for name in ["layout", "board", "doctor", "runs-list", "runs-show", "runs-cards", "targets", "flash"] {
            try await checkSchema(name, place.text(name))
        }
        try await checkSchema("board", place.text("board-linux"))
    }
}
