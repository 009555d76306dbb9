import TFTP
import TFTPServer

// The TFTP server alone, for virtual_target/benchmarks/bench-tftp: not part of the product.
//
//     tftp-bench-server ROOT HOST PORT FOLDER=ADDRESS…
//
// Hands out `flash.scr` and `image` of each folder to its address until standard input ends, then prints how many
// DATA packets were sent, and how many of them again.

struct Counts {
    var (sent, repeated, interrupted): (UInt64, UInt64, Int) = (0, 0, 0)
}

@concurrent func count(_ events: AsyncStream<TimedTransferEvent>) async -> Counts {
    var counts = Counts()
    for await event in events.map(\.event) {
        switch event {
        case .completed(_, _, let sent, let repeated, _):
            counts.sent += sent
            counts.repeated += repeated
        case .interrupted(let file, let reason):
            counts.interrupted += 1
            print("interrupted \(file): \(reason)")
        case .refused(let path, let address, let reason): print("refused \(address) \(path): \(reason)")
        default: break
        }
    }
    return counts
}

let arguments = CommandLine.arguments
guard arguments.count > 4, let port = Int(arguments[3]) else {
    fatalError("usage: tftp-bench-server ROOT HOST PORT FOLDER=ADDRESS...")
}
let server = try await TFTPServer.start(root: arguments[1], host: arguments[2], port: port)
var counting: [Task<Counts, Never>] = []
for argument in arguments[4...] {
    guard let equals = argument.firstIndex(of: "=") else { fatalError("no = in \(argument)") }
    let events = server.add(
        ServedFolder(
            folder: String(argument[..<equals]), files: ["flash.scr": .folder, "image": .folder],
            address: String(argument[argument.index(after: equals)...])))
    counting.append(Task { await count(events) })
}
while readLine() != nil {}
await server.stop()
var total = Counts()
for task in counting {
    let counts = await task.value
    total.sent += counts.sent
    total.repeated += counts.repeated
    total.interrupted += counts.interrupted
}
print("sent \(total.sent) repeated \(total.repeated) interrupted \(total.interrupted)")
