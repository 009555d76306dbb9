import ArgumentParser
import CommandOptions
import Flashing
import Testing
import Wiring

struct CommandOptionsTests {
    /// What is wrong with the arguments, in a sentence.
    private func objection<Options: ParsableArguments>(_: Options.Type, _ arguments: [String]) -> String? {
        do {
            _ = try Options.parse(arguments)
            return nil
        } catch {
            return Options.message(for: error)
        }
    }

    @Test(arguments: [
        ("45", Duration.seconds(45)), ("45s", .seconds(45)), ("500ms", .milliseconds(500)), ("2m", .seconds(120)),
        ("2min", .seconds(120)), ("1h", .seconds(3600)), ("90d", .seconds(7_776_000)), ("0", .zero),
        ("1000000000s", .seconds(1_000_000_000)),
    ])
    func `a length of time has a unit or is in seconds`(text: String, expected: Duration) {
        #expect(TimeOption(argument: text)?.duration == expected)
    }

    @Test(arguments: ["", "s", "-1", "1.5s", "1 s", "1w", "1000000001", "99999999999999999999", "٣s", "1ss"])
    func `what is no length of time is refused`(text: String) {
        #expect(TimeOption(argument: text) == nil)
    }

    @Test(arguments: [(Duration.seconds(180), "180s"), (.milliseconds(500), "500ms"), (.milliseconds(1500), "1500ms")])
    func `a default is shown as it would be given`(duration: Duration, text: String) {
        #expect(TimeOption(duration).defaultValueDescription == text)
        #expect(TimeOption(argument: text)?.duration == duration)
    }

    @Test(arguments: [
        (["a"], true), (["a", "b"], false), (["--all"], false), (["--tag", "x", "--tag", "y"], false),
    ])
    func `targets are named, or all of them, or those with a tag`(arguments: [String], isOne: Bool) throws {
        #expect(try TargetsOptions.parse(arguments).isOne == isOne)
    }

    @Test(arguments: [["a", "--all"], ["a", "--tag", "x"], ["--all", "--tag", "x"], ["a", "--all", "--tag", "x"]])
    func `ways to say which targets exclude each other`(arguments: [String]) {
        #expect(objection(TargetsOptions.self, arguments) == "named targets, --all and --tag exclude each other")
    }

    @Test func `no target is a missing argument`() throws {
        let text = try #require(objection(TargetsOptions.self, []))
        #expect(text.hasPrefix("Missing expected argument '<target>'"))
    }

    @Test(arguments: [("1", true), ("64", true), ("0", false), ("65", false), ("-1", false)])
    func `1 to 64 targets are flashed at a time`(jobs: String, isGood: Bool) {
        let objection = objection(SeveralOptions.self, ["--jobs=\(jobs)"])
        #expect(objection == (isGood ? nil : "--jobs is \(jobs); must be 1 to 64"))
    }

    @Test func `what several targets get is what was asked for`() throws {
        let options = try SeveralOptions.parse(["--jobs", "3", "--canary", "--stagger", "2s"]).options
        #expect((options.jobs, options.canary, options.stagger) == (3, true, .seconds(2)))
    }

    @Test func `an image as it is does not grow`() throws {
        #expect(objection(RelocationOptions.self, ["--as-is", "--grow"]) == "--as-is and --grow exclude each other")
        #expect(try RelocationOptions.parse(["--as-is"]).request == nil)
        #expect(try RelocationOptions.parse(["--as-is", "--no-grow"]).request == nil)
        #expect(try RelocationOptions.parse([]).request != nil)
    }

    @Test func `a log is quiet or verbose`() {
        #expect(objection(LogOptions.self, ["-q", "-v"]) == "--quiet and --verbose exclude each other")
    }

    @Test(arguments: [
        (["--serial"], "--serial and --user need --labgrid exporter"),
        (["--labgrid", "places", "--user", "pi"], "--serial and --user need --labgrid exporter"),
        (
            ["--labgrid", "exporter", "--user", "a b"],
            "--user is 'a b'; must be a small letter or '_', then at most 31 small letters, digits, '_' or '-'"
        ),
    ])
    func `labgrid's options go together`(arguments: [String], text: String) {
        #expect(objection(LabgridOptions.self, arguments) == text)
    }

    @Test(arguments: [("127.0.0.1", "127.0.0.1:69"), ("192.168.1.10:8069", "192.168.1.10:8069")])
    func `a place to listen is shown as it would be given`(text: String, shown: String) throws {
        #expect(try #require(ListenAddress(argument: text)).defaultValueDescription == shown)
    }

    @Test(arguments: [["--last", "0"], ["--label", "a"], ["--label", "A=b"]])
    func `a selection of runs that cannot be is refused`(arguments: [String]) {
        #expect(objection(SelectionOptions.self, arguments) != nil)
    }
}
