import Foundation
import TFTP
import TFTPServer
import TestSupport
import Testing

/// What someone else's decoder says about our packets on the wire. Capturing needs root.
@Suite(
    .timeLimit(.minutes(60)), .enabled(if: requiresClients || (find("tshark") != nil && getuid() == 0)))
struct CaptureTests {
    @Test func `tshark decodes every packet of transfers without a malformed one`() async throws {
        let root = try TemporaryRoot()
        try root.write("file", pattern(100_000))
        let server = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: 0)
        _ = server.add(
            ServedFolder(folder: TemporaryRoot.mac, files: ["file": .folder], ranged: ["file"], address: "127.0.0.1"))

        let capture = Process()
        capture.executableURL = URL(filePath: "/usr/bin/env")
        capture.arguments = [
            "dumpcap", "-q", "-a", "duration:500", "-i", "lo", "-f", "udp and host 127.0.0.1", "-w",
            "\(root.path)/capture",
        ]
        let messages = Pipe()
        capture.standardError = messages
        capture.standardOutput = FileHandle.nullDevice
        // The threads that tests run on block all signals, and a child inherits that: dumpcap could not be ended.
        var (none, before) = (sigset_t(), sigset_t())
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &before)
        let started = Result { try capture.run() }
        pthread_sigmask(SIG_SETMASK, &before, nil)
        try started.get()
        defer { if capture.isRunning { capture.terminate() } }
        // It says 'File: …' when it captures.
        var said = Data()
        while !String(decoding: said, as: UTF8.self).contains("File:") {
            let more = messages.fileHandleForReading.availableData
            try #require(!more.isEmpty, "\(String(decoding: said, as: UTF8.self))")
            said += more
        }

        let path = "\(TemporaryRoot.mac)/file"
        // On loopback a window of smaller blocks is one packet to a capture: nobody has cut it yet (UDP_SEGMENT).
        let all = ["blksize": "8192", "windowsize": "4", "tsize": "0", "timeout": "2"]
            .map { Packet.Option(name: $0.key, value: $0.value) }
        #expect(try UDPClient(port: server.port).fetch(path) == pattern(100_000))
        #expect(try UDPClient(port: server.port).fetch(path, options: all) == pattern(100_000))
        #expect(
            try UDPClient(port: server.port).fetch("\(path)@1+2", options: all)
                == Array(pattern(100_000)[512..<3 * 512]))
        let probe = ServerProbe(host: "127.0.0.1", port: server.port)
        _ = await probe.read("\(TemporaryRoot.mac)/missing")
        #expect(await probe.write("\(TemporaryRoot.mac)/OK", content: [1]) == .taken)
        await server.stop()
        // dumpcap takes packets from the kernel in batches, and drops the last when it is ended.
        try await Task.sleep(for: .seconds(1))
        // Not SIGINT, which whoever runs the tests in the background has switched off.
        capture.terminate()
        capture.waitUntilExit()

        let decoded = try decode(
            "\(root.path)/capture", port: server.port,
            fields: ["tftp.opcode", "_ws.malformed", "_ws.expert.message", "udp.srcport", "udp.dstport"])
        var opcodes: [String: Int] = [:]
        for line in decoded {
            let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
            try #require(fields.count == 5)
            // Another test's packets are on loopback too; ours are the server's port and those that it led to.
            opcodes[String(fields[0]), default: 0] += 1
            #expect(fields[1].isEmpty, "\(line)")
        }
        // RRQ, WRQ, DATA, ACK, ERROR, OACK: all six were seen, DATA as often as there are blocks at least.
        for code in ["1", "2", "4", "5", "6"] { #expect((opcodes[code] ?? 0) > 0, "operation \(code) in \(opcodes)") }
        #expect((opcodes["3"] ?? 0) >= 196 + 13 + 1 + 1)
    }

    private func decode(_ file: String, port: Int, fields: [String]) throws -> [Substring] {
        let tshark = Process()
        tshark.executableURL = URL(filePath: "/usr/bin/env")
        tshark.arguments =
            ["tshark", "-r", file, "-d", "udp.port==\(port),tftp", "-Y", "tftp", "-T", "fields"]
            + fields.flatMap { ["-e", $0] }
        let output = Pipe()
        tshark.standardOutput = output
        tshark.standardError = FileHandle.nullDevice
        try tshark.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        tshark.waitUntilExit()
        #expect(tshark.terminationStatus == 0)
        return text.split(separator: "\n")
    }
}
