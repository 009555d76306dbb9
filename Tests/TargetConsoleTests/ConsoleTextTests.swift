import Configuration
import TargetConsole
import Testing

/// What a console sends becomes lines that do nothing.
@Suite struct ConsoleTextTests {
    private func lines(_ text: String) -> [String] {
        var console = ConsoleText()
        let lines = console.take(text.utf8)
        return lines + (console.flush().map { [$0] } ?? [])
    }

    @Test(arguments: [
        ("a\nb\r\nc", ["a", "b", "c"]), ("", []), ("\n", [""]), ("a\r\r\nb", ["a", "", "b"]),
        // A console writes over a line.
        ("Hit any key:  2\rHit any key:  1", ["Hit any key:  2", "Hit any key:  1"]),
        // U-Boot's 'Loading: *\b#'.
        ("Loading: *\u{8}###", ["Loading: ###"]), ("\u{8}\u{8}a", ["a"]),
        // Colours and movements go.
        ("\u{1b}[0;32m  OK  \u{1b}[0m] x", ["  OK  ] x"]), ("\u{1b}[2J\u{1b}[1;1Hx", ["x"]),
        // What a terminal would act on otherwise does not.
        ("\u{1b}]0;owned\u{7}", ["\\x1b]0;owned\\x07"]), ("\u{1b}P+q\u{1b}\\", ["\\x1bP+q\\x1b\\"]),
        ("a\u{9b}31mb", ["a\\x9b31mb"]), ("\u{202e}evil", ["\\u202eevil"]), ("\u{1b}[", ["\\x1b["]),
        ("\u{1b}[12\u{1b}[0mx", ["\\x1b[12x"]), ("tab\there", ["tab here"]), ("n\u{0}ul", ["nul"]),
        ("grün ✓", ["grün ✓"]),
    ])
    func `lines are harmless`(text: String, expected: [String]) {
        #expect(lines(text) == expected)
    }

    @Test func `what is no UTF-8 is seen in digits`() {
        var console = ConsoleText()
        #expect(console.take([0x61, 0xff, 0xfe, 0x62, 0x0a]) == ["a\\xff\\xfeb"])
    }

    @Test func `it makes no difference in which pieces a text comes`() {
        let text = Array("\u{1b}[31mgr\u{fc}n\r\nx\ry\u{8}z\u{1b}]0;t\u{7}\n".utf8)
        var whole = ConsoleText()
        var pieces = ConsoleText()
        #expect(text.flatMap { pieces.take([$0]) } == whole.take(text))
    }

    @Test func `memory is bounded: a line without an end is cut`() {
        var console = ConsoleText()
        let lines = console.take([UInt8](repeating: 0x61, count: 10 * ConsoleText.longestLine + 5))
        #expect(lines.map(\.count) == [Int](repeating: ConsoleText.longestLine, count: 10))
        #expect(console.flush() == "aaaaa")
        // Nor does a sequence without an end grow.
        _ = console.take([0x1b, 0x5b] + [UInt8](repeating: 0x30, count: 1 << 20))
        #expect(console.flush()?.count ?? 0 <= ConsoleText.longestLine)
    }

    @Test func `random bytes only ever give printable text`() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            var console = ConsoleText()
            let bytes = (0..<2000).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let all = console.take(bytes) + [console.flush() ?? ""]
            for line in all {
                #expect(sanitized(line) == line)
                #expect(line.utf8.count <= 4 * ConsoleText.longestLine + 4)
            }
        }
    }
}
