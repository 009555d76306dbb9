/// Lines at the end of a terminal that are written again and again.
struct StatusBlock {
    private var lines: [Int: String] = [:]
    private var drawn = 0

    func has(_ number: Int) -> Bool { lines[number] != nil }

    /// - Parameter text: sanitized; nil for none.
    mutating func set(_ number: Int, _ text: String?) { lines[number] = text }

    /// What takes the lines off the terminal, and goes back to where the first began.
    mutating func erase() -> String {
        defer { drawn = 0 }
        return drawn == 0 ? "" : "\r" + (drawn > 1 ? "\u{1b}[\(drawn - 1)A" : "") + "\u{1b}[J"
    }

    /// The lines in the order of their numbers, cut to the terminal: a line that wraps, or scrolls out, could not be
    /// erased.
    mutating func draw(in size: (width: Int, height: Int)) -> String {
        var shown = lines.sorted { $0.key < $1.key }.map { String($0.value.prefix(max(1, size.width - 1))) }
        let limit = max(1, size.height - 1)
        if shown.count > limit {
            let more = shown.count - limit + 1
            shown = shown.prefix(limit - 1) + [String("and \(more) more".prefix(max(1, size.width - 1)))]
        }
        drawn = shown.count
        return shown.joined(separator: "\n")
    }
}
