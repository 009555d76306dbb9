/// A TFTP packet. Source: RFC 1350 section 5, RFC 2347.
package enum Packet: Hashable, Sendable {
    /// RRQ: asks for a file.
    case readRequest(Request)
    /// WRQ: offers a file.
    case writeRequest(Request)
    /// DATA: a block of a file; block numbers start at 1 and roll over from 65535 to 0.
    case data(block: UInt16, payload: [UInt8])
    /// ACK: everything up to this block has come.
    case acknowledgement(block: UInt16)
    /// ERROR: the transfer is over.
    case error(ErrorCode, message: String)
    /// OACK: the options that the server takes.
    case optionAcknowledgement([Option])

    /// What RRQ and WRQ carry.
    package struct Request: Hashable, Sendable {
        /// The file's name as it was sent: untrusted.
        package let path: String
        /// `octet`, `netascii` or `mail`, lower case.
        package let mode: String
        /// The options, in the packet's order, at most ``Packet/optionLimit``.
        package let options: [Option]

        package init(path: String, mode: String = "octet", options: [Option] = []) {
            (self.path, self.mode, self.options) = (path, mode, options)
        }
    }

    /// One option. Source: RFC 2347.
    package struct Option: Hashable, Sendable {
        /// Its name, lower case.
        package let name: String
        /// Its value as it was sent.
        package let value: String

        /// An option as given; the name is made lower case.
        package init(name: String, value: String) {
            self.name = name.lowercased()
            self.value = value
        }
    }

    /// The longest request that is read, in bytes: RFC 2347 section 'Negotiation Protocol' says 512.
    package static let longestRequest = 512
    /// How many options of a packet are read; a 512-byte request has no room for more that mean anything.
    package static let optionLimit = 32
    /// Bytes before a DATA packet's payload.
    package static let dataHeaderSize = 4
}

/// The code of an ERROR packet. Source: RFC 1350 'Appendix I', RFC 2347.
package struct ErrorCode: RawRepresentable, Hashable, Sendable {
    /// The number on the wire.
    package let rawValue: UInt16

    /// The code with this number, known or not.
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    /// 0: see the message.
    package static let undefined = ErrorCode(rawValue: 0)
    /// 1: no such file.
    package static let fileNotFound = ErrorCode(rawValue: 1)
    /// 2: not allowed.
    package static let accessViolation = ErrorCode(rawValue: 2)
    /// 3: disk full or allocation exceeded.
    package static let diskFull = ErrorCode(rawValue: 3)
    /// 4: not an operation of TFTP.
    package static let illegalOperation = ErrorCode(rawValue: 4)
    /// 5: a packet from someone else.
    package static let unknownTransferID = ErrorCode(rawValue: 5)
    /// 6: the file is there already.
    package static let fileExists = ErrorCode(rawValue: 6)
    /// 8: the options cannot be agreed on.
    package static let optionNegotiation = ErrorCode(rawValue: 8)
}

/// Why bytes are no packet.
package enum PacketError: Error, Hashable, Sendable {
    /// Fewer bytes than the kind of packet needs.
    case tooShort(Int)
    /// A number that is no operation.
    case unknownOperation(UInt16)
    /// A text that no zero byte ends, or that is no UTF-8, or holds control characters.
    case badText
    /// A request over 512 bytes, or with more options than are read.
    case tooLong(Int)
    /// A name without a value.
    case oddOptions
}

extension PacketError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .tooShort(let count): "packet has \(count) bytes; too few for its kind"
        case .unknownOperation(let code): "packet has operation \(code); must be 1 to 6"
        case .badText: "packet has a text that is not ended or not plain"
        case .tooLong(let count): "packet has \(count) bytes; a request has at most \(Packet.longestRequest)"
        case .oddOptions: "packet has an option without a value"
        }
    }
}

