package import DiskLayout
import FlashEvents
package import Inventory

/// Brings U-Boot, its boot script and the Pi's firmware on partition 1 of targets' cards up to date, from the targets'
/// running Linux. It is the only way in which partition 1 is ever written (law 1), and never happens unless asked for.
package struct CardUpgrade: Sendable {
    /// What an upgrade needs of the world.
    package struct Ports: Sendable {
        /// Runs a conversation with the shell that asks a target's Linux for its program and runs that as root; returns what
        /// the connection itself said at last, untrusted.
        let connect: @Sendable (Target, (any TargetConnection) async throws -> Void) async throws -> String
        /// The DOS partition table in a disk's first 512 bytes, which are untrusted; nil where there is none.
        let readTable: @Sendable ([UInt8]) async throws -> PartitionTable?

        package init(
            connect: @escaping @Sendable (Target, (any TargetConnection) async throws -> Void) async throws -> String,
            readTable: @escaping @Sendable ([UInt8]) async throws -> PartitionTable?
        ) {
            (self.connect, self.readTable) = (connect, readTable)
        }
    }

    /// The command line for the shell at the other end of ``Ports/connect``.
    package static let shell = UpgradeDialogue.shell

    private let card: RecoveryCard
    private let program: [UInt8]
    private let isDryRun: Bool
    private let areNamed: Bool
    private let jobs: Int
    private let ports: Ports
    private let report: @Sendable (Target, UpgradeProgress) -> Void

    /// - Parameters:
    ///   - card: what the targets get.
    ///   - program: the target's half, recovery_image/upgrade-card.target.
    ///   - isDryRun: whether targets are only read.
    ///   - areNamed: whether each target was named: only then may an image without keys take a card's away.
    ///   - jobs: how many targets at the same time.
    ///   - report: told what happens.
    package init(
        card: RecoveryCard, program: [UInt8], isDryRun: Bool, areNamed: Bool, jobs: Int, ports: Ports,
        report: @escaping @Sendable (Target, UpgradeProgress) -> Void
    ) {
        (self.card, self.program, self.isDryRun, self.jobs) = (card, program, isDryRun, jobs)
        (self.areNamed, self.ports, self.report) = (areNamed, ports, report)
    }

    /// Upgrades targets, in this order. Once one has failed no other is started, except by a dry run.
    ///
    /// - Returns: how each ended, in the same order.
    package func run(_ targets: [Target]) async -> [UpgradeVerdict] {
        var endings = [UpgradeVerdict.Ending](repeating: .notStarted("not started: interrupted"), count: targets.count)
        await withTaskGroup(of: (Int, UpgradeVerdict.Ending).self) { group in
            var (next, running, failed) = (0, 0, String?.none)
            while true {
                while next < targets.count, running < jobs, failed == nil, !Task.isCancelled {
                    group.addTask { [next] in (next, await upgrade(targets[next])) }
                    (next, running) = (next + 1, running + 1)
                }
                guard let (index, ending) = await group.next() else { break }
                running -= 1
                endings[index] = ending
                report(targets[index], .ended(UpgradeVerdict(target: targets[index], ending: ending)))
                if case .failed = ending, !isDryRun { failed = failed ?? targets[index].displayName }
            }
            guard let failed, !Task.isCancelled else { return }
            for index in next..<targets.count { endings[index] = .notStarted("not started: \(failed) failed") }
        }
        let verdicts = zip(targets, endings).map { UpgradeVerdict(target: $0, ending: $1) }
        for verdict in verdicts where verdict.status == nil { report(verdict.target, .ended(verdict)) }
        return verdicts
    }

    private func upgrade(_ target: Target) async -> UpgradeVerdict.Ending {
        var dialogue = UpgradeDialogue(
            card: card, isDryRun: isDryRun, isNamed: areNamed, readTable: ports.readTable
        ) {
            report(target, $0)
        }
        var result: UpgradeResult?
        var broken: BrokenConnection?
        do {
            let words = try await ports.connect(target) { connection in
                do {
                    result = try await dialogue.run(program, over: connection)
                } catch let error as BrokenConnection {
                    broken = error
                }
            }
            if let result { return .done(result) }
            throw dialogue.error(broken ?? .ended, words)
        } catch is CancellationError {
            return .interrupted("interrupted; \(dialogue.standing)")
        } catch let error as UpgradeError {
            return .failed(error)
        } catch {
            return .failed(UpgradeError(.server, "\(error)"))
        }
    }
}

