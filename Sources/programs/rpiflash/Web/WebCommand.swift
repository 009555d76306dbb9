import ArgumentParser
import CommandOptions
import CommandOutput
import FlashEvents
import LinuxHost
import SystemPackage
import WebServer
import Wiring

/// `rpiflash web`.
struct WebCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "web", abstract: "Show the bench in a browser: targets, flashes as they go on, records.",
        discussion: """
            The pages show what run records have. Nothing can be started or changed through them, and they ask nobody who \
            he is: docs/web.md has a reverse proxy that does. SIGTERM and SIGINT end it.

            EXAMPLES
              rpiflash web
              rpiflash web --listen 192.168.1.10 --name bench1.lab.example.org
            """)

    @Option(
        help: ArgumentHelp(
            "Where to listen: an IPv4 address, or address:port. Default: 127.0.0.1:8069.", valueName: "addr"),
        transform: { text in
            if let address = ListenAddress(text, port: 8069) { return address }
            throw ValidationError("must be an IPv4 address, or address:port")
        })
    var listen = ListenAddress(host: "127.0.0.1", port: 8069)

    @Option(
        name: .customLong("name"),
        help: ArgumentHelp("A name by which browsers may call this server; several times: all.", valueName: "host"))
    var names: [String] = []

    @Option(help: TargetOptions.inventoryHelp)
    var inventory: String?

    @OptionGroup var runs: RunsOptions
    @OptionGroup var log: LogOptions

    func run() async throws {
        log.apply()
        let (own, path) = (ownHostNames(), inventory.map { FilePath($0) })
        let pages = WebPages(runs.store) { look(at: path, $0, hostNames: own) }
        for name in WebPages.types.keys + ["page.html"] { try WebPages.read(name) }
        _ = await pages.page("index")
        let (process, count) = (environmentValue("LISTEN_PID"), environmentValue("LISTEN_FDS"))
        let socket = try ActivationSockets(process: process, count: count).stream
        let isOpen = socket == nil && !listen.host.hasPrefix("127.")
        let known = ["localhost", "127.0.0.1", "[::1]"] + names.map { $0.lowercased() } + (isOpen ? Array(own) : [])
        let server = try await WebServer(
            host: listen.host, port: listen.port, socket: socket?.rawValue, names: Set(known)
        ) { await Self.answer($0.isEmpty ? "index.html" : $0, pages) }
        let place = socket == nil ? "http://\(listen.host):\(server.port)/" : "systemd's socket"
        Log.shared.line("the bench is at \(place)")
        if isOpen { Log.shared.line("who reaches \(listen.host) sees its users and consoles", .warning) }
        // What systemd has started for who looks ends when nobody has for five minutes; the next one starts it again.
        var last = ContinuousClock.now
        while socket == nil || .now - last < .seconds(300), (try? await Task.sleep(for: .seconds(5))) != nil {
            if server.connectionCount > 0 { last = .now }
        }
        await server.stop()
    }

    private static func answer(_ name: String, _ pages: WebPages) async -> WebAnswer? {
        let page = String(name.dropLast(5))
        if name.hasSuffix(".live"), await pages.page(page) != nil {
            return .events { try await pages.changes(of: page, behind: $0) }
        }
        let type = WebPages.types[name] ?? "text/\(name.hasSuffix(".html") ? "html" : "plain"); charset=utf-8"
        return await pages.file(name, live: true).map { .content($0, type: type) }
    }
}
