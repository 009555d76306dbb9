import ArgumentParser
import CardUpgrade
import CommandOptions
import CommandOutput
import FlashEvents
import Flashing
import SystemPackage
import Wiring

/// `rpiflash upgrade`.
struct UpgradeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "upgrade",
        abstract: "Bring U-Boot, its boot script and the firmware on targets' cards up to date, over ssh.",
        usage: """
            rpiflash upgrade [<options>] <image> <target> ...
            rpiflash upgrade [<options>] <image> --all | --tag <tag>
            """,
        discussion: """
            Needs the target's running Linux: root, or sudo without a password; coreutils or busybox, tar; after an \
            upgrade that was cut off also fsck.vfat. Nothing is written unless everything fits: board, partition table, \
            server, room. Every file that differs is copied beside the old one and read back from the card; then each is \
            renamed to its final name. rpiflash.env, equal files, files that only the card has, and everything outside \
            partition 1 are left alone. The old files are kept in rpiflash.old there. It takes effect at the next start.

            Targets are upgraded one after the other (--jobs: some at the same time). Once one has failed, no other is \
            started. After a power cut, run it again.

            EXAMPLES
              rpiflash upgrade recovery.img pi-left --dry-run
              rpiflash upgrade recovery.img pi-left --user pi
              rpiflash upgrade recovery.img --tag camera --jobs 4 --json

            EXIT STATUS
              0    done and read back, or nothing to do
              2    the target reported that something failed
              3    the connection ended, or the target said nothing more
              4    the card does not hold what it should: the sentence says what to do
              5    the target cannot be reached
              7    the image is missing, or it and the target do not fit: nothing was written

            The others are those of rpiflash flash. Of several targets the highest number counts.
            """)

    @Argument(
        help: "A recovery image, as rpiflash-gen recovery-image makes it, for the targets' board and card layout.")
    var image: String

    @OptionGroup var target: TargetsOptions

    @Option(help: ArgumentHelp("Who logs in on the target. Default: whom ssh takes.", valueName: "name"))
    var user: String?

    @Option(
        help: ArgumentHelp(
            "How to get there: it is given the target's address and one command line. Words are split at blanks.",
            valueName: "command"))
    var ssh = "ssh"

    @Option(help: ArgumentHelp("How many targets are upgraded at the same time, 1 to 64.", valueName: "n"))
    var jobs = 1

    @OptionGroup var progress: ProgressOptions

    func validate() throws {
        guard (1...64).contains(jobs) else { throw ValidationError("--jobs is \(jobs); must be 1 to 64") }
        guard ssh.contains(where: { $0 != " " }) else { throw ValidationError("--ssh is empty; must be a command") }
        // A word of its own to ssh, and no option.
        guard user?.wholeMatch(of: /[A-Za-z0-9._][A-Za-z0-9._@\\-]*/) != nil || user == nil else {
            throw ValidationError("--user '\(user ?? "")' is not a user's name; must be letters, digits, . _ @ \\ -")
        }
    }

    func run() async throws {
        progress.apply()
        var start = FlashEvent(.start)
        (start.version, start.image, start.isDryRun) = (FlashEvent.version, image, progress.dryRun.isOn ? true : nil)
        start.target = target.isOne ? target.targets[0] : nil
        let reporter = UpgradeReporter(isOne: target.isOne, start: start, json: progress.json)
        let verdicts: [UpgradeVerdict]
        do {
            let (rows, elsewhere) = try target.select()
            let upgrade = CardUpgrade(
                card: try RecoveryCard(reading: FilePath(image)), program: try upgradeProgram(),
                isDryRun: progress.dryRun.isOn, areNamed: !target.targets.isEmpty, jobs: jobs,
                ports: try .real(
                    ssh: ssh.split(separator: " ").map(String.init), user: user, mayAsk: rows.count == 1),
                report: { reporter.report($0, $1) })
            reporter.begin(rows)
            if elsewhere > 0 { Log.shared.line(leftOut(elsewhere)) }
            verdicts = await upgrade.run(rows)
        } catch {
            let end = RPiFlash.ending(error)
            reporter.refuse(status: end.status, end.text)
            throw error
        }
        let status = reporter.finish(verdicts)
        guard status == 0 else { throw ExitCode(status) }
    }
}
