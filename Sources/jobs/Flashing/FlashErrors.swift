import FlashEvents
import FlashPlan
import SystemPackage

/// Sentences that a flash and a dry run share.
extension FlashError {
    /// A flash plan of someone else is in a target's folder.
    static func foreignPlan(in folder: FilePath) -> FlashError {
        .server("\(folder)/\(ChunkPlan.scriptName) is there, and not rpiflash's: remove it")
    }

    /// The same where another server would hand it out.
    static func foreignPlan(insteadOfImageIn folder: FilePath) -> FlashError {
        .server(
            "\(folder)/\(ChunkPlan.scriptName) is there; the target would run it instead of taking the image: remove it"
        )
    }

    /// The plan's script cannot be rendered.
    static func cannotMakePlan(_ reason: any Error) -> FlashError { .server("cannot make the flash plan: \(reason)") }

    /// A staged file could not be written: a disk without room has a remedy of its own.
    static func cannotWrite(_ file: FilePath, _ errno: Errno) -> FlashError {
        [.noSpace, .diskQuotaExceeded].contains(errno)
            ? .server("the disk with \(file) is full; free some space or use another --tftp-root")
            : .server("cannot write \(file): \(errno)")
    }

    /// Nothing in its row resets a target.
    static func noReset(_ target: String) -> FlashError {
        .server("target \(target) has neither a gpio nor a reset_command")
    }

    /// What has the TFTP port is no TFTP server.
    static func mute(_ address: String) -> FlashError {
        .server("another program has UDP \(address) and does not answer TFTP; end it or use --listen")
    }
}
