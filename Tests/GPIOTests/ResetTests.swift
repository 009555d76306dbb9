import Foundation
import SystemPackage
import TestSupport
import Testing

extension GPIOTests {
    /// `rpiflash reset`, the built program, in a machine whose gpiochips record every change of a line.
    @Suite struct Reset {
        /// One machine runs all scenarios; each test looks at its own.
        static let scenarios = Task {
            let result = try await bash(
                """
                $BENCH run --binary $RPIFLASH --binary gpioset --files $REPOSITORY/Tests/GPIOTests/vm \
                  --console $D/reset-console --timeout 900 -- sh scenarios
                """, seconds: 960)
            _ = try await bash("printf %s \"$TEXT\" >$D/scenarios.log", ["TEXT": result.stdout], seconds: 10)
            try #require(result.status == 0, result.all)
            return Scenario.parse(result.stdout)
        }

        private func scenario(_ name: String) async throws -> Scenario { try await Self.scenario(name) }

        static func scenario(_ name: String) async throws -> Scenario {
            try #require(try await scenarios.value[name], "no scenario \(name); see \(GPIOBench.scratch)")
        }

        /// The line that is an input before, low for one pulse, an input after, on `line` only, and never high.
        private func expectPulse(
            _ scenario: Scenario, milliseconds: ClosedRange<Double>, on line: String, before: Int = 1,
            sourceLocation: SourceLocation = #_sourceLocation
        ) {
            let events = scenario.events
            // An input already, when it was asked for, or driven by somebody who died.
            #expect(events.first?.description == "request \(before)", scenario.all, sourceLocation: sourceLocation)
            #expect(events.dropFirst().first?.description == "in 1", scenario.all, sourceLocation: sourceLocation)
            #expect(scenario.pulses.count == 1, scenario.all, sourceLocation: sourceLocation)
            #expect(
                scenario.pulses.allSatisfy(milliseconds.contains), scenario.all, sourceLocation: sourceLocation)
            #expect(
                events.suffix(2).map(\.description) == ["in 1", "free 1"], scenario.all, sourceLocation: sourceLocation)
            #expect(events.allSatisfy { $0.line == line }, scenario.all, sourceLocation: sourceLocation)
        }

        /// One sentence on stderr that ends in `message`; what it is about may come before.
        private func expectError(
            _ scenario: Scenario, _ message: String, sourceLocation: SourceLocation = #_sourceLocation
        ) {
            let lines = scenario.stderr.split(separator: "\n")
            #expect(lines.count == 1, scenario.all, sourceLocation: sourceLocation)
            #expect(lines.first?.hasPrefix("rpiflash: ") == true, scenario.all, sourceLocation: sourceLocation)
            #expect(lines.first?.hasSuffix(": \(message)") == true, scenario.all, sourceLocation: sourceLocation)
        }

        /// The hold time, 5 % less or more.
        private func about(_ milliseconds: Double) -> ClosedRange<Double> { milliseconds * 0.95...milliseconds * 1.05 }

        @Test func `law 5 - no line is ever driven high`() async throws {
            let events = try await Self.scenarios.value.mapValues(\.events)
            #expect(events.values.contains { $0.contains { $0.description == "out 0" } })
            for (name, events) in events { #expect(!events.contains { $0.kind == .out && $0.level != 0 }, "\(name)") }
        }

        @Test(arguments: [("pulse", 500.0), ("default", 100), ("hold", 1500)])
        func `holds the line low for the row's time, the usual one, or the option's`(name: String, hold: Double)
            async throws
        {
            let scenario = try await scenario(name)
            #expect(scenario.status == 0, scenario.all)
            expectPulse(scenario, milliseconds: about(hold), on: "pinctrl-bcm2711:17")
        }

        @Test(arguments: ["INT", "TERM", "HUP"])
        func `law 5 - a signal in the middle of the pulse releases the line`(signal: String) async throws {
            let scenario = try await scenario(signal)
            #expect(scenario.status == 130, scenario.all)
            #expect(scenario.stderr.contains("interrupted"), scenario.all)
            // The signal came after a second of ten.
            expectPulse(scenario, milliseconds: 1000...1200, on: "pinctrl-bcm2711:17")
        }

        @Test func `a dry run asks for no line, not even for one that was left driven, and says how it would be reset`()
            async throws
        {
            let reset = try await scenario("dry-reset")
            #expect(reset.status == 0 && reset.events.isEmpty, reset.all)
            #expect(
                reset.stdout.contains("): would be reset through line gpiochip1:17 (GPIO17), held for 500ms\n"),
                reset.all)
            let held = try await scenario("dry-reset-hold")
            #expect(held.status == 0 && held.events.isEmpty, held.all)
            #expect(held.stdout.contains(" line gpiochip1:20 (GPIO20), held for 2s\n"), held.all)
            let flash = try await scenario("dry-flash")
            #expect(flash.status == 7 && flash.events.isEmpty, flash.all)
            // As for real.
            let (busy, real) = (try await scenario("dry-busy"), try await scenario("busy"))
            #expect(busy.status == 9 && busy.stderr == real.stderr, busy.all)
        }

        @Test func `law 5 - after SIGKILL the next command releases the line first`() async throws {
            let killed = try await scenario("KILL")
            #expect(killed.status == 128 + 9, killed.all)
            // The record sees what a Raspberry Pi kernel does: the line stays driven.
            #expect(killed.events.last?.description == "free 0", killed.all)
            let next = try await scenario("after-KILL")
            #expect(next.status == 0, next.all)
            expectPulse(next, milliseconds: about(500), on: "pinctrl-bcm2711:17", before: 0)
        }

        @Test func `law 6 - a flash that is refused touches no line, not even one that was left driven, and says so`()
            async throws
        {
            let killed = try await scenario("KILL-again")
            #expect(killed.events.last?.description == "free 0", killed.all)
            let flash = try await scenario("flash-after-KILL")
            #expect(flash.status == 7, flash.all)
            #expect(flash.events.isEmpty, flash.all)
            let warning =
                "rpiflash: warning: gpiochip1:17 is driven, but nobody uses it: pulse may be held in reset; "
                + "its next reset ends that\n"
            #expect(flash.stderr.contains(warning), flash.all)
            let doctor = try await scenario("doctor-after-KILL")
            #expect(doctor.events.isEmpty, doctor.all)
            #expect(
                doctor.stdout.contains(
                    "target pulse: gpiochip1:17 is driven, but nobody uses it, so it may be held in reset; "
                        + "rpiflash reset pulse ends that\n"), doctor.all)
            // Law 5: the reset lets it go first.
            let next = try await scenario("reset-after-flash")
            #expect(next.status == 0 && next.stderr.hasSuffix("its next reset ends that\n"), next.all)
            expectPulse(next, milliseconds: about(500), on: "pinctrl-bcm2711:17", before: 0)
        }

        @Test(arguments: [
            ("pulse", "pinctrl-bcm2711:17"), ("by-chip", "pinctrl-bcm2711:18"), ("by-label", "pinctrl-bcm2711:19"),
            ("by-name", "pinctrl-bcm2711:20"),
            // The chip with the header is neither the first nor the last, and has another old name.
            ("pi5", "pinctrl-rp1:17"), ("pi5-name", "pinctrl-rp1:20"), ("pi5-old-name", "pinctrl-rp1:17"),
            ("pi3", "pinctrl-bcm2835:17"),
            ("usb", "pinctrl-bcm2711:17"), ("only-chip", "expander:17"),
            // The only chip that this user may open, named by the row.
            ("own-access", "raspberrypi-exp-gpio:3"),
        ])
        func `finds the line that a row names, whatever the chips' numbers`(name: String, line: String) async throws {
            let scenario = try await scenario(name)
            #expect(scenario.status == 0, scenario.all)
            #expect(scenario.pulses.count == 1, scenario.all)
            #expect(scenario.events.allSatisfy { $0.line == line }, scenario.all)
        }

        @Test(arguments: [
            ("no-offset", "GPIO chip gpiochip1 has no line 58; it has 58 lines, 0 to 57"),
            ("not-on-chip", "GPIO chip gpiochip0 has no line 8; it has 8 lines, 0 to 7"),
            (
                "no-chip",
                "no GPIO chip 'gpiochip7'; this host has gpiochip0 (raspberrypi-exp-gpio), gpiochip1 (pinctrl-bcm2711)"
            ),
            (
                "no-label",
                "no GPIO chip 'pinctrl-rp1'; this host has gpiochip0 (raspberrypi-exp-gpio), gpiochip1 (pinctrl-bcm2711)"
            ),
            ("no-name", "no GPIO line is named 'GPIO99' on this host; it has GPIO0 to GPIO57"),
            ("no-names", "no GPIO line is named 'PIN_3' on this host; none has a name, use an offset"),
            ("usb-name", "2 GPIO lines are named 'GPIO20': gpiochip0:20, gpiochip1:20; use one of these"),
            ("two-labels", "2 GPIO chips are labelled 'expander': gpiochip0, gpiochip1; use one of these names"),
            (
                "no-header",
                "none of the GPIO chips is a Raspberry Pi's header (gpiochip0 (expander), gpiochip1 (expander)); "
                    + "name the chip too, as in gpiochip0:17"
            ),
            ("no-gpio", "no GPIO chip on this host; a target here needs a reset_command in its row"),
            (
                "no-access",
                "cannot open GPIO /dev/gpiochip0: Permission denied; "
                    + "run as root, or as a member of the group that owns it"
            ),
            // The chip that may be opened is not the only one: line 17 is another's.
            (
                "other-access",
                "cannot open GPIO /dev/gpiochip1: Permission denied; "
                    + "run as root, or as a member of the group that owns it"
            ),
        ])
        func `refuses a line that is not there, says what is, and touches none`(name: String, message: String)
            async throws
        {
            let scenario = try await scenario(name)
            #expect(scenario.status == 9, scenario.all)
            expectError(scenario, message)
            #expect(scenario.events.isEmpty, scenario.all)
        }

        @Test(arguments: [("busy", "gpiochip1:22", "gpioset"), ("twice", "gpiochip1:17", "rpiflash")])
        func `refuses a line that somebody has, says who, and leaves it to him`(
            name: String, line: String, consumer: String
        ) async throws {
            let scenario = try await scenario(name)
            #expect(scenario.status == 9, scenario.all)
            expectError(scenario, "GPIO line \(line) is in use by '\(consumer)'; free it first")
            // One request only: the other's.
            #expect(scenario.events.count { $0.kind == .request } == 1, scenario.all)
        }
    }
}
