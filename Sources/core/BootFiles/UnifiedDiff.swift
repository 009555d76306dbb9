import Configuration

/// What differs between two texts, as `diff -u` prints it, with three lines around each change; empty where nothing does.
///
/// For people: control characters but the tab are shown as U+FFFD, and `name` stands for both files.
///
/// - Parameters:
///   - before: the old text; nil where there is no such file yet.
///   - after: the new text; nil where the file goes.
///   - name: the file's name.
package func unifiedDiff(before: [UInt8]?, after: [UInt8]?, name: String) -> String {
    let old = lines(of: before ?? [])
    let new = lines(of: after ?? [])
    guard before != after else { return "" }
    let edits = edits(from: old, to: new)
    let name = sanitized(name, limit: 1000)
    var text = "--- \(before == nil ? "/dev/null" : "a/\(name)")\n+++ \(after == nil ? "/dev/null" : "b/\(name)")\n"

    let context = 3
    let changes = edits.indices.filter { edits[$0].kind != .same }
    var rest = changes[...]
    while let first = rest.first {
        // Changes whose surroundings touch are one hunk.
        var last = first
        while let next = rest.first, next - last <= 2 * context + 1 {
            last = next
            rest = rest.dropFirst()
        }
        let hunk = edits[max(0, first - context)..<min(edits.count, last + context + 1)]
        let before = edits[..<hunk.startIndex]
        text += "@@ -\(range(before, hunk, without: .added)) +\(range(before, hunk, without: .removed)) @@\n"
        for edit in hunk {
            text += edit.kind.rawValue + shown(edit.line) + "\n"
            if edit.line.last != Byte.newline { text += "\\ No newline at end of file\n" }
        }
    }
    return text
}

/// What differs between two texts.
package func unifiedDiff(before: String?, after: String?, name: String) -> String {
    unifiedDiff(before: before.map { Array($0.utf8) }, after: after.map { Array($0.utf8) }, name: name)
}

private struct Edit {
    enum Kind: String { case same = " ", removed = "-", added = "+" }
    var kind: Kind
    var line: [UInt8]
}

/// Texts whose changed part has more lines than this are shown as replaced: a fine comparison needs memory by the square.
private let longestComparison = 4000

private func edits(from old: [[UInt8]], to new: [[UInt8]]) -> [Edit] {
    let head = zip(old, new).prefix { $0 == $1 }.count
    let tail = zip(old.dropFirst(head).reversed(), new.dropFirst(head).reversed()).prefix { $0 == $1 }.count
    let (from, to) = (old[head..<(old.count - tail)], new[head..<(new.count - tail)])
    var edits = old[..<head].map { Edit(kind: .same, line: $0) }
    if from.count + to.count > longestComparison {
        edits += from.map { Edit(kind: .removed, line: $0) } + to.map { Edit(kind: .added, line: $0) }
    } else {
        edits += compared(Array(from), Array(to))
    }
    return edits + old[(old.count - tail)...].map { Edit(kind: .same, line: $0) }
}

private func compared(_ old: [[UInt8]], _ new: [[UInt8]]) -> [Edit] {
    var removed: Set<Int> = []
    var added: Set<Int> = []
    for change in new.difference(from: old) {
        switch change {
        case .remove(let offset, _, _): removed.insert(offset)
        case .insert(let offset, _, _): added.insert(offset)
        }
    }
    var edits: [Edit] = []
    var (from, to) = (0, 0)
    while from < old.count || to < new.count {
        if removed.contains(from) {
            edits.append(Edit(kind: .removed, line: old[from]))
            from += 1
        } else if added.contains(to) {
            edits.append(Edit(kind: .added, line: new[to]))
            to += 1
        } else {
            edits.append(Edit(kind: .same, line: old[from]))
            from += 1
            to += 1
        }
    }
    return edits
}

/// First line and count of a hunk on one side; the first line is 0 where the count is and nothing is in front.
private func range(_ before: ArraySlice<Edit>, _ hunk: ArraySlice<Edit>, without kind: Edit.Kind) -> String {
    let start = before.count { $0.kind != kind }
    let count = hunk.count { $0.kind != kind }
    let first = count == 0 ? start : start + 1
    return count == 1 ? "\(first)" : "\(first),\(count)"
}

private func shown(_ line: [UInt8]) -> String {
    String(decoding: line.last == Byte.newline ? line.dropLast() : line[...], as: UTF8.self)
        .split(separator: "\t", omittingEmptySubsequences: false).map { sanitized($0) }
        .joined(separator: "\t")
}
