import Foundation
import Glibc
import Synchronization
import TargetConsole
import Testing

/// Real sockets on loopback, real pseudo terminals.
@Suite struct ConsoleReaderTests {
    /// What was heard.
    private final class Ear: Sendable {
        private let bytes = Mutex<[UInt8]>([])
        private let ended = Mutex(false)
        var text: String { String(decoding: bytes.withLock { $0 }, as: UTF8.self) }
        var hasEnded: Bool { ended.withLock { $0 } }

        func take(_ new: [UInt8]) {
            if new.isEmpty { ended.withLock { $0 = true } }
            bytes.withLock { $0 += new }
        }

        /// Waits until it has heard this; a deadline that only a failure reaches.
        func hears(_ expected: String) async -> Bool {
            for _ in 0..<30_000 {
                if text.contains(expected) { return true }
                try? await Task.sleep(for: .milliseconds(10))
            }
            return false
        }
    }

    /// Sends datagrams as U-Boot does, from port 6666 of an address of this machine.
    private func send(_ texts: [String], from address: String, port: UInt16 = ConsoleSource.networkPort) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(descriptor) }
        var yes: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        func name(_ address: String, _ port: UInt16) -> sockaddr_in {
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = port.bigEndian
            name.sin_addr.s_addr = inet_addr(address)
            return name
        }
        func call(_ name: sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int) -> Int {
            withUnsafePointer(to: name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
        }
        try #require(call(name(address, port)) { Int(bind(descriptor, $0, $1)) } == 0)
        for text in texts {
            let bytes = Array(text.utf8)
            let sent = call(name("127.0.0.1", ConsoleSource.networkPort)) { name, length in
                sendto(descriptor, bytes, bytes.count, 0, name, length)
            }
            #expect(sent == bytes.count)
        }
    }

    @Test func `netconsole: each listener hears its own target, and nobody else`() async throws {
        let (first, second) = (Ear(), Ear())
        let readers = [
            try ConsoleReader(.network(address: "127.0.0.61"), take: first.take),
            try ConsoleReader(.network(address: "127.0.0.62"), take: second.take),
        ]
        // A stranger, and the target from another port, are not heard.
        try send(["stranger\n"], from: "127.0.0.63")
        try send(["other port\n"], from: "127.0.0.61", port: 6667)
        try send(["", "one ", "line\n"], from: "127.0.0.61")
        try send(["two\n"], from: "127.0.0.62")
        #expect(await first.hears("one line\n"))
        #expect(await second.hears("two\n"))
        #expect(first.text == "one line\n")
        #expect(second.text == "two\n")
        #expect(!first.hasEnded)
        for reader in readers { reader.stop() }
        try send(["late\n"], from: "127.0.0.61")
        try await Task.sleep(for: .milliseconds(50))
        #expect(first.text == "one line\n")
    }

    /// What a packet to the netconsole port of this machine is answered with: nil for nothing.
    private func answer(from address: String) throws -> Int32? {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        defer { close(descriptor) }
        var name = sockaddr_in()
        (name.sin_family, name.sin_port) = (sa_family_t(AF_INET), ConsoleSource.networkPort.bigEndian)
        name.sin_addr.s_addr = inet_addr(address)
        let connected = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(connected == 0)
        try #require(Glibc.send(descriptor, "x", 1, 0) == 1)
        var byte: UInt8 = 0
        errno = 0
        return recv(descriptor, &byte, 1, Int32(MSG_DONTWAIT)) < 0 && errno != EAGAIN ? errno : nil
    }

    @Test func `netconsole: a packet that nobody listens for is not answered with ICMP while the port is open`()
        async throws
    {
        let listener = Ear()
        let port = NetconsolePort()
        let reader = try ConsoleReader(.network(address: "127.0.0.64"), take: listener.take)
        // More than its queue takes.
        for _ in 0..<1000 { #expect(try answer(from: "127.0.0.1") == nil) }
        try send(["heard\n"], from: "127.0.0.64")
        #expect(await listener.hears("heard\n"))
        #expect(listener.text == "heard\n")
        reader.stop()
        withExtendedLifetime(port) {}
    }

    @Test func `serial: a port is read raw, is nobody else's meanwhile, and ends where it is pulled out`() async throws
    {
        var (master, slave): (Int32, Int32) = (-1, -1)
        var path = [CChar](repeating: 0, count: 128)
        try #require(openpty(&master, &slave, &path, nil, nil) == 0)
        close(slave)
        let device = String(decoding: path.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let ear = Ear()
        let reader = try ConsoleReader(.serial(device: device, baud: 9600), take: ear.take)
        #expect(throws: ConsoleError.busy(device: device)) {
            _ = try ConsoleReader(.serial(device: device, baud: 9600)) { _ in }
        }
        let bytes = Array("U-Boot 2023.01\r\n\u{3}=> ".utf8)
        #expect(write(master, bytes, bytes.count) == bytes.count)
        #expect(await ear.hears("U-Boot 2023.01\r\n\u{3}=> "))
        close(master)
        for _ in 0..<30_000 where !ear.hasEnded { try await Task.sleep(for: .milliseconds(10)) }
        #expect(ear.hasEnded)
        reader.stop()
    }

    @Test(arguments: [
        (
            ConsoleSource.serial(device: "/dev/no-such-port", baud: 115_200),
            "cannot read /dev/no-such-port at 115200 baud: open: No such file or directory"
        ),
        (
            .serial(device: "/dev/null", baud: 115_200),
            "cannot read /dev/null at 115200 baud: tcgetattr: Inappropriate ioctl for device"
        ),
        (
            .serial(device: "/dev/null", baud: 12345),
            "/dev/null cannot have 12345 baud; must be one of 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600, 1000000, 1500000"
        ),
    ])
    func `serial: what is no port is refused in one sentence`(source: ConsoleSource, message: String) {
        let error = #expect(throws: ConsoleError.self) { _ = try ConsoleReader(source) { _ in } }
        #expect(error?.description == message)
    }
}
