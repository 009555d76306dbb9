import Foundation
import SystemPackage
import TestSupport
import Testing

extension GPIOTests {
    /// `rpiflash gpio`, in the machine of the scenarios.
    @Suite(.recordedLines) struct Listing {
        /// What the command printed; it looked and touched nothing.
        private func listing(_ name: String) async throws -> String {
            let scenario = try await Reset.scenario(name)
            #expect(scenario.status == 0, scenario.all)
            #expect(scenario.stderr.isEmpty, scenario.all)
            #expect(scenario.events.isEmpty, scenario.all)
            return scenario.stdout
        }

        /// The header with the usual two chips.
        private static let chips = """
            CHIP       LABEL                 LINES  DEFAULT
            gpiochip0  raspberrypi-exp-gpio  8      -
            gpiochip1  pinctrl-bcm2711       58     yes


            """
        private static let inputs = """
            gpiochip1:18  GPIO18  input      -        chip
            gpiochip1:19  GPIO19  input      -        label
            gpiochip1:20  GPIO20  input      -        name

            """

        @Test func `lists chips, lines in use and the targets of this host only`() async throws {
            // gpioset was ended, and its line stays driven, as Raspberry Pi kernels have it.
            #expect(
                try await listing("gpio-bench") == Self.chips + """
                    LINE          NAME    DIRECTION  USED BY  RESETS
                    gpiochip1:17  GPIO17  input      -        pulse

                    """ + Self.inputs + """
                        gpiochip1:22  GPIO22  output     -        held

                        gpiochip1:22 is driven, but nobody uses it: held may be held in reset; rpiflash reset held ends that
                        inventory: bench.csv

                        """)
        }

