import Configuration
package import LinuxHost
package import SystemPackage

/// The keys of a bench: a folder with `NAME.key` (RSA 2048, PEM), which signs, and `NAME.crt`, which has its public half as
/// mkimage reads it. The link `current.key` names the one that new cards get.
package struct SigningKeys: Hashable, Sendable {
    /// Where they are by default.
    package static let defaultFolder: FilePath = "/etc/rpiflash/keys"
    /// The link to the key that new cards get.
    package static let currentName = "current.key"

    /// The folder.
    package let folder: FilePath
    /// Their names, in alphabetical order; empty: the bench has no keys.
    package let names: [String]

    /// Looks at a folder; one that is not there has no keys.
    ///
    /// - Throws: ``SigningKeyError`` where it cannot be read, or another user could have written what is in it.
    package init(in folder: FilePath) throws(SigningKeyError) {
        let found: [String]
        do {
            found = try Folder.names(in: folder)
        } catch {
            guard error == .noSuchFileOrDirectory else { throw .unreadable(folder, error) }
            found = []
        }
        let names = found.filter { $0.hasSuffix(".key") && $0 != Self.currentName }.map { String($0.dropLast(4)) }
            .sorted()
        for name in names {
            let path = folder.appending("\(name).key")
            guard Self.isName(name) else { throw .badName(path) }
            try Self.check(path)
        }
        // mkimage looks for them from another working folder.
        (self.folder, self.names) = (realPath(folder) ?? folder, names)
    }

    /// The keys of these files alone, for instance `/etc/rpiflash/keys/current.key`. All are in one folder.
    ///
    /// - Throws: ``SigningKeyError``.
    package init(files: [FilePath]) throws(SigningKeyError) {
        var (names, folders) = ([String](), Set<FilePath>())
        for file in files {
            try Self.check(file)
            guard let path = realPath(file), path.extension == "key", let name = path.stem, Self.isName(name) else {
                throw .badName(file)
            }
            folders.insert(path.removingLastComponent())
            if !names.contains(name) { names.append(name) }
        }
        guard let folder = folders.first, folders.count == 1 else { throw .severalFolders(files) }
        (self.folder, self.names) = (folder, names)
    }

    /// The name of the key that new cards get; nil where there is none.
    package var current: String? {
        guard let path = realPath(folder.appending(Self.currentName)), let name = path.stem, names.contains(name)
        else { return nil }
        return name
    }

    /// Letters, digits and `-`: it is part of a device tree's path and of a script. mkimage's longest is longer.
    private static func isName(_ name: String) -> Bool {
        (1...24).contains(name.utf8.count) && name.utf8.allSatisfy { $0.isLetter || $0.isDigit || $0 == 0x2d }
    }

    private static func check(_ path: FilePath) throws(SigningKeyError) {
        do throws(UntrustedFile) {
            try FileTrust.current.check(path)
        } catch {
            throw .untrusted(error)
        }
        do {
            let file = try FileDescriptor.open(path, .readOnly)
            try file.close()
        } catch {
            throw .unreadable(path, error as? Errno ?? .ioError)
        }
    }
}

/// Why keys cannot be used.
package enum SigningKeyError: Error, Hashable, Sendable {
    /// It cannot be opened.
    case unreadable(FilePath, Errno)
    /// Somebody else could have written it.
    case untrusted(UntrustedFile)
    /// It is not called `NAME.key`.
    case badName(FilePath)
    /// They are in several folders.
    case severalFolders([FilePath])
}

extension SigningKeyError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .unreadable(let path, let errno):
            "cannot read the key \(path): \(errno)"
                + (Accounts.missingGroup(for: path).map { "; \($0)" } ?? "")
        case .untrusted(let error): "\(error)"
        case .badName(let path):
            "the key \(sanitized(path.string)) has no usable name; must be NAME.key, with 1 to 24 letters, digits or -"
        case .severalFolders: "the keys are in several folders; must be in one"
        }
    }
}

