import Glibc
package import SystemPackage

/// Gives a file or folder a mode, and to the group of flashers where this host has it and root asks for it.
///
/// - Throws: what the system says.
package func giveToFlashers(_ path: FilePath, mode: CInterop.Mode) throws(Errno) {
    if geteuid() == 0, let group = Accounts.groupID(named: Accounts.flashers) {
        guard unsafe path.withPlatformString({ unsafe lchown($0, uid_t.max, group) }) == 0 else {
            throw Errno(rawValue: errno)
        }
    }
    // Behind it: a change of the group takes setgid away.
    guard unsafe path.withPlatformString({ unsafe chmod($0, mode) }) == 0 else { throw Errno(rawValue: errno) }
}

/// Makes a link, in place of one of that name.
///
/// - Parameter text: what it leads to.
/// - Throws: what the system says.
package func makeLink(_ path: FilePath, to text: String) throws(Errno) {
    let new = FilePath("\(path).new")
    try? unlinkFile(new)
    guard unsafe new.withPlatformString({ new in unsafe symlink(text, new) }) == 0 else {
        throw Errno(rawValue: errno)
    }
    try renameFile(new, to: path)
}
