package import FlashEvents
import FlashPlan
import Flashing
import LinuxHost
package import HostTools
package import SystemPackage

/// The bench's keys.
///
/// - Throws: ``FlashError/server(_:)`` where they cannot be used.
package func signingKeys(in folder: FilePath) throws(FlashError) -> SigningKeys {
    do throws(SigningKeyError) {
        return try SigningKeys(in: folder)
    } catch {
        throw .server("\(error)")
    }
}

extension ScriptSigner {
    /// Signs with all keys of the bench; nil where it has none.
    init?(keys: SigningKeys) {
        guard !keys.names.isEmpty else { return nil }
        self.init(keys: keys.names) { script, name in
            try await hostTools().signScript(script, keys: keys) { file in
                SignedScript.source(of: file, name: name, keys: keys.names)
            }
        }
    }
}

/// A flash plan as a target takes it: signed where the bench has keys.
func render(_ plan: ChunkPlan, templates: FilePath, keys: SigningKeys) async throws -> [UInt8] {
    let templates = try planTemplates(in: templates)
    guard let signer = ScriptSigner(keys: keys) else { return try plan.scriptImage(templates: templates, time: 0) }
    let image = try await signer.sign(try plan.script(templates: templates), "plan")
    try plan.check(image)
    return image
}

/// Makes a key, which new cards get from now on.
///
/// - Returns: its name.
/// - Throws: ``FlashError/server(_:)``; `CancellationError`.
package func makeKey(in folder: FilePath) async throws -> String {
    do {
        let isNew = !exists(folder)
        try makeFolders(folder)
        if isNew { try giveToFlashers(folder, mode: 0o2750) }
        let name = try await hostTools().makeSigningKey(in: folder)
        try makeLink(folder.appending(SigningKeys.currentName), to: "\(name).key")
        return name
    } catch let error as PathError {
        throw FlashError.server("cannot make a key in \(error.path): \(error.errno)")
    } catch let error as Errno {
        throw FlashError.server("cannot make a key in \(folder): \(error)")
    } catch let error as HostToolError {
        throw FlashError.server("cannot make a key in \(folder): \(error)")
    }
}
