import CommandOutput
import Configuration
import FlashEvents
package import Inventory
package import RunRecords
import Synchronization
import SystemPackage
import TargetConsole

/// What is watched: a run's record while there is one, else the console itself.
package struct ConsoleWatch {
    let row: Target
    let store: RunStore
    private var own: OwnConsole?
    private var followed: (run: StoredRun, file: FileDescriptor, text: ConsoleText)?
    private var seen: Set<String> = []
    private var problem: ConsoleError?
    private let begin = ContinuousClock.now
    private var hasHinted = false

    package init(row: Target, store: RunStore) { (self.row, self.store) = (row, store) }

    package mutating func check() throws {
        if followed == nil {
            let run: StoredRun?
            do throws(RunStoreError) {
                run = try store.running(mac: row.mac.description)
            } catch {
                throw FlashError.server("run records: \(error)")
            }
            if let run, !seen.contains(run.id),
                let file = try? FileDescriptor.open(run.console, .readOnly, options: [.closeOnExec, .noFollow])
            {
                // The run has the serial port.
                own?.stop()
                own = nil
                seen.insert(run.id)
                Log.shared.line("run \(run.id) is in progress; this is what it records")
                followed = (run, file, ConsoleText())
            }
        }
        if followed != nil { return follow() }
        if own == nil { open() }
        hint()
    }

    private mutating func follow() {
        guard let (run, file, before) = followed else { return }
        var text = before
        // Looked at first: what was written before it ended is read then.
        let isOver = !run.isRunning
        var bytes = [UInt8](repeating: 0, count: 65536)
        while let count = try? bytes.withUnsafeMutableBytes({ try file.read(into: $0) }), count > 0 {
            for line in text.take(bytes[..<count]) { print(line) }
        }
        followed = (run, file, text)
        guard isOver else { return }
        try? file.close()
        followed = nil
        let outcome = run.record.map { run.outcome($0) } ?? "without a record"
        Log.shared.line("run \(run.id) is over: \(outcome); rpiflash runs show \(run.id)")
    }

    private mutating func open() {
        do throws(ConsoleError) {
            own = try OwnConsole(row.consoleSource)
            if problem != nil || !hasHinted {
                Log.shared.line("listening to \(row.consoleSource); Ctrl-C ends it")
            }
            problem = nil
        } catch {
            // A serial port comes and goes; what is wrong is said once.
            if problem != error { Log.shared.line("warning: \(error)", .warning) }
            problem = error
        }
    }

    private mutating func hint() {
        guard !hasHinted, ContinuousClock.now - begin > .seconds(10), let own, !own.hasHeard else { return }
        hasHinted = true
        Log.shared.line(
            row.console == nil
                ? "nothing so far: U-Boot is heard where rpiflash.env on the card's partition 1 has netconsole= with this "
                    + "server's address, and during every flash; Linux is not heard over the network"
                : "nothing so far: check whether TX, RX and GND are wired, and whether the system has console=serial0,115200"
        )
    }

    package mutating func finish() {
        own?.stop()
        own = nil
        try? followed?.file.close()
    }
}

/// A console that this process reads itself.
private final class OwnConsole: Sendable {
    private let text = Mutex(ConsoleText())
    private let heard = Mutex(false)
    private let reader = Mutex<ConsoleReader?>(nil)

    var hasHeard: Bool { heard.withLock { $0 } }

    init(_ source: ConsoleSource) throws(ConsoleError) {
        let opened = try ConsoleReader(source) { [weak self] bytes in self?.take(bytes) }
        reader.withLock { $0 = opened }
    }

    private func take(_ bytes: [UInt8]) {
        heard.withLock { $0 = true }
        let lines = text.withLock { text in
            // A port that was pulled out ends its line.
            bytes.isEmpty ? text.flush().map { [$0] } ?? [] : text.take(bytes)
        }
        for line in lines { print(line) }
    }

    func stop() {
        let opened = reader.withLock { reader in
            defer { reader = nil }
            return reader
        }
        opened?.stop()
        if let rest = text.withLock({ $0.flush() }) { print(rest) }
    }
}
