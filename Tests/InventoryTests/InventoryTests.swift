import Configuration
import Inventory
import Testing

/// What the text's errors say, one a line; "" where it is read.
func errors(_ csv: String) -> String { errors(Array(csv.utf8)) }
func errors(_ csv: [UInt8]) -> String {
    do throws(InventoryErrors) {
        _ = try Inventory(csv: csv, file: "targets.csv")
        return ""
    } catch {
        return error.description
    }
}

struct InventoryTests {
    static let header = "mac,ip,server,gpio\n"

    @Test func `a row is a target`() throws {
        let csv = """
            # the bench in room 12
            mac,ip,server,gpio,name,reset_hold_ms,reset_command

            B8-27-EB-3D-60-B9,192.168.1.20,lab1,17,pi-left,250,
            b8:27:eb:3d:60:ba, 192.168.1.21 ,lab1.example.org,,pi-right,,"/usr/bin/poe ""port 4"", off"

            """
        let inventory = try Inventory(csv: csv.utf8, file: "targets.csv")
        #expect(inventory.targets.count == 2)
        let left = inventory.targets[0]
        #expect(left.mac.description == "b8:27:eb:3d:60:b9")
        #expect(left.ip.description == "192.168.1.20")
        #expect(left.server == "lab1")
        #expect(left.gpio == .offset(17))
        #expect(left.name == "pi-left")
        #expect(left.resetHoldMilliseconds == 250)
        #expect(left.resetCommand == nil)
        #expect(left.line == 4)
        let right = inventory.targets[1]
        #expect(right.gpio == nil)
        #expect(right.ip.description == "192.168.1.21")
        #expect(right.resetCommand == #"/usr/bin/poe "port 4", off"#)
        #expect(right.resetHoldMilliseconds == 100)
    }

    @Test func `a row may insist on signed plans, by yes alone`() throws {
        func row(_ value: String) -> String {
            "mac,ip,server,gpio,require_signed\nb8:27:eb:00:00:01,10.0.0.1,lab,4,\(value)\n"
        }
        for (value, insists) in [("yes", true), ("no", false), ("", false)] {
            #expect(try Inventory(csv: row(value).utf8, file: "f").targets.map(\.requiresSigned) == [insists])
        }
        #expect(errors(row("YES")) == "targets.csv:2:34: 'YES' is not a require_signed; must be yes, no or empty")
    }

    @Test func `columns come in any order`() throws {
        let inventory = try Inventory(
            csv: "gpio,server,MAC,Ip\nGPIO4,lab,b8:27:eb:00:00:01,10.0.0.1\n".utf8, file: "f")
        #expect(inventory.targets.first?.gpio == .name("GPIO4"))
        #expect(inventory.targets.first?.ip.description == "10.0.0.1")
    }

    @Test(arguments: ["\n", "\r\n", "\r"])
    func `line ends of every kind, a byte order mark and a missing last line end are taken`(end: String) throws {
        let lines = ["mac,ip,server,gpio", "b8:27:eb:00:00:01,10.0.0.1,lab,4", "", "b8:27:eb:00:00:02,10.0.0.2,lab,5"]
        let inventory = try Inventory(csv: ("\u{feff}" + lines.joined(separator: end)).utf8, file: "f")
        #expect(inventory.targets.map(\.line) == [2, 4])
    }

