import BootScript
package import FlashEvents
package import FlashPlan
import LinuxHost
package import SystemPackage

/// Refuses templates of flash plans that another user could have written: targets run them.
package func checkPlanTemplates(in folder: FilePath) throws(FlashError) {
    for name in PlanTemplates.files + [PlanTemplates.chunkFile] { try checkTrust(of: folder.appending(name)) }
}

func checkTrust(of path: FilePath) throws(FlashError) {
    do throws(UntrustedFile) {
        try FileTrust.current.check(path)
    } catch {
        throw .server("\(error)")
    }
}

/// The templates of flash plans.
package func planTemplates(in folder: FilePath) throws -> PlanTemplates {
    try PlanTemplates { name in
        let path = folder.appending(name)
        try checkTrust(of: path)
        guard let content = try? SmallFile.read(path, limit: 1 << 20),
            let text = String(validating: content, as: UTF8.self)
        else { throw FlashError.server("cannot read the template \(path); give its folder with --templates") }
        return try Template(text, file: path.string)
    }
}

/// The number of the boot script that this version's cards get; nil where the template is not there or has none.
package func bootScriptNumber(in folder: FilePath) -> UInt64? {
    guard let content = try? SmallFile.read(folder.appending(BootScriptFiles.settings), limit: 1 << 20) else {
        return nil
    }
    let text = String(decoding: content, as: UTF8.self)
    return text.firstMatch(of: /(?m)^setenv l_script ([0-9a-f]+)$/).flatMap { UInt64($0.output.1, radix: 16) }
}
