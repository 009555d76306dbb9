import Foundation
import Glibc

/// What goes wrong with the bench itself: never what a cut shows.
struct BenchFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// A virtual target of the machine sandbox, in whose network this runs.
struct SandboxTarget {
    let folder: URL
    let program: String

    var card: URL { folder.appending(path: "card.img") }
    var consoleLog: URL { folder.appending(path: "console.log") }
    private var settings: URL { folder.appending(path: "env") }

    /// The console from a byte on, without carriage returns.
    func console(from start: Int = 0) -> String {
        let bytes = ((try? Data(contentsOf: consoleLog)) ?? Data()).dropFirst(start)
        return String(decoding: bytes.filter { $0 != UInt8(ascii: "\r") }, as: UTF8.self)
    }

    var consoleSize: Int {
        (try? FileManager.default.attributesOfItem(atPath: consoleLog.path)[.size] as? Int) ?? 0
    }

    /// What VT_FAULTS is from the next power-on on.
    func set(faults: String) throws {
        let lines = try String(contentsOf: settings, encoding: .utf8).split(separator: "\n")
            .filter { !$0.hasPrefix("VT_FAULTS=") }
        try (lines.joined(separator: "\n") + "\nVT_FAULTS=\(faults)\n")
            .write(to: settings, atomically: true, encoding: .utf8)
    }

    /// Puts another card in, in the time that it takes to write what of it is not zeros.
    func insert(_ template: URL) throws {
        try run(["cp", "--sparse=auto", template.path, card.path])
        try Data().write(to: consoleLog)
    }

    func reset() throws { try run([program, "reset", folder.path]) }

    /// Off, as by a power cut.
    func stop() throws { try run([program, "stop", folder.path]) }

    /// Whether it runs; nil before it was switched on.
    var isOn: Bool? {
        guard let text = try? String(contentsOf: folder.appending(path: "sandbox.pid"), encoding: .utf8),
            let pid = Int(text.trimmingCharacters(in: .whitespacesAndNewlines))
        else { return nil }
        // Behind the program's name in parentheses: the state. A zombie's files are closed.
        guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
            let state = stat.split(separator: ")").last?.split(separator: " ").first
        else { return false }
        return state != "Z" && state != "X"
    }

    /// Sectors written, sectors read, packets, since the last power-on.
    func counters() throws -> (written: Int, read: Int, packets: Int) {
        let text = try String(contentsOf: folder.appending(path: "counters"), encoding: .utf8)
        let values = text.split(separator: "\n").compactMap { line in
            line.split(separator: " ").dropFirst().first.flatMap { Int($0) }
        }
        guard values.count == 3 else { throw BenchFailure("\(folder.path)/counters is not three numbers: \(text)") }
        return (values[0], values[1], values[2])
    }

    /// Starts the target where the TFTP server has nothing, and prints what it says until it starts or refuses.
    func startAlone(seconds: Double = 60) throws -> String {
        let refusals = try TFTPRefusals(address: "192.168.77.1")
        let start = consoleSize
        try reset()
        let end = Date.now.addingTimeInterval(seconds)
        while true {
            refusals.answer(milliseconds: 10)
            let text = console(from: start)
            if text.contains("rpiflash: cannot boot: ") { break }
            guard Date.now < end else {
                throw BenchFailure("alone, the target neither started nor refused within \(Int(seconds)) s: \(text)")
            }
        }
        try stop()
        return console(from: start)
    }

    private func run(_ command: [String]) throws {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = command
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw BenchFailure("'\(command.joined(separator: " "))' ended with \(process.terminationStatus)")
        }
    }
}

/// Port 69 with a server that has nothing: an answer at once, where silence would cost a target its timeouts.
struct TFTPRefusals: ~Copyable {
    private let socket: Int32

    init(address: String) throws {
        socket = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        var local = sockaddr_in()
        local.sin_family = sa_family_t(AF_INET)
        local.sin_port = UInt16(69).bigEndian
        inet_pton(AF_INET, address, &local.sin_addr)
        let bound = withUnsafePointer(to: &local) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard bound == 0 else { throw BenchFailure("cannot bind \(address):69: errno \(errno)") }
    }

    deinit { close(socket) }

    /// Refuses what comes in that time.
    func answer(milliseconds: Int32) {
        var event = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        guard poll(&event, 1, milliseconds) > 0 else { return }
        var request = [UInt8](repeating: 0, count: 2048)
        var peer = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &peer) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { peer in
                guard recvfrom(socket, &request, request.count, 0, peer, &length) > 0 else { return }
                // ERROR 1, file not found.
                let refusal: [UInt8] = [0, 5, 0, 1, 0]
                _ = sendto(socket, refusal, refusal.count, 0, peer, length)
            }
        }
    }
}
