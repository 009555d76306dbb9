import TestSupport
import Foundation
import Glibc

/// What a server does wrong, all by chance from a seed.
struct ServerFaults {
    /// Of a thousand packets so many are damaged.
    var packets = 0
    /// OACKs with values that were not asked for.
    var options = false
    /// Files under each name; nil: refused.
    var files: [String: [UInt8]?] = [:]
    /// A file or a packet has other bytes than it should.
    var isDamaged = false
    /// The plan is one that a server could have made wrongly, and its checksums are right.
    var isOtherPlan = false
    var description = ""
}

/// A TFTP server on port 69 that makes mistakes. One transfer at a time, as U-Boot asks.
final class HostileServer {
    private let listener: Int32
    private var session: Int32 = -1
    private let address: String
    private let faults: ServerFaults
    private let image: Data
    private var random: SeededGenerator
    private(set) var packets = 0
    /// What the target uploaded, by name.
    private(set) var uploads: [String: [UInt8]] = [:]

    private struct Transfer {
        var peer: sockaddr_in
        var data: [UInt8]
        var blockSize = 512
        var window = 1
        var acknowledged = 0
        var options: [UInt8]?
        var upload: String?
        var silences = 0

        var blocks: Int { data.count / blockSize + 1 }
    }
    private var transfer: Transfer?
    private var held: [UInt8]?

    init(address: String, faults: ServerFaults, image: Data, seed: UInt64, stream: UInt64) throws {
        (self.address, self.faults, self.image) = (address, faults, image)
        random = SeededGenerator(seed: seed, stream: stream)
        listener = try Self.socket(address, port: 69)
    }

    deinit {
        close(listener)
        if session >= 0 { close(session) }
    }

    private static func socket(_ address: String, port: UInt16) throws -> Int32 {
        let descriptor = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var local = sockaddr_in()
        local.sin_family = sa_family_t(AF_INET)
        local.sin_port = port.bigEndian
        inet_pton(AF_INET, address, &local.sin_addr)
        let bound = withUnsafePointer(to: &local) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard bound == 0 else { throw BenchFailure("cannot bind \(address):\(port): errno \(errno)") }
        return descriptor
    }

    /// Serves what comes in that time.
    func serve(milliseconds: Int32) throws {
        var events = [
            pollfd(fd: listener, events: Int16(POLLIN), revents: 0),
            pollfd(fd: session, events: Int16(POLLIN), revents: 0),
        ]
        guard poll(&events, session < 0 ? 1 : 2, milliseconds) > 0 else { return silence() }
        if events[0].revents != 0, let (packet, peer) = Self.receive(listener) { try begin(packet, peer) }
        if session >= 0, events[1].revents != 0, let (packet, peer) = Self.receive(session),
            peer.sin_port == transfer?.peer.sin_port
        {
            transfer?.silences = 0
            take(packet)
        }
    }