/// A connection to a target's Linux.
package protocol TargetConnection: AnyObject {
    /// Sends all of it; where the other side has gone or takes nothing, that shows in what is received next.
    func send(_ bytes: [UInt8], within limit: Duration) async throws
    /// The target gets nothing more.
    func finish() async
    /// What comes next, at least a byte; nil where the connection has ended, or nothing came in time and it was ended.
    func receive(within limit: Duration) async throws -> [UInt8]?
    /// Whether it was ended because of a limit.
    var hasTimedOut: Bool { get }
}

/// What an upgrade tells while it lasts.
package enum UpgradeProgress: Sendable {
    case note(String)
    /// What is on the card, and what differs.
    case compared(UpgradeResult)
    /// The new files are beside the old ones and were read back.
    case copied
    /// A file has its name.
    case renamed(String)
    case ended(UpgradeVerdict)
}

/// What was found on a card, and what was done.
package struct UpgradeResult: Hashable, Sendable {
    /// A file that differs.
    package struct Change: Hashable, Sendable {
        package let name: String
        /// What it has on the card; nil where it is not there.
        package let oldBytes: UInt64?
        package let bytes: UInt64
    }

    /// `/dev/mmcblk0p1`.
    package let device: String
    package let board: String
    /// Files of the image, without rpiflash.env.
    package let total: Int
    package let changes: [Change]
    /// Whether the old files are kept in rpiflash.old.
    package let keepsOld: Bool
    /// Whether the card was written.
    package var hasWritten = false
}

/// Why a target was not upgraded.
package struct UpgradeError: Error, Hashable, Sendable, CustomStringConvertible {
    /// For programs.
    package enum Code: String, Sendable {
        /// The target's card or image does not fit; nothing was written.
        case unfit
        /// No connection, or no shell behind it.
        case unreachable
        /// The connection ended, or the target said nothing more, or something else than it should.
        case lost
        /// The target reported that something failed.
        case trouble
        /// The card does not hold what was copied; nothing was changed.
        case unlike
        /// A file under its final name is not what it must be.
        case wrong
        /// Something is wrong on this server.
        case server
    }

    package let code: Code
    /// One sentence.
    package let description: String

    init(_ code: Code, _ description: String) { (self.code, self.description) = (code, description) }

    /// As `rpiflash upgrade --help` lists them.
    package var exitCode: Int32 {
        switch code {
        case .trouble: 2
        case .lost: 3
        case .unlike, .wrong: 4
        case .unreachable: 5
        case .unfit: 7
        case .server: 9
        }
    }
}

/// How a target's upgrade ended.
package struct UpgradeVerdict: Sendable {
    package enum Ending: Sendable {
        /// Everything was read back, or there was nothing to do, or it was a dry run.
        case done(UpgradeResult)
        case failed(UpgradeError)
        /// A signal ended it; what that means for the card.
        case interrupted(String)
        /// Why.
        case notStarted(String)
    }

    package let target: Target
    package let ending: Ending

    /// The exit status; nil where it was not started.
    package var status: Int32? {
        switch ending {
        case .done: 0
        case .failed(let error): error.exitCode
        case .interrupted: Verdict.interruptedStatus
        case .notStarted: nil
        }
    }

    /// Why it is not done, one sentence; nil where it is.
    package var sentence: String? {
        switch ending {
        case .done: nil
        case .failed(let error): error.description
        case .interrupted(let text), .notStarted(let text): text
        }
    }
}
