internal import Glibc
public import SystemPackage

/// Makes a folder in TMPDIR, else in /tmp, and removes it with the files in it when `body` has ended, however it ends.
///
/// - Parameters:
///   - prefix: what its name begins with.
///   - body: is given its path; what it makes there are files, not folders.
/// - Throws: `Errno` where it cannot be made; what `body` throws.
public func withTemporaryFolder<Result>(
    prefix: String, _ body: (FilePath) async throws -> Result
) async throws -> Result {
    var template = Array((environmentValue("TMPDIR") ?? "/tmp").utf8CString.dropLast())
    template += Array("/\(prefix)XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { removeFolder(path) }
    return try await body(FilePath(path))
}

private func removeFolder(_ path: String) {
    if let folder = opendir(path) {
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { unlink("\(path)/\(name)") }
        }
        closedir(folder)
    }
    rmdir(path)
}
