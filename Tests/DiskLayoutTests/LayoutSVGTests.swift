import DiskLayout
import Foundation
import FoundationXML
import TestSupport
import Testing

private func standard() throws -> CardLayout { try CardConfiguration(yaml: "", file: "card.yaml").layout() }

private func image(
    start: UInt64 = 8192, boot: UInt64, span: UInt64, rootfs: UInt64, behind: UInt64 = 0
) throws -> OSImageLayout {
    let table = PartitionTable(
        diskID: nil,
        partitions: [
            Partition(number: 1, type: .fat32LBA, start: LBA(start), size: SectorCount(boot)),
            Partition(number: 2, type: .linux, start: LBA(start + span), size: SectorCount(rootfs)),
        ])
    return try OSImageLayout(table: table, size: SectorCount(start + span + rootfs + behind).byteCount)
}

/// What a reader of XML saw.
private final class Reader: NSObject, XMLParserDelegate {
    struct Element {
        let name: String
        let attributes: [String: String]
        var text = ""
        func number(_ name: String) -> Int? { attributes[name].flatMap { Int($0) } }
    }
    private(set) var elements: [Element] = []
    private var open: [Int] = []

    init(_ text: String) throws {
        super.init()
        let parser = XMLParser(data: Data(text.utf8))
        parser.delegate = self
        try #require(parser.parse(), "not well-formed, line \(parser.lineNumber): \(text)")
    }

    func parser(
        _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?,
        attributes: [String: String]
    ) {
        open.append(elements.count)
        elements.append(Element(name: name, attributes: attributes))
    }

    func parser(_ parser: XMLParser, foundCharacters string: String) {
        if let last = open.last { elements[last].text += string }
    }

    func parser(
        _ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?
    ) { open.removeLast() }

    func texts() -> [String] { elements.filter { $0.name == "text" }.map(\.text) }
    func boxes(_ kind: String) -> [Element] {
        elements.filter { $0.name == "rect" && $0.attributes["class"] == kind }
    }
    var ways: [[Int]] {
        elements.filter { $0.name == "polygon" }.map { element in
            (element.attributes["points"] ?? "").split { " ,".contains($0) }.compactMap { Int($0) }
        }
    }
}

@Suite struct LayoutSVGTests {
    @Test(arguments: UInt64(0)..<20)
    func `shows every partition with its exact sectors and bytes`(seed: UInt64) throws {
        let card = try CardLayout.random(seed: seed)
        let reader = try Reader(card.svg())
        let texts = reader.texts()
        for partition in card.table.partitions {
            for text in [
                "\(partition.start.sector)", "\(partition.end.sector - 1)", "\(partition.size.sectors)",
                "\(partition.start.sector * 512)", "\(partition.size.sectors * 512)",
                "LBA \(partition.start.sector)", "byte \(partition.start.sector * 512)",
                "LBA \(partition.end.sector)",
            ] {
                #expect(texts.contains(text), "no '\(text)' in the picture")
            }
        }
        #expect(texts.contains { $0.contains("disk id \(card.diskID)") })
        #expect(reader.ways.isEmpty)
    }

    @Test(arguments: UInt64(0)..<20)
    func `draws the partitions side by side, each wide enough to be read, within the picture`(seed: UInt64) throws {
        let card = try CardLayout.random(seed: seed)
        let reader = try Reader(card.svg())
        var left = 60
        for kind in ["uboot", "boot", "rootfs"] {
            let boxes = reader.boxes(kind)
            #expect(boxes.count == 1)
            let box = try #require(boxes.first)
            let (x, width) = (try #require(box.number("x")), try #require(box.number("width")))
            #expect(x >= left && width >= 118 && x + width <= 920)
            left = x + width
        }
        // The table in front, and what no partition has behind them.
        let unused = card.rootfs.end.sector < card.cardSize.sectors
        #expect(reader.boxes("gap").count == (unused ? 2 : 1))
        #expect(reader.texts().contains("unused") == unused)
    }

    @Test func `a larger partition is drawn no narrower`() throws {
        let reader = try Reader(try standard().svg())
        let widths = try ["uboot", "boot", "rootfs"].map { try #require(reader.boxes($0).first?.number("width")) }
        #expect(widths == widths.sorted())
    }

    @Test(arguments: [UInt64(1), 2048, 16384])
    func `an image's parts go to the card's partitions, and fill as much of them as they have`(start: UInt64) throws {
        let card = try standard()
        // Half of partition 2, a quarter of partition 3, and something behind the rootfs.
        let half = try image(
            start: start, boot: card.boot.size.sectors / 2, span: card.boot.size.sectors,
            rootfs: card.rootfs.size.sectors / 4,
            behind: 100)
        let reader = try Reader(card.svg(of: half, named: "raspios.img"))
        #expect(reader.texts().contains { $0.hasPrefix("Image raspios.img, ") })
        #expect(reader.texts().count { $0 == "not written" } == 2)
        #expect(reader.texts().contains("LBA \(start)") && reader.texts().contains("byte \(start * 512)"))
        #expect(reader.ways.count == 2)
        for (way, (kind, part)) in zip(reader.ways, [("boot", 2), ("rootfs", 4)]) {
            // The first is the image's, the second the card's.
            let boxes = reader.boxes(kind)
            #expect(boxes.count == 2 && way.count == 8)
            let (from, to) = (boxes[0], boxes[1])
            let (x, width) = (try #require(from.number("x")), try #require(from.number("width")))
            #expect(way[0] == x && way[2] == x + width)
            let (target, room) = (try #require(to.number("x")), try #require(to.number("width")))
            #expect(way[6] == target && way[4] == target + room / part)
        }
    }

    @Test(arguments: [
        "<b>&\"'</b>.img", "]]>", "a\u{1b}[31mred\u{7}\u{0}\n.img", "\u{202e}gmi", "日本.img", "&amp;",
    ])
    func `any name of an image is text and nothing else`(name: String) throws {
        let card = try standard()
        let picture = card.svg(
            of: try image(boot: 8192, span: card.boot.size.sectors, rootfs: 8192), named: name)
        let reader = try Reader(picture)
        #expect(
            Set(reader.elements.map(\.name)) == ["svg", "title", "desc", "style", "rect", "text", "line", "polygon"])
        let heading = try #require(reader.texts().first { $0.hasPrefix("Image ") })
        let shown = String(
            String.UnicodeScalarView(name.unicodeScalars.map { $0.value < 32 ? "\u{fffd}" : $0 }))
        #expect(heading.hasPrefix("Image \(shown), "))
    }

    static let xmllint = ["/usr/bin/xmllint", "/usr/bin/python3"].first {
        FileManager.default.isExecutableFile(atPath: $0)
    }

    @Test(.enabled(if: xmllint != nil), arguments: [nil, "<&>\u{1}.img"])
    func `another reader of XML takes it too`(name: String?) throws {
        let folder = try TemporaryFolder()
        let path = folder.path("card.svg")
        let card = try standard()
        let drawn = try name.map { _ in try image(boot: 8192, span: card.boot.size.sectors, rootfs: 8192) }
        try card.svg(of: drawn, named: name ?? "").write(toFile: path, atomically: true, encoding: .utf8)
        let tool = try #require(Self.xmllint)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: tool)
        process.arguments =
            tool.hasSuffix("xmllint")
            ? ["--noout", "--nonet", path]
            : ["-c", "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])", path]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
    }
}
