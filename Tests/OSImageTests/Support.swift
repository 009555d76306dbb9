import DiskLayout
import Foundation
import HostTools
import LinuxHost
import SystemPackage
import TestImages
import TestSupport

@testable import OSImage

/// mtools and the like, as the product runs them.
let toolRunner = ToolRunner(path: ProcessInfo.processInfo.environment["PATH"], sourceDate: SourceDate.standard)

/// SHA-256 of a file.
func digest(_ path: String) throws -> String { String(try run("sha256sum", [path]).output.prefix(64)) }

/// Writes what a view reads into a file, for tools that know nothing of views.
func materialise(_ view: ImageReader, _ folder: TemporaryFolder, as name: String = "view.img") throws -> String {
    let path = folder.path(name)
    try Data().write(to: URL(fileURLWithPath: path))
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    var offset: UInt64 = 0
    while offset < view.size.bytes {
        let count = min(1 << 20, view.size.bytes - offset)
        try handle.write(contentsOf: Data(view.bytes(at: offset, count: Int(count))))
        offset += count
    }
    try handle.close()
    return path
}
