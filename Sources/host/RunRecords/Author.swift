import Configuration
import Glibc
import LinuxHost
import SystemPackage

extension RunRecord.Author {
    /// Who runs this process.
    package static func current() -> Self {
        Self(
            user: Accounts.caller, host: ownHostName(), from: sshClient(),
            command: CommandLine.arguments.map { sanitized($0) })
    }

    /// The address of the SSH client that this process descends from. sudo takes the variable away, so the parents are
    /// asked for theirs.
    private static func sshClient() -> String? {
        var process = getpid()
        for _ in 0..<32 where process > 1 {
            let environment = SmallFile.start(of: FilePath("/proc/\(process)/environ"), count: (1 << 20) + 1) ?? []
            for variable in environment.split(separator: 0) {
                let text = String(decoding: variable, as: UTF8.self)
                guard text.hasPrefix("SSH_CONNECTION=") else { continue }
                return text.dropFirst(15).split(separator: " ").first.map { sanitized(String($0.prefix(64))) }
            }
            // pid (name) state parent: the name may have blanks and brackets.
            let status = String(
                decoding: SmallFile.start(of: FilePath("/proc/\(process)/stat"), count: 4096 + 1) ?? [], as: UTF8.self)
            guard let end = status.lastIndex(of: ")") else { return nil }
            let fields = status[status.index(after: end)...].split(separator: " ")
            guard fields.count > 1, let parent = pid_t(fields[1]) else { return nil }
            process = parent
        }
        return nil
    }
}
