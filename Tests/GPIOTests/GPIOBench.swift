import Foundation
import SystemPackage
import TestSupport
import Testing

/// Where programs are run with GPIO lines that are seen: `virtual_target/scenarios/gpio-bench`.
enum GPIOBench {
    static let repository = Parts.repository
    static let build = Parts.build
    static let binaries = Parts.programs

    /// The virtual machine with the recorded lines: Debian's amd64 kernel, and programs of this machine.
    static var hasRecordedLines: Bool {
        #if arch(x86_64)
            true
        #else
            false
        #endif
    }

    /// libgpiod 1, which Debian 12 has, and no release after it.
    static let hasLibraryOne =
        (try? String(contentsOfFile: "/etc/os-release", encoding: .utf8))?.contains("VERSION_CODENAME=bookworm") == true

    /// What `make test` prepares.
    static let needed =
        [
            binaries.appending("rpiflash"), build.appending("gpio-bench/pi/vmlinuz"),
            build.appending("gpio-bench/libgpiod2-arm64/lib/libgpiod.a"),
        ] + (hasRecordedLines ? [build.appending("gpio-bench/vm/vmlinux")] : [])

    /// Everything is there, or this is CI, where its absence has to be seen.
    static let isReady = Parts.has(needed)

    /// This run's programs and records; kept for a look at a failure.
    static let scratch = Parts.scratch("rpiflash-gpio-tests")
}

extension Trait where Self == ConditionTrait {
    /// Skipped, by name, where the virtual machine cannot be had.
    static var recordedLines: Self {
        .enabled(if: GPIOBench.hasRecordedLines, "gpio-bench run needs an amd64 machine")
    }
    /// Skipped, by name, for a version of libgpiod that this Debian release does not have.
    static func library(_ version: Int) -> Self {
        .enabled(if: version != 1 || GPIOBench.hasLibraryOne, "libgpiod 1 is Debian 12's")
    }
}

extension CommandResult {
    var all: Comment { Comment(rawValue: text) }
}

/// Runs a bash script with `set -euo pipefail`, ended where it hangs.
///
/// The environment has RPIFLASH, BENCH (gpio-bench), REPOSITORY, D (the scratch folder) and what `environment` adds.
func bash(_ script: String, _ environment: [String: String] = [:], seconds: Int) async throws -> CommandResult {
    let variables = [
        "RPIFLASH": GPIOBench.binaries.appending("rpiflash").string,
        "BENCH": GPIOBench.repository.appending("virtual_target/scenarios/gpio-bench").string,
        "REPOSITORY": GPIOBench.repository.string, "D": GPIOBench.scratch.string,
    ]
    return try await runScript(script, variables.merging(environment) { $1 }, seconds: seconds)
}

/// One line of the simulated gpiochips' record.
struct LineEvent: Hashable, Sendable, CustomStringConvertible {
    enum Kind: String { case request, free, `in`, out }

    /// Nanoseconds of the machine's monotonic clock.
    let time: UInt64
    /// `label:offset`.
    let line: String
    let kind: Kind
    /// What the wire has, 0 or 1. Driven high is `out` and 1.
    let level: Int

    /// Without the time: `in 1`.
    var description: String { "\(kind.rawValue) \(level)" }

    init?(_ text: some StringProtocol) {
        let words = text.split(separator: " ")
        guard words.count == 4, let time = UInt64(words[0]), let kind = Kind(rawValue: String(words[2])),
            let level = Int(words[3])
        else { return nil }
        (self.time, line, self.kind, self.level) = (time, String(words[1]), kind, level)
    }
}

/// What one command did in the machine.
struct Scenario: Sendable {
    var status: Int32 = -1
    var stdout = ""
    var stderr = ""
    var events: [LineEvent] = []

    var all: Comment {
        let record = events.map { "\($0.time) \($0.line) \($0)" }.joined(separator: "\n")
        return Comment(rawValue: "status \(status)\n--- stdout\n\(stdout)--- stderr\n\(stderr)--- record\n\(record)")
    }

    /// How long the line was driven low, in milliseconds, each time.
    var pulses: [Double] {
        var pulses: [Double] = []
        var start: UInt64?
        for event in events where event.kind == .in || event.kind == .out {
            if event.kind == .out, event.level == 0 {
                start = start ?? event.time
            } else if let began = start {
                pulses.append(Double(event.time - began) / 1e6)
                start = nil
            }
        }
        return pulses
    }

    /// What the scenarios of `Tests/GPIOTests/vm/scenarios` printed, by their names.
    static func parse(_ text: String) -> [String: Scenario] {
        var scenarios: [String: Scenario] = [:]
        var (name, part) = ("", "")
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("=== ") {
                (name, part) = (String(line.dropFirst(4)), "")
                scenarios[name] = Scenario()
            } else if line.hasPrefix("--- ") {
                part = String(line.dropFirst(4))
            } else if part.isEmpty, line.hasPrefix("status ") {
                scenarios[name]?.status = Int32(line.dropFirst(7)) ?? -1
            } else if part == "stdout" {
                scenarios[name]?.stdout += line + "\n"
            } else if part == "stderr" {
                scenarios[name]?.stderr += line + "\n"
            } else if part == "record", let event = LineEvent(line) {
                scenarios[name]?.events.append(event)
            }
        }
        return scenarios
    }
}

/// Everything that runs in gpio-bench, one at a time.
@Suite(.serialized, .enabled(if: GPIOBench.isReady, "run make test, which builds what these tests need"))
struct GPIOTests {}
