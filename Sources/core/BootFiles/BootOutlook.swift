import Configuration

/// Whether the boot script starts a kernel from an image's boot partition, on each board.
package struct BootOutlook: Hashable, Sendable {
    /// Why no board starts a kernel: one sentence each, lower case.
    package var obstacles: [String] = []
    /// What a user should know: one sentence each, lower case.
    package var notes: [String] = []
    /// The boards that start no kernel, by name, and why not.
    package var unstartable: [String: String] = [:]

    /// What the boot script starts on one machine of a board.
    package struct Choice: Hashable, Sendable {
        /// The board.
        package let board: BootBoard
        /// The machine's device tree; nil where the board's machine has none.
        package let deviceTree: String?
        /// The files.
        package let selection: BootSelection
    }

    /// What is started on all machines of all boards.
    ///
    /// - Parameters:
    ///   - configuration: config.txt; nil where there is none.
    ///   - files: all files of the boot partition, without a slash in front.
    package static func choices(_ configuration: FirmwareConfiguration?, among files: [String]) -> [Choice] {
        let configuration = configuration ?? FirmwareConfiguration("")
        return BootBoard.all.flatMap { board in
            board.machines.map { machine in
                let settings = configuration.settings(deviceTree: machine)
                return Choice(
                    board: board, deviceTree: machine, selection: settings.selection(for: board, among: files))
            }
        }
    }

    /// - Parameters:
    ///   - configuration: config.txt; nil where there is none.
    ///   - choices: of ``choices(_:among:)``.
    ///   - kernels: what the kernels of the choices are, by their paths.
    ///   - commandLines: why nothing can be started with the command lines of the choices, by their paths.
    package init(
        _ configuration: FirmwareConfiguration?, choices: [Choice], kernels: [String: KernelKind],
        commandLines: [String: String]
    ) {
        func reason(_ choice: Choice) -> String? {
            if let refusal = configuration?.refusal { return refusal }
            guard let commandLine = choice.selection.commandLine else {
                return "boot partition has no cmdline.txt; the boot script starts no kernel without it"
            }
            if let reason = commandLines[commandLine] { return reason }
            guard let kernel = choice.selection.kernel else {
                return
                    "boot partition has no kernel for the board \(choice.board.name): none that config.txt names, and none "
                    + "of \(choice.board.kernels.joined(separator: ", "))"
            }
            guard let what = (kernels[kernel] ?? .unknown).obstacle(on: choice.board.kernelForm) else { return nil }
            return "\(shown(kernel)) is \(what), which the U-Boot of the board \(choice.board.name) does not start"
        }
        func shown(_ path: String) -> String { sanitized(path.drop { $0 == "/" }, limit: 120) }

        for board in BootBoard.all {
            let own = choices.filter { $0.board == board }
            let reasons = own.map(reason)
            if let first = reasons.first, let reason = first, reasons.allSatisfy({ $0 != nil }) {
                unstartable[board.name] = reason
                continue
            }
            for (choice, reason) in zip(own, reasons) where reason != nil {
                notes.append("on \(choice.deviceTree ?? board.name) nothing is started: \(reason ?? "")")
            }
        }
        // config.txt's kernel counts only where it is.
        var missing: [String] = []
        for choice in choices where unstartable[choice.board.name] == nil {
            guard let named = configuration?.settings(deviceTree: choice.deviceTree).kernel,
                let kernel = choice.selection.kernel, !BootSettings.key(kernel).hasSuffix(BootSettings.key(named))
            else { continue }
            let note =
                "config.txt names the kernel \(sanitized(named, limit: 120)), which is not there; the boot script starts "
                + "\(shown(kernel)) instead"
            if !missing.contains(note) { missing.append(note) }
        }
        notes += missing

        guard unstartable.count < BootBoard.all.count else {
            var reasons: [String] = []
            if choices.allSatisfy({ $0.selection.commandLine != nil && $0.selection.kernel == nil }) {
                var names: [String] = []
                for name in BootBoard.all.flatMap(\.kernels) where !names.contains(name) { names.append(name) }
                reasons = [
                    "boot partition has no kernel: none that config.txt names, and none of "
                        + names.joined(separator: ", ")
                ]
            }
            if reasons.isEmpty || configuration?.refusal != nil {
                reasons = []
                for board in BootBoard.all where board != .qemuArm64 {
                    if let reason = unstartable[board.name], !reasons.contains(reason) { reasons.append(reason) }
                }
            }
            obstacles = reasons
            return
        }
        if let reason = unstartable[BootBoard.rpiArm64.name] {
            let others = BootBoard.all.filter { unstartable[$0.name] == nil }.map(\.name)
            notes.append("the image starts on cards of \(others.joined(separator: " and ")) only: \(reason)")
        }
    }
}