extension Packet {
    /// Reads a packet as it came from the network.
    ///
    /// - Parameter bytes: the UDP payload, untrusted.
    /// - Throws: ``PacketError``.
    package init(parsing bytes: Span<UInt8>) throws(PacketError) {
        guard bytes.count >= 2 else { throw .tooShort(bytes.count) }
        let operation = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
        switch operation {
        case 1: self = .readRequest(try Self.request(bytes))
        case 2: self = .writeRequest(try Self.request(bytes))
        case 3:
            guard bytes.count >= Self.dataHeaderSize else { throw .tooShort(bytes.count) }
            let payload = [UInt8](unsafeUninitializedCapacity: bytes.count - Self.dataHeaderSize) { buffer, count in
                for index in Self.dataHeaderSize..<bytes.count { buffer[index - Self.dataHeaderSize] = bytes[index] }
                count = bytes.count - Self.dataHeaderSize
            }
            self = .data(block: Self.number(bytes), payload: payload)
        case 4:
            // Some clients pad their ACKs; what follows the number means nothing.
            guard bytes.count >= 4 else { throw .tooShort(bytes.count) }
            self = .acknowledgement(block: Self.number(bytes))
        case 5:
            guard bytes.count >= 4 else { throw .tooShort(bytes.count) }
            // A sloppy message must not hide that the peer gave up.
            self = .error(ErrorCode(rawValue: Self.number(bytes)), message: Self.looseText(bytes, from: 4))
        case 6:
            var index = 2
            self = .optionAcknowledgement(try Self.options(bytes, &index))
        default: throw .unknownOperation(operation)
        }
    }

    private static func number(_ bytes: Span<UInt8>) -> UInt16 { UInt16(bytes[2]) << 8 | UInt16(bytes[3]) }

    private static func request(_ bytes: Span<UInt8>) throws(PacketError) -> Request {
        guard bytes.count <= longestRequest else { throw .tooLong(bytes.count) }
        var index = 2
        let path = try text(bytes, &index)
        let mode = try text(bytes, &index)
        return Request(path: path, mode: mode.lowercased(), options: try options(bytes, &index))
    }

    private static func options(_ bytes: Span<UInt8>, _ index: inout Int) throws(PacketError) -> [Option] {
        guard bytes.count <= longestRequest else { throw .tooLong(bytes.count) }
        var options: [Option] = []
        while index < bytes.count {
            let name = try text(bytes, &index)
            guard index < bytes.count else { throw .oddOptions }
            guard options.count < optionLimit else { throw .tooLong(bytes.count) }
            options.append(Option(name: name, value: try text(bytes, &index)))
        }
        return options
    }

    private static func text(_ bytes: Span<UInt8>, _ index: inout Int) throws(PacketError) -> String {
        var collected: [UInt8] = []
        while index < bytes.count, bytes[index] != 0 {
            guard bytes[index] >= 0x20, bytes[index] != 0x7f else { throw .badText }
            collected.append(bytes[index])
            index += 1
        }
        guard index < bytes.count, let text = String(validating: collected, as: UTF8.self) else { throw .badText }
        index += 1
        return text
    }

    /// At most 120 printable ASCII characters of a message.
    private static func looseText(_ bytes: Span<UInt8>, from start: Int) -> String {
        var collected: [UInt8] = []
        var index = start
        while index < bytes.count, bytes[index] != 0, collected.count < 120 {
            collected.append((0x20..<0x7f).contains(bytes[index]) ? bytes[index] : UInt8(ascii: "?"))
            index += 1
        }
        return String(decoding: collected, as: UTF8.self)
    }

    /// The packet's bytes.
    package var encoded: [UInt8] {
        switch self {
        case .readRequest(let request): Self.head(1) + Self.encode(request)
        case .writeRequest(let request): Self.head(2) + Self.encode(request)
        case .data(let block, let payload): Self.dataHeader(block: block) + payload
        case .acknowledgement(let block): Self.head(4) + Self.head(block)
        case .error(let code, let message): Self.head(5) + Self.head(code.rawValue) + Self.encode(message)
        case .optionAcknowledgement(let options):
            Self.head(6) + options.flatMap { Self.encode($0.name) + Self.encode($0.value) }
        }
    }

    /// The 4 bytes before a DATA packet's payload.
    package static func dataHeader(block: UInt16) -> [UInt8] { head(3) + head(block) }

    private static func head(_ number: UInt16) -> [UInt8] { [UInt8(number >> 8), UInt8(number & 0xff)] }
    private static func encode(_ text: String) -> [UInt8] { Array(text.utf8) + [0] }
    private static func encode(_ request: Request) -> [UInt8] {
        encode(request.path) + encode(request.mode) + request.options.flatMap { encode($0.name) + encode($0.value) }
    }
}
