extension CardLayout {
    /// The layout as a picture: an SVG 1.1 document with a box for each partition, the sectors and bytes at which they
    /// start and end, and a table of the exact numbers.
    ///
    /// The boxes' widths grow with the logarithm of the sizes, as a true scale would show nothing but the rootfs.
    ///
    /// - Parameters:
    ///   - image: an OS image that is drawn above the card, with where its parts go; it must fit.
    ///   - name: what the image is called in the picture; any text.
    package func svg(of image: OSImageLayout? = nil, named name: String = "") -> String {
        var boxes = [
            Box(title: "table", size: SectorCount(uboot.start.sector), end: uboot.start, kind: .gap),
            Box(partition: uboot, name: "u-boot", kind: .uboot), Box(partition: boot, name: "boot", kind: .boot),
            Box(partition: rootfs, name: "rootfs", kind: .rootfs),
        ]
        let end = LBA(cardSize.sectors)
        if rootfs.end < end { boxes.append(Box(title: "unused", size: end - rootfs.end, end: end, kind: .gap)) }
        let card = Row(boxes, from: Drawing.left, width: Drawing.rowWidth)

        var drawing = Drawing()
        var y: UInt64 = 30
        if let image {
            y = drawing.add(image, named: name, onto: card, y: y)
        }
        drawing.heading("Card of \(cardSize.byteCount.readable), disk id \(diskID)", y: y)
        drawing.add(card, y: y + Drawing.boxOffset)
        y += Drawing.boxOffset + Drawing.boxHeight + 48
        // Law 1, seen.
        let kept = card.edges[2]
        drawing.line(from: card.edges[0], to: kept, y: y - 8)
        drawing.text(
            "a flash never writes this: U-Boot always survives", x: (card.edges[0] + kept) / 2, y: y + 10,
            style: "small", anchor: .middle)
        y += 44
        for row in numbers {
            for (cell, column) in zip(row.cells, Drawing.columns) {
                drawing.text(
                    cell, x: column.x, y: y, style: row.isHead ? "small" : "number", anchor: column.anchor)
            }
            y += 20
        }
        let description =
            named.map { "\($0): \($1.start), \($1.size)" }.joined(separator: "; ")
            + (image.map { "; image: boot \($0.boot.size), rootfs \($0.rootfs.size)" } ?? "")
        return drawing.document(height: y, title: "The layout of a card", description: description)
    }

    private var numbers: [(cells: [String], isHead: Bool)] {
        [(["#", "name", "type", "start LBA", "last LBA", "sectors", "start byte", "bytes", "size"], true)]
            + named.map { name, partition in
                (
                    [
                        "\(partition.number)", name, "\(partition.type)", "\(partition.start.sector)",
                        "\(partition.end.sector - 1)", "\(partition.size.sectors)",
                        "\(partition.start.byteOffset.bytes)", "\(partition.size.byteCount.bytes)",
                        partition.size.byteCount.readable,
                    ], false
                )
            }
    }
}

/// A stretch of a card or an image.
private struct Box {
    enum Kind: String { case gap, uboot, boot, rootfs }

    let title: String
    let size: SectorCount
    /// The first sector behind it.
    let end: LBA
    let kind: Kind

    init(title: String, size: SectorCount, end: LBA, kind: Kind) {
        (self.title, self.size, self.end, self.kind) = (title, size, end, kind)
    }

    init(partition: Partition, name: String, kind: Kind) {
        self.init(title: "\(partition.number) \(name)", size: partition.size, end: partition.end, kind: kind)
    }
}

/// Boxes side by side, and where they begin and end.
private struct Row {
    let boxes: [Box]
    /// One more than boxes, in pixels.
    let edges: [UInt64]

    init(_ boxes: [Box], from left: UInt64, width: UInt64) {
        self.boxes = boxes
        // Every box has room for its texts; what is left is shared by the number of binary digits of the sizes.
        let shares = boxes.map { UInt64(UInt64.bitWidth - $0.size.sectors.leadingZeroBitCount) }
        let free = width - Drawing.narrowest * UInt64(boxes.count)
        let sum = max(1, shares.reduce(0, +))
        var edges = [left]
        var seen: UInt64 = 0
        for (index, share) in shares.enumerated() {
            seen += share
            edges.append(left + Drawing.narrowest * UInt64(index + 1) + free * seen / sum)
        }
        self.edges = edges
    }
}

/// The elements of an SVG document, and its measures in pixels.
private struct Drawing {
    enum Anchor: String { case start, middle, end }

    // Half the widest label, `byte 2199023255040`, fits beside the boxes; a whole one fits the narrowest box.
    static let left: UInt64 = 60
    static let width: UInt64 = 980
    static let rowWidth: UInt64 = 860
    static let narrowest: UInt64 = 118
    static let boxOffset: UInt64 = 14
    static let boxHeight: UInt64 = 54
    static let columns: [(x: UInt64, anchor: Anchor)] = [
        (60, .start), (90, .start), (160, .start), (320, .end), (430, .end), (540, .end), (670, .end), (800, .end),
        (920, .end),
    ]

    private var elements: [String] = []

    mutating func text(_ text: String, x: UInt64, y: UInt64, style: String = "", anchor: Anchor = .start) {
        let style = style.isEmpty ? "" : " class=\"\(style)\""
        let anchor = anchor == .start ? "" : " text-anchor=\"\(anchor)\""
        elements.append("<text\(style) x=\"\(x)\" y=\"\(y)\"\(anchor)>\(text.escapedForXML)</text>")
    }

