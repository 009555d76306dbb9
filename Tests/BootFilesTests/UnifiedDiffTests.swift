import BootFiles
import SystemPackage
import Testing

struct UnifiedDiffTests {
    static let numbers = (1...20).map { "\($0)\n" }.joined()

    @Test func `a changed line is shown with three lines around it`() {
        #expect(
            unifiedDiff(
                before: Self.numbers, after: Self.numbers.replacing("\n10\n", with: "\nten\n"), name: "etc/fstab")
                    == """
                    --- a/etc/fstab
                    +++ b/etc/fstab
                    @@ -7,7 +7,7 @@
                     7
                     8
                     9
                    -10
                    +ten
                     11
                     12
                     13

                    """)
    }

    /// The second opinion is diff -u itself.
    @Test(arguments: [
        ("a\n", "b\n"), ("", "a\n"), ("a\n", ""), ("a", "a\n"), ("a\nb", "a\nc"), ("a\n\n\nb\n", "a\n\nb\n"),
        (numbers, "0\n" + numbers), (numbers, numbers + "21"), (numbers, "one" + numbers.dropFirst() + "end\n"),
        (numbers, numbers.replacing("\n5\n", with: "\n").replacing("\n12\n", with: "\nx\n")),
        (numbers, numbers.replacing("\n5\n", with: "\n").replacing("\n13\n", with: "\nx\n")),
        (numbers, numbers.replacing("\n4\n", with: "\n4\n4\n").replacing("\n17\n18\n19", with: "")),
    ]) func `it is what diff prints`(before: String, after: String) async throws {
        let folder = try Folder()
        try folder.write("a/x", before)
        try folder.write("b/x", after)
        let result = try await shell(
            "sh", ["-c", "cd \"$1\" && exec diff -u --label a/x --label b/x a/x b/x", "sh", folder.path.string])
        #expect(result.status == 1)
        #expect(unifiedDiff(before: before, after: after, name: "x") == result.output)
    }

    @Test func `the same texts differ in nothing, and a missing file is /dev/null`() {
        #expect(unifiedDiff(before: "a", after: "a", name: "x") == "")
        #expect(unifiedDiff(before: nil, after: "a\n", name: "x") == "--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n")
        #expect(unifiedDiff(before: "a\n", after: nil, name: "x") == "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n")
    }

    @Test func `texts of many lines that have nothing in common are shown as replaced`() {
        func text(_ letter: String) -> String { "same\n" + (0..<5000).map { "\(letter)\($0)\n" }.joined() + "end\n" }
        let lines = unifiedDiff(before: text("a"), after: text("b"), name: "x").split(separator: "\n")
        #expect(lines[2] == "@@ -1,5002 +1,5002 @@")
        #expect(lines[3...4] == [" same", "-a0"])
        #expect(lines.suffix(2) == ["+b4999", " end"])
    }

    @Test func `control characters do nothing to a terminal`() {
        let text = unifiedDiff(before: [0x1b, 0x5b, 0x0a], after: [0x09, 0xff, 0x0d, 0x0a], name: "x\u{1b}\n")
        #expect(
            text == "--- a/x\\x1b\\x0a\n+++ b/x\\x1b\\x0a\n@@ -1 +1 @@\n-\\x1b[\n+\t\u{fffd}\\x0d\n")
    }
}
