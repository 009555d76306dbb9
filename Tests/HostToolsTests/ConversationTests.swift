import Glibc
import HostTools
import Testing

/// Programs that are written to and read from while they run, with limits (law 7: what ssh runs is another machine's).
struct ConversationTests {
    private let tools = ToolRunner(path: nil, sourceDate: .standard)
    private static let shell = HostTool(name: "sh", debianPackage: "dash")

    // As the programs do: what is written to may have gone.
    init() { signal(SIGPIPE, SIG_IGN) }

    private func converse(_ script: String, _ body: (Conversation) async throws -> Void) async throws -> String {
        try await tools.converse(with: Self.shell, ["-c", script], mayAsk: false, body)
    }

    @Test func `what is sent is answered, up to the end`() async throws {
        var answer: [UInt8] = []
        let words = try await converse("tr a-z A-Z; echo remark >&2; echo last >&2") { talk in
            try await talk.send(Array("hello".utf8), within: .seconds(60))
            await talk.finish()
            while let bytes = try await talk.receive(within: .seconds(60)) { answer += bytes }
            #expect(!talk.hasTimedOut)
        }
        #expect(answer == Array("HELLO".utf8) && words == "last")
    }

    @Test func `a program that says nothing in time is ended`() async throws {
        _ = try await converse("trap '' TERM; while :; do sleep 1; done") { talk in
            let bytes = try await talk.receive(within: .milliseconds(50))
            #expect(bytes == nil)
            #expect(talk.hasTimedOut)
        }
    }

    @Test func `a program that takes nothing in time is ended`() async throws {
        _ = try await converse("exec sleep 600") { talk in
            try await talk.send([UInt8](repeating: 0, count: 4 << 20), within: .milliseconds(50))
            #expect(talk.hasTimedOut)
            let bytes = try await talk.receive(within: .seconds(60))
            #expect(bytes == nil)
        }
    }

    @Test func `a program that does not end is ended with the conversation, however much it complains`() async throws {
        let words = try await converse("yes complaint >&2") { talk in
            try await talk.send([0x0a], within: .seconds(60))
        }
        #expect(words.isEmpty || "complaint".contains(words))
    }

    @Test func `a program that is not there is named`() async throws {
        let none = HostTool(name: "./none", debianPackage: "none")
        await #expect(throws: HostToolError.missing(none)) {
            _ = try await tools.converse(with: none, [], mayAsk: false) { _ in }
        }
    }

    @Test func `a conversation that is cancelled ends its program`() async throws {
        let task = Task { try await converse("exec sleep 600") { _ = try await $0.receive(within: .seconds(600)) } }
        try await Task.sleep(for: .milliseconds(50))
        task.cancel()
        await #expect(throws: CancellationError.self) { _ = try await task.value }
    }
}