    mutating func heading(_ text: String, y: UInt64) { self.text(text, x: Self.left, y: y, style: "head") }

    mutating func line(from start: UInt64, to end: UInt64, y: UInt64) {
        elements.append("<line class=\"kept\" x1=\"\(start)\" y1=\"\(y)\" x2=\"\(end)\" y2=\"\(y)\"/>")
    }

    /// A row with the sectors and bytes of its boundaries under it.
    mutating func add(_ row: Row, y: UInt64) {
        for (index, box) in row.boxes.enumerated() {
            let (start, end) = (row.edges[index], row.edges[index + 1])
            elements.append(
                """
                <rect class="\(box.kind)" x="\(start)" y="\(y)" width="\(end - start)" height="\(Self.boxHeight)"/>
                """)
            text(box.title, x: (start + end) / 2, y: y + 23, anchor: .middle)
            text(box.size.byteCount.readable, x: (start + end) / 2, y: y + 42, style: "small", anchor: .middle)
        }
        for (edge, sector) in zip(row.edges, [LBA(0)] + row.boxes.map(\.end)) {
            for (line, label) in ["\(sector)", "byte \(sector.byteOffset.bytes)"].enumerated() {
                text(label, x: edge, y: y + Self.boxHeight + 15 + 14 * UInt64(line), style: "small", anchor: .middle)
            }
        }
    }

    /// An image, and where its partitions go on the card that is drawn below it.
    ///
    /// - Returns: where the card begins.
    mutating func add(_ image: OSImageLayout, named name: String, onto card: Row, y: UInt64) -> UInt64 {
        var boxes = [
            Box(title: "not written", size: SectorCount(image.boot.start.sector), end: image.boot.start, kind: .gap),
            Box(partition: image.boot, name: "boot", kind: .boot),
        ]
        if image.boot.end < image.rootfs.start {
            boxes.append(
                Box(title: "gap", size: image.rootfs.start - image.boot.end, end: image.rootfs.start, kind: .gap))
        }
        boxes.append(Box(partition: image.rootfs, name: "rootfs", kind: .rootfs))
        let file = SectorCount(roundingUp: image.size)
        if image.rootfs.end.sector < file.sectors {
            let end = LBA(file.sectors)
            boxes.append(Box(title: "not written", size: end - image.rootfs.end, end: end, kind: .gap))
        }
        let row = Row(boxes, from: Self.left, width: Self.rowWidth)
        heading("Image \(name), \(image.size.readable)", y: y)
        let top = y + Self.boxOffset
        let below = top + Self.boxHeight + 130
        for (index, box) in boxes.enumerated() {
            // On the card, by kind: there is one box of each.
            guard box.kind != .gap, let target = card.boxes.firstIndex(where: { $0.kind == box.kind }) else { continue }
            let (start, end) = (card.edges[target], card.edges[target + 1])
            // What of the card's partition the image's fills, at least a sliver.
            let room = card.boxes[target].size.sectors
            let filled =
                room == 0
                ? end - start
                : max(4, UInt64(Double(end - start) * min(1, Double(box.size.sectors) / Double(room))))
            elements.append(
                """
                <polygon class="way \(box.kind)" points="\(row.edges[index]),\(top + Self.boxHeight) \
                \(row.edges[index + 1]),\(top + Self.boxHeight) \(start + filled),\(below) \(start),\(below)"/>
                """)
        }
        // Above the ways, so that they do not veil the numbers.
        add(row, y: top)
        return below - Self.boxOffset
    }

    func document(height: UInt64, title: String, description: String) -> String {
        """
        <?xml version="1.0" encoding="UTF-8"?>
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(Self.width) \(height)" \
        font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="14" role="img" aria-labelledby="t d">
        <title id="t">\(title.escapedForXML)</title>
        <desc id="d">\(description.escapedForXML)</desc>
        <style>
          text { fill: #1b1f24 }
          .head { font-weight: bold; font-size: 15px }
          .small { font-size: 11px; fill: #57606a }
          .number { font-size: 12px }
          rect { stroke: #57606a }
          .paper { fill: #ffffff; stroke: none }
          .gap { fill: #eaeef2 }
          .uboot { fill: #ffd8a8 }
          .boot { fill: #b6e3ff }
          .rootfs { fill: #aceebb }
          .way { opacity: 0.45 }
          .kept { stroke: #bc4c00; stroke-width: 2 }
        </style>
        <rect class="paper" width="\(Self.width)" height="\(height)"/>
        \(elements.joined(separator: "\n"))
        </svg>

        """
    }
}

extension ByteCount {
    /// For a look: at most one decimal of the largest binary unit that is not more than the size, `6.9 GiB`.
    fileprivate var readable: String {
        for (unit, size) in [("TiB", UInt64(1) << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
        where bytes >= size {
            // In two steps: ten times the bytes may not fit.
            let tenths = bytes % size * 10 / size
            return tenths == 0 ? "\(bytes / size) \(unit)" : "\(bytes / size).\(tenths) \(unit)"
        }
        return "\(bytes) bytes"
    }
}

extension String {
    /// As the text of an XML 1.0 element: what is markup escaped, what no document may hold (section 2.2) replaced.
    fileprivate var escapedForXML: String {
        unicodeScalars.map { scalar in
            switch scalar {
            case "&": "&amp;"
            case "<": "&lt;"
            case ">": "&gt;"
            case "\"": "&quot;"
            // One line stays one line.
            case "\0"..<" ", "\u{7f}"..."\u{9f}", "\u{fffe}", "\u{ffff}": "\u{fffd}"
            default: String(scalar)
            }
        }.joined()
    }
}
