internal import Glibc
public import SystemPackage

/// Where a file or folder of the product is when no option names it: `path` in the working folder, in `share/rpiflash`
/// next to the program's folder, in /usr/share/rpiflash, or, for a program that was built but not installed, in its source
/// tree. The first that exists; the working folder's where none does, for the message.
public func sharedFile(_ path: String) -> FilePath {
    let candidates = [path] + places.map { "\($0)/\(path)" }
    return FilePath(candidates.first { access($0, F_OK) == 0 } ?? path)
}

// Looked up once: a command line's parser asks for each default dozens of times.
private let places: [String] = {
    guard let program = realpath("/proc/self/exe", nil) else { return ["/usr/share/rpiflash"] }
    defer { free(program) }
    let path = FilePath(String(cString: program))
    let installed = path.removingLastComponent().removingLastComponent().string + "/share/rpiflash"
    let components = path.components.map(\.string)
    let source = components.firstIndex(of: ".build").map { "/" + components[..<$0].joined(separator: "/") }
    return [installed, "/usr/share/rpiflash"] + (source.map { [$0] } ?? [])
}()
