package import Yams

/// A YAML file of one flat mapping, read strictly: unknown and doubled keys are errors, and every error has its place.
package struct ConfigurationFile: Sendable {
    /// The file's name, for messages.
    package let name: String
    /// The values by key, in no particular order.
    private let entries: [String: Entry]

    private struct Entry: Sendable {
        var position: ConfigurationError.Position
        var value: Value
    }
    private enum Value: Sendable {
        case scalar(String)
        case list([(String, ConfigurationError.Position)])
    }

    /// Reads `yaml`, whose keys must be among `keys`.
    package init(yaml: String, name: String, keys: [String]) throws(ConfigurationError) {
        self.name = name
        guard let root = try Self.compose(yaml, name) else {
            entries = [:]
            return
        }
        guard case .mapping(let mapping) = root else {
            throw ConfigurationError(
                file: name, position: root.position, reason: "file must be a mapping, lines of 'key: value'")
        }
        var entries: [String: Entry] = [:]
        for (key, node) in mapping {
            guard case .scalar(let scalar) = key, keys.contains(scalar.string) else {
                throw ConfigurationError(
                    file: name, position: key.position,
                    reason: "unknown key '\(key.string ?? "")'; must be one of \(keys.joined(separator: ", "))")
            }
            entries[scalar.string] = Entry(
                position: node.position ?? .init(line: 1, column: 1), value: try Self.value(node, scalar.string, name))
        }
        self.entries = entries
    }

    /// The tree of `yaml`, nil where there is nothing in it. What is no YAML, or has a key twice, is an error.
    package static func compose(_ yaml: String, _ name: String) throws(ConfigurationError) -> Node? {
        do {
            return try Yams.compose(yaml: yaml)
        } catch YamlError.duplicatedKeysInMapping(let duplicates, let context) {
            throw ConfigurationError(
                file: name, position: .init(context.mark),
                reason: "key '\(duplicates.sorted().joined(separator: "', '"))' is there more than once")
        } catch YamlError.scanner(_, let problem, let mark, _), YamlError.parser(_, let problem, let mark, _),
            YamlError.composer(_, let problem, let mark, _)
        {
            throw ConfigurationError(file: name, position: .init(mark), reason: problem)
        } catch YamlError.reader(let problem, _, _, _) {
            throw ConfigurationError(file: name, position: nil, reason: problem)
        } catch {
            throw ConfigurationError(file: name, position: nil, reason: "file is not YAML")
        }
    }

    private static func value(_ node: Node, _ key: String, _ name: String) throws(ConfigurationError) -> Value {
        switch node {
        case .scalar(let scalar):
            return .scalar(scalar.string)
        case .sequence(let sequence):
            var list: [(String, ConfigurationError.Position)] = []
            for item in sequence {
                guard case .scalar(let scalar) = item else {
                    throw ConfigurationError(
                        file: name, position: item.position, reason: "\(key) must be a list of plain texts")
                }
                list.append((scalar.string, item.position ?? .init(line: 1, column: 1)))
            }
            return .list(list)
        default:
            throw ConfigurationError(
                file: name, position: node.position, reason: "\(key) must be one value, or a list in [ ]")
        }
    }

    /// Where the value of `key` stands; nil where it is not there.
    package func position(of key: String) -> ConfigurationError.Position? { entries[key]?.position }

    /// The one value of `key`, nil where it is not there.
    package func scalar(_ key: String) throws(ConfigurationError) -> String? {
        switch entries[key]?.value {
        case nil: return nil
        case .scalar(let text): return text
        case .list: throw error(key, "\(key) is a list; must be one value")
        }
    }

    /// The list of `key`, empty where it is not there.
    package func list(_ key: String) throws(ConfigurationError) -> [(
        text: String, position: ConfigurationError.Position
    )] {
        switch entries[key]?.value {
        case nil: return []
        case .list(let items): return items.map { ($0.0, $0.1) }
        case .scalar: throw error(key, "\(key) is one value; must be a list in [ ]")
        }
    }

    /// An error at the value of `key`.
    package func error(_ key: String, _ reason: String) -> ConfigurationError {
        ConfigurationError(file: name, position: position(of: key), reason: reason)
    }
}

extension Node {
    /// Where it stands in its file.
    package var position: ConfigurationError.Position? { mark.map { .init($0) } }
}

extension ConfigurationError.Position {
    fileprivate init(_ mark: Mark) { self.init(line: mark.line, column: mark.column) }
}
