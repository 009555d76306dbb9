import Glibc
package import SystemPackage

/// The folder for files that do not outlive a command: TMPDIR, else /tmp.
///
/// - Throws: ``TemporaryFolderError`` where it is not a folder that can be written to.
package func temporaryFolder() throws(TemporaryFolderError) -> FilePath {
    let path = environmentValue("TMPDIR") ?? "/tmp"
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { throw TemporaryFolderError(path: path, errno: Errno(rawValue: errno)) }
    guard status.st_mode & S_IFMT == S_IFDIR else { throw TemporaryFolderError(path: path, errno: .notDirectory) }
    guard unsafe access(path, W_OK | X_OK) == 0 else {
        throw TemporaryFolderError(path: path, errno: Errno(rawValue: errno))
    }
    return FilePath(path)
}

/// There is no folder for temporary files.
package struct TemporaryFolderError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Where it should be.
    package let path: String
    /// What the system says.
    package let errno: Errno

    package var description: String {
        let reason = errno.description.prefix(1).lowercased() + errno.description.dropFirst()
        return "\(path): no folder for temporary files: \(reason); set TMPDIR to one that can be written to"
    }
}

/// Makes a folder in TMPDIR, else in /tmp, and removes it with the files in it when `body` has ended, however it ends.
///
/// - Parameters:
///   - prefix: what its name begins with.
///   - body: is given its path; what it makes there are files, not folders.
/// - Throws: ``TemporaryFolderError`` where it cannot be made; what `body` throws.
package func withTemporaryFolder<Result>(
    prefix: String, _ body: (FilePath) async throws -> Result
) async throws -> Result {
    let folder = try temporaryFolder()
    var template = Array("\(folder)/\(prefix)XXXXXX".utf8CString)
    guard unsafe mkdtemp(&template) != nil else {
        throw TemporaryFolderError(path: folder.string, errno: Errno(rawValue: errno))
    }
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { removeFolder(path) }
    return try await body(FilePath(path))
}

private func removeFolder(_ path: String) {
    for name in (try? Folder.names(in: FilePath(path))) ?? [] { unsafe unlink("\(path)/\(name)") }
    unsafe rmdir(path)
}
