import Foundation
import SystemPackage
import TestSupport
import Testing

extension GPIOTests {
    /// The C shim, compiled against libgpiod 1 and 2, on a real pin controller's driver and on recorded lines.
    @Suite(.serialized) struct Shim {
        /// Builds the driver of the shim; warnings are errors. Prints nothing.
        private static let build = """
            lib=$($BENCH libgpiod $API $ARCHITECTURE)
            case $ARCHITECTURE in amd64) gcc=x86_64-linux-gnu-gcc ;; arm64) gcc=aarch64-linux-gnu-gcc ;; esac
            $gcc -std=gnu11 -O1 -g -static -Wall -Wextra -Werror -I$REPOSITORY/Sources/c/CGPIOD/include -I$lib/include \
              $REPOSITORY/virtual_target/scenarios/gpio-recorder/shim-driver.c $REPOSITORY/Sources/c/CGPIOD/cgpiod.c \
              -o $D/shim-driver-$API-$ARCHITECTURE -L$lib/lib -lgpiod

            """

        /// libgpiod 1 is Debian 12's: elsewhere a test of it is skipped by name.
        private static func skipIfUnavailable(_ result: CommandResult) throws {
            guard result.status == 77 else { return }
            try Test.cancel("\(result.stderr.split(separator: "\n").first ?? "gpio-bench cannot have it here")")
        }

        @Test(arguments: [1, 2])
        func `drives a Raspberry Pi's real pin controller`(api: Int) async throws {
            let result = try await bash(
                Self.build + """
                    $BENCH pi --line 17 --record $D/pi-record-$API --console $D/pi-console-$API --timeout 600 \
                      $D/shim-driver-$API-arm64 pinctrl-bcm2835 17 100
                    """, ["API": "\(api)", "ARCHITECTURE": "arm64"], seconds: 660)
            try Self.skipIfUnavailable(result)
            try #require(result.status == 0, result.all)
            #expect(
                result.stdout == """
                    libgpiod \(api), chip pinctrl-bcm2835, 54 lines
                    line 17 'GPIO17' used output 'shim-driver'
                    second request: Device or resource busy
                    line 17 'GPIO17' free input ''

                    """, result.all)
            // The pin's function select register, read from outside. Nothing pulls this board's input up.
            let record = try String(
                contentsOfFile: GPIOBench.scratch.appending("pi-record-\(api)").string, encoding: .utf8)
            #expect(
                record == """
                    before in 0
                    requested in 0
                    asserted out 0
                    released in 0
                    closed in 0
                    asserted-again out 0
                    killed in 0
                    requested-again in 0
                    closed-again in 0

                    """)
        }

        @Test func `hides libgpiod from the Swift code, so that it is the same for both versions`() async throws {
            // What the shim's header includes, and which Swift file could see the library's own.
            let result = try await bash(
                """
                headers=$(gcc -M -x c $REPOSITORY/Sources/c/CGPIOD/include/cgpiod.h)
                grep -q 'stdbool.h' <<<"$headers"
                ! grep -E '(^|/| )gpiod\\.h' <<<"$headers"
                ! grep -rn --include=*.swift -E 'import +CGPIODLibrary' $REPOSITORY/Sources $REPOSITORY/Tests/*/*.swift
                """, seconds: 60)
            #expect(result.status == 0, result.all)
            #expect(result.stdout.isEmpty, result.all)
        }

        @Test(arguments: [1, 2])
        func `makes the line an input before it lets go, and never drives it high`(api: Int) async throws {
            let result = try await bash(
                Self.build + """
                    $BENCH run --binary $D/shim-driver-$API-amd64 --record $D/sim-record-$API --timeout 600 -- \
                      shim-driver-$API-amd64 pinctrl-bcm2711 17 500
                    """, ["API": "\(api)", "ARCHITECTURE": "amd64"], seconds: 660)
            try Self.skipIfUnavailable(result)
            try #require(result.status == 0, result.all)
            let record = try String(
                contentsOfFile: GPIOBench.scratch.appending("sim-record-\(api)").string, encoding: .utf8)
            let events = record.split(separator: "\n").compactMap { LineEvent($0) }
            try #require(events.count == record.split(separator: "\n").count, "\(record)")
            #expect(events.allSatisfy { $0.line == "pinctrl-bcm2711:17" })
            // A pulse; a user that is killed leaves the line driven; the next one's request ends that.
            #expect(
                events.map(\.description) == [
                    "request 1", "in 1", "out 0", "in 1", "free 1",
                    "request 1", "in 1", "out 0", "free 0",
                    "request 0", "in 1", "free 1",
                ], "\(record)")
            let pulse = Double(events[3].time - events[2].time) / 1e6
            #expect((475...525).contains(pulse), "\(pulse) ms")
        }
    }
}
