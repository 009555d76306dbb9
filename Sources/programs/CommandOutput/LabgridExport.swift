import Configuration
package import Inventory

/// A bench server's targets as labgrid takes them (docs/labgrid.md).
///
/// Tried with labgrid 26.0.1. From its source: an exporter's configuration is a Jinja template whose lines that begin with
/// `#` are statements (remote/config.py); a group of digits alone becomes a place (remote/coordinator.py, _add_default_place);
/// a tag's key is `[a-z][a-z0-9_]+` (remote/common.py, TAG_KEY).
package struct LabgridExport: Sendable {
    /// What is asked for: a drop-in for labgrid-exporter, or commands that make the places.
    package enum Part: String, CaseIterable, Sendable { case exporter, places }

    private struct Row: Sendable {
        let group: String
        /// What rpiflash finds it by.
        let row: String
        let address: String
        let console: SerialPort?
        let tags: [String]
    }

    /// The bench server's name, which is its exporter's where labgrid-exporter is given no other.
    private let host: String
    private let rows: [Row]

    /// - Parameters:
    ///   - targets: those of this host.
    ///   - file: their inventory, for messages.
    ///   - host: this host's name, as gethostname(2) has it.
    /// - Throws: ``LabgridErrors``, with every row that labgrid cannot have.
    package init(_ targets: [Target], file: String, host: String) throws(LabgridErrors) {
        self.host = host
        var errors: [String] = []
        if host.wholeMatch(of: /[A-Za-z0-9][A-Za-z0-9._-]*/) == nil {
            errors.append("this host's name is \(quoted(host)); labgrid needs one of letters, digits, '.', '_' and '-'")
        }
        var places: [String: String] = [:]
        // The tag that a key comes from, and its first row: labgrid would take two tags for one.
        var keys: [String: (tag: String, line: Int)] = [:]
        rows = targets.map { target in
            func refuse(_ reason: String) { errors.append("\(file):\(target.line): \(reason)") }
            let group = target.name ?? "mac-\(target.mac.description.replacing(":", with: ""))"
            if group.utf8.allSatisfy(\.isDigit) {
                refuse("name '\(group)' is a number, which labgrid makes a place of its own; must have a letter")
            }
            if let other = places.updateValue(target.displayName, forKey: group) {
                refuse("group '\(group)' is also that of target \(other); give one of them another name")
            }
            let tags = target.tags.map { tag in
                let key = String(tag.lowercased().map { $0 == "-" || $0 == "." ? "_" : $0 })
                if key.wholeMatch(of: /[a-z][a-z0-9_]+/) == nil {
                    refuse(
                        "tag '\(tag)' cannot be a tag of labgrid, whose keys are a letter and then at least one more "
                            + "letter, digit or '_'")
                }
                let first = keys[key] ?? (tag, target.line)
                keys[key] = first
                if first.tag.lowercased() != tag.lowercased() {
                    refuse(
                        "tag '\(tag)' and tag '\(first.tag)' of line \(first.line) are both '\(key)' in labgrid; rename one"
                    )
                }
                return key
            }
            return Row(
                group: group, row: target.name ?? target.mac.description, address: target.ip.description,
                console: target.console, tags: tags)
        }
        guard errors.isEmpty else { throw LabgridErrors(errors: errors) }
    }

    /// Whether this can be an account on a flashed system, as useradd(8) has it.
    package static func isAccount(_ user: String) -> Bool { user.wholeMatch(of: /[a-z_][a-z0-9_-]{0,31}/) != nil }

    /// - Parameters:
    ///   - user: the account on the flashed systems.
    ///   - withSerial: whether serial consoles are exported too.
    package func text(_ part: Part, user: String, withSerial: Bool) -> String {
        switch part {
        case .exporter: exporter(user: user, withSerial: withSerial)
        case .places: places
        }
    }

    /// What labgrid's stock exporter reads, as a drop-in of its exporter.yaml.d.
    private func exporter(user: String, withSerial: Bool) -> String {
        "## Made by `rpiflash targets --labgrid exporter`. A line with one '#' would be a statement for labgrid.\n"
            + rows.map { row in
                var lines = [
                    "\(Self.yaml(row.group)):",
                    "  RPiFlashTarget:", #"    host: "{{ hostname }}""#, "    row: \(Self.yaml(row.row))",
                    "  NetworkService:", "    address: \(Self.yaml(row.address))", "    username: \(Self.yaml(user))",
                ]
                if withSerial, let console = row.console {
                    lines += [
                        "  RawSerialPort:", "    port: \(Self.yaml(console.device))", "    speed: \(console.baud)",
                    ]
                }
                return lines.joined(separator: "\n") + "\n"
            }.joined()
    }

    /// A script for a shell that makes the places; for those that are there it sets their tags.
    ///
    /// `labgrid-client -p NAME` takes a part of a name too, so that only what is not in the list is made and matched.
    private var places: String {
        let head = """
            # Made by `rpiflash targets --labgrid places`. For a shell, where labgrid-client reaches the coordinator.
            there=$(labgrid-client places) || exit
            status=0
            place() {
                name=$1
                shift
                printf '%s\\n' "$there" | cut -d ' ' -f 1 | grep -qxF -e "$name" ||
                    { labgrid-client -p "$name" create && labgrid-client -p "$name" add-match "\(host)/$name/*"; } || status=1
                [ $# -eq 0 ] || labgrid-client -p "$name" set-tags "$@" || status=1
            }

            """
        let calls = rows.map { row in
            (["place", row.group] + row.tags.map { "\($0)=yes" }).joined(separator: " ") + "\n"
        }
        return head + calls.joined() + "exit $status\n"
    }

    /// A double-quoted scalar, in which Jinja finds nothing to do. Inventories have printable ASCII only here.
    private static func yaml(_ text: String) -> String {
        "\""
            + text.map { character in
                switch character {
                case "\"", "\\": "\\\(character)"
                case "{": #"\x7b"#
                default: String(character)
                }
            }.joined() + "\""
    }
}

/// The rows that labgrid cannot have.
package struct LabgridErrors: Error, Sendable, CustomStringConvertible {
    let errors: [String]

    /// One line each.
    package var description: String { errors.joined(separator: "\n") }
}
