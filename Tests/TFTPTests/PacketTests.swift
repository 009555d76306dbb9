import TestSupport
import TFTP
import Testing

struct PacketTests {
    /// U-Boot's own request: 2 bytes operation, file, mode, then options, each text ended by 0.
    static let request: [UInt8] =
        [0x00, 0x01]  // operation: 1, RRQ
        + Array("b8:27:eb:3d:60:b9/rpi_image_parts\0".utf8)  // file
        + Array("octet\0".utf8)  // mode
        + Array("timeout\05\0tsize\00\0blksize\01468\0windowsize\032\0".utf8)  // options

    @Test func `U-Boot's request is read`() throws {
        let packet = try Packet(parsing: Self.request.span)
        guard case .readRequest(let request) = packet else { return #expect(Bool(false), "\(packet)") }
        #expect(request.path == "b8:27:eb:3d:60:b9/rpi_image_parts")
        #expect(request.mode == "octet")
        #expect(request.options.map(\.name) == ["timeout", "tsize", "blksize", "windowsize"])
        #expect(request.options.map(\.value) == ["5", "0", "1468", "32"])
        #expect(packet.encoded == Self.request)
    }

    @Test(
        arguments: [
            (Packet.data(block: 0x1234, payload: [1, 2]), [0, 3, 0x12, 0x34, 1, 2]),
            (Packet.acknowledgement(block: 0xfffe), [0, 4, 0xff, 0xfe]),
            (Packet.error(.fileNotFound, message: "no"), [0, 5, 0, 1, 0x6e, 0x6f, 0]),
            (Packet.optionAcknowledgement([.init(name: "a", value: "1")]), [0, 6, 0x61, 0, 0x31, 0]),
            (Packet.writeRequest(.init(path: "f")), [0, 2, 0x66, 0] + Array("octet\0".utf8)),
        ] as [(Packet, [UInt8])])
    func `each packet has its bytes`(packet: Packet, bytes: [UInt8]) throws {
        #expect(packet.encoded == bytes)
        #expect(try Packet(parsing: bytes.span) == packet)
    }

    struct Malformed: Sendable {
        let bytes: [UInt8]
        let error: PacketError
    }

    static let malformed = [
        Malformed(bytes: [], error: .tooShort(0)), Malformed(bytes: [0], error: .tooShort(1)),
        Malformed(bytes: [0, 0], error: .unknownOperation(0)), Malformed(bytes: [0, 7], error: .unknownOperation(7)),
        Malformed(bytes: [1, 1, 0], error: .unknownOperation(257)),
        Malformed(bytes: [0, 3, 0], error: .tooShort(3)), Malformed(bytes: [0, 4, 0], error: .tooShort(3)),
        Malformed(bytes: [0, 5, 0], error: .tooShort(3)),
        // No end of the file's name, no mode, no end of the mode.
        Malformed(bytes: [0, 1], error: .badText), Malformed(bytes: [0, 1, 0x66], error: .badText),
        Malformed(bytes: [0, 1, 0x66, 0], error: .badText), Malformed(bytes: [0, 1, 0x66, 0, 0x6f], error: .badText),
        // A control character, an escape, no UTF-8.
        Malformed(bytes: [0, 1, 0x0a, 0, 0x6f, 0], error: .badText),
        Malformed(bytes: [0, 1, 0x1b, 0, 0x6f, 0], error: .badText),
        Malformed(bytes: [0, 1, 0xff, 0, 0x6f, 0], error: .badText),
        // An option without a value, one that is not ended.
        Malformed(bytes: [0, 1, 0x66, 0, 0x6f, 0, 0x61, 0], error: .oddOptions),
        Malformed(bytes: [0, 6, 0x61, 0, 0x31], error: .badText),
        // Longer than RFC 2347 allows; more options than are read.
        Malformed(bytes: [0, 1] + [UInt8](repeating: 0x66, count: 511), error: .tooLong(513)),
        Malformed(bytes: [0, 6] + [UInt8](repeating: 0, count: 66), error: .tooLong(68)),
    ]

    @Test(arguments: malformed)
    func `what is no packet is an error`(malformed: Malformed) {
        #expect(throws: malformed.error) { try Packet(parsing: malformed.bytes.span) }
    }

    @Test func `an error message is cut and made printable`() throws {
        let bytes: [UInt8] = [0, 5, 0, 0] + Array("\u{1b}[2J".utf8) + [UInt8](repeating: 0x41, count: 500)
        guard case .error(_, let message) = try Packet(parsing: bytes.span) else { return #expect(Bool(false)) }
        #expect(message.hasPrefix("?[2J"))
        #expect(message.utf8.count == 120)
    }

    @Test func `random bytes are read or refused, and what is read is written back the same`() {
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<100_000 {
            var bytes = (0..<Int(generator.next() % 64)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            if bytes.count >= 2 { (bytes[0], bytes[1]) = (0, UInt8(generator.next() % 8)) }
            guard let packet = try? Packet(parsing: bytes.span) else { continue }
            #expect((try? Packet(parsing: packet.encoded.span)) == packet)
        }
    }

    @Test func `mutated requests are read or refused`() {
        var generator = SeededGenerator(seed: 2)
        for _ in 0..<50_000 {
            var bytes = Self.request
            for _ in 0..<Int(generator.next() % 6) {
                bytes[Int(generator.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: generator.next())
            }
            if case .readRequest(let request)? = try? Packet(parsing: bytes.span) {
                #expect(!request.path.unicodeScalars.contains { $0.value < 0x20 })
                #expect(request.options.count <= Packet.optionLimit)
            }
        }
    }
}

struct OptionTests {
    private func answer(_ options: [(String, String)], size: UInt64? = 1000) -> TransferOptions {
        TransferOptions(
            answering: options.map { Packet.Option(name: $0.0, value: $0.1) }, size: size,
            limits: TransferOptions.Limits())
    }
    private func text(_ options: TransferOptions) -> String {
        (options.acknowledgement ?? []).map { "\($0.name)=\($0.value)" }.joined(separator: " ")
    }

    @Test func `U-Boot's options are granted`() {
        let options = answer([("timeout", "5"), ("tsize", "0"), ("blksize", "1468"), ("windowsize", "32")])
        #expect(text(options) == "timeout=5 tsize=1000 blksize=1468 windowsize=32")
        #expect((options.blockSize, options.windowSize, options.timeout) == (1468, 32, 5))
    }

    @Test func `too large values are answered with the limit`() {
        let options = answer([("BLKSIZE", "65535"), ("windowsize", "65535")])
        #expect(text(options) == "blksize=65464 windowsize=8")
        #expect(text(answer([("windowsize", "65535"), ("blksize", "1468")])) == "windowsize=64 blksize=1468")
        #expect(text(answer([("windowsize", "64"), ("blksize", "65464")])) == "windowsize=8 blksize=65464")
    }

    @Test(arguments: [
        ("blksize", "7"), ("blksize", "0"), ("blksize", "-1"), ("blksize", ""), ("blksize", "1468x"),
        ("blksize", "99999999999999999999"), ("windowsize", "0"), ("windowsize", "65536"), ("timeout", "0"),
        ("timeout", "256"), ("multicast", ""), ("utimeout", "100"),
    ])
    func `what makes no sense is left out`(name: String, value: String) {
        let options = answer([(name, value)])
        #expect(options.acknowledgement == nil)
        #expect((options.blockSize, options.windowSize) == (512, 1))
    }

    @Test func `of two options with one name the first counts`() {
        #expect(text(answer([("blksize", "1000"), ("blksize", "2000")])) == "blksize=1000")
    }

    @Test func `a write's tsize is repeated`() {
        #expect(text(answer([("tsize", "8")], size: nil)) == "tsize=8")
        #expect(TransferOptions.announcedSize([Packet.Option(name: "tsize", value: "70000")]) == 70000)
    }
}
