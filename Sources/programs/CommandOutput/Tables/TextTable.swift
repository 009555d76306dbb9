/// A table for people: columns two blanks apart, a line for each row, no blanks at the end of a line.
///
/// - Parameters:
///   - rows: as many cells in each; sanitized, as they go to a terminal.
///   - rightAligned: the columns whose cells end below each other, as numbers do.
///   - empty: what an empty cell shows.
package func textTable(_ rows: [[String]], rightAligned: Set<Int> = [], empty: String = "-") -> String {
    let rows = rows.map { $0.map { $0.isEmpty ? empty : $0 } }
    let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
        let cells = zip(row, widths).enumerated().map { column, cell in
            let padding = String(repeating: " ", count: cell.1 - cell.0.count)
            return rightAligned.contains(column) ? padding + cell.0 : cell.0 + padding
        }
        let line = cells.joined(separator: "  ")
        return line[..<(line.lastIndex { $0 != " " }.map(line.index(after:)) ?? line.startIndex)] + "\n"
    }.joined()
}
