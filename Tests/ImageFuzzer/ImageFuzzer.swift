import Foundation
import Glibc
import LinuxHost
import OSImage
import SystemPackage

/// Judges mutations of small images, so that what ends the process ends this one and not the tests.
///
///     image-fuzzer SEED FIRST COUNT FOLDER IMAGE…
///
/// FOLDER gets working copies and `at`, the number of the mutation that is judged: after a crash it tells which one it was.
/// Prints a line for each mutation that is judged wrongly; exit status 1 then. A mutation that takes 60 s ends the process
/// by SIGALRM.
@main struct ImageFuzzer {
    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count >= 6, let seed = UInt64(arguments[1]), let first = UInt64(arguments[2]),
            let count = UInt64(arguments[3])
        else {
            say("usage: image-fuzzer SEED FIRST COUNT FOLDER IMAGE…")
            exit(64)
        }
        // More than any image may take: an allocation that fails ends the process at its number.
        var limit = rlimit(rlim_cur: 4 << 30, rlim_max: 4 << 30)
        setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)

        let folder = FilePath(arguments[4])
        let fuzzer = try Fuzzer(seed: seed, images: arguments[5...].map { FilePath($0) }, folder: folder)
        let at = try FileDescriptor.open(
            folder.appending("at"), .writeOnly, options: [.create, .truncate], permissions: [.ownerReadWrite])
        var failures = 0
        for number in first..<first + count {
            try at.writeAll(toAbsoluteOffset: 0, "\(number)\n".utf8)
            alarm(60)
            do {
                try await fuzzer.judge(number)
            } catch {
                failures += 1
                say("mutation \(number): \(error)")
                if failures == 10 { break }
            }
        }
        alarm(0)
        do { try fuzzer.checkImages() } catch {
            failures += 1
            say("mutations: \(error)")
        }
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        if usage.ru_maxrss > 400 << 10 {
            say("memory: \(usage.ru_maxrss) KiB; must be at most 400 MiB")
            failures += 1
        }
        say("\(await fuzzer.summary()), at most \(usage.ru_maxrss / 1024) MiB of memory")
        exit(failures == 0 ? 0 : 1)
    }

    private static func say(_ line: String) { _ = try? FileDescriptor.standardOutput.writeAll("\(line)\n".utf8) }
}
