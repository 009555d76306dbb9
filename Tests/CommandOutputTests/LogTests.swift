import FlashEvents
import Configuration
import Testing

@testable import CommandOutput

/// What reaches the terminal and the log.
@Suite struct LogTests {
    @Test(
        arguments: [
            ("plain text, 'quoted' (5 %) é 漢字 …", "plain text, 'quoted' (5 %) é 漢字 …"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", #"\x1b[2J\x1b]0;title\x07"#),
            ("one\nrpiflash: two\r\n", #"one\x0arpiflash: two\x0d\x0a"#),
            ("\0\t\u{8}\u{7f}", #"\x00\x09\x08\x7f"#),
            // C1 controls: CSI in one character.
            ("\u{9b}2J\u{85}", #"\x9b2J\x85"#),
            // What turns the direction, is not seen, or has no shape.
            ("a\u{202e}b\u{2066}c\u{200b}d\u{feff}", #"a\u202eb\u2066c\u200bd\ufeff"#),
            ("\u{2028}\u{2029}\u{a0}\u{3000}\u{e000}\u{fffe}", #"\u2028\u2029\xa0\u3000\ue000\ufffe"#),
            ("\u{e0041}", #"\ue0041"#),
            (String(decoding: [0x41, 0xff, 0xc0, 0x42], as: UTF8.self), "A\u{fffd}\u{fffd}B"),
        ])
    func `law 7 - what may come from a target is one sanitized line`(text: String, shown: String) {
        #expect(sanitized(text) == shown)
    }

    @Test func `law 7 - nothing below a blank is left of any character`() {
        for value in UInt32(0)...0x2fff {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let shown = sanitized(String(scalar)).unicodeScalars
            #expect(
                shown.allSatisfy { $0.value >= 0x20 && !(0x7f..<0xa0).contains($0.value) },
                "U+\(String(value, radix: 16))")
        }
    }

    @Test func `a block of lines is erased from its first line on, and drawn anew`() {
        var block = StatusBlock()
        let size = (width: 12, height: 4)
        #expect(block.erase() == "" && block.draw(in: size) == "")
        block.set(1, "dog: 1")
        #expect(block.erase() + block.draw(in: size) == "dog: 1")
        block.set(0, "cam: a long line")
        // In the order of their numbers, cut to the width.
        #expect(block.erase() + block.draw(in: size) == "\r\u{1b}[Jcam: a long\ndog: 1")
        block.set(2, "elk: 1")
        block.set(3, "fox: 1")
        // What does not fit is counted: a line that scrolled out could not be erased.
        #expect(block.erase() + block.draw(in: size) == "\r\u{1b}[1A\u{1b}[Jcam: a long\ndog: 1\nand 2 more")
        for number in 0...3 { block.set(number, nil) }
        #expect(block.erase() + block.draw(in: size) == "\r\u{1b}[2A\u{1b}[J")
        #expect(!block.has(0) && block.erase() == "")
    }

    @Test func `rate and time left are shown when they are known`() {
        let total: UInt64 = 50 << 20
        #expect(FlashLog.transfer("cam: part 1 of 2", 0, total, nil) == "cam: part 1 of 2, 0.0 MiB of 50.0 MiB")
        #expect(FlashLog.transfer("cam: part 1 of 2", nil, total, nil) == "cam: part 1 of 2")
        #expect(
            FlashLog.transfer("cam: part 1 of 2", 10 << 20, total, Double(8 << 20))
                == "cam: part 1 of 2, 10.0 MiB of 50.0 MiB, 8.0 MiB/s, 5 s left")
        #expect(
            FlashLog.transfer("cam: part 2 of 2", total, total, Double(8 << 20))
                == "cam: part 2 of 2, 50.0 MiB of 50.0 MiB, 8.0 MiB/s")
    }

    @Test func `the rate counts from the first byte, and anew where the target starts over`() {
        var rate = TransferRate()
        #expect(rate.take(0, at: .seconds(20)) == nil)
        #expect(rate.take(1000, at: .milliseconds(20_500)) == nil)
        #expect(rate.take(4000, at: .seconds(22)) == 2000)
        #expect(rate.take(0, at: .seconds(30)) == nil)
        #expect(rate.take(0, at: .seconds(40)) == nil)
        #expect(rate.take(5000, at: .seconds(40)) == 500)
    }
}
