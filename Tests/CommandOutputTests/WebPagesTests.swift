import Configuration
import FlashEvents
import Foundation
import RunRecords
import SystemPackage
import Testing

@testable import CommandOutput

/// Pages as data, and what is told of their changes.
@Suite struct WebPagesTests {
    private let store = RunStore(
        at: FilePath(FileManager.default.temporaryDirectory.path).appending("rpiflash-pages-\(UUID().uuidString)"))
    /// What a hostile target, image or user may be called.
    private static let hostile = "</script><script>alert(1)</script><!-- \u{2028}\u{202e}'\"&"

    private func remove() { try? FileManager.default.removeItem(atPath: store.path.string) }

    private func begin(_ name: String = "cam", mac: String = "b8:27:eb:3d:60:b9") throws -> (OpenRun, RunRecord) {
        var record = RunRecord(
            program: "1", started: Date(timeIntervalSince1970: 1_764_051_638),
            target: .init(name: name, mac: mac, ip: "192.168.1.51"), image: .init(path: "/images/\(name).img"),
            delivery: "plan", mode: "normal", by: .init(user: name, host: "here", from: nil, command: [name]))
        let run = try store.begin(record)
        record.id = run.id
        return (run, record)
    }

    private func pages(_ names: [String] = ["cam"]) -> WebPages {
        let targets = names.enumerated().map { index, name in
            BenchTarget(
                .init(name: name, mac: "b8:27:eb:3d:60:b\(9 - index)", ip: "192.168.1.5\(index)"), tags: ["left"])
        }
        return WebPages(store) { _ in (targets, []) }
    }

    private struct Message {
        let isWhole: Bool
        let parts: [(id: String, value: Any)]

        init(_ json: String) throws {
            let object = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
            isWhole = try #require(object["whole"] as? Bool)
            parts = try #require(object["parts"] as? [[Any]]).map { ($0[0] as? String ?? "", $0[1]) }
        }

        /// An event of a stream.
        init(event: String) throws {
            #expect(event.hasPrefix("data: ") && event.hasSuffix("\n\n"))
            #expect(!event.dropLast(2).contains("\n"))
            try self.init(String(event.dropFirst(6)))
        }
    }

    @Test func `law 7 - nothing that a target says ends the script element that it is in`() async throws {
        defer { remove() }
        let (run, record) = try begin(Self.hostile)
        run.addConsole(Self.hostile, seconds: 1)
        run.addEvent(#"{"event":"note","time":1,"text":"</script><script>alert(2)</script>"}"#)
        run.keepReport([Self.hostile])
        let pages = pages([Self.hostile])
        for name in ["index", "target-b827eb3d60b9", "run-\(record.id)"] {
            let json = try #require(await pages.page(name)).json()
            #expect(!json.contains("<"))
            #expect(json.utf8.allSatisfy { 0x20..<0x7f ~= $0 })
            _ = try Message(json)
        }
        let message = try Message(try #require(await pages.page("run-\(record.id)")).json())
        let console = try #require(message.parts.first { $0.id == "console" }?.value as? String)
        // As text it is all there, and its marks of direction and line ends do nothing.
        #expect(console.contains(#"</script><script>alert(1)</script><!-- \u2028\u202e'"&"#), "\(console)")
        withExtendedLifetime(run) {}
    }

    @Test func `a page has what its run's record has`() async throws {
        defer { remove() }
        var (run, record): (OpenRun?, RunRecord) = try begin()
        record.ended = Date(timeIntervalSince1970: 1_764_051_738)
        (record.status, record.error) = (2, "the target reported FAILED")
        run?.write(record)
        run = nil
        let message = try Message(try #require(await pages().page("index")).json())
        #expect(message.isWhole && message.parts.map(\.id) == ["findings", "target-b827eb3d60b9"])
        let part = try #require(message.parts[1].value as? [String: Any])
        let shown = try #require(part["run"] as? [String: Any])
        #expect(shown["outcome"] as? String == "2: the target reported FAILED")
        #expect(shown["is_running"] as? Bool == false)
        let own = try #require(
            try JSONSerialization.jsonObject(
                with: Data(contentsOf: URL(filePath: store.path.appending("\(record.id)/run.json").string)))
                as? NSDictionary)
        #expect(shown["record"] as? NSDictionary == own)
    }

    @Test func `of a page that is followed only what changed is sent, and all of it where parts come or go`()
        async throws
    {
        defer { remove() }
        let (run, record) = try begin()
        let pages = pages(["cam", "dog"])
        var (text, sent) = try await pages.changes(of: "index", behind: [:])
        #expect(try Message(event: text).isWhole)
        #expect(sent.count == 3)

        run.addEvent(#"{"event":"chunk","time":1,"number":3,"count":9}"#)
        (text, sent) = try await pages.changes(of: "index", behind: sent)
        let message = try Message(event: text)
        #expect(!message.isWhole && message.parts.map(\.id) == ["target-b827eb3d60b9"])
        let shown = try #require((message.parts[0].value as? [String: Any])?["run"] as? [String: Any])
        #expect((shown["step"] as? [String: Any])?["number"] as? Int == 3)

        // The page of the other target is not drawn anew for it, the one of this target gets a row more.
        (_, sent) = try await pages.changes(of: "target-b827eb3d60b9", behind: [:])
        #expect(sent.keys.sorted() == ["console", "run-\(record.id)", "target-b827eb3d60b9"])
        let (second, _) = try begin()
        (text, sent) = try await pages.changes(of: "target-b827eb3d60b9", behind: sent)
        let whole = try Message(event: text)
        #expect(whole.isWhole && whole.parts.map(\.id)[1] == "run-\(second.id)", "the last one is the first row")
        withExtendedLifetime((run, second)) {}
    }

    @Test func `who follows is told now and then that there is nothing new, and can go`() async throws {
        defer { remove() }
        let pages = pages()
        let (_, sent) = try await pages.changes(of: "index", behind: [:])
        let waiting = Task { try await pages.changes(of: "index", behind: sent) }
        try await Task.sleep(for: .milliseconds(100))
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
    }

    @Test func `only pages and a run's own files have names`() async throws {
        defer { remove() }
        let (run, record) = try begin()
        run.addConsole("hello", seconds: 1)
        let pages = pages()
        let console = await pages.file("run-\(record.id).console.txt", live: true)
        #expect(console.map { String(decoding: $0, as: UTF8.self) } == "[    1.000] hello\n")
        for name in [
            "run-\(record.id).run.txt", "run-\(record.id).txt", "run-..console.txt", "run-\(record.id)", "run.json", "",
            ".", "..",
            "target-.html", "target-b827eb3d60b0.html", "target-b827eb3d60b9", "run-.html", "index", "page.html",
            "run-20261125-062038-b827eb3d60b9.html",
        ] {
            #expect(await pages.file(name, live: true) == nil, "\(name)")
        }
        withExtendedLifetime(run) {}
    }
}
