import Configuration

/// The targets of a bench, read from a CSV file.
///
/// The first record is the header `mac,ip,server,gpio`, in any order, with the optional columns `name`,
/// `reset_hold_ms`, `reset_command`, `tags`, `console` and `require_signed`. Fields are as in RFC 4180; blanks around a field without quotes are dropped.
/// Empty lines and lines that start with `#` are skipped. A UTF-8 byte order mark and CR LF are taken.
package struct Inventory: Sendable {
    /// The file's name, for messages.
    package let file: String
    /// The targets, in the file's order.
    package let targets: [Target]
    private let byIP: [IPv4Address: Int]
    private let byMAC: [MACAddress: Int]
    private let byName: [String: Int]

    /// The largest file that is read: 16 MiB, some 200,000 targets.
    package static let largestFile = 16 << 20

    /// The columns that a file may have.
    enum Column: String, CaseIterable {
        case mac, ip, server, gpio, name
        case resetHold = "reset_hold_ms"
        case resetCommand = "reset_command"
        case tags, console
        case requireSigned = "require_signed"

        static let required: [Column] = [.mac, .ip, .server, .gpio]
    }

    /// Reads a file's content.
    ///
    /// - Parameters:
    ///   - csv: the content.
    ///   - file: its name, for messages.
    /// - Throws: ``InventoryErrors`` with everything that is wrong.
    package init(csv: some Collection<UInt8>, file: String) throws(InventoryErrors) {
        var parser = Parser(file: file)
        parser.read(Array(csv))
        guard parser.problems.total == 0 else { throw parser.problems }
        self.file = file
        targets = parser.targets
        byIP = parser.byIP
        byMAC = parser.byMAC
        byName = parser.byName
    }

    /// Finds a target by its IP address, MAC address or name.
    ///
    /// - Throws: ``TargetError/unknown(_:file:names:)``.
    package func target(_ text: String) throws(TargetError) -> Target {
        if let index = (try? IPv4Address(text)).flatMap({ byIP[$0] }) { return targets[index] }
        if let index = (try? MACAddress(text)).flatMap({ byMAC[$0] }) { return targets[index] }
        if let index = byName[text.lowercased()] { return targets[index] }
        throw .unknown(text, file: file, names: targets.map(\.displayName))
    }
}

extension Inventory {
    /// Every tag that a target has, in alphabetical order.
    package var tags: [String] { Set(targets.flatMap(\.tags)).sorted() }

    /// The targets that have at least one of these tags, in the file's order. Upper and lower case are the same.
    ///
    /// - Throws: ``TargetError/unknownTag(_:file:tags:)`` for a tag that no target has: it is a typing error.
    package func targets(tagged tags: [String]) throws(TargetError) -> [Target] {
        for tag in tags where !targets.contains(where: { $0.has(tag) }) {
            throw .unknownTag(tag, file: file, tags: self.tags)
        }
        return targets.filter { target in tags.contains { target.has($0) } }
    }
}

extension Target {
    /// Whether it has this tag. Upper and lower case are the same.
    package func has(_ tag: String) -> Bool {
        let tag = tag.lowercased()
        return tags.contains { $0.lowercased() == tag }
    }

    /// Checks that this host resets the target.
    ///
    /// - Parameter names: this host's own names and addresses.
    /// - Throws: ``TargetError/otherServer(_:server:)``.
    package func checkServed(by names: some Sequence<String>) throws(TargetError) {
        let server = server.lowercased()
        guard names.contains(where: { $0.lowercased() == server }) else {
            throw .otherServer(displayName, server: self.server)
        }
    }
}

/// Why a target cannot be taken.
package enum TargetError: Error, Hashable, Sendable {
    /// No row has this address or name.
    case unknown(String, file: String, names: [String])
    /// No row has this tag.
    case unknownTag(String, file: String, tags: [String])
    /// Another host resets it.
    case otherServer(String, server: String)
}

extension TargetError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unknown(let text, let file, let names):
            "no target \(quoted(text)) in \(file); it has \(Self.list(names, none: "no targets"))"
        case .unknownTag(let text, let file, let tags):
            "no target in \(file) has the tag \(quoted(text)); it has \(Self.list(tags, none: "no tags"))"
        case .otherServer(let target, let server):
            "target \(target) belongs to the server \(quoted(server)); run rpiflash there"
        }
    }

    private static func list(_ names: [String], none: String) -> String {
        if names.isEmpty { return none }
        let shown = names.prefix(8).joined(separator: ", ")
        return names.count > 8 ? "\(shown) and \(names.count - 8) more" : shown
    }
}

/// One thing that is wrong in an inventory, and where.
package struct InventoryError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file's name.
    package let file: String
    /// 1 for the first line.
    package let line: Int
    /// 1 for the first character.
    package let column: Int
    /// What is wrong.
    package let reason: String
    package var description: String { "\(file):\(line):\(column): \(reason)" }
}

/// All that is wrong in an inventory: the first ones in full, and how many there are.
package struct InventoryErrors: Error, Hashable, Sendable, CustomStringConvertible {
    /// How many errors are kept.
    package static let limit = 20

    /// The first errors, at most ``limit``.
    package private(set) var errors: [InventoryError] = []
    /// How many there are.
    package private(set) var total = 0

    mutating func add(_ error: InventoryError) {
        total += 1
        if errors.count < Self.limit { errors.append(error) }
    }

    /// One line an error.
    package var description: String {
        var lines = errors.map(\.description)
        if total > errors.count { lines.append("and \(total - errors.count) more errors in the same file") }
        return lines.joined(separator: "\n")
    }
}
