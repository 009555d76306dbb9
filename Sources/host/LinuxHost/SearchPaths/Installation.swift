import Glibc
package import SystemPackage

/// Where this program runs from, which decides where the product's own files are: templates, board profiles, what cards
/// are made from. The working folder has no part in it: it may be anybody's.
package enum Installation: Hashable, Sendable {
    /// Built in a source tree and not installed; the tree's folder.
    case checkout(FilePath)
    /// Installed; the folder of what came with the program, `share/rpiflash` beside its own or /usr/share/rpiflash.
    case installed(FilePath)

    /// That of this process.
    package static let current: Installation = {
        guard let program = unsafe realpath("/proc/self/exe", nil) else { return .installed("/usr/share/rpiflash") }
        defer { unsafe free(program) }
        return unsafe Installation(program: FilePath(String(cString: program))) { exists($0) }
    }()

    /// That of a program.
    ///
    /// - Parameters:
    ///   - program: its file, without links in the path.
    ///   - exists: whether there is a file or folder.
    package init(program: FilePath, exists: (FilePath) -> Bool) {
        let components = program.components.map(\.string)
        // SwiftPM builds into .build of the package.
        if let build = components.firstIndex(of: ".build") {
            let tree = FilePath("/" + components[..<build].joined(separator: "/"))
            if exists(tree.appending("Package.swift")) {
                self = .checkout(tree)
                return
            }
        }
        let beside = program.removingLastComponent().removingLastComponent().appending("share/rpiflash")
        self = .installed(exists(beside) ? beside : "/usr/share/rpiflash")
    }

    /// A file or folder of the product: `templates`, `uboot/boards`, `recovery_image`.
    package func file(_ path: String) -> FilePath {
        switch self {
        // As a person in the tree writes it.
        case .checkout(let tree): isWorkingFolder(tree) ? FilePath(path) : tree.appending(path)
        case .installed(let share): share.appending(path)
        }
    }

    /// What is built or fetched and not part of the source: U-Boot (`uboot/<board>`), the Pi's firmware (`firmware`).
    ///
    /// - Parameter folder: where everything that is made goes, as RPIFLASH_BUILD names it; nil: where it goes without that.
    package func built(_ path: String, in folder: FilePath?) -> FilePath {
        if let folder { return folder.appending(path) }
        return switch self {
        case .checkout: file("build/\(path)")
        case .installed: file("prebuilt/\(path)")
        }
    }

    /// Where the cards' layout is when no option names it, in order: this host's, then the product's own. Both programs ask
    /// here, so that the card that is made is the one that a flash expects.
    package var cards: [FilePath] { [Self.hostCard, file("recovery_image/card.yaml")] }

    /// The first of ``cards`` that is there; nil where none is, and the defaults of card.yaml hold.
    package var card: FilePath? { cards.first { exists($0) } }

    /// This host's layout of its targets' cards.
    package static let hostCard: FilePath = "/etc/rpiflash/card.yaml"

    /// The end of a message about a program that is missing: what to do.
    ///
    /// - Parameter package: the Debian package that brings it.
    package func remedy(package: String) -> String {
        switch self {
        case .checkout: "install the Debian package \(package): make deps"
        case .installed: "install the Debian package \(package): apt install \(package)"
        }
    }

    /// The end of a message about something that is built or fetched and missing.
    ///
    /// - Parameters:
    ///   - make: the command that makes it in a source tree.
    ///   - package: the Debian package that has it.
    ///   - option: the option that names another place.
    package func remedy(make: String, package: String, option: String) -> String {
        switch self {
        case .checkout: "make it with: \(make)"
        case .installed: "install the Debian package \(package), or name another folder with \(option)"
        }
    }
}

/// What the help of `--card` says of its default.
package let cardDefault = "Default: \(Installation.hostCard), then the product's own recovery_image/card.yaml."

/// A file or folder of the product, where no option names it.
package func sharedFile(_ path: String) -> FilePath { Installation.current.file(path) }

// Looked up once: a command line's parser asks for each default dozens of times.
private let workingFolder: FilePath? = {
    guard let path = unsafe realpath(".", nil) else { return nil }
    defer { unsafe free(path) }
    return unsafe FilePath(String(cString: path))
}()

private func isWorkingFolder(_ path: FilePath) -> Bool { path == workingFolder }
