public import ArgumentParser
import DiskLayout
import Flashing
import Glibc
import Inventory
public import SystemPackage

/// Where the targets are listed, and which one is meant.
struct InventoryOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The inventory, a CSV file. Default: /etc/rpiflash/targets.csv, then ./targets.csv.", valueName: "file"))
    var inventory: FilePath?

    /// Reads the inventory.
    func read() throws(FlashFailure) -> Inventory {
        let standard: [FilePath] = ["/etc/rpiflash/targets.csv", "targets.csv"]
        let found = inventory ?? standard.first { access($0.string, F_OK) == 0 }
        guard let path = found else {
            throw FlashFailure(
                .inventory,
                "no inventory: neither \(standard[0]) nor ./\(standard[1]) is there; make one, or name it with --inventory"
            )
        }
        let content: [UInt8]
        do {
            content = try readFile(path, limit: Inventory.largestFile)
        } catch {
            throw FlashFailure(.inventory, "cannot read inventory \(path): \(error)")
        }
        do {
            return try Inventory(csv: content, file: path.string)
        } catch {
            throw FlashFailure(.inventory, error.description)
        }
    }

    /// Finds a target.
    func target(_ text: String) throws(FlashFailure) -> Target {
        let inventory = try read()
        do {
            return try inventory.target(text)
        } catch {
            throw FlashFailure(.target, error.description)
        }
    }
}

/// The card that a target is expected to have.
struct CardOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The layout of the target's card. Default: /etc/rpiflash/card.yaml, then ./recovery_image/card.yaml, then that file's own values.",
            valueName: "file"))
    var card: FilePath?

    /// Reads the layout.
    func layout() throws(FlashFailure) -> CardLayout {
        let standard: [FilePath] = ["/etc/rpiflash/card.yaml", "recovery_image/card.yaml"]
        let found = card ?? standard.first { access($0.string, F_OK) == 0 }
        do {
            guard let path = found else { return try CardConfiguration(yaml: "", file: "built-in").layout() }
            let text = try String(decoding: readFile(path, limit: 1 << 20), as: UTF8.self)
            return try CardConfiguration(yaml: text, file: path.string).layout()
        } catch let error as Errno {
            throw FlashFailure(.usage, "cannot read card layout \(found?.string ?? ""): \(error)")
        } catch {
            throw FlashFailure(.usage, "\(error)")
        }
    }
}

/// All bytes of a small file.
///
/// - Throws: `Errno`; EFBIG where it is longer than `limit` bytes.
private func readFile(_ path: FilePath, limit: Int) throws -> [UInt8] {
    let file = try FileDescriptor.open(path, .readOnly, options: [.closeOnExec])
    defer { try? file.close() }
    var content: [UInt8] = []
    while true {
        let chunk = try [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
            count = try file.read(into: UnsafeMutableRawBufferPointer(buffer))
        }
        if chunk.isEmpty { return content }
        content += chunk
        guard content.count <= limit else { throw Errno(rawValue: EFBIG) }
    }
}

/// A time: `180s`, `500ms`, `3m`, or a number of seconds.
struct TimeSpan: ExpressibleByArgument {
    let duration: Duration

    init?(argument: String) {
        let digits = argument.prefix { $0.isASCII && $0.isNumber }
        // A day is more than any wait here is worth, and keeps typing errors out.
        guard let number = Int64(digits), (1...86_400_000).contains(number) else { return nil }
        switch argument[digits.endIndex...] {
        case "ms": duration = .milliseconds(number)
        case "", "s": duration = .seconds(number)
        case "m": duration = .seconds(number * 60)
        default: return nil
        }
        guard duration <= .seconds(86400) else { return nil }
    }

    var defaultValueDescription: String { "\(duration.seconds)s" }

    init(_ duration: Duration) { self.duration = duration }
}

/// Where to listen: `192.168.1.10`, `192.168.1.10:69` or `:69`.
struct ListenAddress: ExpressibleByArgument {
    let host: String
    let port: Int

    init?(argument: String) {
        let parts = argument.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let host = String(parts[0])
        if !host.isEmpty, host != "0.0.0.0" {
            guard (try? IPv4Address(host)) != nil else { return nil }
        }
        self.host = host.isEmpty ? "0.0.0.0" : host
        guard parts.count == 2 else {
            port = 69
            return
        }
        guard let port = UInt16(parts[1]), port > 0 else { return nil }
        self.port = Int(port)
    }

    var defaultValueDescription: String { "\(host):\(port)" }
}

extension FilePath: @retroactive ExpressibleByArgument {
    /// Any text but an empty one.
    public init?(argument: String) {
        guard !argument.isEmpty else { return nil }
        self.init(argument)
    }
}
