import LinuxHost
import Configuration

/// A program of the host that the product calls, and the Debian package that brings it.
package struct HostTool: Hashable, Sendable {
    /// The program's name, without a folder.
    package let name: String
    /// The Debian package to install where the program is missing.
    package let debianPackage: String

    /// A program of this name from this package.
    package init(name: String, debianPackage: String) { (self.name, self.debianPackage) = (name, debianPackage) }

    /// Makes U-Boot script images.
    package static let mkimage = HostTool(name: "mkimage", debianPackage: "u-boot-tools")
    /// Makes FAT filesystems in a file.
    package static let mkfsVFAT = HostTool(name: "mkfs.vfat", debianPackage: "dosfstools")
    /// Copies files into a FAT filesystem in a file.
    package static let mcopy = HostTool(name: "mcopy", debianPackage: "mtools")
    /// Checks and repairs FAT filesystems in a file.
    package static let fsckVFAT = HostTool(name: "fsck.vfat", debianPackage: "dosfstools")
    /// Checks and repairs ext filesystems in a file.
    package static let e2fsck = HostTool(name: "e2fsck", debianPackage: "e2fsprogs")
    /// Applies overlays to device trees.
    package static let fdtoverlay = HostTool(name: "fdtoverlay", debianPackage: "device-tree-compiler")
    /// Reads device trees.
    package static let fdtget = HostTool(name: "fdtget", debianPackage: "device-tree-compiler")
    /// Writes device trees.
    package static let fdtput = HostTool(name: "fdtput", debianPackage: "device-tree-compiler")
    /// Compiles device trees; mkimage runs it.
    package static let dtc = HostTool(name: "dtc", debianPackage: "device-tree-compiler")
    /// Makes keys.
    package static let openssl = HostTool(name: "openssl", debianPackage: "openssl")
    /// Shows the firewall.
    package static let nft = HostTool(name: "nft", debianPackage: "nftables")
    /// Compresses.
    package static let xz = HostTool(name: "xz", debianPackage: "xz-utils")
    /// Reaches targets' Linux.
    package static let ssh = HostTool(name: "ssh", debianPackage: "openssh-client")
    /// Hashes.
    package static let sha256sum = HostTool(name: "sha256sum", debianPackage: "coreutils")
}

/// Why a program of the host did not do its work.
package enum HostToolError: Error, Hashable, Sendable {
    /// It is in none of the folders searched.
    case missing(HostTool)
    /// It could not be started, and why.
    case notStarted(HostTool, reason: String)
    /// It ended with another status than 0; `status` is `exit status 1` or `signal 9`, `errors` its standard error.
    case failed(HostTool, status: String, errors: String)
    /// What it printed is not what it always prints.
    case unexpectedOutput(HostTool, output: String)
}

extension HostToolError {
    /// The program said that the disk is full; its words are always English (LC_ALL=C).
    package var isDiskFull: Bool {
        guard case .failed(_, _, let errors) = self else { return false }
        return errors.contains("No space left on device")
    }
}

extension HostToolError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .missing(let tool):
            "\(tool.name) is not installed; \(Installation.current.remedy(package: tool.debianPackage))"
        case .notStarted(let tool, let reason):
            "\(tool.name) cannot be started: \(reason)"
        case .failed(let tool, let status, let errors):
            errors.isEmpty ? "\(tool.name) failed (\(status))" : "\(tool.name) failed (\(status)): \(oneLine(errors))"
        case .unexpectedOutput(let tool, let output):
            "\(tool.name) printed '\(oneLine(output))', which is not understood"
        }
    }
}

/// Lines joined by `; `, sanitized, without the usage that mkimage has behind its errors: a tool's words become part of one
/// message.
private func oneLine(_ text: String) -> String {
    text.split(whereSeparator: \.isNewline)
        .map { line in sanitized(line.drop(while: \.isWhitespace)) }
        .filter { !$0.isEmpty }
        .prefix { !$0.hasPrefix("Usage:") }
        .joined(separator: "; ")
}
