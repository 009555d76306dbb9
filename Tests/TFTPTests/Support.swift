import TestSupport
import Foundation
import Testing

/// A TFTP root in a temporary folder with one target's folder in it, removed in the end.
struct TemporaryRoot: ~Copyable {
    static let mac = "02:00:00:00:00:01"
    let path: String
    var folder: String { "\(path)/\(Self.mac)" }

    init() throws {
        path = FileManager.default.temporaryDirectory.appending(path: "tftp-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    func write(_ name: String, _ content: [UInt8]) throws {
        try Data(content).write(to: URL(filePath: "\(folder)/\(name)"))
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// Bytes that show where they come from: a tile of random bytes whose length no block size divides, repeated.
func pattern(_ count: Int) -> [UInt8] {
    var generator = SeededGenerator(seed: UInt64(count))
    let tile = (0..<min(count, 65_521)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + tile.count)
    while bytes.count < count { bytes += tile }
    bytes.removeLast(bytes.count - count)
    return bytes
}

/// A client that someone else wrote.
enum ForeignClient: String, CaseIterable, Sendable {
    case curl, atftp, busybox
    case tftpHPA = "tftp"

    func arguments(get remote: String, to local: String, port: Int) -> [String] {
        switch self {
        case .curl: ["-s", "-o", local, "tftp://127.0.0.1:\(port)/\(remote)"]
        case .atftp:
            [
                "--option", "windowsize 8", "--option", "blksize 1468", "-g", "-r", remote, "-l", local, "127.0.0.1",
                "\(port)",
            ]
        case .busybox: ["tftp", "-g", "-b", "1468", "-r", remote, "-l", local, "127.0.0.1", "\(port)"]
        case .tftpHPA: ["-m", "binary", "127.0.0.1", "\(port)", "-c", "get", "127.0.0.1:\(remote)", local]
        }
    }

    func arguments(put local: String, to remote: String, port: Int) -> [String] {
        switch self {
        case .curl: ["-s", "-T", local, "tftp://127.0.0.1:\(port)/\(remote)"]
        case .atftp: ["-p", "-l", local, "-r", remote, "127.0.0.1", "\(port)"]
        case .busybox: ["tftp", "-p", "-l", local, "-r", remote, "127.0.0.1", "\(port)"]
        case .tftpHPA: ["-m", "binary", "127.0.0.1", "\(port)", "-c", "put", local, "127.0.0.1:\(remote)"]
        }
    }
}

/// In CI a missing client fails the test; elsewhere it is skipped.
let requiresClients = ProcessInfo.processInfo.environment["CI"] != nil
