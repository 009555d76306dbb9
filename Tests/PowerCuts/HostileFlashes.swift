import TestSupport
import Foundation

extension PowerCuts {
    /// Flashes by a server that makes mistakes: files that are cut, longer, damaged, mixed up or not there, packets with
    /// anything wrong in them, answers to options that nobody asked for; and plans with right checksums of which chunks are
    /// repeated, left out, out of order, or have other numbers. After each the target must be back where it starts its card
    /// or refuses to, with no error of address sanitizer where it has that, and with laws 1 and 3 kept. Of an OK every byte
    /// must be on the card, but for parts that were damaged: they have no checksums. Of a plan with right checksums that is wrong in itself only law 1 can be asked: it may say in
    /// which order is written, and the server that writes it has that law's test.
    ///
    /// - Returns: how many.
    func flashFromHostileServers(_ bench: inout CutBench, _ tally: inout [String: Int]) throws -> Int {
        guard hostile > 0 || plan != nil else { return 0 }
        let staged = try bench.ways.map { try bench.capture($0) }
        let (first, of) = try shares()
        var count = 0
        for index in plan.map({ [$0] }) ?? Array(stride(from: first, to: hostile, by: of)) {
            var generator = SeededGenerator(seed: seed, stream: 2 << 32 | UInt64(index))
            let origin = Origin.allCases.randomElement(using: &generator) ?? .blank
            let (way, files) = staged.randomElement(using: &generator) ?? staged[0]
            let faults = ServerFaults(of: files, using: &generator)
            let result = try bench.flash(origin, way, faults, seed: seed, stream: 3 << 32 | UInt64(index))
            count += 1
            tally["hostile server, \(way): \(result.outcome)", default: 0] += 1
            if !result.wrong.isEmpty {
                say("seed \(seed), plan \(index): \(way) on \(origin.rawValue), \(faults.description)")
                try bench.keep("seed-\(seed)-plan-\(index)", result.wrong)
            }
        }
        return count
    }
}

extension ServerFaults {
    /// One to three things that are wrong.
    init(of honest: [String: [UInt8]], using random: inout SeededGenerator) {
        func below(_ limit: Int) -> Int { Int.random(in: 0..<max(1, limit), using: &random) }
        files = honest.mapValues { .some($0) }
        var words: [String] = []
        let names = honest.keys.sorted()
        for _ in 0..<1 + below(3) {
            switch below(8) {
            case 0, 1:
                packets = [2, 10, 50, 200][below(4)]
                isDamaged = true
                words.append("\(packets) of 1000 packets")
            case 2:
                options = true
                words.append("options")
            case 3 where honest["flash.scr"] != nil:
                guard let script = honest["flash.scr"], let (text, what) = Self.otherPlan(script, below) else {
                    continue
                }
                files["flash.scr"] = .some(text)
                isOtherPlan = true
                words.append(what)
            default:
                // Pieces of the image count as a file: no plan asks for all of them.
                let name = (names + ["img"])[below(names.count + 1)]
                let (file, what) = Self.damaged(honest[name] ?? [0], honest, below)
                files[name] = .some(file)
                isDamaged = true
                words.append("\(name) \(what)")
            }
        }
        description = words.joined(separator: ", ")
    }

    private static func damaged(_ file: [UInt8], _ all: [String: [UInt8]], _ below: (Int) -> Int) -> ([UInt8]?, String)
    {
        var file = file
        switch below(8) {
        case 0: return (nil, "missing")
        case 1: return ([], "empty")
        case 2:
            file = Array(file.prefix(below(file.count)))
            return (file, "cut to \(file.count) bytes")
        case 3:
            file += file.prefix(1 + below(file.count))
            return (file, "longer, \(file.count) bytes")
        case 4:
            let names = all.keys.sorted()
            let name = names[below(names.count)]
            return (all[name] ?? [], "is \(name)")
        case 5:
            // 40 MB of zeros in 40 KB, more than any chunk has room for.
            return (Self.bomb, "a gzip member of 40 MB")
        default:
            let count = 1 + below(3)
            for _ in 0..<count where !file.isEmpty { file[below(file.count)] ^= 1 << UInt8(below(8)) }
            return (file, "with \(count) bits flipped")
        }
    }

    /// Stored by gzip itself: what the unpacker sees is a right file.
    private static let bomb: [UInt8] = {
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = ["-c", "head -c 40000000 /dev/zero | gzip -9n"]
        let pipe = Pipe()
        process.standardOutput = pipe
        do { try process.run() } catch { return [0x1f, 0x8b, 8] }
        let bytes = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Array(bytes)
    }()

    /// The plan with other chunks, its checksums right again.
    private static func otherPlan(_ script: [UInt8], _ below: (Int) -> Int) -> ([UInt8], String)? {
        var lines = String(decoding: script.dropFirst(72), as: UTF8.self).split(
            separator: "\n", omittingEmptySubsequences: false
        ).map(String.init)
        let places = lines.indices.filter { lines[$0].hasPrefix("p_number=") }
        guard places.count > 1 else { return nil }
        let (one, other) = (places[below(places.count)], places[below(places.count)])
        let what: String
        switch below(4) {
        case 0:
            lines.removeSubrange(one...one + 1)
            what = "the plan without a chunk"
        case 1:
            lines.insert(contentsOf: lines[one...one + 1], at: other)
            what = "the plan with a chunk twice"
        case 2:
            lines.swapAt(one, other)
            what = "the plan with two chunks exchanged"
        default:
            var words = lines[one].split(separator: " ").map(String.init)
            let place = below(words.count)
            let name = words[place].prefix { $0 != "=" }
            let values = [
                "0x0", "0x1", "0xffffffff", "0x7fffffff", "0x80000000", "0x8000", "0x8001", "0xffffffffffffffff", "",
                "2",
                "3", "4", "0xfffffffffffff000", "0x1ffffff",
            ]
            words[place] = "\(name)=\(values[below(values.count)])"
            lines[one] = words.joined(separator: " ")
            what = "the plan with \(words[place])"
        }
        return (Self.scriptImage(Array(lines.joined(separator: "\n").utf8), like: script), what)
    }

