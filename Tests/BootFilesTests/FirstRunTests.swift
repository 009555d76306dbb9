import BootFiles
import Foundation
import SystemPackage
import Testing

/// A folder that the script takes for a system, and tools that write down how they were called instead of acting.
struct FakeSystem {
    let folder: Folder

    /// Tools that only touch the folder, so the real ones will do.
    private static let real = [
        "cat", "chmod", "cut", "grep", "ln", "ls", "mkdir", "rm", "sed", "sync", "tail", "touch",
    ]
    private static let stubs = [
        "chown": "", "systemctl": "", "ssh-keygen": "", "rfkill": "", "locale-gen": "", "groupmod": "",
        "chpasswd": "sed 's/^/chpasswd: /' >>\"$RPIFLASH_ROOT/calls\"",
        "getent": #"grep -E "^$2:|^[^:]*:[^:]*:$2:" "$RPIFLASH_ROOT/etc/$1""#,
        "useradd": #"echo "$4:x:1000:1000::/home/$4:/bin/bash" >>"$RPIFLASH_ROOT/etc/passwd""#,
        "usermod": #"""
        case $1 in
            -l) sed -i "s/^$3:/$2:/" "$RPIFLASH_ROOT/etc/passwd" ;;
            -m) sed -i "s|^\($4:.*\):/home/[^:]*:|\1:$3:|" "$RPIFLASH_ROOT/etc/passwd" ;;
        esac
        """#,
    ]

    init(users: String) throws {
        folder = try Folder()
        for tool in Self.real {
            let path = try #require(
                ["/usr/bin", "/bin"].map { "\($0)/\(tool)" }.first(where: FileManager.default.isExecutableFile))
            try folder.write("tools/\(tool)", "#!/bin/sh\nexec \(path) \"$@\"\n", executable: true)
        }
        for (tool, action) in Self.stubs {
            let call = tool == "getent" ? "" : "echo \"\(tool) $*\" >>\"$RPIFLASH_ROOT/calls\"\n"
            try folder.write("tools/\(tool)", "#!/bin/sh\n\(call)\(action)\n", executable: true)
        }
        try folder.write("etc/hostname", "raspberrypi\n")
        try folder.write("etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n")
        try folder.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n\(users)")
        try folder.write("etc/group", "root:x:0:\nsudo:x:27:\npi:x:1000:\n")
        try folder.write("etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication yes\n")
        try folder.write("usr/share/zoneinfo/Europe/Berlin", "")
        try folder.write("etc/default/keyboard", "XKBLAYOUT=\"gb\"\n")
        try folder.write("etc/locale.gen", "# de_DE.UTF-8 UTF-8")
        try folder.write("etc/sudoers.d/010_pi-nopasswd", "pi ALL=(ALL) NOPASSWD: ALL\n")
    }

    /// Writes what was made to the boot partition and runs the script; what cmdline.txt was in between.
    func boot(_ edit: BootPartitionEdit, _ shellName: String, at mountPoint: String) async throws -> String {
        for (path, bytes) in edit.files {
            try folder.write("\(mountPoint)/\(path)", String(decoding: bytes, as: UTF8.self))
        }
        let commandLine = edit.applied(to: KernelCommandLine("console=tty1 root=PARTUUID=4e639091-02 rootwait\n")).text
        try folder.write("\(mountPoint)/cmdline.txt", commandLine)
        let result = try await shell(
            shellName, [folder.path.appending("\(mountPoint)/firstrun.sh").string],
            ["PATH": folder.path.appending("tools").string, "RPIFLASH_ROOT": folder.path.string])
        #expect(result.status == 0)
        #expect(result.output == "")
        return commandLine
    }

    var calls: String { folder.read("calls") ?? "" }
}

struct FirstRunTests {
    static let shells = ["sh", "bash"]
    static let place = "/boot/firmware"
    static let form = FirstBootMechanism.firstrun(bootMountPoint: place)

    @Test(arguments: shells)
    func `a system is set up, and once only`(shell: String) async throws {
        let system = try FakeSystem(users: "pi:x:1000:1000::/home/pi:/bin/bash\n")
        let folder = system.folder
        try folder.write("etc/NetworkManager/NetworkManager.conf", "")
        try folder.write("var/lib/NetworkManager/NetworkManager.state", "[main]\nWirelessEnabled=false\n")
        try folder.write("var/lib/systemd/rfkill/platform-soc:wlan", "1\n")
        let before = try await system.boot(try edit(Sample.everything, Self.form), shell, at: "boot/firmware")

        #expect(
            before == """
                root=PARTUUID=4e639091-02 rootwait cfg80211.ieee80211_regdom=DE systemd.run=/boot/firmware/firstrun.sh \
                systemd.run_success_action=reboot systemd.unit=kernel-command-line.target quiet \
                dyndbg="file drivers/usb/* +p"

                """)
        #expect(
            folder.read("boot/firmware/cmdline.txt")
                == "root=PARTUUID=4e639091-02 rootwait cfg80211.ieee80211_regdom=DE quiet dyndbg=\"file drivers/usb/* +p\"\n"
        )
        #expect(folder.read("boot/firmware/firstrun.sh") == nil)
        #expect(folder.read("boot/firmware/firstrun.log") == "")

        #expect(folder.read("etc/hostname") == "pi-camera-1\n")
        #expect(folder.read("etc/hosts") == "127.0.0.1\tlocalhost\n127.0.1.1\tpi-camera-1\n")
        #expect(folder.read("etc/passwd")?.hasSuffix("\nlab:x:1000:1000::/home/lab:/bin/bash\n") == true)
        #expect(folder.read("etc/sudoers.d/010_pi-nopasswd") == "lab ALL=(ALL) NOPASSWD: ALL\n")
        #expect(
            folder.read("home/lab/.ssh/authorized_keys")
                == "\(Sample.key)\n\(Sample.otherKey) o'brien \"$(reboot)\" `x`\n")
        #expect(try folder.mode("home/lab/.ssh") == 0o700)
        #expect(try folder.mode("home/lab/.ssh/authorized_keys") == 0o600)
        #expect(folder.read("etc/ssh/sshd_config")?.hasPrefix("PasswordAuthentication no\nInclude ") == true)
        #expect(
            system.calls.split(separator: "\n") == [
                "usermod -l lab pi", "usermod -m -d /home/lab lab", "groupmod -n lab pi", "chpasswd -e",
                "chpasswd: lab:\(Sample.sha512)", "chown -R lab: \(folder.path)/home/lab/.ssh", "ssh-keygen -A",
                "systemctl enable ssh", "rfkill unblock wifi", "locale-gen ",
            ])

        let connection = "etc/NetworkManager/system-connections/preconfigured.nmconnection"
        #expect(try folder.mode(connection) == 0o600)
        let ssid = "Caf\u{e9} 'x' $(id) \"q\"".utf8.map { "\($0);" }.joined()
        #expect(folder.read(connection)?.contains("\nssid=\(ssid)\nhidden=true\n") == true)
        #expect(folder.read(connection)?.contains("\npsk=\\s a\\\\b 'c' \"d\" $(id) `e`\n") == true)
        #expect(folder.read("var/lib/NetworkManager/NetworkManager.state") == "[main]\nWirelessEnabled=true\n")
        #expect(folder.read("var/lib/systemd/rfkill/platform-soc:wlan") == "0\n")

        #expect(
            try FileManager.default.destinationOfSymbolicLink(atPath: folder.path.appending("etc/localtime").string)
                == "/usr/share/zoneinfo/Europe/Berlin")
        #expect(folder.read("etc/timezone") == "Europe/Berlin\n")
        #expect(folder.read("etc/default/keyboard")?.contains("\nXKBLAYOUT=\"de\"\n") == true)
        #expect(folder.read("etc/default/locale") == "LANG=de_DE.UTF-8\n")
        #expect(folder.read("etc/locale.gen") == "# de_DE.UTF-8 UTF-8\nde_DE.UTF-8 UTF-8\n")
    }

    @Test(arguments: shells)
    func `raspberry pi os's own tools are used where they are`(shell: String) async throws {
        let system = try FakeSystem(users: "pi:x:1000:1000::/home/pi:/bin/bash\n")
        let stub = "#!/bin/sh\necho \"${0##*/} $*\" >>\"$RPIFLASH_ROOT/calls\"\n"
        try system.folder.write("usr/lib/raspberrypi-sys-mods/imager_custom", stub, executable: true)
        try system.folder.write("usr/lib/userconf-pi/userconf", stub, executable: true)
        _ = try await system.boot(
            try edit(
                """
                hostname: a
                user: {name: lab, password_hash: \(Sample.sha512)}
                locale: {timezone: Europe/Berlin, keyboard: de}
                """, .firstrun(bootMountPoint: "/boot")), shell, at: "boot")
        #expect(
            system.calls.split(separator: "\n") == [
                "imager_custom set_hostname a", "userconf lab \(Sample.sha512)",
                "imager_custom set_timezone Europe/Berlin", "imager_custom set_keymap de",
            ])
        #expect(system.folder.read("etc/hostname") == "raspberrypi\n")
        #expect(system.folder.read("boot/cmdline.txt") == "console=tty1 root=PARTUUID=4e639091-02 rootwait\n")
    }

    @Test(arguments: shells)
    func `a system without users and without network manager gets its own`(shell: String) async throws {
        let system = try FakeSystem(users: "")
        _ = try await system.boot(
            try edit(
                """
                hostname: b
                user: {name: lab, password_hash: \(Sample.sha512)}
                ssh: {enabled: false, authorized_keys: ['\(Sample.key)']}
                wifi: {ssid: "a\\"b", password: 'p"assword', country: GB}
                """, Self.form), shell, at: "boot/firmware")
        #expect(system.calls.hasPrefix("useradd -m -s /bin/bash lab\nusermod -a -G sudo lab\nchpasswd -e\n"))
        #expect(system.calls.contains("\nsystemctl disable ssh\n"))
        #expect(system.folder.read("home/lab/.ssh/authorized_keys") == "\(Sample.key)\n")
        let file = try #require(system.folder.read("etc/wpa_supplicant/wpa_supplicant.conf"))
        #expect(file.hasPrefix("country=GB\n"))
        #expect(file.contains("\n\tssid=612262\n\tscan_ssid=0\n\tpsk=\"p\"assword\"\n"))
        #expect(try system.folder.mode("etc/wpa_supplicant/wpa_supplicant.conf") == 0o600)
    }

    @Test func `keys without a user are the first user's, and without any user that is logged`() async throws {
        let made = try edit("ssh: {authorized_keys: ['\(Sample.key)']}", Self.form)
        let system = try FakeSystem(users: "pi:x:1000:1000::/home/pi:/bin/bash\n")
        try system.folder.write("home/pi/.ssh/authorized_keys", "old")
        _ = try await system.boot(made, "sh", at: "boot/firmware")
        #expect(system.folder.read("home/pi/.ssh/authorized_keys") == "old\n\(Sample.key)\n")
        let empty = try FakeSystem(users: "")
        _ = try await empty.boot(made, "sh", at: "boot/firmware")
        #expect(empty.folder.read("boot/firmware/firstrun.log") == "rpiflash: no user for the ssh keys\n")
    }

    @Test func `a script of the vendor's imager gives way`() throws {
        let made = try edit("hostname: a", Self.form)
        let old =
            "root=x systemd.run=/boot/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target"
        #expect(
            made.applied(to: KernelCommandLine(old)).text == """
                root=x systemd.run_success_action=reboot systemd.unit=kernel-command-line.target \
                systemd.run=/boot/firmware/firstrun.sh
                """)
        #expect(try edit("hostname: a", Self.form) == made)
    }

    @Test(arguments: ["", "/", "boot", "/boot x", "/boot/../x", "/$(id)", "/boot'"])
    func `a mount point that no script can name is refused`(place: String) {
        #expect(error("hostname: a", .firstrun(bootMountPoint: place)).hasPrefix("lab.yaml: the image mounts its boot"))
    }

    @Test(arguments: [
        "", "plain", "it's", "''", "'; reboot; '", "$(reboot) `reboot` ${HOME} $HOME", "\\", "a\\'b", "\"", "a\nb\n",
        "*?[a-z] ~ & | ; < > ( ) # !", "é 漢 \u{1b}[31m", "--", "-n",
    ])
    func `a hostile text is one harmless word of the shell`(text: String) async throws {
        for name in Self.shells {
            let result = try await shell(name, ["-c", "set -- \(shellQuoted(text)); printf '%s|%s' \"$#\" \"$1\""])
            #expect(result.status == 0)
            #expect(result.output == "1|\(text)")
        }
    }
}
