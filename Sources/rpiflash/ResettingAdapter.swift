import Flashing
import HostTools
import Inventory

/// Pulls a target's RESET line, or runs its row's command.
struct TargetResetting: Resetting {
    func check(_ target: Target) async throws {}

    func reset(_ target: Target) async throws { try await runCommand(of: target) }

    func runCommand(of target: Target) async throws {
        guard let command = target.resetCommand else {
            throw FlashFailure(.server, "target \(target.displayName) has no reset_command in the inventory")
        }
        var environment = ["RPIFLASH_MAC": target.mac.description, "RPIFLASH_IP": target.ip.description]
        environment["RPIFLASH_NAME"] = target.name
        try await ShellCommand(command, environment: environment).run()
    }
}