extension ToolRunner {
    /// Makes a key: `NAME.key` and `NAME.crt`. The name begins with `bench-`, then come 12 digits of the SHA-256 of the
    /// public half as `openssl pkey -pubout` prints it.
    ///
    /// - Parameter folder: where to.
    /// - Returns: its name.
    /// - Throws: ``HostToolError``; `CancellationError`; `Errno` where a file cannot be renamed.
    package func makeSigningKey(in folder: FilePath) async throws -> String {
        let (key, public_, certificate) = (".new.key", ".new.pub", ".new.crt")
        defer {
            for name in [key, public_, certificate] { try? unlinkFile(folder.appending(name)) }
        }
        try await run(
            .openssl, ["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key],
            in: folder)
        try await run(.openssl, ["pkey", "-in", key, "-pubout", "-out", public_], in: folder)
        let size = UInt64(try Stat(folder.appending(public_)).size)
        let name = "bench-\(try await sha256(of: folder.appending(public_), from: 0, count: size).prefix(12))"
        try await run(
            .openssl,
            [
                "req", "-batch", "-new", "-x509", "-key", key, "-subj", "/CN=\(name)", "-days", "36500", "-out",
                certificate,
            ],
            in: folder)
        // Who is in the group signs; nobody else reads it.
        try giveToFlashers(folder.appending(key), mode: 0o640)
        try giveToFlashers(folder.appending(certificate), mode: 0o644)
        // The certificate first: where there is a key, there is one.
        try renameFile(folder.appending(certificate), to: folder.appending("\(name).crt"))
        try renameFile(folder.appending(key), to: folder.appending("\(name).key"))
        return name
    }

    /// Makes a signed image of a script.
    ///
    /// - Parameters:
    ///   - source: what mkimage makes it of, see `SignedScript`.
    ///   - image: a file name in `folder`.
    ///   - folder: has what the source includes; the source is written there too.
    ///   - keys: the folder of the keys that the source names, as ``SigningKeys`` has checked it.
    /// - Throws: ``HostToolError``; `Errno`; `CancellationError`.
    package func makeSignedImage(_ source: String, image: String, folder: FilePath, keys: FilePath) async throws {
        // mkimage runs it, and says nothing of use where it is missing.
        _ = try find(.dtc)
        try writeFile(folder.appending("\(image).its"), source)
        try await sign("\(image).its", image: image, folder: folder, keys: keys)
    }

    /// Runs mkimage, and looks at what it made: where it cannot use a key it leaves the signature out, and ends with 0.
    private func sign(
        _ source: String, image: String, folder: FilePath, keys: FilePath, options: [String] = []
    ) async throws {
        try await run(.mkimage, ["-f", source, "-k", keys.string] + options + [image], in: folder)
        let values = try await run(.mkimage, ["-l", image], in: folder).split(separator: "\n").filter {
            $0.contains("Sign value:")
        }
        guard !values.isEmpty, !values.contains(where: { $0.contains("unavailable") }) else {
            throw HostToolError.failed(
                .mkimage, status: "no signature",
                errors: "a key cannot be used; each needs NAME.key, RSA with 2048 bits, and NAME.crt")
        }
    }

    /// A script as a signed image.
    ///
    /// - Parameter source: makes mkimage's source of the name of the script's file.
    /// - Throws: as ``makeSignedImage(_:image:folder:keys:)``.
    package func signScript(
        _ script: String, keys: SigningKeys, source: (_ file: String) -> String
    ) async throws -> [UInt8] {
        try await withTemporaryFolder(prefix: "rpiflash-sign-") { folder in
            try writeFile(folder.appending("script"), script)
            try await makeSignedImage(source("script"), image: "image", folder: folder, keys: keys.folder)
            return try SmallFile.read(folder.appending("image"), limit: 4 << 20)
        }
    }

    /// Puts the public halves of keys into a device tree, each required for images; one of several is enough.
    ///
    /// - Parameters:
    ///   - names: of the keys, which are in the folder `keys`, as ``SigningKeys`` has checked it.
    ///   - tree: a file name in `folder`; it is changed.
    ///   - source: makes mkimage's source of an image that is signed by the key of this name; the image is thrown away.
    /// - Throws: ``HostToolError``; `Errno`; `CancellationError`.
    package func addKeys(
        _ names: [String], in keys: FilePath, to tree: String, folder: FilePath,
        source: (_ file: String, _ key: String) -> String
    ) async throws {
        _ = try find(.dtc)
        let (script, text, image) = ("\(tree).script", "\(tree).its", "\(tree).image")
        defer {
            for name in [script, text, image] { try? unlinkFile(folder.appending(name)) }
        }
        try writeFile(folder.appending(script), "true\n")
        for key in names {
            try writeFile(folder.appending(text), source(script, key))
            try await sign(text, image: image, folder: folder, keys: keys, options: ["-K", tree, "-r"])
        }
        if names.count > 1 {
            try await run(.fdtput, ["-t", "s", tree, "/signature", "required-mode", "any"], in: folder)
        }
    }

    /// Writes the public half of a key, PEM.
    ///
    /// - Parameters:
    ///   - name: of the key, which is in the folder `keys`, as ``SigningKeys`` has checked it.
    ///   - file: a file name in `folder`.
    /// - Throws: ``HostToolError``; `CancellationError`.
    package func exportPublicKey(_ name: String, in keys: FilePath, to file: String, folder: FilePath) async throws {
        let certificate = keys.appending("\(name).crt").string
        try await run(.openssl, ["x509", "-in", certificate, "-pubkey", "-noout", "-out", file], in: folder)
    }

    /// Makes a device tree that has nothing.
    ///
    /// - Throws: ``HostToolError``; `Errno`; `CancellationError`.
    package func makeEmptyTree(_ tree: String, folder: FilePath) async throws {
        try writeFile(folder.appending("\(tree).dts"), "/dts-v1/;\n/ { };\n")
        try await run(.dtc, ["-q", "-I", "dts", "-O", "dtb", "-o", tree, "\(tree).dts"], in: folder)
        try unlinkFile(folder.appending("\(tree).dts"))
    }
}

private func writeFile(_ path: FilePath, _ text: String) throws {
    let file = try FileDescriptor.open(
        path, .writeOnly, options: [.create, .truncate], permissions: [.ownerReadWrite])
    _ = try file.closeAfter { try file.writeAll(text.utf8) }
}
