import Configuration
import DiskLayout
import Yams

extension Customization {
    /// Reads the tree of the file.
    struct Reader {
        let file: String

        func mapping(_ node: Node, _ key: String, _ keys: [String]) throws(ConfigurationError) -> [String: Node] {
            let prefix = key.isEmpty ? "" : "\(key)."
            guard case .mapping(let mapping) = node else {
                throw ConfigurationError(
                    file: file, position: node.position,
                    reason:
                        "\(key.isEmpty ? "file" : key) must be a mapping with the keys \(keys.joined(separator: ", "))")
            }
            var nodes: [String: Node] = [:]
            for (name, value) in mapping {
                guard case .scalar(let scalar) = name, keys.contains(scalar.string) else {
                    throw ConfigurationError(
                        file: file, position: name.position,
                        reason: "unknown key '\(prefix)\(sanitized(name.string ?? "", limit: 40))'; "
                            + "must be one of \(keys.joined(separator: ", "))")
                }
                nodes[prefix + scalar.string] = value
            }
            return nodes
        }

        func text(_ keys: [String: Node], _ key: String, mayBeEmpty: Bool = false) throws(ConfigurationError) -> Text? {
            guard let node = keys[key] else { return nil }
            return try text(node, key, mayBeEmpty: mayBeEmpty)
        }

        func required(_ keys: [String: Node], _ key: String, _ parent: Node) throws(ConfigurationError) -> Text {
            guard let text = try text(keys, key) else {
                throw ConfigurationError(file: file, position: parent.position, reason: "\(key) is missing")
            }
            return text
        }

        func text(_ node: Node, _ key: String, mayBeEmpty: Bool = false) throws(ConfigurationError) -> Text {
            guard case .scalar(let scalar) = node else {
                throw ConfigurationError(
                    file: file, position: node.position,
                    reason: "\(key) must be a text; one that begins with '{', '[' or '*' must stand in quotes")
            }
            guard mayBeEmpty || !scalar.string.isEmpty else {
                throw ConfigurationError(
                    file: file, position: node.position, reason: "\(key) is empty; leave the key out to leave it unset")
            }
            return Text(raw: scalar.string, key: key, position: node.position)
        }

        func flag(_ keys: [String: Node], _ key: String) throws(ConfigurationError) -> Flag? {
            guard let text = try text(keys, key) else { return nil }
            switch text.raw {
            case "true": return Flag(value: true, position: text.position)
            case "false": return Flag(value: false, position: text.position)
            default:
                throw ConfigurationError(
                    file: file, position: text.position,
                    reason: "\(key) is '\(sanitized(text.raw, limit: 40))'; must be true or false")
            }
        }

        func nodes(_ node: Node?, _ key: String) throws(ConfigurationError) -> [Node] {
            guard let node else { return [] }
            guard case .sequence(let sequence) = node else {
                throw ConfigurationError(file: file, position: node.position, reason: "\(key) must be a list")
            }
            return Array(sequence)
        }

        func list(_ keys: [String: Node], _ key: String) throws(ConfigurationError) -> [Text] {
            var texts: [Text] = []
            for node in try nodes(keys[key], key) { texts.append(try text(node, key)) }
            return texts
        }
    }
}
