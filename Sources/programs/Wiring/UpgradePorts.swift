package import CardUpgrade
import Configuration
import DiskLayout
import FDisk
package import FlashEvents
import HostTools
import Inventory
import LinuxHost
import OSImage
package import SystemPackage

extension RecoveryCard {
    /// Reads a recovery image.
    ///
    /// - Throws: ``FlashError/image(_:)``.
    package init(reading path: FilePath) throws {
        do {
            let image = try ImageReader(path)
            if let compression = try Compression(of: image) {
                throw OSImageError.compressed(path: path, by: compression)
            }
            let table = try partitionTable(of: image)
            try self.init(image: path.string, table: table) {
                guard let first = table.partitions.first else { return [:] }
                let fat = try FATFiles(image, first)
                var (files, room) = ([String: [UInt8]](), first.size.byteCount.bytes)
                for name in try fat.names() {
                    files[name] = try fat.read(name)
                    let (left, isTooMuch) = room.subtractingReportingOverflow(UInt64(files[name]?.count ?? 0))
                    guard !isTooMuch else { throw FATError.damaged("its files have more bytes than it") }
                    room = left
                }
                return files
            }
        } catch let error as FATError {
            throw FlashError.image("partition 1 of \(path) \(error)")
        } catch let error as OSImageError {
            throw FlashError.image("\(error)")
        }
    }
}

extension CardUpgrade.Ports {
    /// The real world.
    ///
    /// - Parameters:
    ///   - ssh: the program that gets to targets, and its first arguments.
    ///   - user: who logs in there; nil: whom ssh takes.
    ///   - mayAsk: whether it may ask at the terminal.
    /// - Throws: ``FlashError/server(_:)`` where the program is missing.
    package static func real(ssh words: [String], user: String?, mayAsk: Bool) throws -> CardUpgrade.Ports {
        let tool = words[0] == HostTool.ssh.name ? .ssh : HostTool(name: words[0], debianPackage: "openssh-client")
        do throws(HostToolError) {
            _ = try hostTools().find(tool)
        } catch {
            throw FlashError.server(
                tool == .ssh ? "\(error)" : "--ssh: \(quoted(tool.name)) is not a program that can be run")
        }
        var arguments = Array(words.dropFirst())
        if FilePath(tool.name).lastComponent?.string == HostTool.ssh.name {
            // A target that lost its power says nothing more: ssh is to notice. What it is given first counts.
            arguments += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6"]
            if !mayAsk { arguments += ["-o", "BatchMode=yes"] }
        }
        return CardUpgrade.Ports { [arguments] target, talk in
            let host = (user.map { "\($0)@" } ?? "") + target.ip.description
            return try await hostTools().converse(
                with: tool, arguments + [host, CardUpgrade.shell], mayAsk: mayAsk
            ) { try await talk($0) }
        } readTable: { sector in
            try await withTemporaryFolder(prefix: "rpiflash-upgrade-") { folder in
                let path = folder.appending("disk")
                let file = try FileDescriptor.open(
                    path, .writeOnly, options: [.create, .exclusiveCreate], permissions: .ownerReadWrite)
                _ = try file.closeAfter { try file.writeAll(sector) }
                return try? readPartitionTable(of: path.string)
            }
        }
    }
}

extension Conversation: TargetConnection {}

/// What runs on targets, as root.
///
/// - Throws: ``FlashError/server(_:)`` where it is missing, or another user could have written it.
package func upgradeProgram() throws(FlashError) -> [UInt8] {
    let path = sharedFile("recovery_image/upgrade-card.target")
    try checkTrust(of: path)
    do throws(SmallFileError) {
        return try SmallFile.read(path, limit: 1 << 20)
    } catch {
        throw .server("cannot read \(path), which is what runs on a target; install rpiflash again")
    }
}