    @Test func `a target is found by ip, mac in any writing, or name in any case`() throws {
        let csv = Self.header.replacing("gpio", with: "gpio,name") + "b8:27:eb:0a:00:01,10.0.0.1,lab,4,Left\n"
        let inventory = try Inventory(csv: csv.utf8, file: "targets.csv")
        for text in ["10.0.0.1", "b8:27:eb:0a:00:01", "B8-27-EB-0A-00-01", "Left", "left"] {
            #expect(try inventory.target(text).line == 2)
        }
        #expect(throws: TargetError.unknown("right", file: "targets.csv", names: ["Left"])) {
            try inventory.target("right")
        }
        #expect(
            TargetError.unknown("right", file: "targets.csv", names: ["Left"]).description
                == "no target 'right' in targets.csv; it has Left")
    }

    @Test func `another server's target is refused with that server's name`() throws {
        let inventory = try Inventory(
            csv: (Self.header + "b8:27:eb:00:00:01,10.0.0.1,Lab1,4\n").utf8, file: "targets.csv")
        let target = try inventory.target("10.0.0.1")
        try target.checkServed(by: ["localhost", "lab1", "lab1.example.org"])
        #expect(throws: TargetError.otherServer("10.0.0.1", server: "Lab1")) {
            try target.checkServed(by: ["lab2", "lab10"])
        }
        #expect(
            TargetError.otherServer("10.0.0.1", server: "Lab1").description
                == "target 10.0.0.1 belongs to the server 'Lab1'; run rpiflash there")
    }

    @Test(arguments: [
        ("/dev/ttyUSB0", "/dev/ttyUSB0", 115_200),
        ("/dev/serial/by-id/usb-FTDI_x-if00@9600", "/dev/serial/by-id/usb-FTDI_x-if00", 9600),
    ])
    func `a row may name the serial port of the console`(text: String, device: String, baud: Int) throws {
        let csv = "console,\(Self.header)\(text),b8:27:eb:00:00:01,10.0.0.1,lab,4\n,b8:27:eb:00:00:02,10.0.0.2,lab,5\n"
        let inventory = try Inventory(csv: Array(csv.utf8), file: "targets.csv")
        #expect(inventory.targets[0].console?.device == device)
        #expect(inventory.targets[0].console?.baud == baud)
        #expect(inventory.targets[1].console == nil)
    }

    @Test func `tags choose targets, any of several, in the file's order, and without regard to case`() throws {
        let csv =
            Self.header.replacing("gpio", with: "gpio,name,tags")
                + """
                b8:27:eb:0a:00:01,10.0.0.1,lab,4,one,camera Rack-1 camera
                b8:27:eb:0a:00:02,10.0.0.2,lab,5,two,
                b8:27:eb:0a:00:03,10.0.0.3,lab,6,three,rack-2;spare
                b8:27:eb:0a:00:04,10.0.0.4,lab,7,four,"; rack-1 ; spare"

                """
        let inventory = try Inventory(csv: csv.utf8, file: "targets.csv")
        #expect(
            inventory.targets.map(\.tags) == [["camera", "Rack-1"], [], ["rack-2", "spare"], ["rack-1", "spare"]])
        let names = { (tags: [String]) in try inventory.targets(tagged: tags).map(\.displayName) }
        #expect(try names(["RACK-1"]) == ["one", "four"])
        #expect(try names(["spare", "camera"]) == ["one", "three", "four"])
        do throws(TargetError) {
            _ = try inventory.targets(tagged: ["spare", "rack-3"])
            Issue.record("accepted")
        } catch {
            #expect(
                error.description
                    == "no target in targets.csv has the tag 'rack-3'; it has Rack-1, camera, rack-1, rack-2, spare")
        }
    }

    @Test(arguments: [
        ("17", GPIOLine.offset(17)), ("gpiochip0:17", .chipOffset(chip: "gpiochip0", offset: 17)),
        ("pinctrl-bcm2711:4", .chipOffset(chip: "pinctrl-bcm2711", offset: 4)), ("GPIO17", .name("GPIO17")),
        ("0", .offset(0)),
    ])
    func `each form of a gpio line is read and printed`(text: String, line: GPIOLine) throws {
        #expect(try GPIOLine(text) == line)
        #expect(line.description == text)
    }

    @Test(arguments: ["", "65536", "123456", "gpiochip0:", ":4", "chip:x", "chip:-1", "GPIO 17", "GPIO\u{e4}"])
    func `what names no gpio line is refused`(text: String) {
        #expect(throws: GPIOLineError(text: text)) { try GPIOLine(text) }
    }

    @Test(arguments: [
        "", "b8:27:eb:3d:60", "b8:27:eb:3d:60:b9:00", "b8:27:eb:3d:60:bg", "b827eb3d60b9", "b8:27-eb:3d:60:b9",
        "b8:27:eb:3d:60:+9", "b8:27:eb:3d:60:9", "b8:27:eb:3d:60:b9 ", "01:00:5e:00:00:01", "00:00:00:00:00:00",
    ])
    func `a bad mac is refused`(text: String) {
        #expect(throws: AddressError.self) { try MACAddress(text) }
    }

    @Test(arguments: [
        "", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.04", "1.2.3.-4", "1.2.3.+4", "1.2.3.4 ", "1..3.4",
        "0x1.2.3.4", "1.2.3.٤", "0.0.0.0", "255.255.255.255", "224.0.0.1",
    ])
    func `a bad ip is refused`(text: String) {
        #expect(throws: AddressError.self) { try IPv4Address(text) }
    }

    /// A file with one mistake, and what is said about it.
    struct Mistake: Sendable, CustomTestStringConvertible {
        let csv: String
        let message: String
        init(_ csv: String, _ message: String) { (self.csv, self.message) = (csv, message) }
        var testDescription: String { message }
    }

    static let mistakes: [Mistake] = [
        Mistake("", "targets.csv:1:1: the file has no header; the first line must be mac,ip,server,gpio"),
        Mistake("# nothing\n\n", "targets.csv:1:1: the file has no header; the first line must be mac,ip,server,gpio"),
        Mistake(
            "b8:27:eb:00:00:01,10.0.0.1,lab,4\n",
            "targets.csv:1:1: a target where the header must be; the first line must be mac,ip,server,gpio"),
        Mistake("mac,ip,gpio\n", "targets.csv:1:1: column server is missing; the header must have mac,ip,server,gpio"),
        Mistake("mac,ip,server,gpio,ip\n", "targets.csv:1:20: column ip is there twice"),
        Mistake(
            "mac,ip,server,gpio,colour\n",
            "targets.csv:1:20: unknown column 'colour'; must be one of mac, ip, server, gpio, name, reset_hold_ms, reset_command, tags, console, require_signed"
        ),
        Mistake(
            "\(header)b8:27:eb:00:00,10.0.0.1,lab,4\n",
            "targets.csv:2:1: 'b8:27:eb:00:00' is not a MAC address; must be six pairs of hexadecimal digits, as in b8:27:eb:3d:60:b9"
        ),
        Mistake(
            "\(header)b8:27:eb:00:00:01,10.0.0.300,lab,4\n",
            "targets.csv:2:19: '10.0.0.300' is not an IPv4 address; must be four numbers from 0 to 255 without leading zeros"
        ),
        Mistake(
            "\(header)b8:27:eb:00:00:01,10.0.0.1,,4\n",
            "targets.csv:2:28: '' is not a host name; must name the host that resets the target"),
        Mistake(
            "\(header)b8:27:eb:00:00:01,10.0.0.1,lab,\n",
            "targets.csv:2:32: nothing resets this target; must have a gpio or a reset_command"),
        Mistake(
            "\(header)b8:27:eb:00:00:01,10.0.0.1,lab,chip:\n",
            "targets.csv:2:32: 'chip:' is not a GPIO line; must be an offset (17), chip:offset (gpiochip0:17) or a line name (GPIO17)"
        ),
        Mistake(
            "\(header)b8:27:eb:00:00:01,10.0.0.1,lab\n",
            "targets.csv:2:28: the line has 3 fields; must have 4, as the header has"),
        Mistake(
            "\(header)b8:27:eb:00:00:01,10.0.0.1,lab,4,5\n",
            "targets.csv:2:34: the line has 5 fields; must have 4, as the header has"),
        Mistake(
            "\(header)b8:27:eb:00:00:01,10.0.0.1,lab,4\nB8-27-EB-00-00-01,10.0.0.2,lab,5\n",
            "targets.csv:3:1: mac b8:27:eb:00:00:01 is already on line 2"),
        Mistake(
            "\(header)b8:27:eb:00:00:01,10.0.0.1,lab,4\nb8:27:eb:00:00:02,10.0.0.1,lab,5\n",
            "targets.csv:3:19: ip 10.0.0.1 is already on line 2"),
        Mistake(
            "name,\(header)pi,b8:27:eb:00:00:01,10.0.0.1,lab,4\nPI,b8:27:eb:00:00:02,10.0.0.2,lab,5\n",
            "targets.csv:3:1: name 'PI' is already on line 2"),
        Mistake(
            "name,\(header)10.0.0.9,b8:27:eb:00:00:01,10.0.0.1,lab,4\n",
            "targets.csv:2:1: '10.0.0.9' is not a name; must not be an address"),
        Mistake(
            "name,\(header)a b,b8:27:eb:00:00:01,10.0.0.1,lab,4\n",
            "targets.csv:2:1: 'a b' is not a name; must be at most 63 letters, digits, '.', '_' or '-', a letter or digit first"
        ),
        Mistake(
            "reset_hold_ms,\(header)0,b8:27:eb:00:00:01,10.0.0.1,lab,4\n",
            "targets.csv:2:1: '0' is not a reset_hold_ms; must be 1 to 60000 milliseconds"),
        Mistake(
            "console,\(header)ttyUSB0,b8:27:eb:00:00:01,10.0.0.1,lab,4\n",
            "targets.csv:2:1: 'ttyUSB0' is not a console; must be a serial port's path, with its speed where that is not 115200: /dev/ttyUSB0, /dev/serial/by-id/usb-x@9600"
        ),
        Mistake(
            "console,\(header)/dev/ttyUSB0@fast,b8:27:eb:00:00:01,10.0.0.1,lab,4\n",
            "targets.csv:2:1: '/dev/ttyUSB0@fast' is not a console; must be a serial port's path, with its speed where that is not 115200: /dev/ttyUSB0, /dev/serial/by-id/usb-x@9600"
        ),
        Mistake(
            "tags,\(header)rack-1 a/b,b8:27:eb:00:00:01,10.0.0.1,lab,4\n",
            "targets.csv:2:1: 'a/b' is not a tag; must be at most 63 letters, digits, '.', '_' or '-', the next one behind a blank or ';'"
        ),
        Mistake("\(header)\"b8:27\n", "targets.csv:2:1: a quoted field that nothing closes"),
        Mistake("\(header)\"b8:27", "targets.csv:2:1: a quoted field that nothing closes"),
        Mistake(
            "\(header)\"b8\"x,1\n", "targets.csv:2:5: text behind a closing quote; must be a comma or the line's end"),
        Mistake(
            "\(header)b8\"x,1\n",
            "targets.csv:2:3: a quote inside a field without quotes; put the whole field in quotes and double this one"),
        Mistake("\(header)b8\u{0}x,1\n", "targets.csv:2:1: a control character (code 0); must be plain text"),
        // The forgotten quote swallows lines up to the next one.
        Mistake(
            "reset_command,\(header)\"off,b8:27:eb:00:00:01,10.0.0.1,lab,\n\"on\",b8:27:eb:00:00:02,10.0.0.2,lab,\n",
            "targets.csv:2:1: a quoted field that ends on line 3 with text behind its quote; close it, or double the quotes in it"
        ),
        Mistake(
            "\(header)b8:27:eb:00:00:01,10.0.0.1,\"lab\n2\",4\n",
            "targets.csv:2:28: 'lab\\x0a2' has a line break; only reset_command and tags may: is a quote not closed?"),
        Mistake(
            "\(header)b8:27:eb:00:00:01,10.0.0.1,10.0.0.1,4\n",
            "targets.csv:2:19: ip 10.0.0.1 is its server's too; must be the target's own"),
        // Behind a field with line breaks places are those of the file.
        Mistake(
            "reset_command,\(header)\"a\r\nb\nc\",b8:27:eb:00:00:01,10.0.0.300,lab,\n",
            "targets.csv:4:22: '10.0.0.300' is not an IPv4 address; must be four numbers from 0 to 255 without leading zeros"
        ),
        Mistake(
            "reset_command,\(header)\"a\nb\",b8:27:eb:00:00:01,10.0.0.1,lab,\nx,b8:27:eb:00:00:01,10.0.0.2,lab,\n",
            "targets.csv:4:3: mac b8:27:eb:00:00:01 is already on line 3"),
        Mistake(
            "reset_command,\(header)\"a\nb\",b8:27:eb:00:00:01,10.0.0.1\n",
            "targets.csv:3:22: the line has 3 fields; must have 5, as the header has"),
        Mistake(
            "mac;ip;server;gpio\nb8:27:eb:00:00:01;10.0.0.1;lab;4\n",
            "targets.csv:1:4: fields are separated by semicolons; must be commas: save the file as CSV with commas"),
        Mistake(
            "\"mac\";\"ip\";\"server\"\n",
            "targets.csv:1:6: fields are separated by semicolons; must be commas: save the file as CSV with commas"),
        Mistake(
            "mac\tip\tserver\tgpio\n",
            "targets.csv:1:4: fields are separated by tabs; must be commas: save the file as CSV with commas"),
        Mistake(
            "sep=;\r\nmac;ip;server;gpio\r\n",
            "targets.csv:1:1: fields are separated by semicolons; must be commas: save the file as CSV with commas"),
        Mistake(
            "sep=x\nmacxip\n",
            "targets.csv:1:1: fields are separated by 'x', as this line says; must be commas: save the file as CSV with commas"
        ),
        Mistake("sep=,\n", "targets.csv:1:1: the file has no header; the first line must be mac,ip,server,gpio"),
        Mistake(
            "\(header)sep=,\n", "targets.csv:2:6: the line has 2 fields; must have 4, as the header has"),
        Mistake(
            "PK\u{3}\u{4}",
            "targets.csv:1:1: the file is a workbook of a spreadsheet; save it as CSV, in UTF-8, with commas"),
    ]

    @Test(arguments: ["\n", "\r\n"])
    func `what spreadsheets write is taken: a line with the separator, empty rows, empty fields at the end`(
        end: String
    ) throws {
        let lines = [
            "\u{feff}sep=,", "mac,ip,server,gpio,name,,", "b8:27:eb:00:00:01,10.0.0.1,lab,4,one,,", ",,,,,,",
            "\"\",,,,",
            "b8:27:eb:00:00:02,10.0.0.2,lab,5,,,", ",,,,,,", "",
        ]
        let inventory = try Inventory(csv: lines.joined(separator: end).utf8, file: "f")
        #expect(inventory.targets.map(\.line) == [3, 6])
        #expect(inventory.targets.map(\.name) == ["one", nil])
    }

    @Test(arguments: ["\n", "\r\n", "\r"])
    func `a line break in quotes belongs to the field (RFC 4180, 2.6)`(end: String) throws {
        let lines = [
            "mac,ip,server,gpio,reset_command,tags", "b8:27:eb:00:00:01,10.0.0.1,lab,,\"echo \"\"a\"\"", "# no comment",
            "",
            "echo b\",\"camera", "rack-1\"", "b8:27:eb:00:00:02,10.0.0.2,lab,4,,",
        ]
        let inventory = try Inventory(csv: lines.joined(separator: end).utf8, file: "f")
        #expect(inventory.targets[0].resetCommand == "echo \"a\"\n# no comment\n\necho b")
        #expect(inventory.targets[0].tags == ["camera", "rack-1"])
        #expect(inventory.targets.map(\.line) == [2, 7])
    }

    @Test(arguments: mistakes)
    func `each mistake is named with its place`(mistake: Mistake) {
        #expect(errors(mistake.csv) == mistake.message)
    }

    @Test func `bytes that are not UTF-8 are named with their place`() {
        #expect(
            errors(Array(Self.header.utf8) + [0x62, 0x2c, 0xff, 0xfe, 0x0a])
                == "targets.csv:2:3: bytes that are not UTF-8; save the file as UTF-8")
        for start: [UInt8] in [[0xff, 0xfe, 0x6d, 0x00], [0xfe, 0xff, 0x00, 0x6d], [0x6d, 0x00], [0x00, 0x6d]] {
            #expect(errors(start) == "targets.csv:1:1: the file is UTF-16; save it as UTF-8")
        }
    }

    @Test func `a column counts characters, not bytes`() {
        #expect(errors(Self.header + "\u{e4}\u{f6}\u{fc},x\n").hasPrefix("targets.csv:2:5: the line has 2 fields"))
    }

    @Test func `all mistakes are collected, up to a limit`() throws {
        let rows = (1...30).map { _ in "x,10.0.0.1,lab,4\n" }.joined()
        do throws(InventoryErrors) {
            _ = try Inventory(csv: (Self.header + rows).utf8, file: "f")
            Issue.record("accepted")
        } catch {
            // 30 bad MACs and 29 repeated addresses.
            #expect(error.total == 59)
            #expect(error.errors.count == InventoryErrors.limit)
            #expect(error.description.hasSuffix("\nand 39 more errors in the same file"))
        }
    }

    @Test func `ten thousand rows are read, each of them`() throws {
        var csv = "mac,ip,server,gpio,name\n"
        for row in 0..<10_000 {
            let (high, low) = (row / 256, row % 256)
            let hex = { (byte: Int) in (byte < 16 ? "0" : "") + String(byte, radix: 16) }
            csv += "b8:27:eb:00:\(hex(high)):\(hex(low)),10.1.\(high).\(low),lab,\(row % 28),pi-\(row)\n"
        }
        let inventory = try Inventory(csv: Array(csv.utf8), file: "f")
        #expect(inventory.targets.count == 10_000)
        #expect(try inventory.target("pi-9999").line == 10_001)
        #expect(try inventory.target("10.1.39.15").line == 10_001)
    }
}
