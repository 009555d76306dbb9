import Foundation
import TFTP
import TFTPServer
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(60))) struct ServerTests {
    private func job(_ files: Set<String>, address: String = "127.0.0.1") -> ServedFolder {
        ServedFolder(folder: TemporaryRoot.mac, files: files, address: address)
    }

    @Test(arguments: ForeignClient.allCases.filter { requiresClients || find($0.rawValue) != nil })
    func `clients that others wrote fetch and upload, byte for byte`(client: ForeignClient) async throws {
        let root = try TemporaryRoot()
        // Ends inside, at and one behind a block of 512 and of 1468, empty, and past the 16-bit block number.
        let sizes = [0, 1, 511, 512, 513, 1467, 1468, 1469, 100_000, 65_536 * 512 + 77]
        for size in sizes { try root.write("rpi_image_part_\(size)", pattern(size)) }
        let server = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: 0)
        let events = server.add(job(Set(sizes.map { "rpi_image_part_\($0)" })))
        for size in sizes {
            let remote = "\(TemporaryRoot.mac)/rpi_image_part_\(size)"
            let status = try run(
                client.rawValue, client.arguments(get: remote, to: "got", port: server.port),
                in: URL(filePath: root.path)
            ).status
            #expect(status == 0, "\(size) bytes")
            let got = FileManager.default.contents(atPath: "\(root.path)/got")
            // curl makes no file for an empty one.
            #expect((got ?? Data()) == Data(pattern(size)), "\(size) bytes")
            try? FileManager.default.removeItem(atPath: "\(root.path)/got")
        }
        let outcomes: [(String, [UInt8])] = [
            ("OK", [1, 2, 3, 4, 5, 6, 7, 8]), ("FAILED", pattern(512)), ("REPORT", pattern(65536)),
        ]
        for (name, content) in outcomes {
            try Data(content).write(to: URL(filePath: "\(root.path)/outcome"))
            let status = try run(
                client.rawValue,
                client.arguments(put: "outcome", to: "\(TemporaryRoot.mac)/\(name)", port: server.port),
                in: URL(filePath: root.path)
            ).status
            #expect(status == 0, "\(name)")
        }
        await server.stop()

        var completed: [String] = []
        var uploads: [TransferEvent] = []
        for await event in events.map(\.event) {
            if case .completed(let file, _, let sent, let repeated, _) = event {
                completed.append(file)
                // Nothing is lost on loopback, but a busy machine may let a client wait.
                #expect(repeated * 100 <= sent + 100)
            }
            if case .uploaded = event { uploads.append(event) }
        }
        // A client may begin the next one before the last ACK of the one before is read.
        #expect(Set(completed) == Set(sizes.map { "rpi_image_part_\($0)" }) && completed.count == sizes.count)
        #expect(uploads == outcomes.map { .uploaded(name: $0.0, content: $0.1) })
        #expect(!FileManager.default.fileExists(atPath: "\(root.folder)/OK"), "an upload is never written to disk")
    }

    @Test func `what is not the job's is refused`() async throws {
        let root = try TemporaryRoot()
        try root.write("rpi_image_parts", [1])
        try root.write("secret", [2])
        try Data([3]).write(to: URL(filePath: "\(root.path)/outside"))
        try FileManager.default.createDirectory(atPath: "\(root.path)/other", withIntermediateDirectories: true)
        try Data([4]).write(to: URL(filePath: "\(root.path)/other/rpi_image_parts"))
        try FileManager.default.createSymbolicLink(
            atPath: "\(root.folder)/rpi_image_part_0", withDestinationPath: "../outside")
        #expect(mkfifo("\(root.folder)/rpi_image_part_1", 0o600) == 0)
        let server = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: 0)
        _ = server.add(job(["rpi_image_parts", "rpi_image_part_0", "rpi_image_part_1", "rpi_image_part_2"]))
        let probe = ServerProbe(host: "127.0.0.1", port: server.port)
        let mac = TemporaryRoot.mac
        #expect(await probe.read("\(mac)/rpi_image_parts") == .content([1]))
        #expect(await probe.read("/\(mac)/rpi_image_parts") == .content([1]))
        let refused = ServerProbe.Answer.refused(code: 1, message: "file not found")
        for path in [
            "\(mac)/secret", "outside", "/outside", "\(mac)/../outside", "../\(mac)/rpi_image_parts",
            "other/rpi_image_parts", "\(mac)//rpi_image_parts", "\(mac)/./rpi_image_parts", "\(mac)/", "", "/", mac,
            "\(mac)/rpi_image_parts/", "//\(mac)/rpi_image_parts",
            // A link, a FIFO, a file that is missing.
            "\(mac)/rpi_image_part_0", "\(mac)/rpi_image_part_1", "\(mac)/rpi_image_part_2",
        ] {
            #expect(await probe.read(path) == refused, "\(path)")
        }
        for path in ["\(mac)/rpi_image_parts", "\(mac)/ok", "\(mac)/OK2", "OK", "other/OK", "\(mac)/../OK"] {
            #expect(
                await probe.write(path, content: [1]) == .refused(code: 2, message: "not allowed"), "\(path)")
        }
        await server.stop()
    }

    @Test func `a file elsewhere is served under the job's name for it, and never written`() async throws {
        let root = try TemporaryRoot()
        let content = pattern(3 * 512 + 7)
        try Data(content).write(to: URL(filePath: "\(root.path)/image.img"))
        #expect(chmod("\(root.path)/image.img", 0o444) == 0)
        try FileManager.default.createSymbolicLink(
            atPath: "\(root.path)/link.img", withDestinationPath: "image.img")
        #expect(mkfifo("\(root.path)/fifo", 0o600) == 0)
        let server = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: 0)
        let events = server.add(
            ServedFolder(
                folder: TemporaryRoot.mac,
                files: [
                    "image": try Self.opened("\(root.path)/image.img"),
                    "link": try Self.opened("\(root.path)/link.img"),
                    "fifo": try Self.opened("\(root.path)/fifo"), "folder": try Self.opened(root.path),
                ], address: "127.0.0.1"))
        let mac = TemporaryRoot.mac
        #expect(try UDPClient(port: server.port).fetch("\(mac)/image") == content)
        #expect(try UDPClient(port: server.port).fetch("\(mac)/link") == content)
        let probe = ServerProbe(host: "127.0.0.1", port: server.port)
        for name in ["fifo", "folder", "missing", "image.img", "image@0+1"] {
            #expect(
                await probe.read("\(mac)/\(name)") == .refused(code: 1, message: "file not found"), "\(name)")
        }
        #expect(
            await probe.write("\(mac)/image", content: [1]) == .refused(code: 2, message: "not allowed"))
        await server.stop()
        var completed: [String] = []
        for await case .completed(let file, _, _, _, _) in events.map(\.event) { completed.append(file) }
        #expect(completed == ["image", "link"])
        #expect(FileManager.default.contents(atPath: "\(root.path)/image.img") == Data(content))
    }

    /// A file that the job brings along, open.
    private static func opened(_ path: String) throws -> ServedFolder.Source {
        let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        defer { close(descriptor) }
        return .open(try #require(SharedFile(duplicating: descriptor)))
    }

    @Test(arguments: [false, true])
    func `a range of a file is served exactly, what is not a range of it not at all`(isOpen: Bool) async throws {
        let root = try TemporaryRoot()
        // 0x21 whole sectors and a piece.
        let content = pattern(0x21 * 512 + 100)
        try root.write("image", content)
        try root.write("whole", content)
        let server = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: 0)
        let place = isOpen ? try Self.opened("\(root.folder)/image") : .folder
        let events = server.add(
            ServedFolder(
                folder: TemporaryRoot.mac, files: ["image": place, "whole": place], ranged: ["image"],
                address: "127.0.0.1"))
        let mac = TemporaryRoot.mac
        let ranges: [(String, Range<Int>)] = [
            ("0+1", 0..<1), ("0+21", 0..<33), ("1f+2", 31..<33), ("1F+02", 31..<33), ("a+10", 10..<26),
            ("20+1", 32..<33),
        ]
        for (range, sectors) in ranges {
            let expected = Array(content[sectors.lowerBound * 512..<sectors.upperBound * 512])
            #expect(try UDPClient(port: server.port).fetch("\(mac)/image@\(range)") == expected, "\(range)")
            // With options the answer to tsize is the range's length.
            let client = try UDPClient(port: server.port)
            client.send(
                .readRequest(
                    Packet.Request(
                        path: "\(mac)/image@\(range)", options: [Packet.Option(name: "tsize", value: "0")])))
            #expect(
                client.receive()
                    == .optionAcknowledgement([Packet.Option(name: "tsize", value: "\(expected.count)")]))
            client.send(.error(.undefined, message: "enough"))
        }
        #expect(try UDPClient(port: server.port).fetch("\(mac)/image") == content)
        let probe = ServerProbe(host: "127.0.0.1", port: server.port)
        for name in [
            "image@", "image@0", "image@+", "image@0+", "image@+1", "image@0+0", "image@0x0+1", "image@-0+1",
            "image@0+-1",
            "image@0++1", "image@ 0+1", "image@0+1 ", "image@0+g", "image@0+1+1", "image@0+1@0+1", "@0+1", "image@0+22",
            "image@21+1", "image@22+1", "image@ffffffffffffffff+1", "image@1+ffffffffffffffff",
            "image@7fffffffffffffff+1", "image@80000000000000+1", "image@10000000000000000+1", "image@\u{ff10}+1",
            "whole@0+1", "IMAGE@0+1",
        ] {
            #expect(
                await probe.read("\(mac)/\(name)") == .refused(code: 1, message: "file not found"), "\(name)")
        }
        await server.stop()
        var opened: [String] = []
        for await case .completed(let file, _, _, _, _) in events.map(\.event) { opened.append(file) }
        #expect(opened == ranges.map { "image@\($0.0)" } + ["image"])
    }

    @Test func `pieces of a file are served as one file, in order, and what is not a mask of it not at all`()
        async throws
    {
        let root = try TemporaryRoot()
        // Ten pieces of 32 KiB, half of one, and what is no whole sector.
        let content = pattern(10 * 32768 + 16384 + 100)
        try root.write("image", content)
        let server = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: 0)
        let events = server.add(
            ServedFolder(
                folder: TemporaryRoot.mac, files: ["image": .folder, "whole": .folder], ranged: ["image"],
                address: "127.0.0.1"))
        let mac = TemporaryRoot.mac
        func pieces(_ numbers: [Int], from start: Int = 0) -> [UInt8] {
            numbers.flatMap { number -> ArraySlice<UInt8> in
                let begin = start * 512 + number * 32768
                return content[begin..<min(begin + 32768, content.count / 512 * 512)]
            }
        }
        // The first bit is the first piece; the image of a chunk starts anywhere; the last piece ends with the file.
        let masks: [(String, [UInt8])] = [
            ("0-8", pieces([0])), ("0-1", pieces([3])), ("0-A5", pieces([0, 2, 5, 7])), ("0-00c", pieces([8, 9])),
            ("0-0020", pieces([10])), ("3-9", pieces([0, 3], from: 3)), ("0-FFE", pieces(Array(0...10))),
            ("40-a" + String(repeating: "0", count: 127), pieces([1, 3])),
        ]
        for (mask, expected) in masks {
            #expect(try UDPClient(port: server.port).fetch("\(mac)/image@\(mask)") == expected, "\(mask)")
        }
        // A window is read with one call, across the ends of pieces.
        let client = try UDPClient(port: server.port)
        let windowed = client.fetch(
            "\(mac)/image@0-a5",
            options: [Packet.Option(name: "blksize", value: "1468"), Packet.Option(name: "windowsize", value: "32")])
        #expect(windowed == pieces([0, 2, 5, 7]))
        let probe = ServerProbe(host: "127.0.0.1", port: server.port)
        for name in [
            "image@-", "image@0-", "image@-8", "image@0-0", "image@0-000", "image@0-8-8", "image@0-8+1", "image@0--8",
            "image@0x0-8", "image@0-g", "image@0- 8", "image@0-\u{ff18}", "image@0-0010", "image@2a0-8",
            "image@0-8" + String(repeating: "0", count: 128), "image@ffffffffffffffff-8", "image@fffffffffffffff0-8",
            "image@10000000000000000-8", "whole@0-8",
        ] {
            #expect(
                await probe.read("\(mac)/\(name)") == .refused(code: 1, message: "file not found"), "\(name)")
        }
        await server.stop()
        var completed: [String] = []
        for await case .completed(let file, _, _, _, _) in events.map(\.event) { completed.append(file) }
        #expect(completed == masks.map { "image@\($0.0)" } + ["image@0-a5"])
    }

    @Test func `a job begins with the window that is known of its target, and tells what it learns`() async throws {
        let root = try TemporaryRoot()
        let content = pattern(200 * 1468)
        try root.write("file", content)
        var known = WindowMemory()
        known.learn(from: Sender.Counters(sent: 1000, repeated: 700), granted: 32, isComplete: true)
        let server = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: 0)
        let mac = TemporaryRoot.mac
        let events = server.add(
            ServedFolder(folder: mac, files: ["file": .folder], address: "127.0.0.1", windows: known))
        let options = [Packet.Option(name: "blksize", value: "1468"), Packet.Option(name: "windowsize", value: "32")]
        #expect(try UDPClient(port: server.port).fetch("\(mac)/file", options: options) == content)
        var learned: WindowMemory?
        for await timed in events {
            if case .completed(_, _, _, _, let window) = timed.event {
                #expect(window == 8)
                learned = timed.windows
                break
            }
            #expect(timed.windows == nil)
        }
        await server.stop()
        // One clean file more than what was known.
        known.learn(from: Sender.Counters(sent: 201, repeated: 0), granted: 8, isComplete: true)
        #expect(learned == known)
    }

    @Test func `another host than the job's target gets nothing`() async throws {
        let root = try TemporaryRoot()
        try root.write("rpi_image_parts", [1])
        let server = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: 0)
        let events = server.add(job(["rpi_image_parts"], address: "192.0.2.1"))
        let probe = ServerProbe(host: "127.0.0.1", port: server.port)
        let path = "\(TemporaryRoot.mac)/rpi_image_parts"
        for _ in 0..<3 {
            #expect(await probe.read(path) == .refused(code: 1, message: "file not found"))
        }
        #expect(
            await probe.write("\(TemporaryRoot.mac)/OK", content: [1]) == .refused(code: 2, message: "not allowed"))
        await server.stop()
        var seen: [TransferEvent] = []
        for await event in events.map(\.event) { seen.append(event) }
        // Each once, however often it is asked.
        #expect(
            seen == [
                .refused(path: path, address: "127.0.0.1", reason: "not the job's target"),
                .refused(path: "\(TemporaryRoot.mac)/OK", address: "127.0.0.1", reason: "not the job's target"),
            ])
    }

    @Test func `each outcome is taken once; the same again is acknowledged, another content refused`() async throws {
        let root = try TemporaryRoot()
        let server = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: 0)
        let events = server.add(job([]))
        let probe = ServerProbe(host: "127.0.0.1", port: server.port)
        let path = "\(TemporaryRoot.mac)/OK"
        #expect(await probe.write(path, content: [1]) == .taken)
        #expect(await probe.write(path, content: [1]) == .taken)
        #expect(
            await probe.write(path, content: [2]) == .refused(code: 6, message: "another content came before"))
        #expect(await probe.write("\(TemporaryRoot.mac)/FAILED", content: [3]) == .taken)
        await server.stop()
        var seen: [TransferEvent] = []
        for await event in events.map(\.event) { seen.append(event) }
        #expect(
            seen == [.uploaded(name: "OK", content: [1]), .uploaded(name: "FAILED", content: [3])])
    }

    @Test(arguments: [65535, 65536, 65537]) func `an upload has at most 64 KiB`(size: Int) async throws {
        try #require(requiresClients || find("atftp") != nil)
        let root = try TemporaryRoot()
        let server = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: 0)
        let events = server.add(job([]))
        try Data(pattern(size)).write(to: URL(filePath: "\(root.path)/report"))
        let status = try run(
            "atftp", ForeignClient.atftp.arguments(put: "report", to: "\(TemporaryRoot.mac)/REPORT", port: server.port),
            in: URL(filePath: root.path)
        ).status
        await server.stop()
        #expect((status == 0) == (size <= 65536))
        var uploads = 0
        for await event in events.map(\.event) {
            if case .uploaded(let name, let content) = event {
                uploads += 1
                #expect(name == "REPORT" && content == pattern(size))
            }
        }
        #expect(uploads == (size <= 65536 ? 1 : 0))
    }

    @Test func `a port that is taken is named`() async throws {
        let root = try TemporaryRoot()
        let server = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: 0)
        await #expect(throws: TFTPServerError.addressInUse("127.0.0.1:\(server.port)")) {
            _ = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: server.port)
        }
        await #expect(throws: TFTPServerError.noSuchAddress("192.0.2.1:0")) {
            _ = try await TFTPServer.start(root: root.path, host: "192.0.2.1", port: 0)
        }
        await #expect(throws: TFTPServerError.root("/nonexistent", reason: "no such file or directory")) {
            _ = try await TFTPServer.start(root: "/nonexistent", host: "127.0.0.1", port: 0)
        }
        await server.stop()
    }

    @Test func `a server on all addresses answers from the one that was asked`() async throws {
        let root = try TemporaryRoot()
        try root.write("rpi_image_parts", [9])
        let server = try await TFTPServer.start(root: root.path, host: "0.0.0.0", port: 0)
        // The answer goes to whom the kernel chose to ask from: 127.0.0.1, for every 127.x.
        _ = server.add(job(["rpi_image_parts"]))
        for host in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
            // The probe takes answers from the address that it asked only.
            let probe = ServerProbe(host: host, port: server.port)
            #expect(await probe.read("\(TemporaryRoot.mac)/rpi_image_parts") == .content([9]))
        }
        await server.stop()
    }

    @Test func `no answer is silence, not a hang`() async throws {
        let root = try TemporaryRoot()
        let server = try await TFTPServer.start(root: root.path, host: "127.0.0.1", port: 0)
        let port = server.port
        await server.stop()
        #expect(await ServerProbe(host: "127.0.0.1", port: port, attempts: 1).read("x") == .silence)
    }
}