    /// A legacy script image (include/image.h in U-Boot) with this text.
    private static func scriptImage(_ text: [UInt8], like old: [UInt8]) -> [UInt8] {
        func bytes(_ number: UInt32) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }
        var data = bytes(UInt32(text.count))
        data += [0, 0, 0, 0]
        data += text
        var header = Array(old.prefix(64))
        header.replaceSubrange(12..<16, with: bytes(UInt32(data.count)))
        header.replaceSubrange(24..<28, with: bytes(crc32(data)))
        header.replaceSubrange(4..<8, with: [0, 0, 0, 0])
        header.replaceSubrange(4..<8, with: bytes(crc32(header)))
        return header + data
    }

    private static func crc32(_ bytes: [UInt8]) -> UInt32 {
        var sum: UInt32 = 0xffff_ffff
        for byte in bytes {
            sum ^= UInt32(byte)
            for _ in 0..<8 { sum = sum & 1 == 0 ? sum >> 1 : sum >> 1 ^ 0xedb8_8320 }
        }
        return ~sum
    }
}

extension CutBench {
    /// What rpiflash stages for a flash: a reset copies it.
    func capture(_ way: Way) throws -> (Way, [String: [UInt8]]) {
        let row =
            try String(contentsOf: folder.appending(path: "target/targets.csv"), encoding: .utf8)
            .split(separator: "\n").last.map { $0.split(separator: ",", omittingEmptySubsequences: false) } ?? []
        guard row.count >= 5 else { throw BenchFailure("the target's inventory has no row") }
        let copy = folder.appending(path: "staged-\(way)")
        try FileManager.default.createDirectory(at: copy, withIntermediateDirectories: true)
        let command = "cp -L \(folder.path)/tftp/\(row[0])/* \(copy.path)/"
        try "mac,ip,server,gpio,name,reset_command\n\(row[0]),\(row[1]),\(row[2]),,\(row[4]),\"\(command)\"\n".write(
            to: folder.appending(path: "capture.csv"), atomically: true, encoding: .utf8)
        let status = try flash(way, inventory: "capture.csv", more: ["--request-timeout", "1s"])
        var files: [String: [UInt8]] = [:]
        for name in try FileManager.default.contentsOfDirectory(atPath: copy.path) {
            files[name] = Array(try Data(contentsOf: copy.appending(path: name)))
        }
        guard status == 5, files["flash.scr"] != nil || files["rpi_image_parts"] != nil else {
            throw BenchFailure("nothing was staged for \(way), exit status \(status)")
        }
        return (way, files)
    }

    /// A flash by a server with these faults, and the start of the card behind it.
    func flash(_ origin: Origin, _ way: Way, _ faults: ServerFaults, seed: UInt64, stream: UInt64) throws
        -> (outcome: String, wrong: [String])
    {
        try target.insert(template(origin))
        let before = try content().rest
        try target.set(faults: "")
        let image = try Data(contentsOf: folder.appending(path: "new.img"))
        let server = try HostileServer(
            address: "192.168.77.1", faults: faults, image: image, seed: seed, stream: stream)
        let begin = target.consoleSize
        try target.reset()
        let end = Date.now.addingTimeInterval(300)
        var wrong: [String] = []
        var text = ""
        var size = -1
        while true {
            try server.serve(milliseconds: 5)
            if target.consoleSize != size {
                size = target.consoleSize
                text = target.console(from: begin)
                if text.contains(/(?m)^rpiflash: (starting \/|cannot boot: )/) { break }
            }
            if target.isOn == false {
                wrong.append("U-Boot has ended")
                break
            }
            guard Date.now < end else {
                wrong.append("not back at its card within 300 s")
                break
            }
        }
        try target.stop()
        text = target.console(from: begin)
        for error in ["AddressSanitizer", "Cannot map sandbox address", "Segmentation", "panic"]
        where text.contains(error) {
            wrong.append("the console says '\(error)'")
        }
        let now = try content()
        if now.first != recovery { wrong.append("law 1: what is before partition 2 has changed") }
        let isWhole = isWhole(now.rest, way)
        let starts = text.contains(/(?m)^rpiflash: starting \//)
        let state: State = isWhole ? .whole : now.rest == before ? .untouched : .half
        let saysOK = text.contains("rpiflash: OK,")
        // Parts have no checksums: a card that has all of another image is whole to the target, and it says so.
        let mayBeOther = faults.isOtherPlan || way == .parts && faults.isDamaged && saysOK
        if !mayBeOther {
            if state == .half, starts { wrong.append("law 3: a half-written card starts") }
            if saysOK, !isWhole { wrong.append("law 2: the target says OK, and the card differs") }
        }
        if state == .whole, !starts { wrong.append("a whole card does not start") }
        let said = server.uploads["OK"] != nil ? "OK" : server.uploads["FAILED"] != nil ? "FAILED" : "nothing"
        return ("\(state.rawValue), said \(said)", wrong)
    }
}
