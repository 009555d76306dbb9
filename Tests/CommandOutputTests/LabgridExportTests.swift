import Inventory
import Testing

@testable import CommandOutput

/// What labgrid gets. That labgrid takes it is tried with a real exporter and coordinator: make labgrid-test.
struct LabgridExportTests {
    private static func export(_ rows: String, host: String = "bench1") throws -> LabgridExport {
        let csv = "mac,ip,server,gpio,name,tags,console\n" + rows
        let inventory = try Inventory(csv: csv.utf8, file: "targets.csv")
        return try LabgridExport(inventory.targets, file: inventory.file, host: host)
    }

    private static func errors(_ rows: String, host: String = "bench1") throws -> String {
        do {
            _ = try export(rows, host: host)
            return ""
        } catch let errors as LabgridErrors {
            return errors.description
        }
    }

    private static let bench = """
        b8:27:eb:3d:60:b9,192.168.77.2,bench1,17,camera-1,camera Rack-1,/dev/ttyUSB0
        52:54:00:12:34:56,192.168.77.3,bench1,18,,,

        """

    @Test func `a row is a group of labgrid's exporter, by its name or its MAC`() throws {
        let text = try Self.export(Self.bench).text(.exporter, user: "pi", withSerial: false)
        #expect(
            text == """
                ## Made by `rpiflash targets --labgrid exporter`. A line with one '#' would be a statement for labgrid.
                "camera-1":
                  RPiFlashTarget:
                    host: "{{ hostname }}"
                    row: "camera-1"
                  NetworkService:
                    address: "192.168.77.2"
                    username: "pi"
                "mac-525400123456":
                  RPiFlashTarget:
                    host: "{{ hostname }}"
                    row: "52:54:00:12:34:56"
                  NetworkService:
                    address: "192.168.77.3"
                    username: "pi"

                """)
    }

    @Test func `serial consoles are exported where that is asked for, and Jinja finds nothing in their paths`() throws {
        let rows = """
            52:54:00:00:00:01,192.168.77.2,bench1,17,a,,/dev/ttyUSB0
            52:54:00:00:00:02,192.168.77.3,bench1,17,b,,/dev/x{{7*7}}{%y@9600

            """
        let text = try Self.export(rows).text(.exporter, user: "root", withSerial: true)
        #expect(text.contains("  RawSerialPort:\n    port: \"/dev/ttyUSB0\"\n    speed: 115200\n"), "\(text)")
        #expect(text.contains(#"    port: "/dev/x\x7b\x7b7*7}}\x7b%y""# + "\n    speed: 9600\n"), "\(text)")
    }

    @Test func `places are made by a script, which calls one function for each`() throws {
        let text = try Self.export(Self.bench).text(.places, user: "root", withSerial: false)
        #expect(
            text.hasSuffix("\nplace camera-1 camera=yes rack_1=yes\nplace mac-525400123456\nexit $status\n"), "\(text)")
        #expect(text.contains(#"add-match "bench1/$name/*""#), "\(text)")
    }

    @Test(
        arguments: [
            ("17,", "name '17' is a number, which labgrid makes a place of its own; must have a letter"),
            (
                "cam,1st",
                "tag '1st' cannot be a tag of labgrid, whose keys are a letter and then at least one more letter, digit or '_'"
            ),
            (
                "cam,a",
                "tag 'a' cannot be a tag of labgrid, whose keys are a letter and then at least one more letter, digit or '_'"
            ),
            ("cam,rack-1 rack.1", "tag 'rack.1' and tag 'rack-1' of line 2 are both 'rack_1' in labgrid; rename one"),
        ])
    func `what labgrid cannot have is refused with its row`(fields: String, reason: String) throws {
        #expect(try Self.errors("52:54:00:00:00:01,192.168.77.2,bench1,17,\(fields),\n") == "targets.csv:2: \(reason)")
    }

    @Test func `every row is told of, and two rows that would become one`() throws {
        let rows = """
            52:54:00:00:00:01,192.168.77.2,bench1,17,7,rack-1,
            52:54:00:00:00:02,192.168.77.3,bench1,17,,RACK-1,
            52:54:00:00:00:03,192.168.77.4,bench1,17,mac-525400000002,rack_1,

            """
        #expect(
            try Self.errors(rows) == """
                targets.csv:2: name '7' is a number, which labgrid makes a place of its own; must have a letter
                targets.csv:4: group 'mac-525400000002' is also that of target 192.168.77.3; give one of them another name
                targets.csv:4: tag 'rack_1' and tag 'rack-1' of line 2 are both 'rack_1' in labgrid; rename one
                """)
    }

    @Test func `a host whose name a shell would take apart is refused`() throws {
        #expect(
            try Self.errors(Self.bench, host: "a'b; c")
                == "this host's name is 'a'b; c'; labgrid needs one of letters, digits, '.', '_' and '-'")
    }

    @Test func `an account is one that useradd takes`() {
        for name in ["root", "_x", "pi-2"] { #expect(LabgridExport.isAccount(name), "\(name)") }
        for name in ["", "Pi", "2pi", "p i", "pi\"", String(repeating: "p", count: 33)] {
            #expect(!LabgridExport.isAccount(name), "\(name)")
        }
    }
}
