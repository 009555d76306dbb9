import Foundation
import SystemPackage
import TFTP
import TFTPServer

// rpiflash-test-server ROOT ADDRESS FOLDER [NAME=PATH]...: serves all files of ROOT/FOLDER, and each PATH as FOLDER/NAME
// and in ranges, from ADDRESS:69 until it is ended. Uploads go to ROOT/FOLDER. Prints what was sent: a line each.
let arguments = Array(CommandLine.arguments.dropFirst())
guard arguments.count >= 3 else {
    FileHandle.standardError.write(Data("usage: rpiflash-test-server ROOT ADDRESS FOLDER [NAME=PATH]...\n".utf8))
    exit(64)
}
let (root, address, folder) = (arguments[0], arguments[1], arguments[2])
let directory = URL(filePath: root).appending(path: folder)
var files: [String: ServedFolder.Source] = [:]
for name in try FileManager.default.contentsOfDirectory(atPath: directory.path)
where !ServedFolder.uploads.contains(name) {
    files[name] = .folder
}
var ranged: Set<String> = []
for argument in arguments.dropFirst(3) {
    let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
    let file = try FileDescriptor.open(parts[1], .readOnly)
    files[parts[0]] = SharedFile(duplicating: file.rawValue).map { .open($0) }
    try file.close()
    ranged.insert(parts[0])
}
/// A line at once, also into a file.
func say(_ line: String) { FileHandle.standardOutput.write(Data("\(line)\n".utf8)) }
let server = try await TFTPServer.start(root: root, host: address, port: 69)
say("serving")
for await event in server.add(ServedFolder(folder: folder, files: files, ranged: ranged, address: "0.0.0.0")).map(
    \.event)
{
    switch event {
    case .completed(let file, let bytes, _, _, _): say("completed \(file) \(bytes ?? 0)")
    case .uploaded(let name, let content):
        try Data(content).write(to: directory.appending(path: name))
        say("uploaded \(name) \(content.count)")
    case .refused(let path, _, let reason): say("refused \(path): \(reason)")
    case .interrupted(let file, let reason): say("interrupted \(file): \(reason)")
    case .opened, .progress, .sent, .activity, .lost: break
    }
}
