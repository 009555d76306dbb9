import Configuration
import Inventory

extension Doctor {
    /// The bench's keys, and whether its cards take what they sign, as far as earlier runs tell.
    ///
    /// - Parameter cards: what those tell.
    func checkKeys(_ targets: [Target], _ cards: [DoctorPorts.Card]) -> [Finding] {
        let keys: DoctorPorts.Keys
        do {
            keys = try ports.keys()
        } catch {
            return [Finding(.bad, "keys", "\(error)")]
        }
        var findings: [Finding] = []
        var seen: [String: Int] = [:]
        for target in targets {
            let known = cards.last { $0.mac == target.mac.description }?.keys
            if let known { seen[known.isEmpty ? "no key" : known.joined(separator: " and "), default: 0] += 1 }
            if let trouble = trouble(target, known, keys) { findings.append(trouble) }
        }
        let signing =
            keys.names.isEmpty
            ? "none in \(subject.keys), so nothing is signed; rpiflash keys init makes one"
            : "\(keys.names.joined(separator: " and ")) in \(subject.keys); keep a copy elsewhere"
        let texts = seen.sorted { $0.key < $1.key }.map { "\($0.key) (\($0.value))" }
        let cardText = texts.isEmpty ? "" : "; cards of earlier runs: \(texts.joined(separator: ", "))"
        return findings + [Finding(.ok, "keys", signing + cardText)]
    }

    /// Why a flash of this target would be refused, or soon will be.
    ///
    /// - Parameter known: the keys that its card knows; nil: not known.
    private func trouble(_ target: Target, _ known: [String]?, _ keys: DoctorPorts.Keys) -> Finding? {
        let name = "target \(target.displayName)"
        if target.requiresSigned, keys.names.isEmpty {
            return Finding(
                .bad, "keys",
                "\(name) has require_signed in the inventory, and this server has no key; make one with rpiflash keys "
                    + "init, or copy the bench's keys to this server")
        }
        guard let known else { return nil }
        if known.isEmpty {
            guard target.requiresSigned else { return nil }
            return Finding(
                .bad, "keys",
                "\(name) has require_signed in the inventory, and its card had no key in its last run; rpiflash upgrade "
                    + "brings it one")
        }
        let list = known.joined(separator: " or ")
        guard known.contains(where: { keys.names.contains($0) }) else {
            return Finding(
                .bad, "keys",
                "\(name) takes only plans that are signed by \(list), which this server does not have; copy that key to "
                    + "\(subject.keys), or bring the card another one with rpiflash upgrade")
        }
        guard let current = keys.current, !known.contains(current) else { return nil }
        return Finding(
            .note, "keys",
            "\(name) knows \(list), and not the current key \(current); rpiflash upgrade brings it that, as "
                + "docs/security.md says")
    }
}
