import ArgumentParser
import BootScript
import CommandOutput
import DiskLayout
import HostTools
import Glibc
import LinuxHost
import RecoveryImage
import SystemPackage

struct RecoveryImageCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "recovery-image",
        abstract: "Make the image of a recovery card.",
        discussion: """
            Next to the image come its block map (.bmap) and a compressed copy (.img.xz). The image ends behind the first
            MiB of partition 3, its table describes the whole card. Same inputs and SOURCE_DATE_EPOCH: same bytes.

            EXAMPLES
              rpiflash-gen recovery-image --board rpi_arm64 --server-ip 192.168.1.10
              rpiflash-gen recovery-image --board qemu_arm64 --ip-address 192.168.77.2 --netmask 255.255.255.0 --no-xz
              rpiflash-gen recovery-image --board rpi_arm64 --card-size 16GB --dry-run
              rpiflash-gen recovery-image --board rpi_arm64 --key /etc/rpiflash/keys/current.key
              bmaptool copy build/recovery-rpi_arm64.img /dev/sdX
            """)

    @OptionGroup var board: BoardOptions
    @OptionGroup var card: CardOptions

    @Option(help: ArgumentHelp("TFTP server; default: the one that DHCP names.", valueName: "address"))
    var serverIp: String?

    @Option(help: ArgumentHelp("Fixed address of the target; default: DHCP.", valueName: "address"))
    var ipAddress: String?

    @Option(help: ArgumentHelp("Netmask of the fixed address.", valueName: "mask"))
    var netmask: String?

    @Option(help: ArgumentHelp("Gateway of the fixed address.", valueName: "address"))
    var gateway: String?

    @Flag(
        help: "Let a key on the serial console lead to U-Boot's prompt, within 5 s of each start. Default: no key does."
    )
    var debugConsole = false

    @Option(
        name: .customLong("key"),
        help: ArgumentHelp(
            "A key of the bench (rpiflash keys): the card then runs only what it has signed. Twice, for a change of keys: one "
                + "of them is enough.", valueName: "file"))
    var keys: [FilePath] = []

    @Option(
        help: ArgumentHelp(
            "Folder of u-boot.bin and dtb/, or, of a board that Linux flashes, of kernel.img, initramfs.img and dtb/; default: "
                + "the installed one, in a source tree build/uboot/<board> or build/linux/<board>.",
            valueName: "folder"))
    var uboot: FilePath?

    @Option(
        help: ArgumentHelp(
            "Folder of the Pi's firmware files; default: the installed one, in a source tree build/firmware.",
            valueName: "folder"))
    var firmware: FilePath?

    @Option(help: ArgumentHelp("Folder of files.yaml, config.txt and rpiflash.env.", valueName: "folder"))
    var files = sharedFile("recovery_image")

    @Option(
        name: [.short, .long],
        help: ArgumentHelp("The image; default: build/recovery-<board>.img.", valueName: "file"))
    var output: FilePath?

    @Flag(inversion: .prefixedNo, help: "Make the compressed copy too.")
    var xz = true

    @OptionGroup var dryRun: DryRunOptions

    private func network() throws -> NetworkSettings {
        try NetworkSettings(
            serverAddress: serverIp, address: ipAddress, netmask: netmask, gateway: gateway,
            debugConsole: debugConsole)
    }

    func validate() throws { try usage { try network() } }

    func run() async throws {
        let profile = try board.profile()
        let layout = try card.layout()
        let sources = CardSources(
            files: files.appending("files.yaml"), firmwareConfiguration: files.appending("config.txt"),
            linuxConfiguration: files.appending("config-linux.txt"), environment: files.appending("rpiflash.env"),
            templates: board.templates,
            uboot: uboot ?? DefaultPaths.built("\(profile.system.rawValue)/\(profile.name)"),
            firmware: firmware ?? DefaultPaths.built("firmware"),
            ubootRemedy: Installation.current.remedy(
                make: "make \(profile.system.rawValue) BOARD=\(profile.name)",
                package: "rpiflash-\(profile.system.rawValue)", option: "--uboot"),
            firmwareRemedy: Installation.current.remedy(
                make: "make firmware", package: "rpiflash-firmware", option: "--firmware"))
        let signing = keys.isEmpty ? nil : try SigningKeys(files: keys)
        let contents = try cardContents(
            board: profile, card: layout, network: network(), sources: sources, keys: signing?.names ?? [])
        let used =
            [card.source, board.source] + [sources.uboot, files].map(\.string)
            + (profile.piFirmware && profile.linux == nil ? [sources.firmware.string] : [])
            + (signing.map { keys in keys.names.map { keys.folder.appending("\($0).key").string } } ?? [])
        let maker = try RecoveryImageMaker.onThisHost(keys: signing)
        let output = output ?? DefaultPaths.build.appending("recovery-\(profile.name).img")
        guard !dryRun.isOn else {
            let forecast = try await maker.dryRun(
                card: layout, contents: contents, board: profile, output: output, compress: xz,
                scratch: DryRunOptions.scratch)
            print(
                "would write \(forecast.image): \(forecast.size.bytes) bytes, for cards of "
                    + "\(layout.cardSize.byteCount.bytes) bytes and more")
            for path in [forecast.blockMap, forecast.compressed].compactMap(\.self) { print("would write \(path)") }
            print("partition 1 would have \(forecast.files.joined(separator: ", "))")
            RPiFlashGen.use(used.joined(separator: ", "))
            return
        }
        let result = try await maker.make(
            card: layout, contents: contents, board: profile, output: output, compress: xz)
        print(
            "\(result.image): \(result.size.bytes) bytes, for cards of \(layout.cardSize.byteCount.bytes) bytes and more"
        )
        print("\(result.blockMap): \(result.mapped.bytes) bytes to write")
        if let compressed = result.compressed { print("\(compressed): the same, compressed") }
        RPiFlashGen.use(used.joined(separator: ", "))
        // A person at a terminal wants it on a card.
        if isatty(STDERR_FILENO) != 0 { RPiFlashGen.report("next: sudo bmaptool copy \(result.image) /dev/sdX") }
    }
}

/// Wrong values of options end with the usage and status 64.
func usage<Value>(_ check: () throws -> Value) throws {
    do {
        _ = try check()
    } catch {
        throw ValidationError("\(error)")
    }
}
