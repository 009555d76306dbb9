package import CommandOutput
package import Doctor
import Flashing
import GPIO
import HostTools
import Inventory
import LinuxHost
package import RunRecords
package import SystemPackage
import TargetConsole
import TFTPServer
import TFTPService

extension DoctorPorts {
    /// The real machine.
    ///
    /// - Parameters:
    ///   - inventory: the file; nil: the usual one.
    ///   - card: the layout of the targets' cards; nil: the program's own.
    ///   - root: the TFTP root.
    ///   - listen: where a flash would serve; nil: the service if it runs, else the usual place.
    ///   - service: the service's socket.
    ///   - keys: the folder of the bench's keys.
    package static func real(
        inventory: FilePath?, card: FilePath?, templates: FilePath, root: FilePath, listen: ListenAddress?,
        service: FilePath, runs: RunStore, keys: FilePath
    ) -> DoctorPorts {
        let (place, isGiven) = (listen ?? .usual, listen != nil)
        return DoctorPorts(
            inventory: { try loadInventory(inventory) }, card: { try loadCard(card) },
            checkTemplates: { _ = try planTemplates(in: templates) },
            bootScript: { bootScriptNumber(in: templates) },
            programs: {
                [(HostTool.fsckVFAT, true), (.e2fsck, true), (.fdtoverlay, false)].map { tool, isNeeded in
                    do {
                        _ = try hostTools().find(tool)
                        return .init(missing: nil, isNeeded: isNeeded)
                    } catch {
                        return .init(missing: "\(error)", isNeeded: isNeeded)
                    }
                }
            },
            server: { await findServer(root, place, service: isGiven ? nil : service) },
            checkRoot: { try Flashing.checkRoot(root) },
            line: { gpio in
                let line = try findLine(gpio.reference)
                return .init(
                    place: line.place,
                    busy: line.isUsed ? "\(GPIOError.busy(line: line.place, consumer: line.consumer))" : nil,
                    isForgotten: line.isForgotten)
            },
            groupFiles: { withLines in
                (exists(service) ? [service] : []) + (withLines ? GPIOChips.paths().map { FilePath($0) } : [])
            },
            checkSpeed: { port in
                SerialSpeed.known.contains { $0.baud == port.baud }
                    ? nil : "\(ConsoleError.speed(device: port.device, baud: port.baud))"
            },
            listen: {
                try ConsoleReader(.network(address: "127.0.0.1")) { _ in }.stop()
                return "UDP port \(ConsoleSource.networkPort)"
            },
            records: {
                let stored = try runs.list()
                return .init(
                    count: stored.count, bytes: stored.reduce(0) { $0 + $1.bytes },
                    cards: CardTrend.all(stored.compactMap(\.record)).map { .init($0) })
            },
            keys: {
                let keys = try signingKeys(in: keys)
                return .init(names: keys.names, current: keys.current)
            },
            firewall: {
                do {
                    return .chains(try await hostTools().run(.nft, ["list", "chains"]))
                } catch HostToolError.missing {
                    return .none
                } catch {
                    return .hidden("\(error)")
                }
            })
    }
}

/// The targets that runs were of, by name.
package func targets(seenIn records: [RunRecord]) -> [BenchTarget] {
    let last = Dictionary(records.map { ($0.target.mac, $0.target) }) { _, last in last }
    return last.values.sorted { $0.displayName < $1.displayName }.map { BenchTarget($0) }
}

/// This host's targets, and what checks of files found. Where the inventory (nil: the usual one) cannot be read, the targets
/// of runs, which come with the oldest first.
package func look(at inventory: FilePath?, _ records: [RunRecord], hostNames: Set<String>) -> WebPages.Bench {
    let (templates, none) = (sharedFile("templates"), FilePath("/"))
    var ports = DoctorPorts.real(
        inventory: inventory, card: Installation.current.card, templates: templates, root: none, listen: nil,
        service: none, runs: RunStore(), keys: none)
    ports.records = { .init(count: records.count, bytes: 0, cards: CardTrend.all(records).map { .init($0) }) }
    let subject = Doctor.Subject(
        root: none, store: none, runs: none, templates: templates, keys: none, address: "", port: 0,
        hostNames: hostNames)
    let rows = (try? loadInventory(inventory))?.targets.filter { (try? $0.checkServed(by: hostNames)) != nil }
    let known = rows?.map { target in
        BenchTarget(.init(name: target.name, mac: "\(target.mac)", ip: "\(target.ip)"), tags: target.tags)
    }
    return (known ?? targets(seenIn: records), Doctor(subject, ports: ports).examineFiles())
}

/// Who would serve a flash.
///
/// - Parameter service: the service's socket; nil where it is not asked, as an address was given.
private func findServer(_ root: FilePath, _ place: ListenAddress, service: FilePath?) async -> DoctorPorts.Server {
    do {
        if let service, let client = try ServiceClient.connect(to: service) {
            defer { client.close() }
            return .service(root: client.root, isOurs: client.serves(root))
        }
    } catch {
        return .brokenService("\(error)")
    }
    do throws(TFTPServerError) {
        let server = try await TFTPServer.start(root: root.string, host: place.host, port: place.port)
        await server.stop()
        return .free
    } catch {
        switch error {
        case .addressInUse:
            let host = place.host == "0.0.0.0" ? "127.0.0.1" : place.host
            let answer = await ServerProbe(host: host, port: place.port).read("rpiflash-doctor")
            return .taken(answers: answer != .silence)
        case .root: return .noRoot
        default: return .trouble("\(error)")
        }
    }
}

extension DoctorPorts.Card {
    fileprivate init(_ trend: CardTrend) {
        let board = trend.runs.last { $0.board != nil }?.board
        self.init(
            mac: trend.key.mac, uboot: board?.uboot, script: board?.script, linux: board?.linux, agent: board?.agent,
            keys: board?.keys, isKnown: board != nil, warning: trend.warning)
    }
}
