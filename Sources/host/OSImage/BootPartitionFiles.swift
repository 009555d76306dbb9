package import BootFiles

/// What a boot partition's files say to the boot script and the firmware.
extension FATFiles {
    /// The names of the kernel's command lines: one, or several where config.txt tells boards apart.
    ///
    /// - Parameter names: as ``names()`` gives them.
    package func commandLineNames(_ configuration: FirmwareConfiguration?, among names: [String]) -> [String] {
        var found: [String] = []
        for paths in (configuration ?? FirmwareConfiguration("")).commandLinePaths {
            let first = paths.lazy.compactMap { path in names.first { $0.lowercased() == path } }.first
            if let first, !found.contains(first) { found.append(first) }
        }
        return found
    }

    /// config.txt, with the files that it includes; nil where there is none.
    ///
    /// - Parameter names: as ``names()`` gives them.
    /// - Throws: ``FATError``.
    package func firmwareConfiguration(among names: [String]) throws(FATError) -> FirmwareConfiguration? {
        guard let name = names.first(where: { $0.lowercased() == "config.txt" }) else { return nil }
        let text = try read(name)
        var included: [String: [UInt8]] = [:]
        var texts = [text]
        while let text = texts.popLast(), included.count < 32 {
            for line in String(decoding: text, as: UTF8.self).split(whereSeparator: \.isNewline) {
                let words = line.split(whereSeparator: \.isWhitespace)
                guard words.count == 2, words[0] == "include", included[words[1].lowercased()] == nil,
                    let name = names.first(where: { $0.lowercased() == words[1].lowercased() })
                else { continue }
                let content = try read(name)
                included[words[1].lowercased()] = content
                texts.append(content)
            }
        }
        return FirmwareConfiguration(text) { included[$0.lowercased()] }
    }

    /// Whether the boot script starts a kernel from here.
    ///
    /// - Parameters:
    ///   - names: as ``names()`` gives them.
    ///   - commandLines: why nothing can be started with a command line, by its name.
    /// - Throws: ``FATError``.
    func bootOutlook(
        _ configuration: FirmwareConfiguration?, among names: [String], commandLines: [String: String]
    ) throws(FATError) -> BootOutlook {
        func key(_ path: String) -> String { path.lowercased().split(separator: "/").joined(separator: "/") }
        let choices = BootOutlook.choices(configuration, among: names)
        var kernels: [String: KernelKind] = [:]
        var obstacles: [String: String] = [:]
        for choice in choices {
            if let path = choice.selection.kernel, kernels[path] == nil,
                let name = names.first(where: { key($0) == key(path) })
            {
                kernels[path] = KernelKind(try start(of: name))
            }
            if let path = choice.selection.commandLine {
                obstacles[path] = commandLines.first { key($0.key) == key(path) }?.value
            }
        }
        return BootOutlook(configuration, choices: choices, kernels: kernels, commandLines: obstacles)
    }

    /// The first bytes of a file of any length, at most 4096.
    func start(of path: String) throws(FATError) -> [UInt8] {
        let (found, _) = try find(path)
        guard var entry = found, !entry.isFolder else { throw .noFile(path) }
        entry.size = min(entry.size, 4096)
        return try content(of: entry, path)
    }
}