    private static func receive(_ descriptor: Int32) -> ([UInt8], sockaddr_in)? {
        var packet = [UInt8](repeating: 0, count: 65536)
        var peer = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let count = withUnsafeMutablePointer(to: &peer) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                recvfrom(descriptor, &packet, packet.count, Int32(MSG_DONTWAIT), $0, &length)
            }
        }
        return count >= 4 ? (Array(packet[..<count]), peer) : nil
    }

    // MARK: Transfers

    private func begin(_ request: [UInt8], _ peer: sockaddr_in) throws {
        let words = request.dropFirst(2).split(separator: 0, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        guard request[1] == 1 || request[1] == 2, words.count >= 2 else { return }
        if session >= 0 { close(session) }
        session = try Self.socket(address, port: 0)
        held = nil
        let name = words[0].split(separator: "/").last.map(String.init) ?? ""
        var new = Transfer(peer: peer, data: [])
        var asked: [(String, String)] = []
        for index in stride(from: 2, to: words.count - 2, by: 2) { asked.append((words[index], words[index + 1])) }
        func agreed(_ name: String) -> Int? { asked.first { $0.0 == name }.flatMap { Int($0.1) } }
        if request[1] == 2 {
            new.upload = name
        } else if let file = faults.files[name] {
            guard let file else { return refuse(new) }
            new.data = file
        } else if name.hasPrefix("img@"), let pieces = pieces(name) {
            new.data = pieces
        } else {
            return refuse(new)
        }
        if let size = agreed("blksize") { new.blockSize = min(1468, max(8, size)) }
        if let window = agreed("windowsize") { new.window = min(64, max(1, window)) }
        if !asked.isEmpty {
            var answer: [(String, String)] = []
            if agreed("blksize") != nil { answer.append(("blksize", "\(new.blockSize)")) }
            if agreed("windowsize") != nil { answer.append(("windowsize", "\(new.window)")) }
            if agreed("tsize") != nil { answer.append(("tsize", "\(new.data.count)")) }
            new.options = oack(answer)
        }
        transfer = new
        if let options = new.options {
            send(options)
        } else if new.upload != nil {
            send([0, 4, 0, 0])
        } else {
            sendWindow()
        }
    }

    private func refuse(_ new: Transfer) {
        transfer = new
        send(Array("\0\u{5}\0\u{1}file not found\0".utf8))
        transfer = nil
    }

    private func oack(_ options: [(String, String)]) -> [UInt8] {
        var options = options
        if faults.options, chance(1, in: 4) {
            let values = [
                "0", "1", "7", "8", "9", "511", "1469", "1472", "9000", "65464", "65535", "65536", "4294967296",
                "99999999999999999999", "-1", "", "x", "0x200", "1468 ",
            ]
            for index in options.indices where chance(1, in: 2) { options[index].1 = values[below(values.count)] }
            if chance(1, in: 4), !options.isEmpty { options.remove(at: below(options.count)) }
            if chance(1, in: 4) {
                options.append((["timeout", "rollover", "blksize", "%s"][below(4)], values[below(values.count)]))
            }
        }
        var packet: [UInt8] = [0, 6]
        for (name, value) in options { packet += Array("\(name)\0\(value)\0".utf8) }
        return packet
    }

    /// The sectors that a mask names, as rpiflash's server has them.
    private func pieces(_ name: String) -> [UInt8]? {
        let parts = name.dropFirst(4).split(separator: "-")
        guard parts.count == 2, let start = Int(parts[0], radix: 16) else { return nil }
        var result: [UInt8] = []
        for (place, digit) in parts[1].enumerated() {
            guard let bits = digit.hexDigitValue else { return nil }
            for bit in 0..<4 where bits & (8 >> bit) != 0 {
                let from = (start + (place * 4 + bit) * 64) * 512
                guard from < image.count else { continue }
                result += image[from..<min(image.count, from + 64 * 512)]
            }
        }
        // What is damaged of the image is damaged here.
        if let damaged = faults.files["img"], damaged != nil, !result.isEmpty { result[result.count / 2] ^= 1 }
        return result
    }

    private func take(_ packet: [UInt8]) {
        guard var now = transfer else { return }
        let block = Int(packet[2]) << 8 | Int(packet[3])
        switch packet[1] {
        case 3:
            guard let name = now.upload else { return }
            if block == now.acknowledged + 1 {
                now.data += packet.dropFirst(4)
                now.acknowledged = block
            }
            transfer = now
            if packet.count - 4 < now.blockSize { uploads[name] = now.data }
            if now.data.count < 1 << 20 { send([0, 4, packet[2], packet[3]]) }
        case 4:
            guard now.upload == nil else { return }
            // The block next to what is known with these 16 bits.
            let near = now.acknowledged & ~0xffff | block
            now.acknowledged = near < now.acknowledged - 0x8000 ? near + 0x10000 : near
            transfer = now.acknowledged >= now.blocks ? nil : now
            sendWindow()
        case 5: transfer = nil
        default: return
        }
    }

    private func sendWindow() {
        guard let now = transfer, now.upload == nil, now.acknowledged >= 0 else { return }
        for block in now.acknowledged + 1...now.acknowledged + now.window where block <= now.blocks {
            let from = (block - 1) * now.blockSize
            var packet: [UInt8] = [0, 3, UInt8(block >> 8 & 0xff), UInt8(block & 0xff)]
            packet += now.data[from..<min(now.data.count, from + now.blockSize)]
            send(packet)
        }
    }

    /// Nothing came for a while: what was sent last is sent again, ten times.
    private func silence() {
        guard var now = transfer else { return }
        now.silences += 1
        transfer = now.silences > 400 ? nil : now
        guard now.silences % 40 == 0 else { return }
        if now.acknowledged == 0, let options = now.options { send(options) } else { sendWindow() }
    }

    // MARK: Packets

    private func below(_ limit: Int) -> Int { Int.random(in: 0..<max(1, limit), using: &random) }
    private func chance(_ count: Int, in of: Int) -> Bool { below(of) < count }

    private func send(_ packet: [UInt8]) {
        guard chance(faults.packets, in: 1000) else {
            put(packet)
            if let held { put(held) }
            held = nil
            return
        }
        var damaged = packet
        switch below(12) {
        case 0: return
        case 1: put(packet)
        case 2: damaged = Array(packet.prefix(below(packet.count)))
        case 3: for _ in 0..<below(1472 - min(1471, packet.count)) { damaged.append(UInt8(below(256))) }
        case 4: damaged[1] = UInt8(below(9))
        case 5: damaged[0] = UInt8(below(256))
        case 6: damaged[3] &+= UInt8(below(256))
        case 7: damaged[2] = UInt8(below(256))
        case 8: damaged[below(damaged.count)] ^= 1 << UInt8(below(8))
        case 9:
            held = packet
            return
        case 10:
            damaged = [0, 5, 0, UInt8(below(9))]
            for _ in 0..<below(600) { damaged.append(UInt8(below(256))) }
        default:
            // From a port that is not the transfer's.
            put(packet, from: listener)
            return
        }
        put(damaged)
        // And the right one behind it, or not.
        if chance(1, in: 2) { put(packet) }
    }

    private func put(_ packet: [UInt8], from descriptor: Int32? = nil) {
        guard var peer = transfer?.peer else { return }
        packets += 1
        _ = withUnsafePointer(to: &peer) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor ?? session, packet, packet.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}
