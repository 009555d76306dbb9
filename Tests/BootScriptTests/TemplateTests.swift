import Testing

@testable import BootScript

struct TemplateTests {
    private func render(_ text: String, _ values: [String: TemplateValue]) throws -> String {
        try Template(text, file: "t.cmd").render(values)
    }

    @Test func `puts values in place of names and leaves the shell's braces alone`() throws {
        let text = "mmc write ${l_image} {{start}} 0x800\nfor l in ${x} {{names}}; do echo {{yes}}{{word}}; done\n"
        let values: [String: TemplateValue] = [
            "start": .hexadecimal(8192), "names": .words(["a.img", "b"]), "yes": .flag(true), "word": .word("w"),
        ]
        #expect(
            try render(text, values)
                == "mmc write ${l_image} 0x2000 0x800\nfor l in ${x} a.img b; do echo yesw; done\n")
    }

    @Test(arguments: [
        ("a\n  {{nme}}\n", "t.cmd:2:3: unknown name 'nme'; known are name"),
        (
            "{{name}}\nx {{ name }}",
            "t.cmd:2:3: ' name ' is not a name; a name has lower-case letters, digits and _ and no spaces"
        ),
        ("{{name}} {{}}", "t.cmd:1:10: '' is not a name; a name has lower-case letters, digits and _ and no spaces"),
        ("{{name}}\n\nsetenv x {{name", "t.cmd:3:10: {{ is not closed on its line"),
        ("{{name}} }}", "t.cmd:1:10: }} without {{"),
        ("{{name\n}}", "t.cmd:1:1: {{ is not closed on its line"),
        ("no name here", "t.cmd:1:1: value 'name' is not used anywhere in the template"),
    ])
    func `refuses unknown, unused and left-over names with their place`(text: String, message: String) {
        let error = #expect(throws: TemplateError.self) { try render(text, ["name": .word("v")]) }
        #expect(error?.description == message)
    }

    @Test func `a list of commands goes on behind && and ||, as in other shells`() throws {
        let text = """
            # Not this &&
            setenv l_x '
            one {{word}} &&
                two &&
            # Why three.
            three'
            one ||
            two || three
            # Kept.
            four &&
            """
        #expect(
            try Template(text, file: "t.cmd").renderScript(["word": .word("w")]) == """
                # Not this &&
                setenv l_x '
                one w && two && three'
                one || two || three
                # Kept.
                four &&
                """)
    }

    @Test func `several files are one template, and a message names the file and its line`() throws {
        func template(_ second: String) throws -> Template {
            let files = ["a.cmd": "a {{one}}\n", "b.cmd": second]
            return try Template(joining: ["a.cmd", "b.cmd"]) { try Template(files[$0] ?? "", file: $0) }
        }
        let values: [String: TemplateValue] = ["one": .word("1"), "two": .word("2")]
        #expect(try template("b {{two}} {{one}}\n").render(values) == "a 1\nb 2 1\n")
        let unknown = #expect(throws: TemplateError.self) { try template("\nb {{three}}\n").render(values) }
        #expect(unknown?.description == "b.cmd:2:3: unknown name 'three'; known are one, two")
        let unused = #expect(throws: TemplateError.self) { try template("b\n").render(values) }
        #expect(unused?.description == "a.cmd:1:1: value 'two' is not used anywhere in the template")
    }

    @Test(arguments: ["a b", "a;b", "$x", "\"", "'", "a\nb", "`", "#", "&", "|", "ä", "\\", "(", "*"])
    func `refuses a value that a script could take for more than text`(value: String) {
        let error = #expect(throws: TemplateError.self) { try render("x\n {{name}}", ["name": .word(value)]) }
        #expect(error?.line == 2)
        #expect(error?.column == 2)
        #expect(error?.reason.hasPrefix("value of 'name' has the character ") == true)
        #expect(throws: TemplateError.self) { try render("{{name}}", ["name": .words(["fine", value])]) }
    }
}