        @Test func `law 5 - shows a line that a killed command left driven, and leaves it to the next reset`()
            async throws
        {
            // "after-KILL" is that reset.
            let text = try await listing("gpio-after-KILL")
            #expect(text.contains("gpiochip1:17  GPIO17  output     -        pulse\n"), "\(text)")
            #expect(
                text.contains(
                    """

                    gpiochip1:17 is driven, but nobody uses it: pulse may be held in reset; \
                    rpiflash reset pulse ends that

                    """), "\(text)")
        }

        @Test func `says who uses a line`() async throws {
            let scenario = try await Reset.scenario("gpio-held")
            #expect(scenario.status == 0, scenario.all)
            #expect(scenario.stdout.contains("gpiochip1:22  GPIO22  output     gpioset  held\n"), scenario.all)
            #expect(!scenario.stdout.contains("nobody"), scenario.all)
            // The other's events only.
            #expect(scenario.events.map(\.description) == ["request 0", "out 0", "free 0"], scenario.all)
        }

        @Test func `names the targets whose lines are not there, and those that share one`() async throws {
            let text = try await listing("gpio")
            for part in [
                "gpiochip0:3   -       input      -        plain-3\n",
                "gpiochip1:17  GPIO17  input      -        pulse, default, long\n",
                "\nno-offset    58             GPIO chip gpiochip1 has no line 58; it has 58 lines, 0 to 57\n",
                "\nno-name      GPIO99         no GPIO line is named 'GPIO99' on this host; it has GPIO0 to GPIO57\n",
                "\ngpiochip1:17 resets 3 targets; each needs a line of its own\n",
                "\ninventory: /etc/rpiflash/targets.csv\n",
            ] {
                #expect(text.contains(part), "\(text)")
            }
            #expect(!text.contains("elsewhere"), "\(text)")
        }

        @Test func `works without an inventory, and says so`() async throws {
            #expect(
                try await listing("gpio-none") == Self.chips + """
                    LINE          NAME    DIRECTION  USED BY  RESETS
                    gpiochip1:22  GPIO22  output     -        ?

                    inventory: none found, so that what a line resets is not known; give --inventory

                    """)
        }

        @Test func `lists every line of every chip if asked to`() async throws {
            let lines = try await listing("gpio-all").split(separator: "\n")
            #expect(lines.count { $0.hasPrefix("gpiochip0:") } == 8)
            // And the note on 22.
            #expect(lines.count { $0.hasPrefix("gpiochip1:") } == 58 + 1)
            #expect(lines.contains("gpiochip1:57  GPIO57  input      -        -"))
        }

        @Test func `marks the header's chip of a Pi 5, which is neither the first nor the last of its names`()
            async throws
        {
            let text = try await listing("gpio-pi5")
            #expect(text.contains("\ngpiochip2  pinctrl-rp1              54     yes\n"), "\(text)")
            // Its old name gpiochip4 is a link, and no chip of its own.
            #expect(!text.contains("gpiochip4"), "\(text)")
            #expect(text.contains("gpiochip2:17  GPIO17  input      -        pulse\n"), "\(text)")
        }

        @Test func `says that no chip is the default, and that there is none in use`() async throws {
            let text = try await listing("gpio-no-header")
            #expect(text.contains("\nno line is in use or resets a target; --all lists every line\n"), "\(text)")
            #expect(
                text.contains(
                    "\nno default chip: none is a Raspberry Pi header; a row has to name the chip, as in gpiochip0:17\n"
                ),
                "\(text)")
        }

        @Test func `says which chip it may not open`() async throws {
            let text = try await listing("gpio-other-access")
            #expect(
                text.contains("\nnot all chips are shown: cannot open GPIO /dev/gpiochip1: Permission denied; "),
                "\(text)")
            #expect(!text.contains("yes"), "\(text)")
        }

        @Test(arguments: [
            ("gpio-no-gpio", 9, "no GPIO chip on this host; a target here needs a reset_command in its row"),
            (
                "gpio-wrong", 6,
                "wrong.csv:2:34: '1 7' is not a GPIO line; must be an offset (17), chip:offset (gpiochip0:17) "
                    + "or a line name (GPIO17)"
            ),
            ("gpio-missing", 6, "cannot read missing.csv: No such file or directory"),
        ])
        func `refuses in one sentence what it cannot list`(name: String, status: Int, message: String) async throws {
            let scenario = try await Reset.scenario(name)
            #expect(scenario.status == Int32(status), scenario.all)
            #expect(scenario.stderr == "rpiflash: \(message)\n", scenario.all)
            #expect(scenario.stdout.isEmpty, scenario.all)
        }

        /// The JSON as a program reads it; a field that is missing or of another type ends the test.
        private struct Report: Decodable {
            struct Chip: Decodable { let name, label, path: String, lines: Int }
            struct Line: Decodable, Equatable {
                let chip: String, offset: Int, name: String?, direction: String, used: Bool, consumer: String?
                let targets: [String]
            }
            struct Trouble: Decodable { let target, gpio, reason: String }
            let version, libgpiod: Int
            let inventory, default_chip, chip_error: String?
            let chips: [Chip], lines: [Line], troubles: [Trouble]
        }

        private func report(_ name: String) async throws -> Report {
            let scenario = try await Reset.scenario(name)
            #expect(scenario.status == 0, scenario.all)
            let file = GPIOBench.scratch.appending("\(name).json")
            try scenario.stdout.write(toFile: file.string, atomically: true, encoding: .utf8)
            let checked = try await bash("$REPOSITORY/scripts/check-json gpio <\(file)", seconds: 20)
            #expect(checked.status == 0, checked.all)
            return try JSONDecoder().decode(Report.self, from: Data(scenario.stdout.utf8))
        }

        @Test func `prints one JSON object for programs`() async throws {
            let report = try await report("gpio-json")
            #expect(report.version == 1)
            let installed = try await bash("pkg-config --modversion libgpiod", seconds: 20)
            #expect(installed.stdout.hasPrefix("\(report.libgpiod)."), installed.all)
            #expect(report.inventory == "/etc/rpiflash/targets.csv")
            #expect(report.default_chip == "gpiochip1")
            #expect(report.chip_error == nil)
            #expect(report.chips.map(\.label) == ["raspberrypi-exp-gpio", "pinctrl-bcm2711"])
            #expect(report.chips.map(\.lines) == [8, 58])
            #expect(report.chips.map(\.path) == ["/dev/gpiochip0", "/dev/gpiochip1"])
            #expect(report.lines.map(\.offset) == [3, 17, 18, 19, 20, 22])
            #expect(report.lines.first?.name == nil)
            #expect(report.lines.dropFirst().first?.targets == ["pulse", "default", "long"])
            #expect(report.troubles.contains { $0.target == "no-chip" && $0.gpio == "gpiochip7:1" })
            #expect(report.troubles.first?.reason == "GPIO chip gpiochip1 has no line 58; it has 58 lines, 0 to 57")
        }

        @Test func `has null in JSON for what is not there`() async throws {
            let none = try await report("gpio-json-none")
            #expect(none.inventory == nil && none.troubles.isEmpty)
            #expect(none.lines.map(\.targets) == [[]])
            let noHeader = try await report("gpio-no-header-json")
            #expect(noHeader.default_chip == nil && noHeader.lines.isEmpty)
            let held = try await report("gpio-held-json").lines.last
            #expect(
                held
                    == Report.Line(
                        chip: "gpiochip1", offset: 22, name: "GPIO22", direction: "output", used: true,
                        consumer: "gpioset", targets: ["held"]))
        }

        @Test func `has a help, and is in the program's`() async throws {
            let help = try await bash("$RPIFLASH gpio --help; $RPIFLASH --help", seconds: 20)
            #expect(help.status == 0, help.all)
            for part in ["--all ", "--json ", "--inventory <file>", "  gpio  "] {
                #expect(help.stdout.contains(part), help.all)
            }
        }
    }
}
